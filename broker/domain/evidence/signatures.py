"""Steps 4 and 5: what the wallet was asked, and what the customer signed."""

from collections.abc import Mapping
from typing import Any

from broker.domain.consent import SignatureGrade
from broker.domain.credential_types import CUSTOMER
from broker.domain.errors import EvidenceInvalid
from broker.domain.evidence.opened import (
    CUSTOMER_CREDENTIAL,
    KINDS,
    LARGEST_JSON,
    OpenedBundle,
    SignedPart,
    integer,
    text,
    texts,
)
from broker.domain.signed_content import Kind, bound_text, holds
from credentials.chain import verify_chain
from credentials.jcs import b64url_decode
from credentials.json_reader import read_json_object
from credentials.jws import parse_jws
from credentials.status import StatusCheck
from credentials.verify import verify_presentation
from wallet_adapters.openid4vp.request import (
    REQUEST_OBJECT_TYPE,
    redirect_uri_client_id,
    x509_hash_client_id,
)
from wallet_adapters.openid4vp.transaction_data import (
    decode_transaction_data,
    verify_fallback_nonce,
)

BLINDING_BYTES = 32
_DETAILS = frozenset(
    {
        "kind",
        "consent_id",
        "client_id",
        "nonce",
        "transaction_data",
        "bound_random",
        "signature_grade",
        "binding_grade",
        "signed_at",
        "accepted_at",
        "blinding",
    }
)


def verify_request_objects(bundle: OpenedBundle) -> str:
    """Step 4; says how many there are. Raises `EvidenceInvalid` or a `CredentialError`."""
    count, unsigned = 0, False
    for kind in KINDS:
        if not bundle.names(f"{kind}/", ""):
            continue
        if not bundle.whole:
            raise EvidenceInvalid("a partner's copy holds nothing that the customer signed")
        details = bundle.details[kind] = _details(bundle, kind)
        names = bundle.names(f"{kind}/request-object-", ".jwt")
        addresses = {_request_object(bundle, details, name) for name in names}
        client_id = text(details, "client_id")
        if client_id in addresses:
            count += len(names)
            continue
        # Wallets in development answer a request that nobody signed; there is no more to show.
        unsigned = True
        if not client_id.startswith(redirect_uri_client_id(f"{bundle.issuer}/")):
            raise EvidenceInvalid(f"{kind}: no request object of the address signed for was kept")
    if bundle.whole and "grant" not in bundle.details:
        raise EvidenceInvalid("what the customer signed to grant it is missing")
    guardian = bundle.terms.guardian
    two = guardian is not None and not guardian.alone
    if bundle.whole and two != ("guardian" in bundle.details):
        raise EvidenceInvalid("the terms and what the guardian signed do not go together")
    if not bundle.whole:
        return "not in this copy of the bundle"
    rest = "; a wallet in development answered without a signed one" if unsigned else ""
    return f"{count} request objects showed these terms{rest}"


def _details(bundle: OpenedBundle, kind: Kind) -> Mapping[str, Any]:
    name = f"{kind}/details.json"
    details = bundle.json(name)
    if unknown := sorted(details.keys() - _DETAILS):
        raise EvidenceInvalid(f"{name} holds what this version does not know: {unknown[0][:40]}")
    if (details.get("kind"), details.get("consent_id")) != (kind, bundle.terms.consent_id):
        raise EvidenceInvalid(f"{name} is about another act")
    if "blinding" in details and (
        kind != "withdrawal" or len(b64url_decode(text(details, "blinding"))) != BLINDING_BYTES
    ):
        raise EvidenceInvalid(f"{name}: its request objects are hashed in a form that is not known")
    displayed = details.get("transaction_data") is not None
    grade = SignatureGrade.SIGNED_AND_DISPLAYED if displayed else SignatureGrade.BOUND_NOT_DISPLAYED
    if details.get("signature_grade") != grade:
        raise EvidenceInvalid(f"{name}: the signature proves {grade} and no other grade")
    return details


