"""Many proofs at once: as one would find them, and the bad ones by number."""

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.faults.lengths import short_or_long
from tests.zkp.world import EPOCH, LI, PERSON, TODAY, World, of, request
from zkp import batch as checks
from zkp.batch import (
    ProvenPresentation,
    ToVerify,
    _Checkable,
    _equations,
    _hold,
    verify,
    verify_batch,
)
from zkp.curve import ORDER, Scalar
from zkp.errors import Malformed, ProofInvalid, TooLarge, ZkpError
from zkp.holder import COMMITMENT_BYTES, HolderCommitment, commit, sign_bound
from zkp.presentation import HeldCredential, Presentation, prove
from zkp.statements import AtMost, MemberOf, NotRevoked, OlderThan, Reveal, Statement

STATEMENTS: tuple[tuple[Statement, ...], ...] = (
    (OlderThan(of("birth_date"), 18, TODAY),),
    (Reveal(of("name")),),
    (MemberOf(of("city"), ("Berlin", "Paris")), AtMost(of("balance"), 0)),
    (NotRevoked(of("revocation_id"), "st", EPOCH),),
)


@pytest.fixture(scope="module")
def worlds() -> list[World]:
    return [World.make(), World.make()]


def mixed(worlds: list[World], count: int) -> list[ToVerify]:
    batch = []
    for number in range(count):
        world = worlds[number % len(worlds)]
        asked, shown = world.show(*STATEMENTS[number % len(STATEMENTS)])
        batch.append(ToVerify(asked, shown, world.issuers))
    return batch


def spoilt(one: ToVerify, at: int = -1) -> ToVerify:
    proof = bytearray(one.presentation.proof)
    scalar = int.from_bytes(proof[len(proof) - 32 :])
    proof[len(proof) - 32 :] = ((scalar + at) % ORDER).to_bytes(32)
    return replace(one, presentation=replace(one.presentation, proof=bytes(proof)))


def test_a_mixed_batch_is_accepted(worlds: list[World]) -> None:
    batch = mixed(worlds, 8)
    for one, found in zip(batch, verify_batch(batch), strict=True):
        assert isinstance(found, ProvenPresentation)
        assert found == verify(one.request, one.presentation, one.issuers)


@pytest.mark.parametrize("bad", [{0}, {7}, {3, 4}, {0, 1, 2, 3, 4, 5, 6, 7}], ids=str)
def test_the_bad_ones_are_named(worlds: list[World], bad: set[int]) -> None:
    batch = mixed(worlds, 8)
    for number in bad:
        batch[number] = spoilt(batch[number])
    found = verify_batch(batch)
    assert {number for number, one in enumerate(found) if isinstance(one, ZkpError)} == bad


