"""Credentials: SD-JWT VC issue and verify, status list publication, against sd-jwt and the floor.

The peer is PyPI `sd-jwt`, given the same claims, keys and header. The floor of a verification is
what no verifier can leave out, in bare library calls without a check or an object around them:
two ES256 verifications, loading the holder's key, the hashes, and decoding base64url and JSON of
every part. CPU time of this process.
"""

import binascii
import hashlib
import secrets
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from jwcrypto.jwk import JWK
from sd_jwt.common import SDObj
from sd_jwt.issuer import SDJWTIssuer
from sd_jwt.verifier import SDJWTVerifier

from benchmarks.figure import Figure, ratio_at_most, value_at_most
from benchmarks.probe import interleaved, seconds_per_call
from credentials import (
    SoftwareKey,
    StatusList,
    bind,
    create_root,
    index_permutation,
    issue_leaf,
    issue_sd_jwt_vc,
    issue_status_token,
    parse,
    present,
    verify_presentation,
    x5c,
)
from credentials.elliptic import Es256

NOW = int(time.time())
ISSUER = "https://issuer.example"
VCT = "https://issuer.example/vct/customer/1"
URI = "https://issuer.example/status/1"
AUDIENCE, NONCE = "x509_hash:verifier", "n-0S6_WzA2Mj"
CLAIMS = {
    "given_name": "Ann",
    "family_name": "Lee",
    "email": "ann@example.com",
    "birthdate": "1990-01-01",
    "locality": "Berlin",
    "phone_number": "+49 30 123456",
}
CALLS = 25
ROUNDS = 31
LIST_SIZE = 1_000_000
WITHDRAWN = 10_000

_CURVE = ec.SECP256R1()
_ECDSA = ec.ECDSA(hashes.SHA256())


class _Parties(NamedTuple):
    issuer: SoftwareKey
    holder: SoftwareKey
    root: bytes
    chain: list[str]


def run() -> list[Figure]:
    """Measure issue and verify against the peer and the floor, then status lists."""
    root_key, issuer, holder = (SoftwareKey.generate("ES256") for _ in range(3))
    root = create_root("Root", root_key, NOW)
    leaf = issue_leaf(root, root_key, issuer.public_jwk(), name="Issuer", now=NOW, uri=[ISSUER])
    parties = _Parties(issuer, holder, root, x5c([leaf]))
    calls = _calls(parties) | _status_calls(parties)
    taken = interleaved(
        {
            name: seconds_per_call(call, calls=number, clock=time.process_time)
            for name, (call, number) in calls.items()
        },
        rounds=ROUNDS,
    )
    us = {name: seconds * 1e6 for name, seconds in taken.items()}
    return [
        Figure(
            name="SD-JWT VC issue, 6 disclosures, against sd-jwt",
            value=us["issue"],
            unit="us",
            probe=us["sd-jwt issue"],
            bound=ratio_at_most(0.5),
        ),
        Figure(
            name="SD-JWT VC verify with key binding, against sd-jwt",
            value=us["verify"],
            unit="us",
            probe=us["sd-jwt verify"],
            bound=ratio_at_most(0.5),
        ),
        Figure(
            name="SD-JWT VC verify with key binding, against the floor",
            value=us["verify"],
            unit="us",
            probe=us["floor"],
            bound=ratio_at_most(1.3),
        ),
        Figure(
            name="SD-JWT VC verify with key binding, against signatures and hashes alone",
            value=us["verify"],
            unit="us",
            probe=us["signatures and hashes"],
        ),
        Figure(
            name="status list of 1,000,000, 1 % withdrawn: compress and sign",
            value=us["republish"] / 1000,
            unit="ms",
            bound=value_at_most(5),
        ),
        Figure(name="unpredictable status index", value=us["index"], unit="us"),
    ]


