"""Step 6: the credentials about the consent say what follows from the terms, and nothing else."""

from typing import Any

from broker.domain.credential_types import CONSENT as CONSENT_TYPE
from broker.domain.credential_types import RECEIPT as RECEIPT_TYPE
from broker.domain.errors import EvidenceInvalid
from broker.domain.evidence.opened import (
    CONSENT,
    ISSUED,
    RECEIPT,
    OpenedBundle,
    SignedPart,
    text,
)
from broker.domain.issued_claims import consent_claims, receipt_claims
from credentials.errors import CredentialError
from credentials.jcs import canonical
from credentials.model import VerifiedCredential
from credentials.status import StatusCheck
from credentials.verify import verify_credential

_REGISTERED = frozenset({"iss", "iat", "nbf", "exp", "vct", "cnf", "status", "sub"})


def verify_credentials(bundle: OpenedBundle) -> str:
    """Step 6; says what was compared. Raises `EvidenceInvalid` or a `CredentialError`."""
    consent = _credential(bundle, CONSENT, CONSENT_TYPE.path)
    evidence = consent.claims.get("evidence")
    if not isinstance(evidence, dict):
        raise EvidenceInvalid(f"{CONSENT} names no signature")
    if bundle.whole and evidence != bundle.grant_hashes():
        raise EvidenceInvalid(f"{CONSENT} names other signatures")
    terms = bundle.terms
    grade = text(consent.claims, "signature_grade")
    if bundle.whole and grade != bundle.details["grant"].get("signature_grade"):
        raise EvidenceInvalid(f"{CONSENT} names another grade than the signature's")
    _follows(consent, consent_claims(terms, evidence=evidence, grade=grade), CONSENT)
    times = (consent.claims.get("nbf"), consent.expires_at)
    if times != (terms.valid_from, terms.valid_until):
        raise EvidenceInvalid(f"{CONSENT} is valid for another time than the terms")
    if consent.holder_jwk is None or consent.status is None:
        raise EvidenceInvalid(f"{CONSENT} is bound to no key, or cannot be withdrawn")
    text(consent.claims, "sub")
    if not bundle.whole:
        if RECEIPT in bundle.files:
            raise EvidenceInvalid("a partner's copy does not hold the customer's receipt")
        return "the consent credential says what follows from these terms"
    receipt = _credential(bundle, RECEIPT, RECEIPT_TYPE.path)
    _follows(receipt, receipt_claims(terms, evidence=evidence), RECEIPT)
    if receipt.holder_jwk is not None:
        raise EvidenceInvalid(f"{RECEIPT} is bound to a key, which no receipt is")
    return "consent credential and receipt say what follows from these terms and signatures"


def _credential(bundle: OpenedBundle, name: str, path: str) -> VerifiedCredential:
    credential = bundle.issued[name] = verify_credential(
        bundle.text(name),
        anchors=bundle.trust.roots,
        now=bundle.issued_at,
        issuer=bundle.issuer,
        vct=bundle.issuer + path,
        status=StatusCheck.BY_CALLER,
    )
    if credential.issuer_chain is None or credential.issued_at is None:
        raise EvidenceInvalid(f"{name} names no certificate, or no time of its issue")
    leaf = credential.issuer_chain.leaf
    bundle.signed_parts.append(SignedPart(name, leaf, credential.issued_at, ISSUED))
    return credential


def _follows(credential: VerifiedCredential, expected: dict[str, Any], name: str) -> None:
    held = {claim: value for claim, value in credential.claims.items() if claim not in _REGISTERED}
    try:
        # As bytes: in Python true is 1.
        same = canonical(held) == canonical(expected)
    except CredentialError:
        same = False
    if not same:
        different = sorted(
            claim for claim in held | expected if held.get(claim) != expected.get(claim)
        )
        raise EvidenceInvalid(
            f"{name} says something else than the terms: {', '.join(different)[:200] or 'a type'}"
        )