def _request_object(bundle: OpenedBundle, details: Mapping[str, Any], name: str) -> str:
    """Check one request object and give its client id, to which a wallet signs."""
    jws = parse_jws(bundle.text(name), typ=REQUEST_OBJECT_TYPE, max_characters=LARGEST_JSON)
    chain = verify_chain(
        texts(jws.header.get("x5c"), "x5c"), bundle.trust.roots, integer(details, "accepted_at")
    )
    jws.verify(chain.key)
    chain.check_issuer(bundle.issuer)
    asked = read_json_object(jws.payload, max_bytes=LARGEST_JSON)
    kind = next(one for one in KINDS if name.startswith(f"{one}/"))
    dated = integer(details, "accepted_at")
    bundle.signed_parts.append(SignedPart(name, chain.leaf, dated, kind))
    client_id = x509_hash_client_id(chain.leaf)
    if asked.get("client_id") != client_id:
        raise EvidenceInvalid(f"{name}: signed by another key than its client id names")
    if not text(asked, "response_uri").startswith(f"{bundle.issuer}/"):
        raise EvidenceInvalid(f"{name}: it asked for an answer to another address")
    if asked.get("nonce") != details.get("nonce"):
        raise EvidenceInvalid(f"{name}: it asked with another nonce")
    data = details.get("transaction_data")
    shown = texts(asked.get("transaction_data", []), "transaction_data")
    if data is not None and data not in shown:
        raise EvidenceInvalid(f"{name}: it did not show these terms")
    return client_id


def verify_signatures(bundle: OpenedBundle) -> str:
    """Step 5; says whose signatures there are.

    Raises `EvidenceInvalid`, a `CredentialError` or a `WalletProtocolError`.
    """
    for kind, details in bundle.details.items():
        data = details.get("transaction_data")
        nonce = text(details, "nonce")
        if data is None:
            random = b64url_decode(text(details, "bound_random"))
            verify_fallback_nonce(nonce, bound_text(kind, bundle.terms), random)
        elif not holds(kind, decode_transaction_data(str(data)).content, bundle.terms):
            raise EvidenceInvalid(f"{kind}: what was signed is not about these terms")
        # The type matters: a partner holds a key that is bound to a consent credential of its own.
        signed = bundle.signed[kind] = verify_presentation(
            bundle.text(f"{kind}/presentation.txt"),
            anchors=bundle.trust.roots,
            audience=text(details, "client_id"),
            nonce=nonce,
            now=integer(details, "accepted_at"),
            transaction_data=() if data is None else (str(data),),
            vct=bundle.issuer + CUSTOMER.path,
            issuer=bundle.issuer,
            status=StatusCheck.BY_CALLER,
        )
        text(signed.credential.claims, "jti")
        chain = signed.credential.issuer_chain
        if chain is None or signed.credential.issued_at is None:
            raise EvidenceInvalid(f"{kind}: the customer credential names no certificate or time")
        name = f"{kind}/presentation.txt"
        part = SignedPart(name, chain.leaf, signed.credential.issued_at, CUSTOMER_CREDENTIAL)
        bundle.signed_parts.append(part)
        if signed.signed_at != integer(details, "signed_at"):
            raise EvidenceInvalid(f"{kind}: the time of signing is not the signature's")
    if "guardian" in bundle.signed:
        grant, guardian = bundle.signed["grant"], bundle.signed["guardian"]
        if grant.holder_thumbprint == guardian.holder_thumbprint:
            raise EvidenceInvalid("the minor and the guardian signed with one and the same key")
    if not bundle.signed:
        return "not in this copy of the bundle: it holds their hashes"
    return ", ".join(f"{kind} signed with {_whose(bundle, kind)} key" for kind in bundle.signed)


def _whose(bundle: OpenedBundle, kind: Kind) -> str:
    guardian = bundle.terms.guardian
    if guardian is None or (kind == "grant" and not guardian.alone):
        return "the customer's"
    return "the customer's or the guardian's" if kind == "withdrawal" else "the guardian's"
