"""Reading a presentation request as a careful wallet does (OpenID4VP 1.0, section 5)."""

import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Final

from credentials.errors import CredentialError
from credentials.jcs import b64url
from credentials.jws import UnverifiedJws, parse_jws
from credentials.pki import TrustedChain, verify_chain
from wallet_adapters.errors import Malformed, MissingParameter, WalletProtocolError
from wallet_adapters.loopback.errors import (
    ClientIdMismatch,
    ClientIdUnsupported,
    RequestObjectRefused,
    TransactionDataUnknown,
    WalletNonceMismatch,
)
from wallet_adapters.loopback.state import Message
from wallet_adapters.openid4vp.dcql import DcqlQuery, parse_dcql
from wallet_adapters.openid4vp.errors import InvalidRequest, InvalidTransactionData
from wallet_adapters.openid4vp.proof import FORMAT as PROOF_FORMAT
from wallet_adapters.openid4vp.request import (
    CONTENT_ENCRYPTION,
    ENCRYPTED_MODE,
    REDIRECT_URI,
    REQUEST_OBJECT_MEDIA_TYPE,
    REQUEST_OBJECT_TYPE,
    SELF_ISSUED_AUDIENCE,
    X509_HASH,
)
from wallet_adapters.openid4vp.transaction_data import TransactionData, decode_transaction_data
from wallet_adapters.wire import (
    is_url_safe,
    optional_text,
    parse_json,
    parse_json_object,
    parse_query,
    require_object,
    require_strings,
    require_text,
    require_url,
)

KNOWN_TRANSACTION_DATA: Final = frozenset(
    {
        *("urn:consent-broker:consent:1", "urn:consent-broker:guardian-consent:1"),
        "urn:consent-broker:withdrawal:1",
    }
)
ALGORITHMS: Final = ("ES256",)
SKEW: Final = 60
_WHAT: Final = "the authorization request"
_JSON_PARAMETERS: Final = ("dcql_query", "client_metadata", "transaction_data", "verifier_info")
_WALLET_METADATA: Final = {
    "vp_formats_supported": {
        "dc+sd-jwt": {"sd-jwt_alg_values": ["ES256"], "kb-jwt_alg_values": ["ES256"]},
        PROOF_FORMAT: {"suite_values": ["BLS12-381-SHA-256"]},
    },
    "client_id_prefixes_supported": ["x509_hash", "redirect_uri"],
    "request_object_signing_alg_values_supported": list(ALGORITHMS),
}


@dataclass(frozen=True)
class RequestLink:
    """A link taken apart; `parameters` are those of an unsigned request by value, or empty."""

    client_id: str
    request_uri: str | None
    post: bool
    parameters: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class PresentationRequest:
    """A request that passed every check, ready to be shown to the holder and answered.

    `signed` tells whether the verifier proved who it is; `verifier` is the subject of its
    certificate then. The answer is encrypted to `response_key`, where there is one.
    """

    client_id: str
    response_uri: str
    nonce: str
    state: str | None
    dcql: DcqlQuery
    transaction_data: tuple[TransactionData, ...]
    signed: bool
    verifier: str = ""
    response_key: Mapping[str, object] | None = field(default=None, repr=False)
    content_encryption: str = ""


def parse_request_link(link: str) -> RequestLink:
    """Take an `openid4vp://` link apart. Raises leaves of `WalletProtocolError`."""
    fields = parse_query(link, what="the request link")
    client_id = require_text(fields, "client_id", what="the request link")
    if "request" in fields:
        raise RequestObjectRefused("this wallet fetches request objects by request_uri only")
    method = fields.get("request_uri_method", "get")
    if method not in ("get", "post"):
        raise InvalidRequest(
            "request_uri_method is get or post", error="invalid_request_uri_method"
        )
    if "request_uri" in fields:
        address = require_url(fields, "request_uri", what="the request link")
        return RequestLink(client_id=client_id, request_uri=address, post=method == "post")
    parameters: dict[str, object] = {
        name: parse_json(text, what=name) if name in _JSON_PARAMETERS else text
        for name, text in fields.items()
    }
    return RequestLink(client_id=client_id, request_uri=None, post=False, parameters=parameters)


