"""Points and scalars that are none, in every place where the wire has one."""

from collections.abc import Callable, Iterator

import pytest
from py_arkworks_bls12381 import G2Point

from tests.zkp.test_curve import IDENTITY_G1, IDENTITY_G2, off_subgroup
from tests.zkp.world import ISSUER, LI, PERSON, World, of
from zkp import bbs, holder, pedersen, presentation, schema, suite, transcript
from zkp.curve import ORDER, g2_from_bytes
from zkp.errors import KeyInvalid, PointInvalid, ZkpError
from zkp.holder import HolderCommitment, commit
from zkp.keys import PublicKey, SecretKey
from zkp.presentation import Presentation
from zkp.schema import TYPED
from zkp.statements import AtMost

POINT, SCALAR = 48, 32


@pytest.fixture(scope="module")
def world() -> World:
    return World.make()


def off_subgroup_g2() -> bytes:
    """A point of the twist outside of the subgroup: the backend reads it when told not to look."""
    for number in range(1, 100):
        data = bytes([0x80]) + bytes(94) + bytes([number])
        try:
            point = G2Point.from_compressed_bytes_unchecked(data)
        except ValueError:
            continue
        if not point.is_in_subgroup():
            return data
    raise AssertionError("none was found")


def test_a_key_of_another_subgroup() -> None:
    data = off_subgroup_g2()
    with pytest.raises(PointInvalid):
        g2_from_bytes(data)
    with pytest.raises(KeyInvalid):
        PublicKey.from_bytes(data)


# What is read, an example of it, and where its points and scalars stand.
Read = Callable[[bytes], object]


def _places(start: int, points: int, end: int) -> tuple[list[int], list[int]]:
    split = start + points * POINT
    return list(range(start, split, POINT)), list(range(split, end, SCALAR))


def fields(world: World) -> Iterator[tuple[str, Read, bytes, int, int]]:
    """What is read of strangers: name, reader, one that is good, where it begins, its points."""
    key, header, held = world.key.public, PERSON.header(ISSUER), world.held["id"]
    asked, shown = world.show(AtMost(of("income"), 30_000))
    messages = PERSON.scalars(LI)
    plain = bbs.prove(key, held.signature, header, messages, [1], interface=TYPED)
    yield (
        "presentation",
        lambda data: world.accept(asked, Presentation(shown.credentials, data)),
        shown.proof,
        1,
        9,
    )
    yield (
        "plain proof",
        lambda data: bbs.verify_proof(key, data, header, {1: messages[1]}, interface=TYPED),
        plain,
        0,
        3,
    )
    yield "signature", bbs.Signature.from_bytes, held.signature.to_bytes(), 0, 1
    commitment = commit(key, header, PERSON, b"n" * 16)[0].to_bytes()
    yield "commitment", HolderCommitment.from_bytes, commitment, 0, 1
    yield "secret key", SecretKey.from_bytes, world.key.to_bytes(), 0, 0


def refused(read: Read, data: bytes) -> bool:
    try:
        read(data)
    except ZkpError:
        return True
    return False


def test_no_stranger_s_point_is_the_identity_or_of_another_subgroup(world: World) -> None:
    bad = {"identity": IDENTITY_G1, "subgroup": off_subgroup(), "zeros": bytes(POINT)}
    for name, read, good, start, points in fields(world):
        read(good)
        for at in _places(start, points, len(good))[0]:
            for what, point in bad.items():
                data = good[:at] + point + good[at + POINT :]
                assert refused(read, data), f"{name}: the point at {at} may be {what}"
    with pytest.raises(KeyInvalid):
        PublicKey.from_bytes(IDENTITY_G2)


def test_no_scalar_is_taken_twice(world: World) -> None:
    """To whoever reduces, s + r is s: a second form of the same proof, signature or key."""
    for name, read, good, start, points in fields(world):
        for at in _places(start, points, len(good))[1]:
            number = int.from_bytes(good[at : at + SCALAR]) + ORDER
            assert number < 2**256
            data = good[:at] + number.to_bytes(SCALAR) + good[at + SCALAR :]
            assert refused(read, data), f"{name}: the scalar at {at} may be above the order"


def test_no_two_protocols_hash_under_one_tag() -> None:
    """Nor does one tag begin another, so that no text of one is a text of another."""
    tags = [transcript.TAG, pedersen._TAG]  # noqa: SLF001
    for interface in (suite.SHA_256, suite.SHAKE_256, schema.TYPED):
        ends = (
            b"H2S_",
            b"MAP_MSG_TO_SCALAR_AS_HASH_",
            b"SIG_GENERATOR_SEED_",
            b"SIG_GENERATOR_DST_",
        )
        tags += [interface.api_id + end for end in ends]
    tags += [
        one.id + b"KEYGEN_DST_" for one in (suite.BLS12_381_SHA_256, suite.BLS12_381_SHAKE_256)
    ]
    assert len(set(tags)) == len(tags)
    assert not any(one != other and other.startswith(one) for one in tags for other in tags)
    assert all(0 < len(tag) < 256 for tag in tags)
    # Both under the transcript's: their names keep them apart.
    assert len({holder._PROTOCOL, presentation.PROTOCOL}) == 2  # noqa: SLF001