def _calls(parties: _Parties) -> dict[str, tuple[Callable[[], object], int]]:
    issuer, holder, root, chain = parties

    def issue() -> str:
        return issue_sd_jwt_vc(
            signer=issuer,
            x5c=chain,
            issuer=ISSUER,
            vct=VCT,
            claims=CLAIMS,
            disclosable=tuple(CLAIMS),
            holder_jwk=holder.public_jwk(),
            status=None,
            issued_at=NOW,
            expires_at=NOW + 86_400,
        )

    presentation = bind(present(issue()), holder, nonce=NONCE, audience=AUDIENCE, now=NOW)

    def verify() -> object:
        return verify_presentation(
            presentation, anchors=[root], audience=AUDIENCE, nonce=NONCE, now=NOW, vct=VCT
        )

    their_issuer, their_holder, their_key = (
        JWK(**jwk) for jwk in (issuer.private_jwk(), holder.public_jwk(), issuer.public_jwk())
    )
    their_claims: dict[Any, Any] = {SDObj(name): value for name, value in CLAIMS.items()}
    their_claims |= {"iss": ISSUER, "iat": NOW, "exp": NOW + 86_400, "vct": VCT}
    header = {"typ": "dc+sd-jwt", "x5c": chain}

    def their_issue() -> str:
        made = SDJWTIssuer(their_claims, their_issuer, their_holder, extra_header_parameters=header)
        return str(made.sd_jwt_issuance)

    def their_verify() -> object:
        verifier = SDJWTVerifier(presentation, lambda *_: their_key, AUDIENCE, NONCE)
        return verifier.get_verified_payload()

    return {
        "issue": (issue, CALLS),
        "sd-jwt issue": (their_issue, CALLS),
        "verify": (verify, CALLS),
        "sd-jwt verify": (their_verify, CALLS),
        "floor": (_floor(presentation, parties), CALLS),
        "signatures and hashes": (_signatures(presentation, parties), CALLS),
    }


def _signatures(presentation: str, parties: _Parties) -> Callable[[], None]:
    """Two verifications, the holder's key, seven hashes: nothing is decoded."""
    shown = parse(presentation)
    (data, signature), (kb_data, kb_signature) = map(_signed, (shown.issuer_jwt, str(shown.kb_jwt)))
    suite = Es256()
    issuer_key = suite.load_public(parties.issuer.public_jwk())
    point = suite.encode_uncompressed(suite.load_public(parties.holder.public_jwk()))
    disclosures = [text.encode() for text in shown.disclosures]
    bound = shown.bound_part.encode()

    def check() -> None:
        issuer_key.verify(signature, data, _ECDSA)
        holder_key = ec.EllipticCurvePublicKey.from_encoded_point(_CURVE, point)
        holder_key.verify(kb_signature, kb_data, _ECDSA)
        for disclosure in disclosures:
            hashlib.sha256(disclosure).digest()
        hashlib.sha256(bound).digest()

    return check


def _floor(presentation: str, parties: _Parties) -> Callable[[], None]:
    """The same, and every part decoded from base64url and JSON."""
    check = _signatures(presentation, parties)
    shown = parse(presentation)
    parts = [
        *shown.issuer_jwt.split(".")[:2],
        *shown.disclosures,
        *str(shown.kb_jwt).split(".")[:2],
    ]
    encoded = [part.replace("-", "+").replace("_", "/") + "==" for part in parts]

    def decode_and_check() -> None:
        for part in encoded:
            orjson.loads(binascii.a2b_base64(part))
        check()

    return decode_and_check


def _signed(token: str) -> tuple[bytes, bytes]:
    signing_input, _, signature = token.rpartition(".")
    raw = binascii.a2b_base64(signature.replace("-", "+").replace("_", "/") + "==")
    return signing_input.encode(), Es256().signature_to_x509(raw)


def _status_calls(parties: _Parties) -> dict[str, tuple[Callable[[], object], int]]:
    permutation = index_permutation(secrets.token_bytes(32), LIST_SIZE)
    statuses = StatusList.empty(1, LIST_SIZE)
    for number in range(WITHDRAWN):
        statuses.set(permutation.index(number), 1)

    def republish() -> str:
        return issue_status_token(
            statuses,
            signer=parties.issuer,
            x5c=parties.chain,
            uri=URI,
            now=NOW,
            ttl=300,
            expires_at=NOW + 3600,
        )

    return {"republish": (republish, 3), "index": (lambda: permutation.index(77), CALLS)}
