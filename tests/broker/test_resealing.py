"""A rotated master key: everything is sealed anew, and opens without the old one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import event, select

from broker.domain.incoming import Incoming
from broker.settings import SettingsError, read_settings
from broker.store import deletion_tasks, inbox, keys, sealed_columns, tables
from broker.store.master_key_file import FILE_NAME, MasterKeyFile
from broker.store.sealed_columns import SEALED
from broker.usecases import resealing
from broker.usecases.context import Context
from broker.usecases.inbox import kept
from broker.usecases.joining import open_join
from broker.usecases.keys import HMAC_LABELS, KeyRing
from broker.usecases.resealing import reseal, reseal_while_brokers_follow, under_keys
from broker.usecases.source import add_source, rotate_source
from broker.usecases.webhook import add_webhook, rotate_secret
from credentials.errors import SealBroken
from credentials.jcs import b64url
from credentials.keys import SoftwareKey
from credentials.sealing import Keys, MasterKey
from tests.broker.flow_world import PUBLIC_URL, PURPOSE, World, world
from tests.broker.proving import LI, ask, holder, registry, show
from tests.broker.training import invented, training
from tests.broker.vaults import ATTRIBUTE, Filled

TASK = tables.DeletionTask.__table__  # type: ignore[attr-defined]


def _under(ctx: Context, master: MasterKey) -> Context:
    keys = KeyRing(ctx.db, master, ctx.now, PUBLIC_URL)
    return replace(ctx, master=master, keys=keys)


def _fill(made: World) -> str:
    """Something in every sealed column; a consent that was granted."""
    customer = made.customer("crm-1")
    request = customer.grant("base", "visits")
    made.withdrawal(request["consents"][1]["id"], made.officer)
    with made.ctx.db.transaction() as tx:
        (task_id,) = tx.execute(select(TASK.c.id)).scalars()
        receipt = made.ctx.master.seal(b"signed", f"deletion:{task_id}")
        assert deletion_tasks.done(tx, task_id, receipt, made.time[0])
    made.ask("crm-1")
    office = registry()
    show(made, holder(made, office.issue(LI)), ask(made, by=office)["wallet_link"])
    made.api(
        "POST",
        "/v1/invitations",
        json={"subject_ref": "crm-2", "grade": "link"},
        headers={"Idempotency-Key": "k" * 16},
    )
    (at := Filled(made).grant()).put()
    asked = {"consent": at.consent, "schema": "shown/1", "attributes": [ATTRIBUTE]}
    headers = {"Idempotency-Key": "d" * 16}
    body = asked | {"purpose": PURPOSE}
    opened = made.api("POST", "/v1/data-requests", json=body, headers=headers)
    assert opened.status_code == 201, opened.text
    hook = add_webhook(made.ctx, "demo", made.partner, url="http://crm.example/", types=[])
    rotate_secret(made.ctx, "demo", None, hook.row.id)
    source = add_source(made.ctx, "demo", "loyalty").row
    rotate_source(made.ctx, "demo", "loyalty")
    with made.ctx.db.transaction() as tx:
        assert inbox.add(tx, [kept(made.ctx, source, Incoming("a", "e", "t", "s", 1, b"{}"))]) == 1
    trained = training(made)
    opened_round = trained.open(1)
    assert trained.hand_in(opened_round, invented(trained, opened_round)).status_code == 200
    receipts = SoftwareKey.generate("ES256").public_jwk()
    open_join(made.ctx, "demo", made.partner, json.dumps(receipts).encode())
    made.evidence(request["consents"][0]["id"])
    consent_id: str = request["consents"][0]["id"]
    return consent_id


def test_everything_is_sealed_anew_and_opens_without_the_old_key(tmp_path: Path) -> None:
    with world(tmp_path, encrypted_responses=True) as made:
        consent_id = _fill(made)
        old, new = made.ctx.master, MasterKey.generate()
        both = MasterKey.from_bytes(new.to_bytes(), previous=[old.to_bytes()])
        rotated = _under(made.ctx, both)
        with made.ctx.db.reading() as tx:
            filled = {one.name: sealed_columns.counts(tx, one, [old.header]) for one in SEALED}
        assert all(count[old.header] > 0 for count in filled.values()), filled
        total = sum(count[old.header] for count in filled.values())
        assert under_keys(rotated) == {old.key_id.hex(): total, new.key_id.hex(): 0}
        seen: list[int] = []
        done = reseal(rotated, seen.append)
        assert (done.done, done.unopened) == (total, 0)
        assert seen[-1] == total
        assert under_keys(rotated) == {old.key_id.hex(): 0, new.key_id.hex(): total}
        assert reseal(rotated).done == 0
        alone = _under(made.ctx, MasterKey.from_bytes(new.to_bytes()))
        _all_open(alone)
        for label in HMAC_LABELS:
            assert alone.keys.hmac_key(label) == made.ctx.keys.hmac_key(label)
        made.ctx = alone
        made.http.app.state.context = alone  # type: ignore[attr-defined]
        assert made.evidence(consent_id).verdict == "verified"
        assert made.customer("crm-3").grant("base")["consents"][0]["state"] == "granted"


def test_what_changes_meanwhile_stays_as_it_was_written(tmp_path: Path) -> None:
    with world(tmp_path) as made:
        old, new = made.ctx.master, MasterKey.generate()
        both = MasterKey.from_bytes(new.to_bytes(), previous=[old.to_bytes()])
        (column,) = [one for one in SEALED if one.table == "secret"]
        with made.ctx.db.reading() as tx:
            first, *_ = sealed_columns.batch(tx, column, both.header, None, 10)
        with made.ctx.db.transaction() as tx:
            assert sealed_columns.swap(tx, first, old.seal(b"newer", first.context))
            assert not sealed_columns.swap(tx, first, both.seal(b"older", first.context))


def test_values_under_a_key_that_is_not_here_are_told_and_left(tmp_path: Path) -> None:
    with world(tmp_path) as made:
        stranger = _under(made.ctx, MasterKey.generate())
        done = reseal(stranger)
        assert done.done == 0
        assert done.unopened == under_keys(stranger)["unknown"] > 0
        assert reseal(made.ctx).unopened == 0


def test_a_key_that_is_put_back_leaves_nothing_unopened(tmp_path: Path) -> None:
    with world(tmp_path) as made:
        old, new = made.ctx.master, MasterKey.generate()
        keys: list[Keys] = [(new.to_bytes(), [])]
        found = MasterKey(new.to_bytes(), reload=lambda: keys[0])
        rotated = _under(made.ctx, found)
        waited: list[int] = []

        def put_back(number: int) -> None:
            waited.append(number)
            keys[0] = (new.to_bytes(), [old.to_bytes()])

        done = reseal_while_brokers_follow(rotated, put_back)
        assert waited == [0, 1]
        assert done.done > 0
        assert (done.unopened, done.settled) == (0, True)
        assert set(under_keys(rotated).values()) == {0, done.done}


def test_what_a_broker_adds_while_values_are_counted_is_under_no_unknown_key(
    postgres_database: str, tmp_path: Path
) -> None:
    with world(tmp_path, database_url=postgres_database) as made:
        older = MasterKey.generate()
        both = MasterKey.from_bytes(made.ctx.master.to_bytes(), previous=[older.to_bytes()])
        ctx = _under(made.ctx, both)
        added: list[str] = []

        def add(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            if "FROM secret" in statement and not added:
                added.append("at the first look")
                with made.ctx.db.transaction() as tx:
                    assert keys.add_secret(tx, "late", older.seal(b"late", "secret:late"), 0)

        engine = ctx.db._reader  # noqa: SLF001 (between its statements)
        event.listen(engine, "after_cursor_execute", add)
        counted = under_keys(ctx)
        event.remove(engine, "after_cursor_execute", add)
        assert added
        assert "unknown" not in counted


def test_brokers_that_seal_under_the_older_key_are_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However late: a fixed wait would leave behind what a busy one seals after it."""
    with world(tmp_path) as made:
        old, new = made.ctx.master, MasterKey.generate()
        both = MasterKey.from_bytes(new.to_bytes(), previous=[old.to_bytes()])
        rotated = _under(made.ctx, both)
        (column,) = [one for one in SEALED if one.table == "secret"]

        def seal_under_the_older() -> None:
            with made.ctx.db.transaction() as tx:
                value, *_ = sealed_columns.batch(tx, column, old.header, None, 1)
                assert sealed_columns.swap(tx, value, old.seal(b"late", value.context))

        waited: list[int] = []

        def pause(number: int) -> None:
            waited.append(number)
            if number in {0, 1}:
                seal_under_the_older()

        done = reseal_while_brokers_follow(rotated, pause)
        # After the last that was found, a whole pause without any: 0, 1 (found), 2 (found), 3 not.
        assert (done.settled, waited) == (True, [0, 1, 2])
        assert under_keys(rotated)[old.key_id.hex()] == 0

        def always(_number: int) -> None:
            seal_under_the_older()

        monkeypatch.setattr(resealing, "ROUNDS", 3)
        done = reseal_while_brokers_follow(rotated, always)
        assert not done.settled
        assert under_keys(rotated)[old.key_id.hex()] == 1