def fetch_request_object(link: RequestLink, wallet_nonce: str) -> Message:
    """The message that fetches the request object; a POST carries the wallet's nonce."""
    if link.request_uri is None:
        raise MissingParameter("the request link names no request_uri")
    if not link.post:
        return Message.get(link.request_uri, accept=REQUEST_OBJECT_MEDIA_TYPE)
    fields = {"wallet_nonce": wallet_nonce, "wallet_metadata": json.dumps(_WALLET_METADATA)}
    return Message.post_form(link.request_uri, fields, accept=REQUEST_OBJECT_MEDIA_TYPE)


def read_request_object(
    token: str,
    *,
    link: RequestLink,
    wallet_nonce: str,
    anchors: Sequence[bytes],
    now: int,
) -> PresentationRequest:
    """Verify a signed request object.

    1. `typ` is oauth-authz-req+jwt, `alg` ES256, the chain in `x5c` leads to an anchor.
    2. The client id is `x509_hash:` and the hash of the leaf, in link and object alike.
    3. The signature verifies under the leaf's key.
    4. `aud` is https://self-issued.me/v2, `exp` is ahead, `iat` is not.
    5. `wallet_nonce` is the one that was posted.
    6. The parameters hold together, and the certificate may speak for the `response_uri`.
    7. Owed by the caller: `check_transaction_data`, whose refusal the verifier is told.

    Raises leaves of `WalletProtocolError`.
    """
    if not link.client_id.startswith(X509_HASH):
        raise ClientIdUnsupported("a signed request has a client id of prefix x509_hash here")
    # 1.
    try:
        jws = parse_jws(token, typ=REQUEST_OBJECT_TYPE, algs=ALGORITHMS)
        chain = verify_chain(_certificates(jws), anchors, now)
    except CredentialError as problem:
        raise RequestObjectRefused(f"the request object is refused: {problem}") from problem
    claims = parse_json_object(jws.payload, what=_WHAT)
    # 2.
    _check_client_id(claims, link, chain)
    # 3.
    try:
        jws.verify(chain.key)
    except CredentialError as problem:
        raise RequestObjectRefused(f"the request object is refused: {problem}") from problem
    # 4.
    if claims.get("aud") != SELF_ISSUED_AUDIENCE:
        raise RequestObjectRefused(f"aud of the request object must be {SELF_ISSUED_AUDIENCE}")
    _check_times(claims, now)
    # 5.
    if link.post and claims.get("wallet_nonce") != wallet_nonce:
        raise WalletNonceMismatch("the request object lacks the wallet_nonce that was posted")
    # 6.
    request = _read_parameters(claims, verifier=chain.subject, signed=True)
    try:
        chain.check_issuer(request.response_uri)
    except CredentialError as problem:
        raise RequestObjectRefused("the certificate does not cover the response_uri") from problem
    return request


def read_unsigned_request(link: RequestLink) -> PresentationRequest:
    """Read an unsigned request by value: anyone may have made it, so for development only.

    Raises leaves of `WalletProtocolError`.
    """
    if not link.client_id.startswith(REDIRECT_URI):
        raise ClientIdUnsupported("an unsigned request has a client id of prefix redirect_uri")
    request = _read_parameters(link.parameters, verifier="", signed=False)
    if request.client_id != REDIRECT_URI + request.response_uri:
        raise ClientIdMismatch("client_id under redirect_uri must name the response_uri")
    return request


def check_transaction_data(request: PresentationRequest, known_types: Collection[str]) -> None:
    """Check that every entry is of a known type and can be signed (OpenID4VP 1.0, section 5.1).

    One unknown type refuses the whole request, since the holder could not be shown what it means.
    Raises `TransactionDataUnknown` or `InvalidTransactionData`, both `invalid_transaction_data`.
    """
    for entry in request.transaction_data:
        if entry.type not in known_types:
            raise TransactionDataUnknown("a transaction_data type is unknown to this wallet")
        for name in entry.credential_ids:
            query = request.dcql.query(name)
            if query is None or not query.require_holder_binding:
                raise InvalidTransactionData("transaction_data names a query that cannot sign it")


