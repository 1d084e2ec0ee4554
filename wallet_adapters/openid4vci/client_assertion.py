"""Client authentication by `private_key_jwt` (RFC 7523, section 3; OpenID Connect Core 1.0, 9).

Two steps, since the key depends on who the client says it is: `parse_client_assertion` tells the
claimed client, the caller looks up that client's registered keys, `verify_client_assertion`
checks everything else. The caller then spends `jti`: it must be refused a second time until
`expires_at`.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final

from credentials.errors import CredentialError
from credentials.jcs import b64url_decode
from credentials.json_reader import read_json_object
from credentials.jws import FORBIDDEN_HEADERS, PublicKey, UnverifiedJws
from credentials.suites import ALGORITHMS
from wallet_adapters.errors import ConflictingParameters
from wallet_adapters.openid4vci.errors import (
    ClientAssertionAudience,
    ClientAssertionExpired,
    ClientAssertionInvalid,
)
from wallet_adapters.wire import optional_text, parse_json_object, require_text

CLIENT_ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
MAX_LIFETIME: Final = 300
SKEW: Final = 30
MAX_ASSERTION: Final = 8_192
JWS_PARTS: Final = 3
_WHAT: Final = "the client assertion"
_ERROR: Final = "invalid_client"
_TYPES: Final = ("jwt", "client-authentication+jwt")


@dataclass(frozen=True)
class UnverifiedClientAssertion:
    """An assertion taken apart: who it claims to be, by which key of theirs."""

    client_id: str
    key_id: str | None
    claims: Mapping[str, object] = field(repr=False)
    jws: UnverifiedJws = field(repr=False)


@dataclass(frozen=True)
class ClientAssertion:
    """A verified assertion; times in Unix seconds. `jti` is good once until `expires_at`."""

    client_id: str
    jti: str
    expires_at: int


def read_client_assertion(form: Mapping[str, str]) -> UnverifiedClientAssertion | None:
    """The client assertion of a form, taken apart; None where the client does not authenticate.

    Raises leaves of `WalletProtocolError`.
    """
    what = "the request"
    text = optional_text(form, "client_assertion", what=what, max_length=MAX_ASSERTION)
    kind = optional_text(form, "client_assertion_type", what=what)
    if text is None and kind is None:
        return None
    if "client_secret" in form:
        # RFC 6749, section 2.3: one authentication method in a request.
        raise ConflictingParameters("send a client_assertion or a client_secret, not both")
    if kind != CLIENT_ASSERTION_TYPE or not text:
        raise ClientAssertionInvalid(
            f"client_assertion_type must be {CLIENT_ASSERTION_TYPE}, with a client_assertion"
        )
    assertion = parse_client_assertion(text)
    client_id = optional_text(form, "client_id", what=what)
    if client_id is not None and client_id != assertion.client_id:
        raise ClientAssertionInvalid("client_id is not the subject of the client assertion")
    return assertion


def parse_client_assertion(assertion: str) -> UnverifiedClientAssertion:
    """Take a client assertion apart without trusting it.

    Raises `ClientAssertionInvalid` or another leaf of `WalletProtocolError`.
    """
    if len(assertion) > MAX_ASSERTION:
        raise ClientAssertionInvalid(f"{_WHAT} has more than {MAX_ASSERTION} characters")
    try:
        jws = _take_apart(assertion)
    except CredentialError as problem:
        raise ClientAssertionInvalid(f"{_WHAT} is no acceptable JWT: {problem}") from problem
    claims = parse_json_object(jws.payload, what=_WHAT, error=_ERROR)
    subject = require_text(claims, "sub", what=_WHAT, max_length=512, error=_ERROR)
    if claims.get("iss") != subject:
        raise ClientAssertionInvalid(f"iss and sub of {_WHAT} must both be the client id")
    key_id = jws.header.get("kid")
    if key_id is not None and not isinstance(key_id, str):
        raise ClientAssertionInvalid(f"kid of {_WHAT} must be a string")
    return UnverifiedClientAssertion(client_id=subject, key_id=key_id, claims=claims, jws=jws)


def verify_client_assertion(
    assertion: UnverifiedClientAssertion,
    *,
    keys: Sequence[Mapping[str, Any]],
    audiences: Collection[str],
    now: int,
) -> ClientAssertion:
    """Verify an assertion against its client's registered public JWKs.

    1. The signature verifies under one of `keys`; one that carries another `kid` is not tried.
    2. `aud` is one of `audiences` (the issuer identifier, the token endpoint) and nothing else.
    3. `exp` is ahead, by no more than 300 seconds; `nbf` and `iat`, where given, are not.
    4. `jti` is there.
    5. Owed by the caller: that `jti` was not seen before.

    Raises `ClientAssertionInvalid`, `ClientAssertionAudience`, `ClientAssertionExpired` or
    another leaf of `WalletProtocolError`.
    """
    # 1.
    _verify_signature(assertion, keys)
    claims = assertion.claims
    # 2. One audience: an assertion made for several servers could be replayed between them.
    audience = claims.get("aud")
    if isinstance(audience, list) and len(audience) == 1:
        audience = audience[0]
    if not isinstance(audience, str) or audience not in audiences:
        raise ClientAssertionAudience(f"aud of {_WHAT} must be this authorization server alone")
    # 3.
    expires_at = _seconds(claims, "exp")
    if expires_at is None:
        raise ClientAssertionInvalid(f"{_WHAT} needs exp")
    if expires_at <= now - SKEW:
        raise ClientAssertionExpired(f"{_WHAT} has expired; make a new one for each request")
    if expires_at > now + MAX_LIFETIME + SKEW:
        raise ClientAssertionExpired(f"{_WHAT} may live for {MAX_LIFETIME} seconds at most")
    for name in ("nbf", "iat"):
        begins = _seconds(claims, name)
        if begins is not None and begins > now + SKEW:
            raise ClientAssertionInvalid(f"{name} of {_WHAT} is in the future; set the clock")
    # 4.
    jti = require_text(claims, "jti", what=_WHAT, max_length=256, error=_ERROR)
    return ClientAssertion(client_id=assertion.client_id, jti=jti, expires_at=expires_at)


def _take_apart(assertion: str) -> UnverifiedJws:
    parts = assertion.split(".")
    if len(parts) != JWS_PARTS:
        raise ClientAssertionInvalid(f"{_WHAT} is not a JWT in compact form")
    header = read_json_object(b64url_decode(parts[0]))
    alg, typ = header.get("alg"), header.get("typ", "JWT")
    if not isinstance(alg, str) or alg not in ALGORITHMS:
        raise ClientAssertionInvalid(f"alg of {_WHAT} must be one of: {', '.join(ALGORITHMS)}")
    # RFC 7523 asks for no typ, and most clients set none; a typ of another use is refused.
    if not isinstance(typ, str) or typ.lower() not in _TYPES:
        raise ClientAssertionInvalid(f"typ of {_WHAT} is absent or one of: {', '.join(_TYPES)}")
    if FORBIDDEN_HEADERS.intersection(header):
        raise ClientAssertionInvalid(f"{_WHAT} must not bring its own key or extensions")
    return UnverifiedJws(
        header=header,
        payload=b64url_decode(parts[1]),
        signing_input=f"{parts[0]}.{parts[1]}".encode("ascii"),
        signature=b64url_decode(parts[2]),
    )


def _verify_signature(
    assertion: UnverifiedClientAssertion, keys: Sequence[Mapping[str, Any]]
) -> None:
    candidates = [
        key
        for key in keys
        if assertion.key_id is None or key.get("kid") in {None, assertion.key_id}
    ]
    for key in candidates:
        try:
            assertion.jws.verify(PublicKey(key))
        except CredentialError:  # another key's signature, or a key of another algorithm
            continue
        return
    raise ClientAssertionInvalid(f"no registered key of the client verifies {_WHAT}")


def _seconds(claims: Mapping[str, object], name: str) -> int | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ClientAssertionInvalid(f"{name} of {_WHAT} must be a number of seconds")
    return int(value)
