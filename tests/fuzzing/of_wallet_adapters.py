"""The parsers of `wallet_adapters`: forms, links, requests and answers, on either side."""

import json
from collections.abc import Callable
from typing import Any

from joserfc import jwe
from joserfc.jwk import ECKey

from credentials.errors import CredentialError
from credentials.jcs import b64url
from credentials.keys import SoftwareKey
from credentials.status import StatusCheck
from tests.broker.proving import LI, PERSON, Registry
from tests.fuzzing.parser import Parser, dumped, form, members, text, value
from tests.wallet_adapters.forging import jws
from tests.wallet_adapters.parties import NOW, URL, VCT, Authority
from wallet_adapters import envelope
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.loopback import (
    Answer,
    HeldCredential,
    Wallet,
    parse_request_link,
    read_credentials,
    read_direct_post_answer,
    read_issuer_metadata,
    read_nonce,
    read_request_object,
    read_token,
    read_unsigned_request,
)
from wallet_adapters.loopback.issuance import IssuerDescription, read_token_endpoint
from wallet_adapters.loopback.request import RequestLink
from wallet_adapters.oauth import dpop, par, pkce
from wallet_adapters.oauth.revocation import parse_revocation_request
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
    resolve_configuration,
    verify_client_assertion,
    verify_key_proof,
    verify_key_proofs,
    well_known_url,
)
from wallet_adapters.openid4vci.attributes import (
    AttributesConfiguration,
    attributes_response,
    parse_attributes_request,
    read_attributes_response,
    read_configuration,
)
from wallet_adapters.openid4vci.deferred import parse_deferred_request
from wallet_adapters.openid4vci.token import requested_configurations
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
from wallet_adapters.openid4vp.encrypted_response import (
    new_response_key,
    open_response,
    public_response_key,
    seal_response,
)
from wallet_adapters.openid4vp.proof import (
    FORMAT,
    AskedCredential,
    ProofQuery,
    TrustedIssuer,
    proof_request,
    read_proof,
    write_proof,
)
from wallet_adapters.openid4vp.response import parse_proof_response
from wallet_adapters.openid4vp.transaction_data import fallback_nonce, verify_fallback_nonce
from wallet_adapters.openid4vp.verify import verify_several
from wallet_adapters.status_token import read_status_index, read_status_shard
from wallet_adapters.vault_reference import REFERENCE_TYPE, read_vault_reference
from wallet_adapters.wire import (
    decode_base64url,
    parse_form,
    parse_json,
    parse_json_object,
    parse_query,
)
from zkp import AtLeast, Place, SecretKey, ZkpError, commit, prove

