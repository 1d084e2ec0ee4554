"""Authorization requests of wallets: pushed (RFC 9126), answered with `iss` (RFC 9207).

A wallet pushes what it asks for, gets a `request_uri` for it, and sends the customer's browser to
the authorization endpoint with nothing but that and its client id.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote, urlencode, urlsplit

from wallet_adapters.errors import Malformed
from wallet_adapters.oauth.errors import (
    PushedRequestRequired,
    RedirectUriInvalid,
    RequestUriInvalid,
    UnsupportedResponseType,
)
from wallet_adapters.oauth.pkce import read_challenge
from wallet_adapters.wire import is_url, optional_text, require_text

REQUEST_URI: Final = "urn:ietf:params:oauth:request_uri:"
MAX_STATE: Final = 1024
MAX_SCOPES: Final = 32
_WHAT: Final = "the authorization request"
_THUMBPRINT: Final = re.compile(r"[A-Za-z0-9_-]{43}", re.ASCII)
# RFC 8252, section 7.1: a private-use scheme is a reversed domain name, so it has a dot.
_PRIVATE_SCHEME: Final = re.compile(r"[a-z][a-z0-9+-]*(?:\.[a-z0-9+-]+)+", re.ASCII)
# Nothing that could end a directive of a page's policy, in which the host is named.
_AUTHORITY: Final = re.compile(r"[A-Za-z0-9.:\[\]-]*", re.ASCII)
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class AuthorizationRequest:
    """What a wallet asks for; nothing in it is believed yet.

    `scopes` and `details` (the text of `authorization_details`) say which credentials,
    `issuer_state` comes from an offer, `thumbprint` names the key of the later DPoP proofs.
    """

    client_id: str
    redirect_uri: str
    code_challenge: str
    scopes: tuple[str, ...]
    details: str | None
    state: str | None = field(repr=False)
    issuer_state: str | None = field(repr=False)
    thumbprint: str | None


@dataclass(frozen=True)
class AuthorizationCodeRequest:
    """A wallet redeems an authorization code (RFC 6749, section 4.1.3)."""

    code: str = field(repr=False)
    redirect_uri: str
    client_id: str
    code_verifier: str = field(repr=False)


def parse_pushed_request(form: Mapping[str, str], *, issuer: str) -> AuthorizationRequest:
    """Read the form of a pushed authorization request (RFC 9126, section 2.1).

    1. No `request_uri` and no `request`: one cannot push a reference, and objects are not offered.
    2. `response_type` is code, `response_mode` query, `resource` (if any) this issuer.
    3. PKCE with S256.
    4. The redirect address is https, a private-use scheme or loopback, without fragment.

    Whether the client is known, and with that address, is the caller's to decide. Raises leaves
    of `WalletProtocolError`.
    """
    # 1.
    if "request_uri" in form:
        raise RequestUriInvalid("a pushed request holds no request_uri", error="invalid_request")
    if "request" in form:
        raise Malformed("request objects are not taken", error="request_not_supported")
    # 2.
    if require_text(form, "response_type", what=_WHAT, max_length=64) != "code":
        raise UnsupportedResponseType("response_type must be code")
    if form.get("response_mode", "query") != "query":
        raise Malformed("response_mode must be query, or absent")
    if form.get("resource", issuer) != issuer:
        raise Malformed("resource must be this credential issuer", error="invalid_target")
    # 3.
    challenge = read_challenge(form)
    # 4.
    redirect_uri = require_text(form, "redirect_uri", what=_WHAT)
    check_redirect_uri(redirect_uri)
    thumbprint = optional_text(form, "dpop_jkt", what=_WHAT, max_length=64)
    if thumbprint is not None and _THUMBPRINT.fullmatch(thumbprint) is None:
        raise Malformed("dpop_jkt is a SHA-256 thumbprint in base64url")
    return AuthorizationRequest(
        client_id=require_text(form, "client_id", what=_WHAT, max_length=512),
        redirect_uri=redirect_uri,
        code_challenge=challenge,
        scopes=_scopes(form),
        details=optional_text(form, "authorization_details", what=_WHAT, max_length=8_192),
        state=optional_text(form, "state", what=_WHAT, max_length=MAX_STATE),
        issuer_state=optional_text(form, "issuer_state", what=_WHAT, max_length=512),
        thumbprint=thumbprint,
    )


def parse_authorization_query(fields: Mapping[str, str]) -> tuple[str, str]:
    """Client id and `request_uri` of a request to the authorization endpoint.

    Everything else comes from what was pushed (RFC 9126, section 4; RFC 9101, section 5). Raises
    `PushedRequestRequired`, `RequestUriInvalid` or another leaf of `WalletProtocolError`.
    """
    request_uri = optional_text(fields, "request_uri", what=_WHAT, max_length=512)
    if not request_uri:
        raise PushedRequestRequired("push the request first, then come with its request_uri")
    if not request_uri.startswith(REQUEST_URI):
        raise RequestUriInvalid("request_uri is not one of this server")
    return require_text(fields, "client_id", what=_WHAT, max_length=512), request_uri


def parse_code_request(form: Mapping[str, str]) -> AuthorizationCodeRequest:
    """Read the form of a token request with an authorization code.

    All four are required; `MissingParameter` names the one that is not there.
    """
    what = "the token request"
    return AuthorizationCodeRequest(
        code=require_text(form, "code", what=what, max_length=512),
        redirect_uri=require_text(form, "redirect_uri", what=what),
        client_id=require_text(form, "client_id", what=what, max_length=512),
        code_verifier=require_text(form, "code_verifier", what=what, max_length=128),
    )


def check_redirect_uri(uri: str) -> None:
    """Refuse addresses from which a code may reach others (RFC 8252, RFC 9700 section 2.1).

    Taken are https, http to this very device, and private-use schemes with a dot. Raises
    `RedirectUriInvalid`.
    """
    try:
        parts = urlsplit(uri)
    except ValueError:
        raise RedirectUriInvalid("redirect_uri is no address") from None
    if "#" in uri or not uri.isascii() or any(letter <= " " for letter in uri):
        raise RedirectUriInvalid("redirect_uri has no fragment and no spaces")
    if _AUTHORITY.fullmatch(parts.netloc) is None:
        raise RedirectUriInvalid("redirect_uri names a host in letters, digits, dots and dashes")
    private = _PRIVATE_SCHEME.fullmatch(parts.scheme) is not None
    loopback = parts.scheme == "http" and is_url(uri) and parts.hostname in _LOOPBACK
    if not (private or loopback or (parts.scheme == "https" and is_url(uri))):
        raise RedirectUriInvalid(
            "redirect_uri is https, http to the device itself, or a private scheme with a dot"
        )


def authorization_answer(redirect_uri: str, *, issuer: str, state: str | None, code: str) -> str:
    """Where the browser goes with a code; `iss` tells servers apart (RFC 9207)."""
    return _answer(redirect_uri, {"code": code}, issuer, state)


def authorization_refusal(redirect_uri: str, *, issuer: str, state: str | None, error: str) -> str:
    """Where the browser goes when no code is given (RFC 6749, section 4.1.2.1), with `iss` too."""
    return _answer(redirect_uri, {"error": error}, issuer, state)


def _answer(redirect_uri: str, told: Mapping[str, str], issuer: str, state: str | None) -> str:
    fields = {**told, **({} if state is None else {"state": state}), "iss": issuer}
    joint = "&" if urlsplit(redirect_uri).query else "" if redirect_uri.endswith("?") else "?"
    return f"{redirect_uri}{joint}{urlencode(fields, quote_via=quote, safe='')}"


def _scopes(form: Mapping[str, str]) -> tuple[str, ...]:
    text = optional_text(form, "scope", what=_WHAT) or ""
    scopes = tuple(text.split(" ")) if text else ()
    if not all(scopes) or len(set(scopes)) != len(scopes) or len(scopes) > MAX_SCOPES:
        raise Malformed(
            "scope is a list of different names, one space apart", error="invalid_scope"
        )
    return scopes
