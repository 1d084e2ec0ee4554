"""Deferred issuance (OpenID4VCI 1.0, section 9): the issuer needs time, the wallet comes again."""

from collections.abc import Mapping
from typing import Final

from wallet_adapters.openid4vci.errors import EncryptionNotOffered
from wallet_adapters.wire import parse_json_object, require_text

MAX_REQUEST_BYTES: Final = 8_192
_WHAT: Final = "the deferred credential request"
_ERROR: Final = "invalid_credential_request"


def deferred_response(transaction_id: str, interval: int) -> dict[str, object]:
    """The body that says "not yet", sent with status 202 (sections 8.3 and 9.2).

    `interval` is in seconds, until the wallet asks again.
    """
    return {"transaction_id": transaction_id, "interval": interval}


def parse_deferred_request(body: bytes | Mapping[str, object]) -> str:
    """The `transaction_id` of a deferred credential request (section 9.1).

    Raises leaves of `WalletProtocolError`.
    """
    value = parse_json_object(body, what=_WHAT, max_bytes=MAX_REQUEST_BYTES, error=_ERROR)
    if value.get("credential_response_encryption") is not None:
        raise EncryptionNotOffered("this issuer does not encrypt credential responses")
    return require_text(value, "transaction_id", what=_WHAT, max_length=256, error=_ERROR)