AUTHORITY = Authority()
KEY = SoftwareKey.generate()
ENCRYPTION = new_response_key()
OFFER = CredentialOffer(URL, ("customer",), "code")
LINK = RequestLink(x509_hash_client_id(AUTHORITY.leaf), f"{URL}/request", post=True)
DCQL = DcqlQuery((CredentialQuery("q", (VCT,)),))
EXPECTED = ExpectedResponse("x509_hash:a", "n", "s", DCQL)
FAMILY = (WalletProtocolError,)
VERIFIED = (WalletProtocolError, CredentialError)
CREDENTIAL = AUTHORITY.issue(KEY.public_jwk())
CLAIMS = {"iss": "p", "sub": "p", "aud": URL, "iat": NOW, "exp": NOW + 60, "jti": "1"}
DESCRIPTION = IssuerDescription(
    issuer=URL,
    credential_endpoint=f"{URL}/credential",
    nonce_endpoint=None,
    authorization_server=URL,
    batch_size=2,
    types={"customer": VCT},
)
HONEST_REQUEST = {
    "client_id": LINK.client_id,
    "aud": "https://self-issued.me/v2",
    "wallet_nonce": "w",
    "response_type": "vp_token",
    "response_mode": "direct_post",
    "response_uri": f"{URL}/response",
    "nonce": "n",
    "dcql_query": DCQL.as_dict(),
}
# A key of the issuer's that everybody may know: fuzzing starts from the same bytes each time.
REGISTRY = Registry(SecretKey.from_material(b"a registry for fuzzing its readers"))
ATTRIBUTES = REGISTRY.issue(LI)
PROOF_QUERY = ProofQuery(
    {
        "id": AskedCredential(
            "person/1", (TrustedIssuer(REGISTRY.issuer, REGISTRY.key.public.data),)
        )
    },
    (AtLeast(Place("id", "income"), 1),),
)
ASKED = proof_request(
    client_id="x509_hash:a", response_uri=URL, nonce="n" * 22, state="s", dcql=PROOF_QUERY.dcql()
)
PROVEN = prove(ASKED, {"id": ATTRIBUTES.opened()})
KIND = AttributesConfiguration(ATTRIBUTES.header.encode(), (REGISTRY.key.public.data,))
DELIVERED = attributes_response(
    REGISTRY.key.public, KIND.header, ATTRIBUTES.opened().signature, ATTRIBUTES.values
)
STATUS_INDEX: dict[str, Any] = {
    "epoch": 1,
    "ends_at": 2,
    "keys": [{"id": "k-1", "key": ATTRIBUTES.key, "bits": 3}],
}
STATUS_SHARD: dict[str, Any] = {
    "header": b64url(KIND.header),
    "tokens": {"00" * 16: ATTRIBUTES.signature},
}
COMMITMENT = b64url(commit(REGISTRY.key.public, KIND.header, PERSON, b"n" * 16)[0].to_bytes())
DETAILS = [{"type": "openid_credential", "credential_configuration_id": "customer"}]
_METADATA = {
    "credential_issuer": URL,
    "credential_endpoint": f"{URL}/credential",
    "authorization_servers": [URL],
    "batch_credential_issuance": {"batch_size": 4},
    "credential_configurations_supported": {
        "customer": {
            "format": "dc+sd-jwt",
            "vct": VCT,
            "proof_types_supported": {"jwt": {"proof_signing_alg_values_supported": ["ES256"]}},
        }
    },
}
_TOKEN = {
    "access_token": "t",
    "token_type": "bearer",
    "authorization_details": [DETAILS[0] | {"credential_identifiers": ["c"]}],
}

SEALING = envelope.new_sealing_key()
PUBLIC_SEALING = envelope.read_sealing_key({k: v for k, v in SEALING.items() if k != "d"})
ENVELOPE = envelope.seal_envelope(
    envelope.Sealed("c-1", "home_city", "none", {"city": "Shanghai"}), PUBLIC_SEALING
).encode()


def _answered(read: Callable[[Answer], object]) -> Callable[[bytes], object]:
    """What another server answers: its first byte stands for the status."""

    def act(data: bytes) -> object:
        return read(Answer((200, 200, 201, 400)[data[0] % 4 if data else 0], data[1:]))

    return act


def _proof(header: dict[str, Any], claims: dict[str, Any]) -> str:
    return jws(KEY, {"typ": "openid4vci-proof+jwt", "jwk": KEY.public_jwk()} | header, claims)


def _key_proof(data: bytes) -> object:
    told = members(data)
    header = told.pop("header", None)
    token = _proof(header if isinstance(header, dict) else {}, told)
    return verify_key_proofs([token], issuer_url=URL, now=NOW)


def _assertion(data: bytes) -> object:
    told = members(data)
    header = told.pop("header", None)
    token = jws(KEY, {"typ": "JWT"} | (header if isinstance(header, dict) else {}), told)
    return verify_client_assertion(
        parse_client_assertion(token), keys=[KEY.public_jwk()], audiences=[URL], now=NOW
    )


def _dpop(data: bytes) -> object:
    told = members(data)
    header = told.pop("header", None)
    usual = {"typ": "dpop+jwt", "jwk": KEY.public_jwk()}
    token = jws(KEY, usual | (header if isinstance(header, dict) else {}), told)
    return dpop.verify_dpop_proof(token, method="POST", url=URL, now=NOW, access_token="t")


def _reference(data: bytes) -> object:
    """Claims behind the signature of the key that it brings."""
    told = members(data)
    header = told.pop("header", None)
    usual = {"typ": REFERENCE_TYPE, "jwk": KEY.public_jwk()}
    token = jws(KEY, usual | (header if isinstance(header, dict) else {}), told)
    return read_vault_reference(token, audience=URL, now=NOW)


