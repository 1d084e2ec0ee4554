"""The parsers of `credentials`: everything that reads keys, certificates, credentials, lists."""

import json
from base64 import b64decode

from credentials.certificate import read_certificate
from credentials.chain import verify_chain
from credentials.did import assertion_keys, did_jwk, did_key, did_web, did_web_url, resolve
from credentials.errors import CredentialError
from credentials.jcs import b64url, b64url_decode, b64url_decode_ascii, canonical
from credentials.json_reader import read_json, read_json_object
from credentials.jws import PublicKey, parse_jws, sign_jws, verify_jws
from credentials.keys import SoftwareKey, thumbprint, verify_signature
from credentials.metadata import (
    issuer_metadata,
    issuer_metadata_url,
    read_issuer_metadata,
    read_type_metadata,
)
from credentials.sdjwt import bind, parse, present, transaction_data_hash
from credentials.sealing import MasterKey
from credentials.status import StatusCheck, StatusList, read_status_list, verify_status_token
from credentials.suites import public_part
from tests.credentials.world import AUDIENCE, CLAIMS, ISSUER, NONCE, NOW, STATUS_URI, TERMS, VCT
from tests.credentials.world import World as CredentialWorld
from tests.fuzzing.parser import Parser, dumped, members, text, value

WORLD = CredentialWorld.make()
ED25519 = SoftwareKey.generate("Ed25519")
MASTER = MasterKey(bytes(range(32)))
CREDENTIAL = WORLD.issue()
SHOWN = WORLD.show(CREDENTIAL, transaction_data=[TERMS])
HOLDER = WORLD.holder.public_jwk()
FAMILY = (CredentialError,)
_TYPE = "test+jwt"
_JWS = sign_jws(WORLD.holder, {"typ": _TYPE}, {"a": 1})
_DID_WEB = did_web("https://issuer.example/t/1")
_DOCUMENT = {
    "id": _DID_WEB,
    "verificationMethod": [{"id": f"{_DID_WEB}#1", "type": "JsonWebKey", "publicKeyJwk": HOLDER}],
    "assertionMethod": [f"{_DID_WEB}#1"],
}
_LIST = {"bits": 2, "lst": StatusList.empty(2, 1000).compress()}
_TYPE_METADATA = {"vct": VCT, "name": "Customer", "claims": [{"path": ["city"]}]}


def _presented(data: bytes) -> object:
    return WORLD.accept_presentation(data, [TERMS], status=StatusCheck.BY_CALLER)


def _taken_apart(data: bytes) -> object:
    held = parse(text(data))
    return held.payload(), held.claims(), held.disclosable()


def _shown_in_part(data: bytes) -> object:
    shown = present(text(data), None)
    return bind(shown, holder_signer=WORLD.holder, nonce=NONCE, audience=AUDIENCE, now=NOW)


def _signed_claims(data: bytes) -> object:
    """The worst sender is one with a trusted key: everything behind the signature is hostile."""
    claims = members(data)
    parts = claims.pop("disclosures", [])
    texts = [b64url(json.dumps(part).encode()) for part in parts if isinstance(parts, list)]
    claims.setdefault("_sd", [transaction_data_hash(one) for one in texts])
    header = {"typ": "dc+sd-jwt", "x5c": WORLD.chain}
    credential = sign_jws(WORLD.issuer_key, header, json.dumps(claims).encode())
    return WORLD.accept("~".join((credential, *texts, "")))


def _signed_header(data: bytes) -> object:
    header = {"typ": "dc+sd-jwt", "x5c": WORLD.chain} | members(data)
    return WORLD.accept(_raw_jws(header, {"vct": VCT, "iss": ISSUER, "iat": NOW}) + "~")


def _raw_jws(header: object, payload: object) -> str:
    """Signed whatever the header says: `sign_jws` itself would refuse most of these."""
    signed = f"{b64url(json.dumps(header).encode())}.{b64url(json.dumps(payload).encode())}"
    return f"{signed}.{b64url(WORLD.issuer_key.sign(signed.encode()))}"


