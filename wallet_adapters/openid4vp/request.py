"""Authorization requests (OpenID4VP 1.0, section 5): built, signed, linked to.

Signed requests travel by `request_uri` under the client id prefix `x509_hash`; an unsigned one,
under `redirect_uri`, travels by value in its link and is for development only.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode

from credentials.errors import CredentialError
from credentials.jcs import b64url
from credentials.keys import Signer, sign_jws
from wallet_adapters.errors import Malformed
from wallet_adapters.openid4vp.dcql import DcqlQuery
from wallet_adapters.openid4vp.errors import InvalidRequest, InvalidTransactionData
from wallet_adapters.openid4vp.transaction_data import decode_transaction_data
from wallet_adapters.wire import is_url, is_url_safe, optional_text, parse_json_object

REQUEST_OBJECT_TYPE: Final = "oauth-authz-req+jwt"
REQUEST_OBJECT_MEDIA_TYPE: Final = "application/oauth-authz-req+jwt"
SELF_ISSUED_AUDIENCE: Final = "https://self-issued.me/v2"
X509_HASH: Final = "x509_hash:"
REDIRECT_URI: Final = "redirect_uri:"
REQUEST_SCHEME: Final = "openid4vp://"
PLAIN_MODE: Final = "direct_post"
ENCRYPTED_MODE: Final = "direct_post.jwt"
ISSUER_ALGORITHMS: Final = ("ES256",)
HOLDER_ALGORITHMS: Final = ("ES256", "Ed25519")
CONTENT_ENCRYPTION: Final = ("A128GCM", "A256GCM")
MAX_TRANSACTION_DATA: Final = 64
MAX_WALLET_NONCE: Final = 512
MAX_WALLET_METADATA: Final = 16_384
_BY_VALUE_JSON: Final = ("dcql_query", "client_metadata", "transaction_data", "verifier_info")


@dataclass(frozen=True)
class RequestUriPost:
    """What a wallet sends when it fetches a request object by POST (section 5.10)."""

    wallet_nonce: str | None = None
    wallet_metadata: Mapping[str, object] | None = None


def x509_hash_client_id(leaf: bytes) -> str:
    """The client id of whoever holds the DER certificate `leaf` (section 5.9.3)."""
    return X509_HASH + b64url(hashlib.sha256(leaf).digest())


def redirect_uri_client_id(response_uri: str) -> str:
    """The client id of an unsigned request: the address that its answer goes to."""
    if not is_url(response_uri):
        raise Malformed("response_uri is an absolute http or https address")
    return REDIRECT_URI + response_uri


def client_metadata(
    *,
    algorithms: Sequence[str] = ISSUER_ALGORITHMS,
    holder_algorithms: Sequence[str] = HOLDER_ALGORITHMS,
    client_name: str | None = None,
) -> dict[str, object]:
    """The `client_metadata` of a request: credential formats, and a name that wallets may show.

    `algorithms` are those of issuers, `holder_algorithms` those of key-binding JWTs.
    """
    value: dict[str, object] = {
        "vp_formats_supported": {
            "dc+sd-jwt": {
                "sd-jwt_alg_values": list(algorithms),
                "kb-jwt_alg_values": list(holder_algorithms),
            }
        }
    }
    if client_name is not None:
        value["client_name"] = client_name
    return value


def build_request(
    *,
    client_id: str,
    response_uri: str,
    nonce: str,
    state: str,
    dcql: DcqlQuery,
    transaction_data: Sequence[str] = (),
    verifier_info: Sequence[Mapping[str, object]] = (),
    metadata: Mapping[str, object] | None = None,
    wallet_nonce: str | None = None,
    issued_at: int | None = None,
    expires_at: int | None = None,
    response_key: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The parameters of an authorization request answered by `direct_post`.

    With the public JWK `response_key` (see `encrypted_response`) the answer is to be encrypted to
    it: `direct_post.jwt`.

    `client_id` has its prefix. `nonce` and `state` are fresh random text of URL-safe characters.
    Each entry of `transaction_data` (see `encode_transaction_data`) names one credential query,
    and no query signs two. `issued_at` and `expires_at` are Unix seconds, for signed requests.
    Raises leaves of `WalletProtocolError`.
    """
    _require_consistent(client_id, response_uri, nonce, state)
    _require_transaction_data(dcql, transaction_data)
    claims: dict[str, Any] = {
        "response_type": "vp_token",
        "response_mode": PLAIN_MODE,
        "client_id": client_id,
        "response_uri": response_uri,
        "nonce": nonce,
        "state": state,
        "dcql_query": dcql.as_dict(),
        "client_metadata": dict(metadata) if metadata is not None else client_metadata(),
    }
    if response_key is not None:
        claims["response_mode"] = ENCRYPTED_MODE
        claims["client_metadata"] |= {
            "jwks": {"keys": [dict(response_key)]},
            "encrypted_response_enc_values_supported": list(CONTENT_ENCRYPTION),
        }
    if transaction_data:
        claims["transaction_data"] = list(transaction_data)
    if verifier_info:
        claims["verifier_info"] = [dict(item) for item in verifier_info]
    if not client_id.startswith(REDIRECT_URI):
        claims["aud"] = SELF_ISSUED_AUDIENCE  # section 5.8
    if wallet_nonce is not None:
        claims["wallet_nonce"] = wallet_nonce
    if issued_at is not None:
        claims["iat"] = issued_at
    if expires_at is not None:
        claims["exp"] = expires_at
    return claims


