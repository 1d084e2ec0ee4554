"""Making wrong messages: JWSs that no careful library would sign."""

import hashlib
import hmac
import json
from typing import Any

from credentials.jcs import b64url
from credentials.keys import SoftwareKey

PUBLIC_SECRET = b"the public key, taken for a shared secret"


def encode(value: object) -> str:
    return b64url(json.dumps(value).encode("utf-8"))


def jws(key: SoftwareKey, header: dict[str, Any], claims: dict[str, Any]) -> str:
    """Sign by `key`, with a header that is taken as it is, `alg` included."""
    signing_input = f"{encode({'alg': key.alg} | header)}.{encode(claims)}"
    return f"{signing_input}.{b64url(key.sign(signing_input.encode('ascii')))}"


def unsigned(header: dict[str, Any], claims: dict[str, Any], *, signature: bytes = b"") -> str:
    """A JWS of `alg` none."""
    return f"{encode({'alg': 'none'} | header)}.{encode(claims)}.{b64url(signature)}"


def hmac_signed(header: dict[str, Any], claims: dict[str, Any], secret: bytes) -> str:
    """A JWS of HS256, as in an algorithm confusion."""
    signing_input = f"{encode({'alg': 'HS256'} | header)}.{encode(claims)}"
    mac = hmac.new(secret, signing_input.encode("ascii"), hashlib.sha256).digest()
    return f"{signing_input}.{b64url(mac)}"