def test_bad_ones_cost_little_more_than_no_batch_would(
    worlds: list[World], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []

    def hold(checked: Sequence[_Checkable]) -> bool:
        sizes.append(len(checked))
        return _hold(checked)

    monkeypatch.setattr(checks, "_hold", hold)
    first, second = mixed(worlds, 2)
    bad = spoilt(first)
    verify_batch([second] + [bad] * 7)
    assert sizes == [8] + [1] * 8
    sizes.clear()
    # Longer ones are halved first: what holds of them is not looked at one by one.
    monkeypatch.setattr(checks, "ONE_BY_ONE", 4)
    verify_batch([second] * 7 + [bad])
    assert sizes == [8, 4, 4] + [1] * 4


def test_errors_that_cancel_under_equal_weights(worlds: list[World]) -> None:
    """One answer too large by one, the other's too small by one."""
    asked = request(Reveal(of("name")))
    two = [ToVerify(asked, prove(asked, worlds[0].held), worlds[0].issuers) for _ in range(2)]
    found = verify_batch([spoilt(two[0], 1), spoilt(two[1], -1)])
    assert all(isinstance(one, ProofInvalid) for one in found)


def test_each_equation_counts_and_none_makes_up_for_another(
    worlds: list[World], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the challenge, where a prover cannot reach: there each equation is spoilt alone."""
    asked = request(OlderThan(of("birth_date"), 18, TODAY))
    good = _equations(ToVerify(asked, prove(asked, worlds[0].held), worlds[0].issuers))
    proof, one = good.proof, Scalar(1)
    [(e, r1, r3)], [five] = proof.scalars, proof.shown
    other = {"id": replace(good.verified.credentials["id"], key=worlds[1].key.public)}
    changes = {
        "1": replace(proof, scalars=((e + one, r1, r3),)),
        "2": replace(proof, scalars=((e, r1, r3 + one),)),
        "3": replace(proof, z=proof.z + one),
        "4": replace(proof, z_t=proof.z_t + one),
    }
    bad = {name: replace(good, proof=changed) for name, changed in changes.items()}
    bad["5"] = replace(good, verified=replace(good.verified, credentials=other))
    # (5) is wrong by as much as (1), the other way round.
    moved = replace(five, b_bar=five.b_bar + five.d, t1=five.t1 + five.d * (good.c + one))
    bad["1 against 5"] = replace(good, proof=replace(proof, shown=(moved,)))
    assert _hold([good])
    for name, changed in bad.items():
        assert not _hold([changed]), name
        assert not _hold([good, changed]), name
    monkeypatch.setattr(checks, "random_weights", lambda count: [one] * count)
    assert _hold([bad["1 against 5"]])


def test_nothing_and_too_much(worlds: list[World]) -> None:
    with pytest.raises(Malformed):
        verify_batch([])
    with pytest.raises(TooLarge):
        verify_batch(mixed(worlds, 1) * 4097)


@pytest.mark.timeout(3600)
def test_batch_and_single_agree_on_mutations(worlds: list[World]) -> None:
    draw = random.Random(5)
    batch = mixed(worlds, 4)
    for _ in range(short_or_long(25, 2_000)):
        one = draw.choice(batch)
        proof = bytearray(one.presentation.proof)
        for _ in range(draw.choice((0, 1, 1, 4))):
            proof[draw.randrange(len(proof))] ^= 1 << draw.randrange(8)
        changed = replace(one, presentation=replace(one.presentation, proof=bytes(proof)))
        among = [batch[0], changed, batch[1]]
        try:
            verify(changed.request, changed.presentation, changed.issuers)
        except ZkpError:
            assert bytes(proof) != one.presentation.proof
            assert isinstance(verify_batch(among)[1], ZkpError)
        else:
            assert bytes(proof) == one.presentation.proof
            assert not any(isinstance(found, ZkpError) for found in verify_batch(among))


@pytest.mark.timeout(3600)
def test_arbitrary_and_mutated_proofs_raise_this_package_s_errors_only(
    worlds: list[World],
) -> None:
    """100,000 in the long form; most are refused before any curve work."""
    draw = random.Random(6)
    asked, shown = worlds[0].show(OlderThan(of("birth_date"), 18, TODAY))
    good = shown.proof
    for number in range(short_or_long(400, 100_000)):
        kind = number % 4
        if kind == 0:
            proof = draw.randbytes(draw.randrange(3000))
        elif kind == 1:
            proof = b"\1" + draw.randbytes(len(good) - 1)
        elif kind == 2:
            cut = draw.randrange(len(good))
            proof = good[:cut] + draw.randbytes(len(good) - cut)
        else:
            flipped = bytearray(good)
            flipped[draw.randrange(len(good))] ^= 1 << draw.randrange(8)
            proof = bytes(flipped)
        try:
            worlds[0].accept(asked, Presentation(shown.credentials, proof))
        except ZkpError:
            assert proof != good
        else:
            # A last byte that is drawn anew may be the one that it was.
            assert proof == good, f"another proof was accepted: {proof.hex()}"


def test_a_credential_bound_to_its_holder(worlds: list[World]) -> None:
    key, header, nonce = worlds[0].key, PERSON.header("https://issuer.example"), b"n" * 16
    commitment, secret = commit(key.public, header, PERSON, nonce)
    signature = sign_bound(key, header, PERSON, LI, commitment=commitment, nonce=nonce)
    held = {"id": HeldCredential(key.public, header, signature, LI, secret)}
    asked = request(OlderThan(of("birth_date"), 18, TODAY), Reveal(of("name")))
    shown = prove(asked, held)
    worlds[0].accept(asked, shown)
    unbound = prove(asked, worlds[0].held)
    assert len(shown.proof) - len(unbound.proof) == 32
    # Without the secret, or with another one.
    for other in (None, commit(key.public, header, PERSON, nonce)[1]):
        stolen = {"id": replace(held["id"], holder_secret=other)}
        with pytest.raises(ProofInvalid):
            worlds[0].accept(asked, prove(asked, stolen))
    # A commitment is for one key, header and nonce, and of somebody who knows the secret.
    elsewhere = PERSON.header("https://other.example")
    forged = replace(commitment, response=secret)
    for signer, over, committed, occasion in (
        (key, header, commitment, b"m" * 16),
        (key, elsewhere, commitment, nonce),
        (worlds[1].key, header, commitment, nonce),
        (key, header, forged, nonce),
    ):
        with pytest.raises(ProofInvalid):
            sign_bound(signer, over, PERSON, LI, commitment=committed, nonce=occasion)
    data = commitment.to_bytes()
    assert HolderCommitment.from_bytes(data) == commitment
    assert len(data) == COMMITMENT_BYTES
    for bad in (b"", data[:-1], bytes(112), data[:48] + b"\xff" * 64):
        with pytest.raises(ProofInvalid):
            HolderCommitment.from_bytes(bad)


def test_two_commitments_have_nothing_in_common(worlds: list[World]) -> None:
    key, header = worlds[0].key, PERSON.header("https://issuer.example")
    first, second = (commit(key.public, header, PERSON, b"n" * 16)[0] for _ in range(2))
    assert first.point != second.point