def _key_binding(data: bytes) -> object:
    return WORLD.accept_presentation(CREDENTIAL + sign_jws(WORLD.holder, {"typ": "kb+jwt"}, data))


def _status_claims(data: bytes) -> object:
    token = sign_jws(WORLD.issuer_key, {"typ": "statuslist+jwt", "x5c": WORLD.chain}, data)
    found = verify_status_token(token, uri=STATUS_URI, anchors=[WORLD.root], now=NOW)
    return found.get(7)


def _jwk(data: bytes) -> object:
    jwk = members(data)
    return public_part(jwk), thumbprint(jwk), PublicKey(jwk).thumbprint()


def _signature(data: bytes) -> object:
    verify_signature(HOLDER, "ES256", data[64:], data[:64])
    return None


def _jwks(data: bytes) -> object:
    keys = read_issuer_metadata(data, issuer=ISSUER)
    return [PublicKey(key) for key in keys]


def _documented(data: bytes) -> object:
    document = read_json_object(data)
    return assertion_keys(resolve(_DID_WEB, document)), assertion_keys(document, f"{_DID_WEB}#1")


PARSERS = (
    Parser(
        "json",
        ("credentials.json_reader.read_json", "credentials.json_reader.read_json_object"),
        lambda data: (read_json(data), read_json_object(data)),
        (dumped(CLAIMS), b'{"a":[[1e3,"\\ud83d\\ude00"]]}'),
        FAMILY,
    ),
    Parser(
        "base64url",
        ("credentials.jcs.b64url_decode", "credentials.jcs.b64url_decode_ascii"),
        lambda data: (b64url_decode(text(data)), b64url_decode_ascii(data)),
        (b"AQgw", TERMS.encode()),
        FAMILY,
    ),
    Parser("canonical JSON", (), lambda data: canonical(value(data)), (dumped(CLAIMS),), FAMILY),
    Parser(
        "JWS",
        ("credentials.jws.parse_jws", "credentials.jws.verify_jws"),
        lambda data: (
            parse_jws(text(data), typ=_TYPE, permit=["jwk", "x5c"]),
            verify_jws(text(data), HOLDER, _TYPE),
        ),
        (_JWS.encode(),),
        FAMILY,
    ),
    Parser("SD-JWT", ("credentials.sdjwt.parse",), _taken_apart, (SHOWN.encode(),), FAMILY),
    Parser(
        "SD-JWT to show",
        ("credentials.disclosures.open_disclosures", "credentials.disclosures.resolve"),
        _shown_in_part,
        (CREDENTIAL.encode(),),
        FAMILY,
    ),
    Parser(
        "presentation",
        ("credentials.verify.verify_presentation", "credentials.disclosures.resolve"),
        _presented,
        (SHOWN.encode(),),
        FAMILY,
    ),
    Parser(
        "claims behind a good signature",
        ("credentials.verify.verify_credential",),
        _signed_claims,
        (
            dumped(
                {"vct": VCT, "iss": ISSUER, "iat": NOW, "exp": NOW + 60, "cnf": {"jwk": HOLDER}}
            ),
            dumped(
                {
                    "vct": VCT,
                    "iss": ISSUER,
                    "_sd_alg": "sha-256",
                    "status": {"status_list": {"idx": 7, "uri": STATUS_URI}},
                    "list": [{"...": "x"}],
                    "disclosures": [["salt", "name", 1], ["salt", {"_sd": []}]],
                }
            ),
        ),
        FAMILY,
    ),
    Parser(
        "header behind a good signature",
        ("credentials.chain.verify_chain",),
        _signed_header,
        (dumped({"alg": "ES256", "kid": "1", "x5c": WORLD.chain, "crit": ["b64"]}),),
        FAMILY,
    ),
    Parser(
        "key binding behind a good signature",
        (),
        _key_binding,
        (dumped({"iat": NOW, "aud": AUDIENCE, "nonce": NONCE, "sd_hash": "AA"}),),
        FAMILY,
    ),
    Parser(
        "certificate",
        ("credentials.certificate.read_certificate",),
        read_certificate,
        (WORLD.root, b64decode(WORLD.chain[0])),
        FAMILY,
    ),
    Parser(
        "certificate chain",
        ("credentials.chain.verify_chain",),
        lambda data: verify_chain(value(data), [WORLD.root], NOW),
        (dumped(WORLD.chain), dumped(WORLD.chain * 5)),
        FAMILY,
    ),
    Parser(
        "public key",
        (
            "credentials.elliptic.Es256.load_public",
            "credentials.elliptic.Es256.decode_point",
            "credentials.elliptic.Ed25519.load_public",
            "credentials.elliptic.Ed25519.decode_point",
        ),
        _jwk,
        (dumped(HOLDER), dumped(ED25519.public_jwk())),
        FAMILY,
    ),
    Parser(
        "private key",
        (
            "credentials.keys.SoftwareKey.from_private_jwk",
            "credentials.elliptic.Es256.load_private",
            "credentials.elliptic.Ed25519.load_private",
        ),
        lambda data: SoftwareKey.from_private_jwk(members(data)),
        (dumped(WORLD.holder.private_jwk()), dumped(ED25519.private_jwk())),
        FAMILY,
    ),
    Parser(
        "signature",
        (
            "credentials.keys.verify_signature",
            "credentials.elliptic.Es256.verify",
            "credentials.elliptic.Ed25519.verify",
            "credentials.jws.PublicKey.verify",
        ),
        _signature,
        (WORLD.holder.sign(b"data") + b"data",),
        FAMILY,
    ),
    Parser(
        "type metadata",
        ("credentials.metadata.read_type_metadata",),
        lambda data: read_type_metadata(data, vct=VCT),
        (dumped(_TYPE_METADATA),),
        FAMILY,
    ),
    Parser(
        "issuer metadata",
        ("credentials.metadata.read_issuer_metadata",),
        _jwks,
        (dumped(issuer_metadata(ISSUER, {"1": HOLDER})),),
        FAMILY,
    ),
    Parser(
        "addresses of an issuer",
        (),
        lambda data: (issuer_metadata_url(text(data)), did_web_url(did_web(text(data)))),
        (ISSUER.encode(),),
        FAMILY,
    ),
    Parser(
        "status list",
        ("credentials.status.read_status_list",),
        lambda data: read_status_list(value(data)),
        (dumped(_LIST),),
        FAMILY,
    ),
    Parser(
        "status list token",
        ("credentials.status.verify_status_token",),
        _status_claims,
        (dumped({"sub": STATUS_URI, "iat": NOW, "exp": NOW + 60, "ttl": 9, "status_list": _LIST}),),
        FAMILY,
    ),
    Parser(
        "DID",
        ("credentials.did.resolve",),
        lambda data: resolve(text(data)),
        (did_key(HOLDER).encode(), did_jwk(HOLDER).encode(), _DID_WEB.encode()),
        FAMILY,
    ),
    Parser("DID document", ("credentials.did.resolve",), _documented, (dumped(_DOCUMENT),), FAMILY),
    Parser(
        "sealed bytes",
        ("credentials.sealing.MasterKey.open", "credentials.keys.SoftwareKey.from_sealed"),
        lambda data: MASTER.open(data, "test:1"),
        (MASTER.seal(b"secret", "test:1"),),
        FAMILY,
    ),
)
EXCLUDED = {
    "credentials.sealing.MasterKey.from_bytes": "the operator's own 32 bytes; length alone",
    "credentials.elliptic.Es256.decode_spki": "reached by certificates alone",
    "credentials.elliptic.Ed25519.decode_spki": "reached by certificates alone",
    "credentials.jws.UnverifiedJws.verify": "takes what parse_jws has read",
}
