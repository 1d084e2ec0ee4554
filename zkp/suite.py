"""The ciphersuites of BBS, and the interfaces that are defined over them.

A suite says how to hash; an interface (`api_id`) says by which generators and how messages become
scalars. A signature of one interface never verifies under another, since the generators and every
hash's tag begin with its name. To replace a suite (a broken hash, another curve), define another
beside these: its name is in every credential's configuration and every proof.
Source: draft-irtf-cfrg-bbs-signatures (July 2025), "Ciphersuites", "Utility Operations".
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from zkp.curve import (
    Constant,
    Expand,
    FixedBase,
    G1Point,
    Scalar,
    expand_message_xmd,
    expand_message_xof,
    hash_to_g1_xmd,
    hash_to_g1_xof,
    hash_to_scalar,
    sum_of_multiples,
)
from zkp.errors import TooLarge

MOST_MESSAGES: Final = 128
P1: Final = -1  # its number among an interface's constant points
_EXPANSION = 48
_TABLES = 33  # of the generators met first; each takes about 0.35 MB


@dataclass(frozen=True)
class Suite:
    """A ciphersuite: its id, `expand_message`, and `hash_to_curve` into G1."""

    id: bytes
    expand: Expand
    hash_to_g1: Callable[[bytes, bytes], G1Point]

    @cached_property
    def p1(self) -> G1Point:
        """The fixed point P1 of the suite ("BLS12-381 Ciphersuites")."""
        return self.points(1, self.id + b"H2G_HM2S_", b"BP_MESSAGE_GENERATOR_SEED")[0]

    @cached_property
    def p1_table(self) -> FixedBase[G1Point]:
        """The multiples of P1."""
        return FixedBase(self.p1)

    def points(self, count: int, api_id: bytes, seed: bytes) -> list[G1Point]:
        """`create_generators` ("Generators Calculation") from a seed of the interface's."""
        seed_tag, point_tag = api_id + b"SIG_GENERATOR_SEED_", api_id + b"SIG_GENERATOR_DST_"
        value = self.expand(api_id + seed, seed_tag, _EXPANSION)
        found = []
        for number in range(1, count + 1):
            value = self.expand(value + number.to_bytes(8), seed_tag, _EXPANSION)
            found.append(self.hash_to_g1(value, point_tag))
        return found


BLS12_381_SHA_256: Final = Suite(
    b"BBS_BLS12381G1_XMD:SHA-256_SSWU_RO_", expand_message_xmd, hash_to_g1_xmd
)
BLS12_381_SHAKE_256: Final = Suite(
    b"BBS_BLS12381G1_XOF:SHAKE-256_SSWU_RO_", expand_message_xof, hash_to_g1_xof
)


@dataclass(frozen=True)
class Interface:
    """A BBS interface: a suite and an `api_id`; it keeps its generators. Safe from threads."""

    suite: Suite
    api_id: bytes
    _points: list[G1Point] = field(default_factory=list, compare=False, repr=False)
    _tables: dict[int, FixedBase[G1Point]] = field(default_factory=dict, compare=False, repr=False)

    def generators(self, messages: int) -> list[G1Point]:
        """Q_1, H_1, ... H_n for n messages. Raises `TooLarge` above 128."""
        if not 0 <= messages <= MOST_MESSAGES:
            raise TooLarge(f"at most {MOST_MESSAGES} messages are signed together")
        if len(self._points) <= messages:
            # All at once, so that a list that another thread reads is never half-made.
            self._points[:] = self.suite.points(
                MOST_MESSAGES + 1, self.api_id, b"MESSAGE_GENERATOR_SEED"
            )
        return self._points[: messages + 1]

    def base(self, number: int) -> Constant:
        """The constant point of a number: -1 for P1, 0 for Q_1, i for H_i."""
        if number == P1:
            return self.suite.p1_table
        table = self._tables.get(number)
        if table is None:
            point = self.generators(max(number, 1))[number]
            if number >= _TABLES:
                return point
            table = self._tables[number] = FixedBase(point)
        return table

    def sum_of_multiples(self, factors: Mapping[int, Scalar]) -> G1Point:
        """The sum of constant points, numbered as in `base`, times their factors."""
        return sum_of_multiples([(self.base(one), factor) for one, factor in factors.items()])

    def hash(self, data: bytes) -> Scalar:
        """`hash_to_scalar` under the interface's own tag, `api_id || "H2S_"`."""
        return hash_to_scalar(data, self.api_id + b"H2S_", self.suite.expand)

    def message_scalar(self, message: bytes) -> Scalar:
        """`messages_to_scalars` for one message ("Messages to Scalars")."""
        tag = self.api_id + b"MAP_MSG_TO_SCALAR_AS_HASH_"
        return hash_to_scalar(message, tag, self.suite.expand)


SHA_256: Final = Interface(BLS12_381_SHA_256, BLS12_381_SHA_256.id + b"H2G_HM2S_")
SHAKE_256: Final = Interface(BLS12_381_SHAKE_256, BLS12_381_SHAKE_256.id + b"H2G_HM2S_")
