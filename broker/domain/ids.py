"""Identifiers: a prefix that says what it names, and 100 random bits."""

import secrets
from typing import Final

LENGTH = 20
_BASE32: Final = b"abcdefghijklmnopqrstuvwxyz234567" * 8
"""A character for each byte; each of the 32 stands for eight of them."""


def new_id(prefix: str) -> str:
    """An unguessable identifier such as `c-4k2vq7...`: prefix, 20 characters of lower-case base32.

    Random rather than ordered by time: identifiers reach partners, and times would help two of
    them to match customers.
    """
    return f"{prefix}-{secrets.token_bytes(LENGTH).translate(_BASE32).decode()}"
