"""Evidence for one customer: where their row was used, verified by nobody's help."""

import copy
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from broker.domain.errors import EvidenceInvalid, LogUnavailable, NotFound
from broker.domain.ids import new_id
from broker.domain.merkle import inclusion_proof
from broker.domain.note import Ed25519Signer, parse_note, sign_note
from broker.domain.training_evidence import verify_training_evidence, vouch
from broker.store import audit, log_tree, training_rounds
from broker.store.acting import acting_for_all
from broker.usecases.person import Named
from broker.usecases.training_evidence import training_evidence
from broker.usecases.trust import trust
from credentials.jcs import b64url
from tests.broker.builders import Broker
from tests.broker.flow_world import world
from tests.broker.training import BEGAN, Training, invented, model, training


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Training]:
    """Two rounds, the second after a withdrawal."""
    with world(tmp_path_factory.mktemp("evidence") / "home") as broker:
        made = training(broker)
        given = [made.consent(broker.partner, f"crm-{number}") for number in range(5)]
        made.round(1, BEGAN, model(1))
        assert broker.withdrawal(given[0], broker.officer, json={}).status_code == 200
        made.round(2, model(1), model(2))
        broker.advance(2)
        yield made


def shows(data: bytes, at: Training, consent: str) -> list[tuple[int, str]]:
    found = verify_training_evidence(data, trust(at.world.ctx))
    assert found.issuer == at.world.ctx.settings.public_url
    return [(one.number, one.shows) for one in found.shown if one.consent == consent]


def file_of(at: Training, consent: str, *, with_salt: bool = False) -> bytes:
    named = Named(consent_id=consent)
    found = training_evidence(at.world.ctx, "demo", named, with_salt=with_salt)
    return json.dumps(found).encode()


def test_the_round_with_the_row_and_the_one_without(at: Training) -> None:
    withdrawn, *others = at.members[at.world.partner].credentials
    assert shows(file_of(at, withdrawn), at, withdrawn) == [(1, "included"), (2, "absent")]
    inside = [shows(file_of(at, one), at, one)[1] for one in others]
    # With the withdrawn one the guard took one more.
    assert sorted(inside) == [(2, "absent")] + [(2, "included")] * 3
    told = [one.body for one in at.world.logged("training.evidence")]
    assert {(one["rounds"], one["with_salt"]) for one in told} == {(2, False)}