def _certificates(jws: UnverifiedJws) -> list[str]:
    certificates = jws.header.get("x5c")
    if not isinstance(certificates, list) or not certificates:
        raise RequestObjectRefused("the request object needs its certificate chain in x5c")
    return certificates


def _check_client_id(claims: Mapping[str, object], link: RequestLink, chain: TrustedChain) -> None:
    if claims.get("client_id") != link.client_id:
        raise ClientIdMismatch("client_id of the request object is not the one of the link")
    if link.client_id != X509_HASH + b64url(hashlib.sha256(chain.leaf).digest()):
        raise ClientIdMismatch("client_id is not the hash of the request object's certificate")


def _check_times(claims: Mapping[str, object], now: int) -> None:
    for name, sign in (("exp", -1), ("iat", 1), ("nbf", 1)):
        value = claims.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
            raise Malformed(f"{name} of the request object must be a number of seconds")
        if sign * (value - now) > SKEW:
            raise RequestObjectRefused(f"{name} of the request object: expired or not yet valid")


def _read_parameters(
    claims: Mapping[str, object], *, verifier: str, signed: bool
) -> PresentationRequest:
    modes = ("direct_post", ENCRYPTED_MODE)
    if claims.get("response_type") != "vp_token" or claims.get("response_mode") not in modes:
        raise InvalidRequest("this wallet answers vp_token by direct_post, plain or encrypted")
    for name in ("redirect_uri", "scope", "presentation_definition"):
        if name in claims:
            raise InvalidRequest(f"{_WHAT} must not have {name} beside direct_post and DCQL")
    nonce = require_text(claims, "nonce", what=_WHAT)
    state = optional_text(claims, "state", what=_WHAT)
    if not is_url_safe(nonce) or (state is not None and not is_url_safe(state)):
        raise InvalidRequest("nonce and state are made of letters, digits and - . _ ~")
    query = claims.get("dcql_query")
    if not isinstance(query, dict):
        raise MissingParameter(f"{_WHAT} needs dcql_query, an object")
    dcql = parse_dcql(query)
    key, content_encryption = _encryption(claims)
    return PresentationRequest(
        client_id=require_text(claims, "client_id", what=_WHAT),
        response_uri=require_url(claims, "response_uri", what=_WHAT),
        nonce=nonce,
        state=state,
        dcql=dcql,
        transaction_data=_transaction_data(claims),
        signed=signed,
        verifier=verifier,
        response_key=key,
        content_encryption=content_encryption,
    )


def _encryption(claims: Mapping[str, object]) -> tuple[Mapping[str, object] | None, str]:
    """The verifier's key and the content encryption (sections 5.1 and 8.3); none in the clear."""
    if claims.get("response_mode") != ENCRYPTED_MODE:
        return None, ""
    metadata = require_object(claims, "client_metadata", what=_WHAT)
    keys = require_object(metadata, "jwks", what="client_metadata").get("keys")
    for key in keys if isinstance(keys, list) else []:
        if isinstance(key, dict) and (key.get("alg"), key.get("crv")) == ("ECDH-ES", "P-256"):
            known = metadata.get("encrypted_response_enc_values_supported", CONTENT_ENCRYPTION[:1])
            taken = known if isinstance(known, list | tuple) else ()
            for name in reversed(CONTENT_ENCRYPTION):
                if name in taken:
                    return key, name
    raise InvalidRequest("this wallet encrypts by ECDH-ES on P-256 with AES-GCM only")


def _transaction_data(claims: Mapping[str, object]) -> tuple[TransactionData, ...]:
    if "transaction_data" not in claims:
        return ()
    error = "invalid_transaction_data"
    try:
        strings = require_strings(claims, "transaction_data", what=_WHAT, error=error)
        return tuple(decode_transaction_data(text) for text in strings)
    except WalletProtocolError as problem:
        raise InvalidTransactionData(str(problem)) from problem
