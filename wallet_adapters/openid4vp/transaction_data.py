"""Transaction data: what a holder signs beside showing a credential.

OpenID4VP 1.0, sections 5.1 and 8.4, and for SD-JWT VC appendix B.3.3: the hash is over the
base64url string as sent, not over what it decodes to.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from credentials.errors import CredentialError
from credentials.jcs import b64url, canonical
from wallet_adapters.openid4vp.errors import InvalidTransactionData
from wallet_adapters.wire import decode_base64url, parse_json_object, require_strings, require_text

HASH_ALGORITHM: Final = "sha-256"
MAX_ENTRY: Final = 65_536
FALLBACK_RANDOM_BYTES: Final = 32
_WHAT: Final = "the transaction_data entry"
_ERROR: Final = "invalid_transaction_data"


@dataclass(frozen=True)
class TransactionData:
    """One entry taken apart; `encoded` is the string as sent, which is what is hashed."""

    type: str
    credential_ids: tuple[str, ...]
    content: Mapping[str, Any]
    encoded: str = field(repr=False)

    @property
    def hash(self) -> str:
        """Base64url of SHA-256 over the string as sent."""
        return transaction_data_hash(self.encoded)


@dataclass(frozen=True)
class FallbackNonce:
    """A nonce that stands for terms which the wallet would not take as transaction data.

    `random` are the 32 bytes that went into it: evidence, to be kept with the terms.
    """

    nonce: str
    random: bytes = field(repr=False)


def encode_transaction_data(content: Mapping[str, Any]) -> str:
    """Encode one entry: base64url of its canonical JSON (RFC 8785).

    `content` needs `type` and `credential_ids`, an array of exactly one credential query id: each
    consent is signed for itself. Raises `InvalidTransactionData` or `Malformed`.
    """
    try:
        encoded = b64url(canonical(dict(content)))
    except CredentialError as problem:
        raise InvalidTransactionData(f"transaction data has no canonical form: {problem}") from None
    decoded = decode_transaction_data(encoded)
    if len(decoded.credential_ids) != 1:
        raise InvalidTransactionData("credential_ids names the one query that signs this consent")
    return encoded


def decode_transaction_data(encoded: str) -> TransactionData:
    """Take one entry apart. Raises leaves of `WalletProtocolError`."""
    if len(encoded) > MAX_ENTRY:
        raise InvalidTransactionData(f"{_WHAT} has more than {MAX_ENTRY} characters")
    raw = decode_base64url(encoded, what=_WHAT, error=_ERROR)
    content = parse_json_object(raw, what=_WHAT, max_bytes=MAX_ENTRY, error=_ERROR)
    if "transaction_data_hashes_alg" in content:
        names = require_strings(content, "transaction_data_hashes_alg", what=_WHAT, error=_ERROR)
        if HASH_ALGORITHM not in names:
            raise InvalidTransactionData(f"{_WHAT} must allow the hash {HASH_ALGORITHM}")
    return TransactionData(
        type=require_text(content, "type", what=_WHAT, error=_ERROR),
        credential_ids=require_strings(content, "credential_ids", what=_WHAT, error=_ERROR),
        content=content,
        encoded=encoded,
    )


def transaction_data_hash(encoded: str) -> str:
    """Base64url of SHA-256 over the string as sent (appendix B.3.3.1).

    Raises `InvalidTransactionData` when the string is not ASCII.
    """
    if not encoded.isascii():
        raise InvalidTransactionData(f"{_WHAT} is not base64url")
    return b64url(hashlib.sha256(encoded.encode("ascii")).digest())


def transaction_data_for(entries: Sequence[str], query_id: str) -> tuple[str, ...]:
    """The entries, as sent, that the presentation for `query_id` has to sign."""
    return tuple(
        entry for entry in entries if query_id in decode_transaction_data(entry).credential_ids
    )


def fallback_nonce(encoded_terms: str, random: bytes | None = None) -> FallbackNonce:
    """A nonce that commits to terms, for wallets that know no transaction data.

    nonce = base64url(SHA-256(random32 || SHA-256(encoded_terms)))

    The random part keeps the nonce fresh and the terms unguessable; it is drawn when not given.
    Raises `InvalidTransactionData` when the terms are not base64url or the random part is not 32
    bytes long.
    """
    decode_base64url(encoded_terms, what="the encoded terms", error=_ERROR)
    drawn = secrets.token_bytes(FALLBACK_RANDOM_BYTES) if random is None else random
    if len(drawn) != FALLBACK_RANDOM_BYTES:
        raise InvalidTransactionData(f"the random part has {FALLBACK_RANDOM_BYTES} bytes")
    terms_hash = hashlib.sha256(encoded_terms.encode("ascii")).digest()
    return FallbackNonce(nonce=b64url(hashlib.sha256(drawn + terms_hash).digest()), random=drawn)


def verify_fallback_nonce(nonce: str, encoded_terms: str, random: bytes) -> FallbackNonce:
    """Recompute a fallback nonce from kept evidence.

    Raises `InvalidTransactionData` when the nonce does not commit to these terms.
    """
    expected = fallback_nonce(encoded_terms, random)
    if not hmac.compare_digest(expected.nonce.encode("ascii"), nonce.encode("utf-8", "replace")):
        raise InvalidTransactionData("the nonce does not commit to these terms")
    return expected