def test_an_officer_gets_it_by_reference_and_nobody_else(at: Training) -> None:
    body = {"partner": at.world.partner, "subject_ref": "crm-0"}
    path = "/v1/federation/evidence"
    answer = at.world.api("POST", path, at.world.officer, json=body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    consent = answer.json()["evidence"]["consents"][0]
    assert shows(answer.content, at, consent) == [(1, "included"), (2, "absent")]
    assert b64url(b"salt") not in answer.text
    assert answer.json()["evidence"]["campaigns"][0]["salt"] is None
    for caller in (at.world.partner, at.coordinator):
        assert at.world.api("POST", path, caller, json=body).status_code == 403
    nobody = at.world.api("POST", path, at.world.officer, json={"consent": "c-absent"})
    assert nobody.status_code == 404


def test_with_the_salt_the_keys_are_computed(at: Training) -> None:
    consent = next(iter(at.members[at.world.partner].credentials))
    known = trust(at.world.ctx)
    assert not verify_training_evidence(file_of(at, consent), known).keys_computed
    data = file_of(at, consent, with_salt=True)
    assert verify_training_evidence(data, known).keys_computed
    lying = resigned(at, data, lambda found: found["rounds"][0].update(key=b64url(b"k" * 32)))
    with pytest.raises(EvidenceInvalid, match="does not follow"):
        verify_training_evidence(lying, known)


def resigned(at: Training, data: bytes, change: Callable[[Any], object]) -> bytes:
    """What a broker that lies would sign."""
    evidence = json.loads(data)["evidence"]
    change(evidence)
    key = at.world.ctx.keys.issuer("demo")
    return json.dumps(vouch(evidence, signer=key.signer, x5c=key.x5c)).encode()


def other_log(note: str) -> str:
    """The same tree, signed by somebody who says that it is this log."""
    read = parse_note(note)
    signer = Ed25519Signer.from_seed(read.text.splitlines()[0], bytes(32))
    return sign_note(read.text, [signer])


LIES: dict[str, tuple[Callable[[Any], object], str]] = {
    "another key": (
        lambda found: found["rounds"][0].update(key=b64url(b"k" * 32)),
        "does not show",
    ),
    "another round's receipt": (
        lambda found: found["rounds"][0].update(receipt=found["rounds"][1]["receipt"]),
        "another round",
    ),
    "no proof": (lambda found: found["rounds"][0].update(proofs={}), "lacks the proof"),
    "another consent": (lambda found: found.update(consents=["c-other"]), "lacks the proof"),
    "no consent": (lambda found: found.update(consents=[]), "no consent"),
    "no campaign": (lambda found: found.update(campaigns=[]), "not in the evidence"),
    "a changed campaign": (
        lambda found: found["campaigns"][0]["document"]["campaign"].update(rounds=9),
        "signatures of the board",
    ),
    "another member's key": (
        lambda found: found["rounds"][0].update(
            receipt_key=found["campaigns"][0]["board"]["keys"][0]
        ),
        "registered",
    ),
    "another round's entry": (
        lambda found: found["rounds"][0].update(log=found["rounds"][1]["log"]),
        "entry of the log is of another receipt",
    ),
    "another place in the log": (
        lambda found: found["rounds"][0]["log"].update(index=found["rounds"][1]["log"]["index"]),
        "the proof",
    ),
    "another path": (
        lambda found: found["rounds"][0]["log"].update(path=found["rounds"][1]["log"]["path"]),
        "the proof",
    ),
    "another salt": (
        lambda found: found["rounds"][0]["log"].update(salt=b64url(b"s" * 32)),
        "the proof",
    ),
    "an entry of another time": (
        lambda found: found["rounds"][0]["log"]["entry"].update(time=1),
        "from before it was signed",
    ),
    "an entry of a later time than the file's": (
        lambda found: found["rounds"][0]["log"]["entry"].update(time=found["made_at"] + 1),
        "from after the evidence was made",
    ),
    "an entry of another second": (
        lambda found: found["rounds"][0]["log"]["entry"].update(
            time=found["rounds"][0]["log"]["entry"]["time"] - 1
        ),
        "the proof",
    ),
    "another tenant's entry": (
        lambda found: found["rounds"][0]["log"]["entry"].update(tenant="other"),
        "another tenant",
    ),
    "no proof of the log": (lambda found: found["rounds"][0].pop("log"), "lacks log"),
    "no checkpoint": (lambda found: found.update(checkpoint=None), "signed note"),
    "another log's checkpoint": (
        lambda found: found.update(checkpoint=other_log(found["checkpoint"])),
        "not trusted here",
    ),
    "a checkpoint that was altered": (
        lambda found: found.update(checkpoint=found["checkpoint"].replace("\n", "\n1", 1)),
        "signature",
    ),
    "an earlier version": (
        lambda found: found.update(schema="urn:consent-broker:training-evidence:1"),
        "ask the broker for it anew",
    ),
    "swapped proofs": (
        lambda found: found["rounds"][0].update(proofs=found["rounds"][1]["proofs"]),
        "proof",
    ),
}


@pytest.mark.parametrize("name", LIES)
def test_not_even_the_broker_can_make_it_show_something_else(at: Training, name: str) -> None:
    change, why = LIES[name]
    data = file_of(at, next(iter(at.members[at.world.partner].credentials)))
    with pytest.raises(EvidenceInvalid, match=why):
        verify_training_evidence(resigned(at, data, change), trust(at.world.ctx))


@contextmanager
def entered_again(at: Training, **changes: Any) -> Iterator[None]:  # noqa: ANN401 (of an entry)
    """The first round's receipt has a second entry in the log, which the broker says is its."""
    first = next(one for one in at.world.logged("training.receipt") if one.body["number"] == 1)
    fresh = replace(first, id=new_id("e"), **changes)
    ctx, of = at.world.ctx, training_rounds.RECEIPT.c.entry_id
    with acting_for_all(), ctx.db.transaction() as tx:
        audit.append(tx, ctx.keys.log_key(tx, "demo", None).seal(fresh))
        tx.execute(update(training_rounds.RECEIPT).where(of == first.id).values(entry_id=fresh.id))
    at.world.advance(2)
    yield
    with acting_for_all(), ctx.db.transaction() as tx:
        tx.execute(update(training_rounds.RECEIPT).where(of == fresh.id).values(entry_id=first.id))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, "behind those of a later round"),
        ({"time": 1}, "from before it was signed"),
        ({"time": 2**40}, "from after the evidence was made"),
    ],
)
def test_what_enters_the_log_later_takes_no_receipts_place(
    at: Training, changes: dict[str, int], why: str
) -> None:
    consent = next(iter(at.members[at.world.partner].credentials))
    with entered_again(at, **changes):
        data = file_of(at, consent)
    with pytest.raises(EvidenceInvalid, match=why):
        verify_training_evidence(data, trust(at.world.ctx))


