"""The demonstration tenant: there after a start, once, whole, whatever stopped an earlier start."""

import csv
import json
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from broker.composition import build_context, prepare
from broker.domain.errors import StateConflict
from broker.domain.terms import Label
from broker.settings import Settings
from broker.store import partners, registry
from broker.usecases import bootstrap
from broker.usecases.bootstrap import CLIENTS_FILE, demo_clients, ensure_demo_tenant
from broker.usecases.partner import add_partner
from broker.usecases.tenant import add_tenant
from tests.broker.clients_world import World, world
from tests.programs import shared


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def counts(broker: World) -> tuple[int, ...]:
    with broker.ctx.db.reading() as tx:
        known = registry.registry(tx, "demo")
        return (
            len(known.purposes),
            len(known.algorithms),
            len(known.attributes),
            len(registry.templates(tx, "demo")),
            registry.template(tx, "demo", "loyalty-churn").version,
            len(partners.of_tenant(tx, "demo")),
            len(partners.officers_of_tenant(tx, "demo")),
        )


def test_starting_again_changes_nothing(broker: World) -> None:
    before, clients = counts(broker), demo_clients(broker.ctx)
    entries = len(broker.logged("template.added", "partner.added", "tenant.added"))
    ensure_demo_tenant(broker.ctx)
    assert counts(broker) == before
    assert demo_clients(broker.ctx) == clients
    assert len(broker.logged("template.added", "partner.added", "tenant.added")) == entries


def test_the_keys_of_the_demonstration_are_readable_by_their_owner_alone(broker: World) -> None:
    mode = (broker.ctx.settings.home / CLIENTS_FILE).stat().st_mode
    assert stat.S_IMODE(mode) == 0o600


def test_a_start_that_was_stopped_half_way_is_finished_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_arguments: object, **_more: object) -> None:
        raise KeyboardInterrupt

    for name in ("add_algorithm", "add_template", "add_partner", "add_officer"):
        with monkeypatch.context() as patched:
            patched.setattr(bootstrap, name, stopped)
            with pytest.raises(KeyboardInterrupt), world(tmp_path):
                pass
    with world(tmp_path) as made:
        assert 0 not in counts(made)
        assert made.bearer(made.partner)
        assert made.bearer(made.officer)


def test_another_machine_on_the_same_database_leaves_the_clients_alone(broker: World) -> None:
    (broker.ctx.settings.home / CLIENTS_FILE).unlink()
    before = counts(broker)
    ensure_demo_tenant(broker.ctx)
    assert counts(broker) == before
    assert not (broker.ctx.settings.home / CLIENTS_FILE).exists()


def test_what_the_demonstration_needs_is_there(broker: World) -> None:
    with broker.ctx.db.reading() as tx:
        known = registry.registry(tx, "demo")
        template = registry.template(tx, "demo", "loyalty-churn")
    assert {("churn-v3", "1"), ("churn-v3", "2"), ("sg-match", "1")} <= set(known.algorithms)
    sensitive = {one.id for one in known.attributes.values() if one.sensitive}
    assert sensitive == {"visit_log", "id_number", "medical_summary"}
    assert {"purchase_count_12m", "home_city", "phone", "date_of_birth"} <= set(known.attributes)
    assert [item.territories.every == {"CN"} for item in template.items] == [True, True, False]


def test_the_purposes_and_categories_are_those_of_the_data_privacy_vocabulary(
    broker: World,
) -> None:
    with broker.ctx.db.reading() as tx:
        known = registry.registry(tx, "demo")
    for prefix, name, used in (
        ("dpv", "purposes", set(known.purposes)),
        ("pd", "personal_data", {one.category for one in known.attributes.values()}),
    ):
        with shared(f"data/dpv/{name}.csv").open(encoding="utf-8", newline="") as file:
            terms = {f"{prefix}:{row['term']}" for row in csv.DictReader(file)}
        assert used, name
        assert used <= terms


def test_a_second_partner_of_the_same_name_is_refused(broker: World) -> None:
    told = json.loads((broker.ctx.settings.home / CLIENTS_FILE).read_text())
    with pytest.raises(StateConflict):
        add_partner(
            broker.ctx,
            "demo",
            name=told["partner"]["name"],
            name_zh="别名",
            contact="a@b.example",
            country="CN",
        )


def test_without_the_demonstration_nobody_is_there(tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path, public_url="https://c.example", development=False, demonstration=False
    )
    ctx = build_context(settings)
    for _ in range(2):
        prepare(ctx)
    with ctx.db.reading() as tx:
        tenant = registry.tenant(tx, "demo")
        assert partners.of_tenant(tx, "demo") == []
        assert partners.officers_of_tenant(tx, "demo") == []
        assert registry.templates(tx, "demo") == []
    assert (tenant.name_en, tenant.name_zh) == ("The operator", "经营方")
    assert not (tmp_path / CLIENTS_FILE).exists()
    # Asked for later, it is made in the tenant that is there.
    prepare(replace(ctx, settings=replace(settings, demonstration=True)))
    assert demo_clients(ctx)
    with ctx.db.reading() as tx:
        assert registry.tenant(tx, "demo").name_en == "The operator"
        assert len(partners.of_tenant(tx, "demo")) == 1
    ctx.db.close()


def test_a_tenant_that_was_named_before_the_first_start_keeps_its_name(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, public_url="https://c.example", demonstration=False)
    ctx = build_context(settings)
    add_tenant(ctx, "demo", name=Label("晨星", "Morning"), contact="a@m.example", country="CN")
    prepare(ctx)
    with ctx.db.reading() as tx:
        assert registry.tenant(tx, "demo").name_en == "Morning"
    ctx.db.close()
