"""Which consents a round used, as a Merkle tree that gives proofs of presence and of absence.

A leaf is HMAC-SHA256(key of the round, consent id), 32 bytes, and that key HMAC-SHA256(campaign
salt, stage LF round LF member): of two rounds or two members nothing is the same, so that no
comparison tells leaves from padding. Without the salt nobody who guesses consent ids finds them in
a tree; who has the salt and the ids sees all. The campaign holds the salt's SHA-256. The leaves are
sorted, so that what is absent would stand between two neighbours, and proofs of both show its
absence:

    00...00 | leaves and padding, ascending | ff...ff

The sentinels give the first and the last their neighbours. Random padding fills the number up to
its bucket, and cannot be told from leaves without the salt: the size tells the bucket and not the
count. Hashes are those of RFC 9162, section 2.1.1 (`credentials.merkle`), over the leaves as they
stand.

A proof on the wire is JSON: `{"shows": "included", "at": PLACE}` or `{"shows": "absent", "lower":
PLACE, "upper": PLACE}`, where a PLACE is `{"leaf", "index", "path"}`, 32 bytes base64url each.
"""

import hashlib
import hmac
import secrets
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from operator import lt
from typing import Any, Final, Literal, NewType, Self

from credentials.errors import CredentialError
from credentials.merkle import (
    Subtree,
    inclusion_proof,
    leaf_hash,
    leaf_hashes,
    next_level,
    root_at,
    verify_inclusion,
)
from federation import reading
from federation.board import SignedCampaign
from federation.errors import LeavesDiffer, Malformed, ProofFails, SaltDiffers, TooLarge

LEAF_BYTES: Final = 32
LOWEST: Final = bytes(LEAF_BYTES)
HIGHEST: Final = b"\xff" * LEAF_BYTES
SENTINELS: Final = 2
SMALLEST_BUCKET: Final = 64
LARGEST_BUCKET: Final = 2**24
SALT_BYTES: Final = 32
LARGEST_PROOF: Final = 16_384
_LONGEST_PATH: Final = 25

Shows = Literal["included", "absent"]


def bucket_of(count: int) -> int:
    """The bucket of a number of rows: 0 for none, else a power of two, 64 at least.

    Raises `TooLarge` beyond `LARGEST_BUCKET`.
    """
    if count == 0:
        return 0
    bucket = max(SMALLEST_BUCKET, 1 << (count - 1).bit_length())
    if bucket > LARGEST_BUCKET:
        raise TooLarge(f"a receipt covers at most {LARGEST_BUCKET} rows")
    return bucket


def salt_hash(salt: bytes) -> str:
    """SHA-256 of a campaign's salt, base64url, as the campaign holds it.

    Raises `Malformed` unless the salt is 32 bytes.
    """
    if len(salt) != SALT_BYTES:
        raise Malformed(f"the salt of a campaign is {SALT_BYTES} random bytes")
    return reading.encoded(hashlib.sha256(salt).digest())


RoundKey = NewType("RoundKey", bytes)
"""The key of one member's leaves in one round."""


@dataclass(frozen=True)
class CampaignSalt:
    """A campaign with its salt, which is the one that the board signed.

    Raises `Malformed`, or `SaltDiffers` for another salt.
    """

    signed: SignedCampaign
    salt: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if not hmac.compare_digest(salt_hash(self.salt), self.signed.campaign.salt_hash):
            raise SaltDiffers("this is not the salt that the board signed in the campaign")

    def key(self, stage: str, number: int, member: str) -> RoundKey:
        """The key of a member's leaves in a round; names hold no line feed."""
        named = f"{stage}\n{number}\n{member}".encode()
        return RoundKey(hmac.digest(self.salt, named, "sha256"))


def leaf_of(key: RoundKey, consent_id: str) -> bytes:
    """HMAC-SHA256(key of the round, consent id)."""
    return hmac.digest(key, consent_id.encode("utf-8", "surrogatepass"), "sha256")


def leaves_of(
    key: RoundKey,
    consent_ids: Iterable[str],
    *,
    draw: Callable[[int], bytes] = secrets.token_bytes,
) -> tuple[bytes, ...]:
    """The leaves of a round: sorted, padded to the bucket, between sentinels.

    `draw` gives random bytes. Raises `Malformed`, `TooLarge`.
    """
    inner = {leaf_of(key, consent_id) for consent_id in consent_ids}
    bucket = bucket_of(len(inner))
    while len(inner) < bucket:
        inner.add(draw(LEAF_BYTES))
    if inner & {LOWEST, HIGHEST} or any(len(leaf) != LEAF_BYTES for leaf in inner):
        raise Malformed("a leaf is 32 bytes between the sentinels")
    return (LOWEST, *sorted(inner), HIGHEST)


def read_leaves(data: bytes) -> tuple[bytes, ...]:
    """Leaves from their bytes one after the other, checked to be what `leaves_of` makes.

    1. Whole leaves, no more than the largest bucket and the sentinels.
    2. They ascend strictly: none is there twice, none hides out of its place.
    3. The first and the last are the sentinels.
    4. Without the sentinels, they are as many as a bucket holds.

    Raises `TooLarge`, `Malformed` or `LeavesDiffer`.
    """
    # 1.
    if len(data) > (LARGEST_BUCKET + SENTINELS) * LEAF_BYTES:
        raise TooLarge(f"a receipt covers at most {LARGEST_BUCKET} rows")
    if len(data) % LEAF_BYTES or len(data) < SENTINELS * LEAF_BYTES:
        raise Malformed("leaves are 32 bytes each, two sentinels at least")
    leaves = tuple([data[at : at + LEAF_BYTES] for at in range(0, len(data), LEAF_BYTES)])
    # 2.
    if not all(map(lt, leaves, islice(leaves, 1, None))):
        raise LeavesDiffer("the leaves do not ascend strictly")
    # 3.
    if leaves[0] != LOWEST or leaves[-1] != HIGHEST:
        raise LeavesDiffer("the leaves do not stand between the sentinels")
    # 4.
    inner = len(leaves) - SENTINELS
    if bucket_of(inner) != inner:
        raise LeavesDiffer("the leaves are not padded to a bucket")
    return leaves


