"""Token Status List (draft-ietf-oauth-status-list-21), JWT form.

A list is one array of small numbers, compressed and signed; a credential knows its own index.
Who sees two credentials must learn nothing from their indexes, so these are drawn by a keyed
permutation (`credentials.status_indexes`) and not counted up.
"""

import zlib
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Any, Self, TypeAlias

from credentials.chain import TrustedChain, verify_chain
from credentials.errors import (
    CredentialError,
    IssuerMismatch,
    Malformed,
    Revoked,
    StatusUnavailable,
    Suspended,
)
from credentials.jcs import b64url, b64url_decode
from credentials.json_reader import JsonObject, read_json_object
from credentials.jws import Signer, parse_jws, sign_jws
from credentials.model import StatusReference

STATUS_LIST_TYPE = "statuslist+jwt"
SKEW_SECONDS = 60
MAX_LIST_BYTES = 4_194_304
MAX_TOKEN_CHARACTERS = 8_388_608

# A status list is runs of equal bytes with single bits strewn in. Z_RLE looks for the runs alone:
# with 1 % of 1,000,000 entries set it takes 0.8 ms and 14.8 kB where the default strategy takes
# 4.7 ms and 16.0 kB, with 5 % set 2.0 ms where that takes 17 ms. Level 9 would take 82 ms.
_COMPRESSION_LEVEL = 6
_WINDOW_BITS = 15
_MEMORY_LEVEL = 9
_BITS_PER_BYTE = 8
_WIDTHS = (1, 2, 4, 8)
_ONES = tuple(1 << shift for shift in range(_BITS_PER_BYTE))


class Status(IntEnum):
    """Status values (section 7.1); further ones are up to applications."""

    VALID = 0
    INVALID = 1
    SUSPENDED = 2


class StatusCheck(Enum):
    """What a verifier may pass instead of a resolver."""

    BY_CALLER = "by caller"
    """The caller answers for the status, for instance because it holds the row itself."""


