"""Receipts of several members in one call: each by itself, all in one transaction."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Any

from broker.domain.kill_switch import KillSwitch
from broker.store import training_rounds
from broker.usecases import federation_member as members
from broker.usecases.kill_switch import turn
from broker.usecases.training_evidence import leaves_of
from broker.usecases.training_receipt import Answered, RefusedReceipt, Sent, accept_receipts
from credentials.jcs import b64url_decode
from tests.broker.flow_world import PURPOSE, World
from tests.broker.training import Training, invented, model, training


def hand_in(at: Training, *sent: dict[str, str]) -> Any:  # noqa: ANN401 (an answer)
    return at.call("POST", "/rounds/consortium/1/receipts/batch", {"receipts": list(sent)})


def test_each_is_checked_by_itself_and_all_are_kept_together(made: World) -> None:
    others = [made.second_partner(f"Member {number}") for number in range(3)]
    at = training(made, made.partner, *others, minimum_members=2)
    opened = at.open(1)
    first, second, forged, revoked = (invented(at, opened, one) for one in at.members)
    forged["receipt"] = second["receipt"]
    members.revoke_member(made.ctx, "demo", revoked["member"])
    stranger = {**first, "member": "p-nobody"}
    whole = [first, forged, revoked, stranger, second]

    answer = hand_in(at, *whole)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert [one["member"] for one in told["receipts"]] == [first["member"], second["member"]]
    assert {one["member"]: one["code"] for one in told["refused"]} == {
        forged["member"]: "receipt_forged",
        revoked["member"]: "member_not_admitted",
        stranger["member"]: "member_not_admitted",
    }
    assert all(one["detail"] for one in told["refused"])
    # What is kept opens under its own member's name.
    with made.ctx.db.reading() as tx:
        row = training_rounds.find(tx, at.campaign, "consortium", 1)
        for sent in (first, second):
            kept = training_rounds.receipt(tx, row.id, sent["member"])
            assert kept is not None
            assert leaves_of(made.ctx, kept) == b64url_decode(sent["leaves"])
    logged = {one.id: one.body["member"] for one in made.logged("training.receipt")}
    assert logged == {one["entry"]: one["member"] for one in told["receipts"]}
    # Once more: the same answers, and nothing else happens.
    assert hand_in(at, *whole).json() == told
    assert len(made.logged("training.receipt")) == 2
    assert len(made.logged("training.receipt_refused")) == 3
    # One at a time answers as the batch did.
    assert at.hand_in(opened, second).json() == told["receipts"][1]


def test_what_a_batch_cannot_be(broker: World) -> None:
    at = training(broker)
    opened = at.open(1)
    sent = invented(at, opened)
    twice = hand_in(at, sent, sent)
    assert (twice.status_code, twice.json()["code"]) == (400, "invalid_request")
    assert hand_in(at).status_code == 400
    small = {"member": "p-1", "receipt": "a.b.c", "leaves": ""}
    assert hand_in(at, *[small] * 1_001).status_code == 400
    path = "/rounds/consortium/2/receipts/batch"
    assert at.call("POST", path, {"receipts": [sent]}).status_code == 404
    own = at.call("POST", path, {"receipts": [sent]}, caller=broker.partner)
    assert own.status_code == 403
    assert not broker.logged("training.receipt", "training.receipt_refused")


def test_a_switch_stops_what_is_new_and_answers_what_was_kept(broker: World) -> None:
    other = broker.second_partner()
    at = training(broker, broker.partner, other, minimum_members=1)
    opened = at.open(1)
    first, second = (invented(at, opened, one) for one in at.members)
    [kept] = hand_in(at, first).json()["receipts"]
    turn(broker.ctx, "demo", KillSwitch("purpose", PURPOSE.partition("#algo:")[0]), on=True)
    told = hand_in(at, first, second).json()
    assert told["receipts"] == [kept]
    assert [(one["member"], one["code"]) for one in told["refused"]] == [(other, "state_conflict")]
    # A second word of a member is a conflict all the same.
    changed = [first | {"receipt": altered(first["receipt"])}]
    [conflict] = hand_in(at, *changed).json()["refused"]
    assert conflict["code"] == "receipt_conflict"


def altered(token: str) -> str:
    """A receipt that says something else, whoever signed it."""
    header, payload, signature = token.split(".")
    return f"{header}.{payload[:-1]}{'A' if payload[-1] != 'A' else 'B'}.{signature}"


def test_batches_at_once_keep_each_receipt_once(made: World) -> None:
    """The same members in opposite orders, and one group that tells otherwise: no one waits."""
    others = [made.second_partner(f"Member {number}") for number in range(5)]
    at = training(made, made.partner, *others, minimum_members=2)
    opened = at.open(1)
    keys = {one: at.key(one, opened) for one in at.members}
    one = [Sent(**invented(at, opened, name, key)) for name, key in keys.items()]
    other = [
        Sent(**invented(at, opened, name, key, model_out=model(70))) for name, key in keys.items()
    ]
    batches = [one, one[::-1], other, other[::-1]]
    ready = threading.Barrier(len(batches))

    def act(batch: list[Sent]) -> list[Answered]:
        ready.wait()
        return accept_receipts(made.ctx, "demo", at.campaign, "consortium", 1, batch)

    with ThreadPoolExecutor(len(batches)) as threads:
        ends = [threads.submit(copy_context().run, act, each) for each in batches]
        told = [end.result() for end in ends]
    kept = [each for batch in told for each in batch if not isinstance(each, RefusedReceipt)]
    refused = [each for batch in told for each in batch if isinstance(each, RefusedReceipt)]
    # Of each member one of the two, told to both who brought it and refused to both others.
    assert len({(each.member, each.entry) for each in kept}) == len(at.members)
    assert len(kept) == len(refused) == 2 * len(at.members)
    assert {each.error.code for each in refused} == {"receipt_conflict"}
    assert len(made.logged("training.receipt")) == len(at.members)