def test_a_process_goes_on_through_a_rotation_of_the_file(tmp_path: Path) -> None:
    files = MasterKeyFile(tmp_path)
    first, _ = files.read()
    here, there = (
        MasterKey(*[files.read()[0]], previous=files.read()[1], reload=files.read) for _ in range(2)
    )
    sealed = here.seal(b"before", "x:1")
    fresh = files.rotate()
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600
    here.refresh()
    assert here.key_id == fresh
    after = here.seal(b"after", "x:1")
    # The other process has not been told: it reads the files when it meets the new key.
    assert there.open(after, "x:1") == b"after"
    assert (there.open(sealed, "x:1"), here.open(sealed, "x:1")) == (b"before", b"before")
    assert MasterKey(first).open(sealed, "x:1") == b"before"
    with pytest.raises(SealBroken, match="not loaded"):
        here.open(MasterKey.generate().seal(b"strange", "x:1"), "x:1")
    (tmp_path / FILE_NAME).unlink()
    with pytest.raises(SettingsError, match="restore it"):
        files.read()


def test_previous_keys_come_from_the_settings(tmp_path: Path) -> None:
    one, two = bytes(32), bytes([1]) * 32
    read = read_settings({"BROKER_MASTER_KEY_PREVIOUS": f"{b64url(one)}, {b64url(two)}"})
    assert read.master_key_previous == (one, two)
    assert b64url(two) not in repr(read)
    with pytest.raises(SettingsError, match="BROKER_MASTER_KEY_PREVIOUS"):
        read_settings({"BROKER_MASTER_KEY_PREVIOUS": "short"})
    assert MasterKeyFile(tmp_path, (one,)).read()[1] == (one,)


def _all_open(ctx: Context) -> None:
    for column in SEALED:
        with ctx.db.reading() as tx:
            values = sealed_columns.batch(tx, column, bytes(9), None, 10_000)
        assert values, column.name
        for value in values:
            ctx.master.open(value.sealed, value.context)
