"""Whatever arrives, nothing but the family is raised, and nothing verifies by chance."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from credentials.errors import CredentialError
from credentials.jcs import b64url
from credentials.keys import SoftwareKey
from tests.wallet_adapters.forging import jws
from tests.wallet_adapters.parties import NOW, URL, VCT, Authority
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.loopback import (
    Answer,
    Wallet,
    parse_request_link,
    read_direct_post_answer,
    read_issuer_metadata,
    read_nonce,
    read_request_object,
    read_token,
    read_unsigned_request,
)
from wallet_adapters.loopback.request import RequestLink
from wallet_adapters.openid4vci import (
    CLIENT_ASSERTION_TYPE,
    CLIENT_CREDENTIALS_GRANT,
    PRE_AUTHORIZED_CODE_GRANT,
    CredentialOffer,
    parse_client_assertion,
    parse_credential_request,
    parse_notification,
    parse_offer,
    parse_offer_link,
    parse_token_request,
    require_tx_code,
    verify_client_assertion,
    verify_key_proof,
    well_known_url,
)
from wallet_adapters.openid4vp import (
    AuthorizationResponse,
    CredentialQuery,
    DcqlQuery,
    ExpectedResponse,
    decode_transaction_data,
    parse_authorization_response,
    parse_dcql,
    parse_request_uri_post,
    verify_response,
    x509_hash_client_id,
)

AUTHORITY = Authority()
KEY = SoftwareKey.generate()
OFFER = CredentialOffer(URL, ("customer",), "code")
LINK = RequestLink(x509_hash_client_id(AUTHORITY.leaf), f"{URL}/request", post=True)
EXPECTED = ExpectedResponse("x509_hash:a", "n", "s", DcqlQuery((CredentialQuery("q", (VCT,)),)))

# The names that the protocols use, so that arbitrary values get past the first check.
NAMES = st.sampled_from(
    [
        *("grant_type", "pre-authorized_code", "tx_code", "client_assertion", "scope", "client_id"),
        *("client_assertion_type", "authorization_details", "type", "credential_configuration_id"),
        *("credential_issuer", "credential_configuration_ids", "grants", PRE_AUTHORIZED_CODE_GRANT),
        *("credential_identifier", "proofs", "jwt", "proof", "notification_id", "event", "error"),
        *(
            "credentials",
            "id",
            "format",
            "meta",
            "vct_values",
            "claims",
            "path",
            "values",
            "multiple",
        ),
        *("claim_sets", "credential_sets", "options", "required", "trusted_authorities", "issuer"),
        *("vp_token", "state", "response", "q", "wallet_nonce", "wallet_metadata", "redirect_uri"),
        *(
            "access_token",
            "token_type",
            "c_nonce",
            "credential_endpoint",
            "nonce_endpoint",
            "customer",
        ),
        *("credential_configurations_supported", "batch_credential_issuance", "batch_size"),
        *("authorization_servers", "proof_types_supported", "vct", "anchors", "holder_key"),
        *("response_type", "response_mode", "response_uri", "nonce", "dcql_query", "aud", "exp"),
        *("transaction_data", "credential_ids", "transaction_data_hashes_alg", "iat", "iss", "sub"),
        *("jti", "alg", "typ", "jwk", "kid", "x5c", "kty", "crv", "x", "y", "cnf", "credential"),
    ]
)
TEXTS = st.sampled_from(
    [
        *("", "q", "customer", URL, VCT, "dc+sd-jwt", "vp_token", "direct_post", "bearer", "a.b.c"),
        *(PRE_AUTHORIZED_CODE_GRANT, CLIENT_CREDENTIALS_GRANT, CLIENT_ASSERTION_TYPE, "ES256"),
        *("a.b.c~", "~", "[]", "{}", "null", "numeric", "openid_credential", "urn:x", "sha-256"),
    ]
) | st.text(max_size=12)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | TEXTS, inner, max_size=6),
    max_leaves=12,
)
OBJECTS = st.dictionaries(NAMES | TEXTS, VALUES, max_size=8)
FORMS = st.dictionaries(NAMES | TEXTS, TEXTS | VALUES.map(json.dumps), max_size=8)


def in_family(attempt: Callable[[], object]) -> None:
    """Run it; any other exception than the family's fails the test."""
    try:
        attempt()
    except WalletProtocolError as problem:
        body = problem.body()
        assert body["error_description"].isascii(), "goes into a header-safe field"
        assert problem.code != WalletProtocolError.code, "a leaf with a code of its own"  # noqa: PT017


@given(FORMS)
def test_forms(form: dict[str, str]) -> None:
    in_family(lambda: parse_token_request(form))
    in_family(lambda: parse_authorization_response(form))
    in_family(lambda: parse_request_uri_post(form))
    in_family(lambda: require_tx_code(form.get("tx_code"), form.get("q")))


