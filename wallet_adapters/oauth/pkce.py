"""Proof Key for Code Exchange (RFC 7636), method S256 alone.

code_challenge = base64url(SHA-256(ASCII(code_verifier)))
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from typing import Final

from credentials.jcs import b64url
from wallet_adapters.oauth.errors import PkceMismatch, PkceRequired
from wallet_adapters.wire import optional_text

METHOD: Final = "S256"
VERIFIER_BYTES: Final = 32
# RFC 7636, section 4.1: 43 to 128 unreserved characters.
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}", re.ASCII)
_CHALLENGE: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)


def new_verifier() -> str:
    """A fresh secret of a wallet for one authorization."""
    return b64url(secrets.token_bytes(VERIFIER_BYTES))


def challenge_of(verifier: str) -> str:
    """The S256 challenge of a verifier."""
    return b64url(hashlib.sha256(verifier.encode("ascii", "replace")).digest())


def read_challenge(fields: Mapping[str, object]) -> str:
    """The `code_challenge` of an authorization request.

    An absent method means `plain` (section 4.3), which shows the secret to whoever reads the
    request: it is refused like every other. Raises `PkceRequired`.
    """
    what = "the authorization request"
    challenge = optional_text(fields, "code_challenge", what=what, max_length=128)
    method = optional_text(fields, "code_challenge_method", what=what, max_length=32)
    if not challenge:
        raise PkceRequired(f"{what} needs code_challenge with the method {METHOD} (PKCE)")
    if method != METHOD:
        raise PkceRequired(f"code_challenge_method must be {METHOD}, and said")
    if _CHALLENGE.fullmatch(challenge) is None:
        raise PkceRequired("code_challenge is a SHA-256 in base64url: 43 characters")
    return challenge


def verify_verifier(verifier: str | None, challenge: str) -> None:
    """Check a token request's `code_verifier` in constant time. Raises `PkceMismatch`."""
    if not verifier or _VERIFIER.fullmatch(verifier) is None:
        raise PkceMismatch("the token request needs the code_verifier of the challenge")
    if not hmac.compare_digest(challenge_of(verifier), challenge):
        raise PkceMismatch("code_verifier does not fit the code_challenge of this code")
