"""Identifiers: a prefix that says what it names, and 100 random bits."""

import base64
import secrets

RANDOM_BYTES = 13
LENGTH = 20


def new_id(prefix: str) -> str:
    """An unguessable identifier such as `c-4k2vq7...`: prefix, 20 characters of lower-case base32.

    Random rather than ordered by time: identifiers reach partners, and times would help two of
    them to match customers.
    """
    text = base64.b32encode(secrets.token_bytes(RANDOM_BYTES)).decode().lower()
    return f"{prefix}-{text[:LENGTH]}"
