"""Sealed attributes in vaults: put by the wallet, decided, counted, checked, stopped, deleted."""

import hashlib
import json
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from broker.domain.errors import LogUnavailable, StateConflict, VaultUnreachable
from broker.domain.vault import PIECE_BYTES
from broker.outbound.vaults import MARKER, FolderVault
from broker.store.consents import CONSENT
from broker.usecases import vault, vault_upkeep
from broker.usecases.vault_register import claim_vault
from tests.broker.flow_world import PURPOSE, World, world
from tests.broker.vaults import ATTRIBUTE, Filled, codes, file_of, public_of, register
from wallet_adapters.envelope import (
    Sealed,
    SealingKeyInvalid,
    new_sealing_key,
    seal_envelope,
)
from wallet_adapters.loopback import vault as wallet_vault
from wallet_adapters.loopback.errors import PeerRefused


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("vault") / "home") as broker:
        yield broker


@pytest.fixture
def filled(made: World) -> Filled:
    return Filled(made).grant()


def files(made: World) -> list[Path]:
    root = made.ctx.settings.home / "vault"
    return [path for path in root.rglob("*") if path.is_file() and path.name != MARKER]


def counted(made: World, uses: int) -> Filled:
    at = Filled(made).grant()
    with made.ctx.db.transaction() as tx:
        tx.execute(CONSENT.update().where(CONSENT.c.id == at.consent).values(uses_left=uses))
    return at


def uses_left(at: Filled) -> int:
    with at.world.ctx.db.reading() as tx:
        chosen = select(CONSENT.c.uses_left).where(CONSENT.c.id == at.consent)
        return int(tx.execute(chosen).scalar_one())


@pytest.mark.parametrize("curve", ["P-256", "X25519"])
def test_what_the_wallet_sealed_reaches_the_partner_alone(made: World, curve: str) -> None:
    at = Filled(made, new_sealing_key(curve)).grant()
    told = at.put({"count": 12, "note": "值"})
    answer = at.get()
    assert answer.status_code == 200, answer.text
    assert at.opened(answer.content).value == {"count": 12, "note": "值"}
    assert answer.headers["content-type"] == "application/jose"
    assert answer.headers["cache-control"] == "no-store"
    digest = b64encode(hashlib.sha256(answer.content).digest()).decode()
    assert answer.headers["repr-digest"] == f"sha-256=:{digest}:"
    kinds = [one["id"] for one in answer_obligations(answer)]
    assert kinds == ["retention", "territory", "watermark", "no_onward_sharing", "explain"]
    brief = answer_obligations(answer)[-1]["properties"]
    assert brief == {"algorithm": "churn-v3@1", "law": ["PIPL-24", "GDPR-13", "GDPR-22"]}
    # The decision that the log has is that of this transfer.
    entry = next(
        one for one in made.logged("decision") if one.id == answer.headers["broker-decision"]
    )
    assert (entry.body["decision"], entry.body["envelope"]) == (True, told["id"])
    (stored,) = [
        one for one in made.logged("envelope.stored") if one.body["envelope"] == told["id"]
    ]
    assert stored.consent_id == at.consent


def answer_obligations(answer: Any) -> Any:  # noqa: ANN401 (JSON)
    return json.loads(answer.headers["broker-obligations"])


def test_a_denial_names_every_reason_and_gives_nothing(filled: Filled) -> None:
    filled.put()
    answer = filled.get(params={"territory": "SG"})
    assert answer.status_code == 403
    assert answer.json()["code"] == "territory_outside_terms"
    assert codes(answer) == ["territory_outside_terms", "cross_border_consent_missing"]
    assert answer.json()["decision"]["decision"] is False


def test_what_is_not_there_is_a_recorded_denial(filled: Filled) -> None:
    answer = filled.get()
    assert (answer.status_code, answer.json()["code"]) == (404, "data_not_in_vault")
    entry = filled.world.logged("decision")[-1]
    assert entry.id == answer.json()["decision"]["context"]["id"]
    assert entry.body["conditions"] == ["data.none"]
    unknown = filled.get("shoe_size")
    assert unknown.status_code == 403
    assert codes(unknown)[:2] == ["attribute_outside_terms", "sensitive_consent_missing"]
    assert "data_not_in_vault" in codes(unknown)


def test_another_partner_gets_nothing_and_learns_nothing(made: World, filled: Filled) -> None:
    filled.put()
    other = made.second_partner()
    params = {"purpose": "dpv:ServicePersonalisation#algo:churn-v3@1"}
    theirs = made.api("GET", f"/v1/data/{filled.consent}/{ATTRIBUTE}", other, params=params)
    none = made.api("GET", f"/v1/data/c-nothing/{ATTRIBUTE}", other, params=params)
    assert theirs.status_code == none.status_code == 403
    assert codes(theirs) == codes(none)
    assert codes(theirs) == ["consent_not_found", "data_not_in_vault"]
    officer = made.api("GET", f"/v1/data/{filled.consent}/{ATTRIBUTE}", made.officer, params=params)
    assert officer.status_code == 403


