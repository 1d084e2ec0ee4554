"""What an attacker makes who holds some of the keys, and the refusal it must meet."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from credentials.errors import CredentialError
from credentials.jcs import b64url, b64url_decode
from credentials.jws import sign_jws
from credentials.sdjwt import parse, transaction_data_hash
from tests.credentials.world import (
    ISSUER,
    NOW,
    VCT,
    World,
)


def refused(call: Callable[[], object]) -> CredentialError:
    with pytest.raises(CredentialError) as caught:
        call()
    return caught.value


def resigned(
    world: World, presentation: str, *, header: dict[str, Any] | None = None, **claims: object
) -> str:
    """Replace claims of the KB-JWT (drop those that are `None`) and sign it again."""
    shown = parse(presentation)
    assert shown.kb_jwt is not None
    payload = json.loads(b64url_decode(shown.kb_jwt.split(".")[1])) | claims
    payload = {name: value for name, value in payload.items() if value is not None}
    return shown.bound_part + sign_jws(world.holder, header or {"typ": "kb+jwt"}, payload)


def issued(world: World, header: dict[str, Any] | None = None, **claims: object) -> str:
    """Sign a payload as the issuer, free of what `issue_sd_jwt_vc` guards; `None` drops."""
    payload = {
        "iss": ISSUER,
        "vct": VCT,
        "iat": NOW,
        "cnf": {"jwk": world.holder.public_jwk()},
        **claims,
    }
    payload = {name: value for name, value in payload.items() if value is not None}
    default = {"typ": "dc+sd-jwt", "x5c": world.chain}
    return sign_jws(world.issuer_key, default if header is None else header, payload) + "~"


def disclosure(*parts: object) -> str:
    return b64url(json.dumps(parts).encode())


def digest_of(text: str) -> str:
    return transaction_data_hash(text)  # also base64url SHA-256 over ASCII
