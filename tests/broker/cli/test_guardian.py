"""`consent-broker guardian`, on a real home: set, show, remove, and what is refused."""

from pathlib import Path

import pytest

from broker.store.acting import acting_for_all
from broker.usecases.bootstrap import demo_clients
from broker.usecases.context import Context
from tests.broker.cli.commands import Commands, home

REFUSED, USAGE = 1, 2
GUARDIAN = Commands("guardian")


@pytest.fixture
def ctx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    return home(tmp_path, monkeypatch)


@pytest.fixture
def partner(ctx: Context) -> str:
    with acting_for_all():
        return str(demo_clients(ctx)[0]["client_id"])


def test_a_minor_is_marked_shown_and_marked_no_more(partner: str) -> None:
    asked = ["crm-child", "--guardian", "crm-parent", "--partner", partner]
    set_so = GUARDIAN.told("set", *asked, "--age-band", "under_14", "--of-age-at", "4000000000")
    assert (set_so["age_band"], set_so["of_age_at"]) == ("under_14", 4_000_000_000)
    assert GUARDIAN.told("show", set_so["id"]) == set_so
    shown = GUARDIAN.run("show", set_so["id"]).output
    assert "under_14" in shown
    assert "asked in person from 4000000000" in shown
    alone = GUARDIAN.run("set", *asked, "--age-band", "under_13", "--alone").output
    assert "alone" in alone
    removed = GUARDIAN.told("remove", set_so["id"], "--partner", partner)
    assert removed == {"id": set_so["id"], "minor": False}
    gone = GUARDIAN.run("show", set_so["id"])
    assert (gone.exit_code, "no such minor" in gone.output) == (REFUSED, True)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (("--age-band", "13"), "age_band is one of"),
        (("--relation", "friend"), "relation is one of"),
        (("--of-age-at", "1"), "lies in the past"),
        (("--guardian", "crm-child"), "nobody is their own guardian"),
    ],
)
def test_what_cannot_be_is_refused_with_its_cure(
    partner: str, changed: tuple[str, str], told: str
) -> None:
    given = {"--guardian": "crm-parent", "--age-band": "under_14", "--partner": partner}
    options = [part for pair in {**given, changed[0]: changed[1]}.items() for part in pair]
    refused = GUARDIAN.run("set", "crm-child", *options)
    assert (refused.exit_code, told in " ".join(refused.output.split())) == (REFUSED, True)


def test_a_guardian_is_marked_as_no_minor(partner: str) -> None:
    of = ("--age-band", "under_14", "--partner", partner)
    GUARDIAN.told("set", "crm-child", "--guardian", "crm-parent", *of)
    refused = GUARDIAN.run("set", "crm-parent", "--guardian", "crm-grand", *of)
    assert refused.exit_code == REFUSED
    assert "name another guardian there first" in " ".join(refused.output.split())
    assert GUARDIAN.run("set", "crm-child").exit_code == USAGE
    assert "监护人" in GUARDIAN.run("--help").output