def sign_request(claims: Mapping[str, Any], signer: Signer, x5c: Sequence[str]) -> str:
    """The signed request object (RFC 9101), served as `application/oauth-authz-req+jwt`.

    `x5c` is the certificate chain, leaf first, without the root. Raises `InvalidRequest`.
    """
    if not x5c:
        raise InvalidRequest("a signed request needs the certificate chain of its key")
    if str(claims.get("client_id", "")).startswith(REDIRECT_URI):
        raise InvalidRequest("a request under redirect_uri must not be signed")
    try:
        return sign_jws(signer, {"typ": REQUEST_OBJECT_TYPE, "x5c": list(x5c)}, dict(claims))
    except CredentialError as problem:
        raise InvalidRequest(f"the request object cannot be signed: {problem}") from problem


def request_link(
    *,
    client_id: str,
    request_uri: str,
    post: bool = True,
    scheme: str = REQUEST_SCHEME,
) -> str:
    """The link, or QR code, to a signed request.

    With `post` a wallet may fetch by POST and send a nonce of its own; one that does not know
    this fetches by GET. Raises `Malformed` when `request_uri` is no address.
    """
    if not is_url(request_uri):
        raise Malformed("request_uri is an absolute http or https address")
    fields = {"client_id": client_id, "request_uri": request_uri}
    if post:
        fields["request_uri_method"] = "post"
    return f"{scheme}?{urlencode(fields, quote_via=quote, safe='')}"


def request_link_by_value(claims: Mapping[str, Any], scheme: str = REQUEST_SCHEME) -> str:
    """The link that holds a whole unsigned request, for development.

    Raises `InvalidRequest` unless its client id has the prefix `redirect_uri`.
    """
    if not str(claims.get("client_id", "")).startswith(REDIRECT_URI):
        raise InvalidRequest("only a request under redirect_uri may go unsigned")
    fields = {
        name: json.dumps(value, separators=(",", ":")) if name in _BY_VALUE_JSON else str(value)
        for name, value in claims.items()
    }
    return f"{scheme}?{urlencode(fields, quote_via=quote, safe='')}"


def parse_request_uri_post(form: Mapping[str, str]) -> RequestUriPost:
    """Read what a wallet posted to the request_uri; unknown fields are ignored.

    Raises leaves of `WalletProtocolError`.
    """
    what = "the request_uri form"
    nonce = optional_text(form, "wallet_nonce", what=what, max_length=MAX_WALLET_NONCE)
    text = optional_text(form, "wallet_metadata", what=what, max_length=MAX_WALLET_METADATA)
    return RequestUriPost(
        wallet_nonce=nonce,
        wallet_metadata=None if text is None else parse_json_object(text, what="wallet_metadata"),
    )


def _require_consistent(client_id: str, response_uri: str, nonce: str, state: str) -> None:
    if not is_url(response_uri):
        raise Malformed("response_uri is an absolute http or https address")
    if not client_id.startswith((X509_HASH, REDIRECT_URI)):
        raise InvalidRequest("client_id begins with x509_hash: or, in development, redirect_uri:")
    if client_id.startswith(REDIRECT_URI) and client_id != REDIRECT_URI + response_uri:
        raise InvalidRequest("client_id under redirect_uri must name the response_uri")
    if not is_url_safe(nonce) or not is_url_safe(state):
        raise InvalidRequest("nonce and state are made of letters, digits and - . _ ~")


def _require_transaction_data(dcql: DcqlQuery, entries: Sequence[str]) -> None:
    if len(entries) > MAX_TRANSACTION_DATA:
        raise InvalidTransactionData(f"a request has at most {MAX_TRANSACTION_DATA} entries")
    signed: set[str] = set()
    for entry in entries:
        ids = decode_transaction_data(entry).credential_ids
        query = dcql.query(ids[0])
        if len(ids) != 1 or query is None:
            raise InvalidTransactionData("each entry names exactly one query of the request")
        if not query.require_holder_binding:
            # Appendix B.3.3: nothing is signed without holder binding.
            raise InvalidTransactionData(f"query {query.id} must require holder binding to sign")
        if query.id in signed:
            raise InvalidTransactionData(f"query {query.id} signs one consent, not two")
        signed.add(query.id)
