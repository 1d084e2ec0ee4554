"""Status tokens: which epoch it is, in which shard the token of a credential is, what one holds.

A token says that a credential's random identifier was not revoked in an epoch. Wallets take whole
shards: the first `bits` bits of SHA-256 over the identifier name one, so that an issuer which sees
a shard fetched learns of about a thousand credentials that it may be one of them.

    GET {issuer}/attribute-status                               epoch, ends_at, keys: id, key, bits
    GET {issuer}/attribute-status/{epoch}/{id}/{bits}/{shard}   epoch, ends_at, issuer_key, header,
                                                                tokens: by tag, 80 bytes each
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from wallet_adapters.errors import Malformed
from wallet_adapters.wire import decode_base64url, is_url_safe, require_object, require_text
from zkp import Signature, ZkpError

EPOCH_SECONDS: Final = 21_600
"""How long a token holds, and so how late strangers may learn of a revocation."""
PLACE_BITS: Final = 32
PLACES: Final = 1 << PLACE_BITS
SHARD_BITS: Final = 10
_TAG: Final = b"consent-broker status token v1"
_TAG_BYTES: Final = 16
_WHAT: Final = "status tokens"


def epoch_at(now: int) -> int:
    """The epoch of a moment (Unix seconds)."""
    return now // EPOCH_SECONDS


def ends_at(epoch: int) -> int:
    """The first second (Unix) after an epoch."""
    return (epoch + 1) * EPOCH_SECONDS


def tag_of(revocation_id: str) -> str:
    """By what a wallet finds its token in a shard: of the identifier it tells nothing."""
    return hashlib.sha256(_TAG + revocation_id.encode()).digest()[:_TAG_BYTES].hex()


def place_of(revocation_id: str) -> int:
    """The first 32 bits of the tag."""
    return int(tag_of(revocation_id)[: PLACE_BITS // 4], 16)


def bits_for(count: int) -> int:
    """How many bits name a shard of so many credentials: about 512 to 1,024 are in each."""
    return min(max(0, (count - 1).bit_length() - SHARD_BITS), PLACE_BITS)


def shard_of(place: int, bits: int) -> int:
    """The shard of a place."""
    return place >> (PLACE_BITS - bits)


def places_of(shard: int, bits: int) -> tuple[int, int]:
    """The first place of a shard, and the first behind it."""
    width = 1 << (PLACE_BITS - bits)
    return shard * width, (shard + 1) * width


@dataclass(frozen=True)
class StatusIndex:
    """What an issuer tells of its tokens: the epoch, and by key (base64url) its id and bits."""

    epoch: int
    keys: Mapping[str, tuple[str, int]]


@dataclass(frozen=True)
class StatusShard:
    """Tokens by tag, as they came: their signatures are still to be checked."""

    header: bytes
    tokens: Mapping[str, Signature]


def read_status_index(value: Mapping[str, object]) -> StatusIndex:
    """Read `GET /attribute-status`. Raises leaves of `WalletProtocolError`."""
    epoch, listed = value.get("epoch"), value.get("keys")
    if type(epoch) is not int or not 0 <= epoch < PLACES or not isinstance(listed, list):
        raise Malformed("the index of status tokens has an epoch and keys")
    keys = {}
    for one in listed:
        if not isinstance(one, dict):
            raise Malformed("a key of status tokens is an object")
        bits, key_id = one.get("bits"), require_text(one, "id", what=_WHAT, max_length=64)
        if type(bits) is not int or not 0 <= bits <= PLACE_BITS or not is_url_safe(key_id):
            raise Malformed("a key of status tokens has an id and 0 to 32 bits")
        keys[require_text(one, "key", what=_WHAT, max_length=128)] = (key_id, bits)
    return StatusIndex(epoch, keys)


def read_status_shard(value: Mapping[str, object]) -> StatusShard:
    """Read a shard. Raises leaves of `WalletProtocolError`."""
    header = decode_base64url(require_text(value, "header", what=_WHAT), what="header")
    told = require_object(value, "tokens", what=_WHAT)
    tokens = {}
    for tag in told:
        data = decode_base64url(require_text(told, tag, what=_WHAT, max_length=128), what=_WHAT)
        try:
            tokens[tag] = Signature.from_bytes(data)
        except ZkpError as problem:
            raise Malformed("a status token is no signature") from problem
    return StatusShard(header, tokens)