def _envelope_content(data: bytes) -> object:
    """What is inside of an envelope that opens."""
    header = {
        "alg": envelope.KEY_AGREEMENT,
        "enc": envelope.CONTENT,
        "typ": envelope.ENVELOPE_TYPE,
        "kid": PUBLIC_SEALING["kid"],
    }
    key = ECKey.import_key({name: PUBLIC_SEALING[name] for name in ("kty", "crv", "x", "y")})
    algorithms = [envelope.KEY_AGREEMENT, envelope.CONTENT]
    sealed = jwe.encrypt_compact(header, data, key, algorithms=algorithms)
    return envelope.open_envelope(sealed.encode(), SEALING, consent_id="c-1", attribute="home_city")


def _request_object(data: bytes) -> object:
    told = members(data)
    header = told.pop("header", None)
    usual = {"typ": "oauth-authz-req+jwt", "x5c": AUTHORITY.x5c}
    token = jws(
        AUTHORITY.key,
        usual | (header if isinstance(header, dict) else {}),
        HONEST_REQUEST | told,
    )
    return read_request_object(
        token, link=LINK, wallet_nonce="w", anchors=[AUTHORITY.root], now=NOW
    )


def _unsigned(data: bytes) -> object:
    told = HONEST_REQUEST | members(data)
    return read_unsigned_request(
        RequestLink(f"redirect_uri:{URL}", None, post=False, parameters=told)
    )


def _response(data: bytes) -> object:
    response = parse_authorization_response(form(data))
    if isinstance(response, AuthorizationResponse):
        told: dict[str, Any] = {"anchors": [AUTHORITY.root], "now": NOW}
        told["status"] = StatusCheck.BY_CALLER
        several = verify_several(response, expected=EXPECTED, **told)
        return several, verify_response(response, expected=EXPECTED, **told)
    return response


def _zero_knowledge(data: bytes) -> object:
    """By itself, in a wallet's form, and as far as its points."""
    received = read_proof(value(data))
    told = {"vp_token": json.dumps({"proof": [value(data)]}), "state": "s"}
    return parse_proof_response(told), received.presentation()


def _delivered(data: bytes) -> object:
    """A kind of credential as metadata have it, and a credential of it."""
    kind = read_configuration({"kind": members(data).get("kind", KIND.as_dict())}, "kind")
    return read_attributes_response(members(data), kind)


def _status_tokens(data: bytes) -> object:
    """An index and a shard in one, so that each gets what fits it."""
    index = read_status_index(members(data))
    return index, read_status_shard(members(data))


def _proof_query(data: bytes) -> object:
    query = {"id": "proof", "format": FORMAT, "meta": members(data)}
    return ProofQuery.of(parse_dcql({"credentials": [query]})).dcql()


def _encrypted(data: bytes) -> object:
    return open_response({"response": text(data)}, ENCRYPTION)


def _encrypted_payload(data: bytes) -> object:
    sealed = seal_response(members(data), public_response_key(ENCRYPTION))
    return parse_authorization_response(open_response({"response": sealed}, ENCRYPTION))


def _json(data: bytes) -> object:
    return parse_json_object(data, what="it"), parse_json(text(data), what="it")


def _credential_request(data: bytes) -> object:
    asked = parse_credential_request(data, max_batch=3)
    return resolve_configuration(
        asked, configuration_ids=["customer"], credential_identifiers={"copy": "customer"}
    )


def _credentials(answer: Answer) -> object:
    return read_credentials(
        answer,
        description=DESCRIPTION,
        configuration_id="customer",
        keys=[KEY],
        anchors=[AUTHORITY.root],
        now=NOW,
    )


def _links(data: bytes) -> object:
    link = text(data)
    return parse_offer_link(link)


def _par(data: bytes) -> object:
    asked = par.parse_pushed_request(form(data), issuer=URL)
    return requested_configurations(asked.details)


def _p(
    name: str,
    covers: str,
    act: Callable[[bytes], object],
    *samples: bytes,
    families: tuple[type[Exception], ...] = FAMILY,
) -> Parser:
    full = tuple(f"wallet_adapters.{one}" for one in covers.split())
    return Parser(name, full, act, samples, families)