def test_it_tells_since_when_a_receipt_is_in_the_log(at: Training) -> None:
    consent = next(iter(at.members[at.world.partner].credentials))
    evidence = file_of(at, consent)
    shown = verify_training_evidence(evidence, trust(at.world.ctx)).shown
    entries = [one["log"]["entry"] for one in json.loads(evidence)["evidence"]["rounds"]]
    logged = {(one["body"]["number"], one["time"]) for one in entries}
    assert {(one.number, one.logged_at) for one in shown} == logged
    assert all(one.signed_at - 60 <= one.logged_at for one in shown)


def test_two_entries_for_one_round_of_a_member_are_refused(at: Training) -> None:
    consent = next(iter(at.members[at.world.partner].credentials))
    with entered_again(at):
        both = json.loads(file_of(at, consent))["evidence"]["rounds"][:1]
    assert both[0]["number"] == 1

    # Of the second file's checkpoint: below it the log has both.
    evidence = json.loads(file_of(at, consent))["evidence"]
    first = evidence["rounds"][0]
    places = [first["log"]["index"], both[0]["log"]["index"]]
    assert places[0] < places[1]
    with at.world.ctx.db.reading() as tx:
        latest = log_tree.latest_checkpoint(tx)
        assert latest is not None
        tree = log_tree.TileReader(tx, latest.size)
        for one, index in zip([first, *both], places, strict=True):
            one["log"]["path"] = b64url(b"".join(inclusion_proof(index, latest.size, tree)))
    evidence |= {"rounds": [first, *both], "checkpoint": latest.note}
    again = resigned(at, json.dumps({"evidence": evidence}).encode(), lambda _: None)
    with pytest.raises(EvidenceInvalid, match="two receipts"):
        verify_training_evidence(again, trust(at.world.ctx))


def test_a_receipt_that_comes_in_while_a_file_is_made_is_for_a_later_one(at: Training) -> None:
    consent = next(iter(at.members[at.world.partner].credentials))
    [*_, last] = [one for one in at.world.logged("training.receipt") if one.body["number"] == 2]
    now, at.world.time[0] = at.world.time[0], last.time - 1
    try:
        assert {number for number, _ in shows(file_of(at, consent), at, consent)} <= {1}
    finally:
        at.world.time[0] = now


