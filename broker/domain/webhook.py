"""Standard Webhooks: how an event is signed for its receiver, and when it is sent again.

    secret      "whsec_" and 24 to 64 bytes in base64
    signature   "v1," and base64 of HMAC-SHA256 over "<webhook-id>.<webhook-timestamp>.<body>"

(Standard Webhooks 1.0.0, "Signature scheme" and "Verifying webhook authenticity".) While a secret
is being changed an event carries a signature by each, with a space between.
"""

import base64
import hmac
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Final

PREFIX: Final = "whsec_"
SECRET_BYTES: Final = 32
ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
OVERLAP_SECONDS: Final = 86_400
"""How long an older secret goes on signing beside the one in its place."""

PAUSES: Final = (5, 30, 120, 600, 1_800, 3_600)
"""Seconds after the first, second, ... failure in a row; the last one after each that follows."""
GIVE_UP_SECONDS: Final = 4 * 86_400
"""What is not acknowledged within this is a dead letter."""
KEPT_SECONDS: Final = 90 * 86_400
"""How long an event is there to be sent again, delivered or dead."""

GONE: Final = 410
_REFUSES_EVENT: Final = frozenset({400, 409, 413, 415, 422})


def new_secret() -> bytes:
    """A fresh secret."""
    return secrets.token_bytes(SECRET_BYTES)


def written_secret(secret: bytes) -> str:
    """A secret as receivers take it."""
    return PREFIX + base64.b64encode(secret).decode()


def headers(
    sent_id: str, timestamp: int, body: bytes, by_secrets: Sequence[bytes]
) -> Mapping[str, str]:
    """The three headers of a delivery; `timestamp` is that of this attempt, in Unix seconds."""
    return {
        ID: sent_id,
        TIMESTAMP: str(timestamp),
        SIGNATURE: " ".join(signature(one, sent_id, str(timestamp), body) for one in by_secrets),
    }


def signature(secret: bytes, sent_id: str, timestamp: str, body: bytes) -> str:
    """One signature in its written form."""
    signed = b".".join((sent_id.encode(), timestamp.encode(), body))
    return "v1," + base64.b64encode(hmac.digest(secret, signed, "sha256")).decode()


def acknowledged(status: int) -> bool:
    """Whether an HTTP status says that the receiver has the event."""
    return 200 <= status < 300  # noqa: PLR2004 (any success)


def refuses_event(status: int) -> bool:
    """Whether a status is about this event, so that others may be sent in the meantime."""
    return status in _REFUSES_EVENT


def pause(failures: int, draw: Callable[[int], int]) -> int:
    """Seconds until the next attempt after so many failures in a row, the first being 1.

    Up to a fifth more, by `draw(n)` (an even value below n), so that many do not come at once.
    """
    usual = PAUSES[min(failures, len(PAUSES)) - 1]
    return usual + draw(usual // 5 + 1)