def test_ranges_of_one_transfer_are_one_use(made: World) -> None:
    at = counted(made, 1)
    at.put("x" * (2 * PIECE_BYTES))
    needed = at.get()
    assert (needed.status_code, needed.json()["code"]) == (400, "idempotency_key_required")
    assert uses_left(at) == 1
    key = {"Idempotency-Key": "one-transfer"}
    first = at.get(headers={**key, "Range": "bytes=0-99999"})
    assert (first.status_code, len(first.content)) == (206, 100_000)
    size = int(first.headers["content-range"].rpartition("/")[2])
    rest = at.get(headers={**key, "Range": "bytes=100000-"})
    assert at.opened(first.content + rest.content).value == "x" * (2 * PIECE_BYTES)
    tail = at.get(headers={**key, "Range": "bytes=-7"})
    assert tail.content == rest.content[-7:]
    assert tail.headers["content-range"] == f"bytes {size - 7}-{size - 1}/{size}"
    assert uses_left(at) == 0
    beyond = at.get(headers={**key, "Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.json()["code"]) == (416, "range_not_satisfiable")
    again = at.get(headers={"Idempotency-Key": "another"})
    assert (again.status_code, codes(again)) == (403, ["uses_exhausted"])


def test_a_key_stands_for_one_envelope(made: World) -> None:
    """Newer data, or data where only a decision was asked for, are another use."""
    at = counted(made, 3)
    at.put(1)
    key = {"Idempotency-Key": "one-envelope"}
    assert at.get(headers=key).status_code == 200
    made.time[0] += 1
    at.put(2)
    newer = at.get(headers=key)
    assert (newer.status_code, newer.json()["code"]) == (409, "idempotency_conflict")
    question = {
        "subject": {"type": "partner", "id": made.partner},
        "action": {"name": "read"},
        "resource": {"type": "attribute", "id": ATTRIBUTE, "properties": {"consent": at.consent}},
        "context": {"purpose": PURPOSE, "territory": "CN"},
    }
    key = {"Idempotency-Key": "a-decision"}
    decided = made.api("POST", "/access/v1/evaluation", json=question, headers=key)
    assert decided.json()["decision"] is True
    assert at.get(headers=key).json()["code"] == "idempotency_conflict"
    assert uses_left(at) == 1


def test_the_size_is_for_those_who_may_have_the_data(filled: Filled) -> None:
    filled.put()
    beyond = {"Range": "bytes=999999999-"}
    denied = filled.get(params={"territory": "SG"}, headers=beyond)
    assert (denied.status_code, denied.json()["code"]) == (403, "territory_outside_terms")
    assert filled.world.logged("decision")[-1].id == denied.json()["decision"]["context"]["id"]
    assert filled.get(headers=beyond).status_code == 416


def test_what_cannot_be_deleted_holds_up_nothing_else(
    made: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vault_upkeep, "DUE_AT_ONCE", 1)
    vault_upkeep.delete_due(made.ctx)
    three = [Filled(made).grant() for _ in range(3)]
    placed = []
    for at in three:
        at.put()
        placed.append(file_of(at))
        assert made.withdrawal(at.consent, made.officer).status_code == 200
        made.time[0] += 1
    stuck = placed[0]
    real = FolderVault.delete

    def delete(place: FolderVault, path: str) -> None:
        if stuck.as_posix().endswith(path):
            raise VaultUnreachable("this file stays")
        real(place, path)

    monkeypatch.setattr(FolderVault, "delete", delete)
    assert vault_upkeep.delete_due(made.ctx) == len(three) - 1
    assert [path.exists() for path in placed] == [True, False, False]
    monkeypatch.undo()
    assert vault_upkeep.delete_due(made.ctx) == 1


def test_a_key_is_put_in_place_of_the_one_before(made: World) -> None:
    first, second = new_sealing_key(), new_sealing_key()
    for key in (first, second):
        assert register(made, key).status_code == 200
    told = made.api("GET", f"/v1/vaults/{made.partner}").json()
    assert told["sealing_key"]["x"] == second["x"]


@pytest.mark.parametrize(
    "address", ["/v1/vaults/%00", "/v1/vaults/p-%00x", "/v1/envelopes?consent=c-%00"]
)
def test_no_address_holds_a_nul(made: World, address: str) -> None:
    answer = made.api("GET", address, made.officer)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


def test_nothing_is_counted_for_what_does_not_come(made: World) -> None:
    at = counted(made, 1)
    key = {"Idempotency-Key": "k"}
    assert at.get(headers=key).json()["code"] == "data_not_in_vault"
    at.put()
    path = file_of(at)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    damaged = at.get(headers=key)
    assert (damaged.status_code, damaged.json()["code"]) == (502, "envelope_damaged")
    path.unlink()
    assert at.get(headers=key).json()["code"] == "envelope_damaged"
    root = made.ctx.settings.home / "vault"
    away = root.rename(root.with_name("away"))
    try:
        lost = at.get(headers=key)
        assert (lost.status_code, lost.json()["code"]) == (503, "vault_unreachable")
        assert "retry-after" in lost.headers
    finally:
        away.rename(root)
    path.write_bytes(whole)
    assert uses_left(at) == 1
    assert at.get(headers=key).status_code == 200
    assert uses_left(at) == 0


def test_a_link_in_the_vault_is_not_followed(filled: Filled, tmp_path: Path) -> None:
    filled.put()
    path = file_of(filled)
    elsewhere = tmp_path / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    assert filled.get().json()["code"] == "vault_unreachable"


def test_a_withdrawal_ends_it_and_the_log_says_that_it_is_gone(made: World, filled: Filled) -> None:
    told = filled.put()
    path = file_of(filled)
    assert made.withdrawal(filled.consent, made.officer).status_code == 200
    assert codes(filled.get()) == ["consent_withdrawn", "data_not_in_vault"]
    assert path.exists()
    assert vault_upkeep.delete_due(made.ctx) >= 1
    assert not path.exists()
    assert not path.parent.exists()
    assert vault_upkeep.delete_due(made.ctx) == 0
    listed = made.api("GET", "/v1/envelopes", made.officer, params={"consent": filled.consent})
    (one,) = listed.json()["envelopes"]
    (entry,) = [e for e in made.logged("envelope.deleted") if e.body["envelope"] == told["id"]]
    assert (one["state"], one["entry"], one["deleted_at"]) == ("deleted", entry.id, made.time[0])
    assert made.evidence(filled.consent).verdict == "verified"
    with pytest.raises(PeerRefused) as refused:
        filled.put()
    assert refused.value.status == 409


def test_a_newer_envelope_takes_the_place_of_the_older(made: World, filled: Filled) -> None:
    filled.put(1)
    older = file_of(filled)
    made.time[0] += 1
    filled.put(2)
    assert filled.opened(filled.get().content).value == 2
    vault_upkeep.delete_due(made.ctx)
    assert not older.exists()
    made.time[0] -= 1
    with pytest.raises(PeerRefused) as refused:
        filled.put(3)
    made.time[0] += 1
    assert refused.value.status == 409
    assert filled.opened(filled.get().content).value == 2


def test_what_was_half_written_is_cleaned_up(
    made: World, filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files(made)

    def fail(*_: object) -> None:
        raise LogUnavailable("as a crash would")

    monkeypatch.setattr(vault, "_put_in_place", fail)
    with pytest.raises(PeerRefused):
        filled.put()
    monkeypatch.undo()
    assert len(files(made)) == len(before) + 1
    assert filled.get().json()["code"] == "data_not_in_vault"
    assert vault_upkeep.delete_due(made.ctx) == 0
    made.advance(601)
    assert vault_upkeep.delete_due(made.ctx) == 1
    assert files(made) == before


def test_who_may_put_what(made: World, filled: Filled) -> None:
    stranger = made.customer("crm-stranger")
    mine, filled.customer = filled.customer, stranger
    with pytest.raises(PeerRefused) as refused:
        filled.put()
    assert refused.value.status == 404
    filled.customer = mine
    with pytest.raises(PeerRefused) as refused:
        filled.put(attribute="medical_summary")
    assert refused.value.status == 400
    # A key that the partner has replaced.
    register(made, new_sealing_key())
    filled.put()
    assert filled.get().status_code == 200


@pytest.mark.parametrize(
    "key",
    [
        {"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"},
        {"kty": "OKP", "crv": "X25519", "x": "A" * 43},
        {"kty": "EC", "crv": "P-256", "x": "A" * 43, "y": "A" * 43},
        {"kty": "oct", "crv": "P-256", "x": "AA"},
    ],
)
def test_only_good_keys_are_sealed_to(made: World, key: dict[str, str]) -> None:
    answer = register(made, key)
    assert (answer.status_code, answer.json()["code"]) == (400, SealingKeyInvalid.code)


def test_a_private_key_is_refused(made: World) -> None:
    headers = {"Idempotency-Key": "a-private-one"}
    answer = made.api("PUT", "/v1/sealing-key", json=new_sealing_key(), headers=headers)
    assert "private key" in answer.json()["detail"]


def test_a_refused_envelope_goes_with_the_next_sweep(
    made: World, filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault_upkeep.delete_due(made.ctx)
    before = files(made)
    real = FolderVault.put

    def put(place: FolderVault, path: str, data: bytes) -> None:
        real(place, path, data)
        assert made.withdrawal(filled.consent, made.officer).status_code == 200

    monkeypatch.setattr(FolderVault, "put", put)
    with pytest.raises(PeerRefused) as refused:
        filled.put()
    assert refused.value.status == 409
    assert len(files(made)) == len(before) + 1
    assert vault_upkeep.delete_due(made.ctx) == 1
    assert files(made) == before


def test_the_same_again_renews_when_it_was_signed_for(
    made: World, filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the customer signed between loses to what they said last."""
    same = seal_envelope(Sealed(filled.consent, ATTRIBUTE, "none", 1), public_of(filled.key))
    monkeypatch.setattr(wallet_vault, "seal_envelope", lambda *_: same)
    first = filled.put()
    made.time[0] += 2
    again = filled.put()
    assert again == filled.put() == first
    monkeypatch.undo()
    made.time[0] -= 1
    with pytest.raises(PeerRefused) as refused:
        filled.put(2)
    made.time[0] += 1
    assert refused.value.status == 409
    stored = [e for e in made.logged("envelope.stored") if e.body["envelope"] == again["id"]]
    assert len({entry.body["reference"] for entry in stored}) == len(stored) == 2


def test_an_unmounted_share_is_no_empty_vault(
    made: World, filled: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault_upkeep.delete_due(made.ctx)
    mount = tmp_path / "mount"
    settings = replace(made.ctx.settings, vault_root=mount)
    monkeypatch.setitem(vars(made.ctx), "settings", settings)
    mount.mkdir()
    with pytest.raises(PeerRefused) as refused:
        filled.put()
    assert refused.value.status == 503
    with pytest.raises(StateConflict):  # the database knows of others
        claim_vault(made.ctx)
    claim_vault(made.ctx, empty=True)
    claim_vault(made.ctx, empty=True)
    filled.put()
    share = mount.rename(tmp_path / "share")
    mount.mkdir()
    assert filled.get().json()["code"] == "vault_unreachable"
    assert made.withdrawal(filled.consent, made.officer).status_code == 200
    assert vault_upkeep.delete_due(made.ctx) == 0
    with pytest.raises(VaultUnreachable):
        list(vault_upkeep.strays(made.ctx, "local"))
    mount.rmdir()
    share.rename(mount)
    assert vault_upkeep.delete_due(made.ctx) >= 1
    (mount / MARKER).write_text("another's")
    with pytest.raises(StateConflict):
        claim_vault(made.ctx, empty=True)
    with pytest.raises(VaultUnreachable):
        list(vault_upkeep.strays(made.ctx, "local"))


def test_what_no_row_names_is_listed_and_goes_after_its_grace(made: World, filled: Filled) -> None:
    filled.put()
    kept = file_of(filled)
    root = made.ctx.settings.home / "vault"
    stray, half = kept.with_name("A" * 32), kept.with_name("B" * 32 + ".part")
    for path in (stray, half):
        path.write_bytes(b"newer than the database")
    (root / "of-somebody-else.txt").write_text("not ours")
    found = [one.path for one in vault_upkeep.strays(made.ctx, "local")]
    assert sorted(found) == sorted(path.relative_to(root).as_posix() for path in (stray, half))
    since = int(stray.stat().st_mtime)
    assert vault_upkeep.delete_strays(made.ctx, "local", since) == 0
    assert vault_upkeep.delete_strays(made.ctx, "local", since + 2) == 2
    assert kept.exists()
    assert list(vault_upkeep.strays(made.ctx, "local")) == []
    (root / "of-somebody-else.txt").unlink()


def test_check_reads_everything_and_names_what_is_damaged(made: World, filled: Filled) -> None:
    told = filled.put("y" * PIECE_BYTES)
    count, damaged = vault_upkeep.check(made.ctx, "demo")
    assert count >= 1
    assert told["id"] not in {one.envelope_id for one in damaged}
    with file_of(filled).open("r+b") as file:
        file.seek(PIECE_BYTES + 5)
        file.write(b"\x00")
    _, damaged = vault_upkeep.check(made.ctx, "demo")
    assert [one.code for one in damaged if one.envelope_id == told["id"]] == ["envelope_damaged"]
