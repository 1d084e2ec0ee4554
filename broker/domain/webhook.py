"""Standard Webhooks: how an event is signed for its receiver, and when it is sent again.

    secret      "whsec_" and 24 to 64 bytes in base64
    signature   "v1," and base64 of HMAC-SHA256 over "<webhook-id>.<webhook-timestamp>.<body>"

(Standard Webhooks 1.0.0, "Signature scheme" and "Verifying webhook authenticity".) While a secret
is being changed an event carries a signature by each, with a space between.
"""

import base64
import binascii
import hmac
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from broker.domain.errors import BrokerError, InvalidRequest

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

TOLERANCE_SECONDS: Final = 300
MOST_SIGNATURES: Final = 10
_SECONDS = re.compile(r"[0-9]{1,12}")

GONE: Final = 410
_REFUSES_EVENT: Final = frozenset({400, 409, 413, 415, 422})


class SignatureRefused(BrokerError):
    """The headers of an event do not say, by a secret of its source, that it is its, and of now."""

    code = "event_signature_refused"


def verify(by_secrets: Sequence[bytes], given: Mapping[str, str], body: bytes, now: int) -> None:
    """Check the three headers of an event that came (names in lower case) against its body.

    1. All three are there, the timestamp is in Unix seconds and within `TOLERANCE_SECONDS`.
    2. One of the first `MOST_SIGNATURES` signatures is by one of the secrets.

    Raises `SignatureRefused`.
    """
    sent_id, timestamp = given.get(ID, ""), given.get(TIMESTAMP, "")
    if not sent_id or not _SECONDS.fullmatch(timestamp):
        raise SignatureRefused(f"send {ID}, {TIMESTAMP} (Unix seconds) and {SIGNATURE}")
    if abs(int(timestamp) - now) > TOLERANCE_SECONDS:
        raise SignatureRefused(
            f"{TIMESTAMP} differs by more than {TOLERANCE_SECONDS} s from this clock: sign anew"
        )
    signatures = given.get(SIGNATURE, "").split(" ")[:MOST_SIGNATURES]
    # Other headers may hold anything: what is not UTF-8 is nobody's.
    encoded = [one.encode("utf-8", "replace") for one in signatures]
    wanted = [signature(secret, sent_id, timestamp, body).encode() for secret in by_secrets]
    good = [hmac.compare_digest(mine, one) for mine in wanted for one in encoded]
    if not any(good):
        raise SignatureRefused(f"{SIGNATURE} is by no secret of this source")


def read_secret(text: str) -> bytes:
    """A secret that a sender has chosen. Raises `InvalidRequest`."""
    try:
        found = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (ValueError, binascii.Error):
        found = b""
    if not text.startswith(PREFIX) or not 24 <= len(found) <= 64:  # noqa: PLR2004 (the scheme's)
        raise InvalidRequest(f"a secret is {PREFIX} and 24 to 64 bytes in base64")
    return found


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
    signed = b".".join((sent_id.encode("utf-8", "replace"), timestamp.encode(), body))
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