def test_a_changed_file_is_refused(at: Training) -> None:
    data = file_of(at, next(iter(at.members[at.world.partner].credentials)))
    changed = json.loads(data)
    changed["evidence"]["made_at"] += 1
    with pytest.raises(EvidenceInvalid, match="not what the broker signed"):
        verify_training_evidence(json.dumps(changed).encode(), trust(at.world.ctx))
    other = copy.deepcopy(json.loads(data))
    del other["signature"]
    with pytest.raises(EvidenceInvalid, match="signature"):
        verify_training_evidence(json.dumps(other).encode(), trust(at.world.ctx))


def test_who_granted_nothing_has_no_evidence(at: Training) -> None:
    at.world.customer("crm-silent")
    named = Named(at.world.partner, "crm-silent")
    with pytest.raises(NotFound, match="granted no consent"):
        training_evidence(at.world.ctx, "demo", named)


def test_of_one_campaign_alone_the_file_says_so(at: Training) -> None:
    consent, *_ = at.members[at.world.partner].credentials
    named = Named(consent_id=consent)
    found = training_evidence(at.world.ctx, "demo", named, campaign_id=at.campaign)
    told = verify_training_evidence(json.dumps(found).encode(), trust(at.world.ctx))
    assert (told.only, len(told.shown)) == (at.campaign, 2 * len(told.consents))
    whole = verify_training_evidence(file_of(at, consent), trust(at.world.ctx))
    assert (whole.only, whole.shown) == (None, told.shown)
    # Nobody can leave out that it is of one alone.
    del found["evidence"]["only"]
    with pytest.raises(EvidenceInvalid):
        verify_training_evidence(json.dumps(found).encode(), trust(at.world.ctx))
    with pytest.raises(NotFound):
        training_evidence(at.world.ctx, "demo", named, campaign_id="fc-nothing")
    body, path = {"consent": consent}, "/v1/federation/evidence"
    answer = at.world.api("POST", f"{path}?campaign={at.campaign}", at.world.officer, json=body)
    assert answer.json()["evidence"]["only"] == at.campaign


def test_more_than_can_be_verified_is_not_made(
    at: Training, monkeypatch: pytest.MonkeyPatch
) -> None:
    consent, *_ = at.members[at.world.partner].credentials
    before = len(at.world.logged("training.evidence"))
    monkeypatch.setattr("broker.domain.training_evidence.MOST", 1)
    body, path = {"consent": consent}, "/v1/federation/evidence"
    answer = at.world.api("POST", path, at.world.officer, json=body)
    assert (answer.status_code, answer.json()["code"]) == (400, "training_evidence_too_large")
    assert "one campaign at a time" in answer.json()["detail"]
    assert len(at.world.logged("training.evidence")) == before


def test_a_file_that_is_no_json_is_refused(at: Training) -> None:
    for data in (b"", b"{}", b"[]", b"\xff"):
        with pytest.raises(EvidenceInvalid):
            verify_training_evidence(data, trust(at.world.ctx))


def test_a_consent_that_another_member_used_is_shown(tmp_path: Path) -> None:
    """Neither whom it was given to nor what for hides where it is."""
    with world(tmp_path / "home") as broker:
        other = broker.second_partner()
        at = training(broker, broker.partner, other, rounds=9)
        seeds = Broker(broker.ctx, broker.time)
        mine, elsewhere = seeds.consent(broker.partner, "crm-0"), seeds.consent(other, "crm-1")
        opened = at.open(1)
        for member, named in ((broker.partner, ("c-0", "c-1")), (other, (mine, "c-1"))):
            sent = invented(at, opened, member, named=named)
            assert at.hand_in(opened, sent).status_code == 200
        assert at.close(opened, model(1)).status_code == 200
        with pytest.raises(LogUnavailable):
            file_of(at, mine)
        broker.advance(2)
        data = file_of(at, mine)
        found = verify_training_evidence(data, trust(broker.ctx)).shown
        assert {(one.member, one.shows) for one in found} == {
            (broker.partner, "absent"),
            (other, "included"),
        }
        data = file_of(at, elsewhere)
        shown = verify_training_evidence(data, trust(broker.ctx)).shown
        assert {(one.member, one.shows) for one in shown} == {(other, "absent")}