PARSERS = (
    _p("wire JSON", "wire.parse_json wire.parse_json_object", _json, dumped(_METADATA)),
    _p("wire form", "wire.parse_form", parse_form, b"grant_type=a%20b&scope=c+d&e="),
    _p(
        "wire query",
        "wire.parse_query",
        lambda data: parse_query(text(data), what="it"),
        b"openid4vp://?client_id=a&request_uri=b",
    ),
    _p(
        "wire base64url",
        "wire.decode_base64url",
        lambda data: decode_base64url(text(data), what="it"),
        b"AQgw",
    ),
    _p(
        "token request",
        "openid4vci.token.parse_token_request oauth.par.parse_code_request",
        lambda data: parse_token_request(form(data)),
        dumped({"grant_type": PRE_AUTHORIZED_CODE_GRANT, "pre-authorized_code": "c"}),
        dumped(
            {
                "grant_type": CLIENT_CREDENTIALS_GRANT,
                "client_assertion_type": CLIENT_ASSERTION_TYPE,
                "client_assertion": jws(KEY, {"typ": "JWT"}, CLAIMS),
            }
        ),
        dumped(
            {
                "grant_type": "authorization_code",
                "code": "c",
                "redirect_uri": URL,
                "client_id": "w",
                "code_verifier": pkce.new_verifier(),
            }
        ),
    ),
    _p(
        "transaction code",
        "",
        lambda data: require_tx_code(text(data), "493536"),
        b"493536",
    ),
    _p(
        "client assertion",
        "openid4vci.client_assertion.parse_client_assertion",
        lambda data: parse_client_assertion(text(data)),
        jws(KEY, {"typ": "JWT"}, CLAIMS).encode(),
    ),
    _p(
        "signed client assertion",
        "openid4vci.client_assertion.verify_client_assertion",
        _assertion,
        dumped(CLAIMS),
        dumped(CLAIMS | {"header": {"kid": "1"}, "aud": [URL, "x"]}),
    ),
    _p(
        "revocation request",
        "oauth.revocation.parse_revocation_request "
        "openid4vci.client_assertion.read_client_assertion",
        lambda data: parse_revocation_request(form(data)),
        dumped(
            {
                "token": "t",
                "token_type_hint": "access_token",
                "client_assertion_type": CLIENT_ASSERTION_TYPE,
                "client_assertion": jws(KEY, {"typ": "JWT"}, CLAIMS),
            }
        ),
    ),
    _p(
        "authorization details",
        "",
        lambda data: requested_configurations(text(data)),
        dumped(DETAILS),
    ),
    _p(
        "pushed request",
        "oauth.par.parse_pushed_request oauth.pkce.read_challenge",
        _par,
        dumped(
            {
                "response_type": "code",
                "client_id": "w",
                "redirect_uri": "http://127.0.0.1/wallet",
                "code_challenge": pkce.challenge_of(pkce.new_verifier()),
                "code_challenge_method": "S256",
                "authorization_details": DETAILS,
                "scope": "customer_credential",
            }
        ),
    ),
    _p(
        "redirect address",
        "",
        lambda data: par.check_redirect_uri(text(data)),
        b"https://wallet.example/cb",
        b"com.example.wallet:/cb",
        b"http://[::1]:80/cb",
    ),
    _p(
        "authorization query",
        "oauth.par.parse_authorization_query",
        lambda data: par.parse_authorization_query(form(data)),
        dumped({"client_id": "w", "request_uri": f"{par.REQUEST_URI}x"}),
    ),
    _p(
        "PKCE verifier",
        "oauth.pkce.verify_verifier",
        lambda data: pkce.verify_verifier(text(data), pkce.challenge_of("v" * 43)),
        b"v" * 43,
    ),
    _p(
        "DPoP proof",
        "oauth.dpop.verify_dpop_proof key_jwt.read_key_jwt key_jwt.KeyJwt.verify",
        _dpop,
        dumped(
            {
                "htm": "POST",
                "htu": URL,
                "iat": NOW,
                "jti": "1",
                "nonce": "n",
                "ath": dpop.token_hash("t"),
                "header": {"alg": "ES256"},
            }
        ),
    ),
    _p(
        "sealing key",
        "envelope.read_sealing_key",
        lambda data: envelope.read_sealing_key(value(data)),
        dumped(PUBLIC_SEALING),
        dumped({"kty": "OKP", "crv": "X25519", "x": "0uESUnUH3HmMj1WUIpcX3PuwsiphRrfkj3ApUchWAzE"}),
    ),
    _p(
        "envelope",
        "envelope.read_envelope_header envelope.open_envelope",
        lambda data: envelope.open_envelope(data, SEALING, consent_id="c-1", attribute="home_city"),
        ENVELOPE,
    ),
    _p(
        "content of an envelope",
        "envelope.open_envelope",
        _envelope_content,
        dumped({"consent": "c-1", "attribute": "home_city", "masking": "none", "value": [1]}),
    ),
    _p(
        "vault reference",
        "vault_reference.read_vault_reference",
        _reference,
        dumped(
            {
                "aud": URL,
                "iat": NOW,
                "consent": "c-1",
                "attribute": "home_city",
                "masking": "none",
                "vault": "local",
                "kid": "k",
                "digest": "d" * 43,
                "size": 9,
            }
        ),
    ),
    _p("address", "", lambda data: dpop.normalized(text(data)), b"HTTPS://A.example:443/%7ea"),
    _p(
        "credential request",
        "openid4vci.credential.parse_credential_request "
        "openid4vci.credential.resolve_configuration",
        _credential_request,
        dumped(
            {"credential_configuration_id": "customer", "proofs": {"jwt": [_proof({}, CLAIMS)]}}
        ),
        dumped({"credential_identifier": "copy", "proofs": {"jwt": [_proof({}, CLAIMS)]}}),
    ),
    _p(
        "key proof",
        "openid4vci.proof.verify_key_proofs openid4vci.proof.verify_key_proof",
        _key_proof,
        dumped({"aud": URL, "iat": NOW, "nonce": "n", "header": {"alg": "ES256"}}),
    ),
    _p(
        "key proof as sent",
        "openid4vci.proof.verify_key_proof",
        lambda data: verify_key_proof(text(data), issuer_url=URL, now=NOW),
        _proof({}, {"aud": URL, "iat": NOW, "nonce": "n"}).encode(),
    ),
    _p(
        "deferred request",
        "openid4vci.deferred.parse_deferred_request",
        parse_deferred_request,
        dumped({"transaction_id": "x" * 43}),
    ),
    _p(
        "notification",
        "openid4vci.credential.parse_notification",
        parse_notification,
        dumped({"notification_id": "n", "event": "credential_accepted"}),
    ),
    _p("offer", "openid4vci.offer.parse_offer", parse_offer, dumped(OFFER.as_dict())),
    _p(
        "offer link",
        "openid4vci.offer.parse_offer_link",
        _links,
        OFFER.by_value().encode(),
        OFFER.by_reference(f"{URL}/offer").encode(),
    ),
    _p(
        "well-known address",
        "",
        lambda data: well_known_url(text(data), "x"),
        b"https://a.example/t/1",
    ),
    _p("DCQL", "openid4vp.dcql.parse_dcql", parse_dcql, dumped(DCQL.as_dict())),
    _p(
        "transaction data",
        "openid4vp.transaction_data.decode_transaction_data",
        lambda data: decode_transaction_data(b64url(data)),
        dumped({"type": "t", "credential_ids": ["q"], "transaction_data_hashes_alg": ["sha-256"]}),
    ),
    _p(
        "fallback nonce",
        "openid4vp.transaction_data.verify_fallback_nonce",
        lambda data: verify_fallback_nonce(text(data), "AQgw", bytes(32)),
        fallback_nonce("AQgw", bytes(32)).nonce.encode(),
    ),
    _p(
        "request by POST",
        "openid4vp.request.parse_request_uri_post",
        lambda data: parse_request_uri_post(form(data)),
        dumped({"wallet_nonce": "w", "wallet_metadata": {"vp_formats_supported": {}}}),
    ),
    _p(
        "wallet's answer",
        "openid4vp.response.parse_authorization_response openid4vp.verify.verify_response "
        "openid4vp.verify.verify_several",
        _response,
        dumped({"vp_token": {"q": [CREDENTIAL]}, "state": "s"}),
        dumped({"error": "access_denied", "state": "s"}),
        families=VERIFIED,
    ),
    _p(
        "zero-knowledge proof",
        "openid4vp.proof.read_proof openid4vp.response.parse_proof_response",
        _zero_knowledge,
        dumped(write_proof(ASKED, PROVEN)),
        families=(WalletProtocolError, ZkpError),
    ),
    _p(
        "credential request for attributes",
        "openid4vci.attributes.parse_attributes_request",
        parse_attributes_request,
        dumped(
            {
                "credential_configuration_id": "attributes:person/1",
                "proofs": {"holder_commitment": [{"nonce": "n", "commitment": COMMITMENT}]},
            }
        ),
    ),
    _p(
        "attributes",
        "openid4vci.attributes.read_configuration openid4vci.attributes.read_attributes_response",
        _delivered,
        dumped({"kind": KIND.as_dict()} | DELIVERED),
        dumped(DELIVERED),
    ),
    _p(
        "status tokens",
        "status_token.read_status_index status_token.read_status_shard",
        _status_tokens,
        dumped(STATUS_INDEX | STATUS_SHARD),
    ),
    _p("proof query", "", _proof_query, dumped(PROOF_QUERY.meta())),
    _p(
        "encrypted answer",
        "openid4vp.encrypted_response.open_response",
        _encrypted,
        seal_response({"vp_token": {}}, public_response_key(ENCRYPTION)).encode(),
    ),
    _p(
        "answer inside the encryption",
        "openid4vp.encrypted_response.open_response",
        _encrypted_payload,
        dumped({"vp_token": {"q": [CREDENTIAL]}, "state": "s"}),
    ),
    _p(
        "request link",
        "loopback.request.parse_request_link",
        lambda data: parse_request_link(text(data)),
        b"openid4vp://?client_id=x509_hash%3Aa&request_uri=https%3A%2F%2Fa.example%2Fr",
    ),
    _p(
        "request object",
        "loopback.request.read_request_object",
        _request_object,
        dumped({"nonce": "n", "transaction_data": ["e30"], "header": {"alg": "ES256"}}),
    ),
    _p(
        "unsigned request",
        "loopback.request.read_unsigned_request",
        _unsigned,
        dumped({"client_id": f"redirect_uri:{URL}", "response_uri": URL}),
    ),
    _p(
        "issuer metadata for wallets",
        "loopback.issuance.read_issuer_metadata",
        _answered(lambda answer: read_issuer_metadata(answer, OFFER)),
        b"\x00" + dumped(_METADATA),
    ),
    _p(
        "authorization server metadata",
        "loopback.issuance.read_token_endpoint",
        _answered(lambda answer: read_token_endpoint(answer, URL)),
        b"\x00" + dumped({"issuer": URL, "token_endpoint": f"{URL}/token"}),
    ),
    _p(
        "token answer",
        "loopback.issuance.read_token",
        _answered(read_token),
        b"\x00" + dumped(_TOKEN),
    ),
    _p(
        "nonce answer",
        "loopback.issuance.read_nonce",
        _answered(read_nonce),
        b"\x00" + dumped({"c_nonce": "n"}),
    ),
    _p(
        "credential answer",
        "loopback.issuance.read_credentials",
        _answered(_credentials),
        b"\x00" + dumped({"credentials": [{"credential": CREDENTIAL}], "notification_id": "n"}),
    ),
    _p(
        "direct_post answer",
        "loopback.presentation.read_direct_post_answer",
        _answered(read_direct_post_answer),
        b"\x00" + dumped({"redirect_uri": f"{URL}/done#response_code=1"}),
    ),
    _p(
        "wallet state",
        "loopback.state.Wallet.from_json",
        lambda data: [
            *((one.key, one.claims()) for one in Wallet.from_json(text(data)).credentials),
            *((one.kind, one.opened()) for one in Wallet.from_json(text(data)).attributes),
        ],
        Wallet([AUTHORITY.root], [HeldCredential(CREDENTIAL, KEY.private_jwk())], [ATTRIBUTES])
        .to_json()
        .encode(),
    ),
)
EXCLUDED: dict[str, str] = {}