@given(OBJECTS)
def test_objects(value: dict[str, Any]) -> None:
    body = json.dumps(value).encode()
    attempts: list[Callable[[Any], object]] = [
        parse_offer,
        parse_dcql,
        parse_notification,
        lambda data: parse_credential_request(data, max_batch=3),
    ]
    for attempt in attempts:
        in_family(lambda found=attempt: found(value))  # type: ignore[misc]
        in_family(lambda found=attempt: found(body))  # type: ignore[misc]
    in_family(lambda: decode_transaction_data(b64url(body)))


@given(OBJECTS, st.sampled_from([200, 201, 400, 500]))
def test_answers(value: Mapping[str, object], status: int) -> None:
    answer = Answer(status, json.dumps(value).encode())
    in_family(lambda: read_token(answer))
    in_family(lambda: read_nonce(answer))
    in_family(lambda: read_issuer_metadata(answer, OFFER))
    in_family(
        lambda: read_issuer_metadata(
            Answer(200, json.dumps({**value, "credential_issuer": URL}).encode()), OFFER
        )
    )
    in_family(lambda: read_direct_post_answer(answer))
    in_family(lambda: Wallet.from_json(json.dumps(value)))


@given(OBJECTS, OBJECTS)
def test_signed_but_senseless(header: dict[str, Any], claims: dict[str, Any]) -> None:
    proof = jws(KEY, {"typ": "openid4vci-proof+jwt", "jwk": KEY.public_jwk()} | header, claims)
    in_family(lambda: verify_key_proof(proof, issuer_url=URL, now=NOW))
    assertion = jws(KEY, header, {"iss": "p", "sub": "p", "aud": URL} | claims)
    in_family(
        lambda: verify_client_assertion(
            parse_client_assertion(assertion), keys=[KEY.public_jwk()], audiences=[URL], now=NOW
        )
    )
    honest = {
        "client_id": LINK.client_id,
        "aud": "https://self-issued.me/v2",
        "wallet_nonce": "w",
        "response_type": "vp_token",
        "response_mode": "direct_post",
        "response_uri": f"{URL}/response",
        "nonce": "n",
        "dcql_query": EXPECTED.dcql.as_dict(),
    }
    token = jws(
        AUTHORITY.key,
        {"typ": "oauth-authz-req+jwt", "x5c": AUTHORITY.x5c} | header,
        honest | claims,
    )
    in_family(
        lambda: read_request_object(
            token, link=LINK, wallet_nonce="w", anchors=[AUTHORITY.root], now=NOW
        )
    )
    unsigned = RequestLink(f"redirect_uri:{URL}", None, post=False, parameters=honest | claims)
    in_family(lambda: read_unsigned_request(unsigned))


@given(st.text(max_size=80), st.binary(max_size=80))
def test_text_and_bytes(text: str, data: bytes) -> None:
    attempts: list[Callable[[Any], object]] = [
        parse_offer_link,
        lambda found: parse_offer_link(f"openid-credential-offer://?credential_offer={found}"),
        parse_request_link,
        lambda found: parse_request_link(f"openid4vp://?client_id={found}&dcql_query={found}"),
        parse_client_assertion,
        decode_transaction_data,
        Wallet.from_json,
        lambda found: verify_key_proof(found, issuer_url=URL, now=NOW),
        lambda found: well_known_url(found, "x"),
        lambda found: well_known_url(f"https://{found}", "x"),
        lambda found: parse_authorization_response({"vp_token": json.dumps({"q": [found]})}),
        lambda found: read_request_object(
            found, link=LINK, wallet_nonce="w", anchors=[AUTHORITY.root], now=NOW
        ),
    ]
    for attempt in attempts:
        in_family(lambda found=attempt: found(text))  # type: ignore[misc]
    in_family(lambda: parse_credential_request(data, max_batch=1))
    in_family(lambda: Answer(200, data).text("it"))
    in_family(lambda: read_token(Answer(400, data)))


@given(text=st.text(alphabet="ab.~-_", max_size=40), honest_credential=st.booleans())
def test_no_invented_presentation_verifies(text: str, *, honest_credential: bool) -> None:
    presented = AUTHORITY.issue(KEY.public_jwk()) + text if honest_credential else text
    try:
        response = parse_authorization_response(
            {"vp_token": json.dumps({"q": [presented]}), "state": "s"}
        )
        assert isinstance(response, AuthorizationResponse)
        verified = verify_response(response, expected=EXPECTED, anchors=[AUTHORITY.root], now=NOW)
    except (WalletProtocolError, CredentialError):
        return
    raise AssertionError(f"verified: {verified}")