def is_among(data: bytes, leaf: bytes) -> bool:
    """Whether a leaf is among leaves that `read_leaves` took, given as their bytes."""
    at = bisect_left(
        range(len(data) // LEAF_BYTES),
        leaf,
        key=lambda place: data[place * LEAF_BYTES : (place + 1) * LEAF_BYTES],
    )
    return data[at * LEAF_BYTES : (at + 1) * LEAF_BYTES] == leaf


@dataclass(frozen=True)
class Place:
    """A leaf, where it stands, and the path from there to the root."""

    leaf: bytes
    index: int
    path: tuple[bytes, ...]

    def to_json(self) -> dict[str, Any]:
        """The place as a JSON object."""
        return {
            "leaf": reading.encoded(self.leaf),
            "index": self.index,
            "path": [reading.encoded(one) for one in self.path],
        }

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Read one strictly. Raises `Malformed`, `TooLarge`."""
        source = reading.members(value, "a place", frozenset({"leaf", "index", "path"}))
        path = reading.items(source, "path", _LONGEST_PATH)
        return cls(
            reading.hash_bytes(source["leaf"], "leaf"),
            reading.whole(source, "index", 0, LARGEST_BUCKET + 1),
            tuple(reading.hash_bytes(one, "a hash of the path") for one in path),
        )

    def check(self, size: int, root: bytes) -> None:
        """Check that it stands there in the tree of this size and root. Raises `ProofFails`."""
        try:
            verify_inclusion(leaf_hash(self.leaf), self.index, size, self.path, root)
        except CredentialError as error:
            raise ProofFails(str(error)) from None


@dataclass(frozen=True)
class PresenceProof:
    """That a consent is among a round's leaves (one place), or is not (two neighbours)."""

    shows: Shows
    places: tuple[Place, ...]

    def to_json(self) -> dict[str, Any]:
        """The proof as the JSON object of this module."""
        told = [place.to_json() for place in self.places]
        if self.shows == "included":
            return {"shows": self.shows, "at": told[0]}
        return {"shows": self.shows, "lower": told[0], "upper": told[1]}

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a proof strictly; it is not verified yet. Raises `Malformed`, `TooLarge`."""
        source = reading.json_object(data, largest=LARGEST_PROOF)
        if reading.choice(source, "shows", ("included", "absent")) == "included":
            reading.members(source, "a proof", frozenset({"shows", "at"}))
            return cls("included", (Place.from_json(source["at"]),))
        reading.members(source, "a proof", frozenset({"shows", "lower", "upper"}))
        places = (Place.from_json(source["lower"]), Place.from_json(source["upper"]))
        return cls("absent", places)

    def check(self, leaf: bytes, size: int, root: bytes) -> Shows:
        """Check what the proof shows about `leaf`, and give it back: "included" or "absent".

        1. Each place leads to the root of the tree of this size.
        2. Included: the place is of this leaf.
        3. Absent: the places are neighbours, and the leaf would stand between them.

        Raises `ProofFails`.
        """
        # 1.
        for place in self.places:
            place.check(size, root)
        match self.shows, self.places:
            # 2.
            case "included", (place,) if hmac.compare_digest(place.leaf, leaf):
                return "included"
            # 3.
            case "absent", (lower, upper) if (
                upper.index == lower.index + 1 and lower.leaf < leaf < upper.leaf
            ):
                return "absent"
        raise ProofFails(f"the proof does not show this consent {self.shows}")


class PresenceTree:
    """The tree over a round's leaves, for its root and for proofs. Immutable."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        """Take leaves as `leaves_of` or `read_leaves` give them."""
        self.leaves = tuple(leaves)
        levels = [leaf_hashes(self.leaves)]
        while len(levels[-1]) > 1:
            levels.append(next_level(levels[-1]))
        self._levels = levels

    @property
    def size(self) -> int:
        """How many leaves, the sentinels counted."""
        return len(self.leaves)

    def root(self) -> bytes:
        """The root over the leaves (RFC 9162)."""
        return root_at(self.size, self._lookup)

    def prove(self, leaf: bytes) -> PresenceProof:
        """The proof that `leaf` is among the leaves, or that it is not.

        Raises `Malformed` for a sentinel, which is nobody's leaf.
        """
        if len(leaf) != LEAF_BYTES or leaf in {LOWEST, HIGHEST}:
            raise Malformed("a leaf is 32 bytes between the sentinels")
        at = bisect_left(self.leaves, leaf)
        if self.leaves[at] == leaf:
            return PresenceProof("included", (self._place(at),))
        return PresenceProof("absent", (self._place(at - 1), self._place(at)))

    def _place(self, index: int) -> Place:
        return Place(
            self.leaves[index], index, tuple(inclusion_proof(index, self.size, self._lookup))
        )

    def _lookup(self, wanted: Sequence[Subtree]) -> list[bytes]:
        return [self._levels[level][position] for level, position in wanted]