@dataclass(slots=True)
class StatusList:
    """An array of `size` statuses of `bits` bits each.

    `issued_at` and `fresh_until` (Unix seconds) are when a list read from a token was issued and
    when it goes stale, `signer` who signed that; `None` for one that its owner holds. Not safe for
    changes from several threads.
    """

    bits: int
    size: int
    data: bytearray = field(repr=False)
    fresh_until: int | None = None
    issued_at: int | None = None
    signer: TrustedChain | None = field(default=None, repr=False)

    @classmethod
    def empty(cls, bits: int, size: int) -> Self:
        """Make a list of `size` entries (rounded up to whole bytes), all `VALID`.

        Raises `Malformed` unless `bits` is 1, 2, 4 or 8 and `size` positive.
        """
        if bits not in _WIDTHS or size <= 0:
            raise Malformed("a status list has entries of 1, 2, 4 or 8 bits and at least one")
        length = -(-size * bits // _BITS_PER_BYTE)
        return cls(bits, length * _BITS_PER_BYTE // bits, bytearray(length))

    def get(self, index: int) -> int:
        """Read a status. Raises `StatusUnavailable` beyond the list."""
        byte, shift = self._locate(index)
        return self.data[byte] >> shift & ((1 << self.bits) - 1)

    def set(self, index: int, value: int) -> None:
        """Write a status. Raises `StatusUnavailable` beyond the list, `Malformed` if too wide."""
        byte, shift = self._locate(index)
        mask = (1 << self.bits) - 1
        if not 0 <= value <= mask:
            raise Malformed(f"status does not fit into {self.bits} bits")
        self.data[byte] = self.data[byte] & ~(mask << shift) | value << shift

    def set_all(self, indexes: Collection[int], value: int) -> None:
        """Write one status at many indexes; all or none, raising as `set` does."""
        if not 0 <= value < 1 << self.bits:
            raise Malformed(f"status does not fit into {self.bits} bits")
        if indexes and not 0 <= min(indexes) <= max(indexes) < self.size:
            raise StatusUnavailable("status index lies outside its status list")
        if (self.bits, value) != (1, 1):
            for index in indexes:
                self.set(index, value)
            return
        # Of the usual list, at each publication: ten thousand in a millisecond, by local names.
        data, ones = self.data, _ONES
        for index in indexes:
            data[index >> 3] |= ones[index & 7]

    def compress(self) -> str:
        """Give `lst`: base64url of the zlib stream (section 4.1)."""
        compressor = zlib.compressobj(
            _COMPRESSION_LEVEL, zlib.DEFLATED, _WINDOW_BITS, _MEMORY_LEVEL, zlib.Z_RLE
        )
        return b64url(compressor.compress(self.data) + compressor.flush())

    def _locate(self, index: int) -> tuple[int, int]:
        # Section 4.1: entries fill each byte from its least significant bit.
        if not 0 <= index < self.size:
            raise StatusUnavailable("status index lies outside its status list")
        position = index * self.bits
        return position >> 3, position & 7


StatusResolver: TypeAlias = Callable[[str], StatusList]
"""Gives the list at a URI, fetched and verified with `verify_status_token`.

It reports failure by raising `StatusUnavailable`, `OSError` or `LookupError`.
"""


def read_status_list(claim: object) -> StatusList:
    """Read a `status_list` object, `bits` and `lst`. Raises `Malformed`.

    Decompression stops at `MAX_LIST_BYTES`, so a small token cannot fill the memory.
    """
    bits = claim.get("bits") if isinstance(claim, dict) else None
    encoded = claim.get("lst") if isinstance(claim, dict) else None
    if type(bits) is not int or bits not in _WIDTHS or not isinstance(encoded, str):
        raise Malformed("status_list lacks bits of 1, 2, 4 or 8, or lst")
    decompressor = zlib.decompressobj()
    try:
        data = decompressor.decompress(b64url_decode(encoded), MAX_LIST_BYTES + 1)
    except zlib.error:
        raise Malformed("lst is not a zlib stream") from None
    if not decompressor.eof or decompressor.unused_data or not 0 < len(data) <= MAX_LIST_BYTES:
        raise Malformed("lst is cut off, has trailing bytes, is empty or exceeds the cap")
    return StatusList(bits, len(data) * _BITS_PER_BYTE // bits, bytearray(data))


def issue_status_token(
    status_list: StatusList,
    *,
    signer: Signer,
    x5c: Sequence[str],
    uri: str,
    now: int,
    ttl: int,
    expires_at: int,
) -> str:
    """Sign a list as `statuslist+jwt` (section 5.1).

    `uri` is where it is published and what credentials refer to; `ttl` is how many seconds a
    copy may be kept; times are Unix seconds.
    """
    header: JsonObject = {"typ": STATUS_LIST_TYPE}
    if x5c:
        header["x5c"] = list(x5c)
    payload: JsonObject = {
        "sub": uri,
        "iat": now,
        "exp": expires_at,
        "ttl": ttl,
        "status_list": {"bits": status_list.bits, "lst": status_list.compress()},
    }
    return sign_jws(signer, header, payload)


def verify_status_token(
    token: str,
    *,
    uri: str,
    anchors: Sequence[bytes],
    now: int,
    issuer: str | None = None,
    fetched_at: int | None = None,
    algs: Collection[str] | None = None,
) -> StatusList:
    """Verify a status list token (section 8.3) and return its list, with its own freshness.

    1. It is a JWS of type `statuslist+jwt`, within its size, with an allowed algorithm.
    2. Its x5c chain leads to one of `anchors`.
    3. Its signature verifies under the leaf's key.
    4. `sub` is `uri`, the one that the credential refers to. Where the credentials' `issuer` is
       given, the leaf may speak for it or for `uri`: others under the same anchor sign no list of
       this one. Without it the caller owes that check, which `check_status` makes of `signer`.
    5. It was issued, is not expired, and `ttl` seconds have not passed since `fetched_at` (Unix
       seconds; the time of issue if the caller does not know when it was fetched).
    6. The list itself decodes.

    Raises `StatusUnavailable` saying which step failed: whatever is wrong with a status list,
    the consequence is that the status is not known.
    """
    try:
        # 1. Form.
        jws = parse_jws(token, typ=STATUS_LIST_TYPE, algs=algs, max_characters=MAX_TOKEN_CHARACTERS)
        # 2. Chain.
        chain = verify_chain(jws.header.get("x5c", ()), anchors, now)
        # 3. Signature.
        jws.verify(chain.key)
        payload = read_json_object(jws.payload, max_bytes=MAX_TOKEN_CHARACTERS)
        # 4. Subject.
        if payload.get("sub") != uri:
            raise StatusUnavailable("status list token is of another list")
        if issuer is not None:
            _check_signer(chain, uri, issuer, None)
        # 5. Times.
        fresh_until = _fresh_until(payload, now, fetched_at)
        # 6. List.
        status_list = read_status_list(payload.get("status_list"))
    except StatusUnavailable:
        raise
    except CredentialError as error:
        raise StatusUnavailable(f"status list token refused: {error}") from error
    status_list.fresh_until = fresh_until
    status_list.issued_at = _seconds(payload, "iat")
    status_list.signer = chain
    return status_list


def _check_signer(
    signer: TrustedChain, uri: str, issuer: str | None, chain: TrustedChain | None
) -> None:
    """Check that `signer` may say what became of credentials of `issuer`, whose list is at `uri`.

    It is the issuer, by name or by the very certificate of the credential (`chain`); or it is
    whoever is certified for the address, which the issuer chose: the draft lets a status issuer be
    another than the issuer.
    """
    if chain is not None and signer.leaf == chain.leaf:
        return
    for name in (uri, issuer):
        try:
            if name is not None:
                signer.check_issuer(name)
                return
        except IssuerMismatch:
            continue
    raise StatusUnavailable(
        f"the status list is signed by {signer.subject}, whose certificate names neither the "
        "credential's issuer nor the address of the list"
    )


def _fresh_until(payload: JsonObject, now: int, fetched_at: int | None) -> int | None:
    issued_at, expires_at, ttl = (_seconds(payload, name) for name in ("iat", "exp", "ttl"))
    if issued_at is None or issued_at > now + SKEW_SECONDS:
        raise StatusUnavailable("status list token was issued in the future, or never")
    limits = []
    if expires_at is not None:
        limits.append(expires_at)
    if ttl is not None:
        limits.append((issued_at if fetched_at is None else fetched_at) + ttl)
    fresh_until = min(limits, default=None)
    if fresh_until is not None and fresh_until <= now:
        raise StatusUnavailable("status list token is expired or older than its ttl")
    return fresh_until


def _seconds(payload: JsonObject, name: str) -> int | None:
    value: Any = payload.get(name)
    if value is not None and type(value) is not int:
        raise StatusUnavailable(f"status list token: {name} is not a number of seconds")
    return value


def check_status(
    reference: StatusReference,
    resolver: StatusResolver | None,
    now: int,
    *,
    issuer: str | None = None,
    chain: TrustedChain | None = None,
) -> None:
    """Look up a credential's status and return only if it is valid.

    `issuer` is the credential's `iss` and `chain` its certificates, where it has them: a list
    that was signed is theirs, or that of whoever is certified for its address.

    Raises `Revoked`, `Suspended`, or `StatusUnavailable` when no fresh list is to be had.
    """
    if resolver is None:
        raise StatusUnavailable("the credential has a status and no resolver was given")
    try:
        status_list = resolver(reference.uri)
    except (OSError, LookupError) as error:
        raise StatusUnavailable("the status list could not be reached") from error
    if status_list.fresh_until is not None and status_list.fresh_until <= now:
        raise StatusUnavailable("the status list is stale; fetch it anew")
    if status_list.signer is not None:
        _check_signer(status_list.signer, reference.uri, issuer, chain)
    status = status_list.get(reference.index)
    if status == Status.INVALID:
        raise Revoked("the issuer has revoked this credential")
    if status != Status.VALID:
        raise Suspended(f"the issuer has suspended this credential (status {status})")
