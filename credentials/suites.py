"""Registries of signature suites and hash functions, which a further one can join.

Symmetric algorithms and `none` have no suite and can therefore never be accepted.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias

from credentials.elliptic import Ed25519, Es256
from credentials.errors import AlgorithmNotAllowed, KeyInvalid
from credentials.suite import Jwk, Suite

__all__ = [
    "ALGORITHMS",
    "DIGESTS",
    "Jwk",
    "Suite",
    "digest_function",
    "public_part",
    "register",
    "suite_named",
    "suite_of",
    "suites",
]


class Hash(Protocol):
    """A finished hash."""

    def digest(self) -> bytes:
        """Give its value."""


HashFunction: TypeAlias = Callable[[bytes], Hash]

ALGORITHMS: dict[str, Suite] = {}
"""Suites by every JOSE name under which they are accepted."""

DIGESTS: dict[str, HashFunction] = {"sha-256": hashlib.sha256}
"""Hash functions by IANA name, as `_sd_alg` spells them (RFC 9901, section 4.1.1)."""

_BY_JWK_TYPE: dict[tuple[str, str], Suite] = {}


def register(suite: Suite) -> None:
    """Let a suite join. Raises `ValueError` if a name or key type is taken."""
    taken = [name for name in sorted(suite.accepted) if name in ALGORITHMS]
    if taken or suite.jwk_type in _BY_JWK_TYPE or suite.alg not in suite.accepted:
        raise ValueError(f"suite {suite.alg} collides with a registered one: {taken}")
    for name in suite.accepted:
        ALGORITHMS[name] = suite
    _BY_JWK_TYPE[suite.jwk_type] = suite


def suite_named(alg: object) -> Suite:
    """Find the suite of a JOSE `alg` value. Raises `AlgorithmNotAllowed`."""
    suite = ALGORITHMS.get(alg) if isinstance(alg, str) else None
    if suite is None:
        raise AlgorithmNotAllowed(
            f"signature algorithm is not one of {', '.join(sorted(ALGORITHMS))}"
        )
    return suite


def suite_of(jwk: Mapping[str, Any]) -> Suite:
    """Find the suite that a JWK's `kty` and `crv` belong to. Raises `KeyInvalid`."""
    try:
        return _BY_JWK_TYPE[jwk["kty"], jwk["crv"]]
    except (KeyError, TypeError):
        known = ", ".join(f"{kty} {crv}" for kty, crv in sorted(_BY_JWK_TYPE))
        raise KeyInvalid(f"JWK is not of a supported kind ({known})") from None


def public_part(jwk: Mapping[str, Any]) -> Jwk:
    """Give the required public members of a JWK and nothing else. Raises `KeyInvalid`."""
    members = {name: jwk.get(name) for name in suite_of(jwk).thumbprint_members}
    for value in members.values():
        if not isinstance(value, str) or not value.isascii():
            raise KeyInvalid("JWK lacks a required member, or one is not an ASCII string")
    return members


def suites() -> tuple[Suite, ...]:
    """All registered suites, each once."""
    return tuple(_BY_JWK_TYPE.values())


def digest_function(name: object) -> HashFunction:
    """Find the hash function that `_sd_alg` names. Raises `AlgorithmNotAllowed`."""
    function = DIGESTS.get(name) if isinstance(name, str) else None
    if function is None:
        raise AlgorithmNotAllowed(f"hash algorithm is not one of {', '.join(sorted(DIGESTS))}")
    return function


register(Es256())
register(Ed25519())
