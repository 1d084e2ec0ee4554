"""The claims of the credentials about a consent: all of them follow from what was signed.

Issuing writes them, verifying evidence compares them: a credential cannot say more than its terms.
"""

from collections.abc import Mapping
from typing import Any

from broker.domain.terms import Terms

COARSE_SECONDS = 60
"""What a partner sees of time is coarse: two partners must not match customers by the second."""


def consent_claims(terms: Terms, *, evidence: Mapping[str, Any], grade: str) -> dict[str, Any]:
    """The claims of a consent credential, besides `sub` and the registered ones.

    `evidence` is what the customer signed (base64url SHA-256), `grade` what that signature proves.
    """
    claims: dict[str, Any] = {
        "consent_id": terms.consent_id,
        "controller": terms.controller.id,
        "recipients": [terms.partner.id],
        "purpose": terms.purpose_wire,
        "actions": list(terms.actions),
        "attributes": [attribute.id for attribute in terms.attributes],
        "separate": list(terms.separate),
        "territories": {
            "storage": list(terms.territories.storage),
            "processing": list(terms.territories.processing),
            "access": list(terms.territories.access),
        },
        "retention_days": terms.retention_days,
        "max_uses": terms.max_uses,
        "legal_basis": list(terms.legal_basis),
        "terms_hash": terms.hash(),
        "evidence": dict(evidence),
        "signature_grade": grade,
        "guardian": None if terms.guardian is None else terms.guardian.to_json(),
        "minor_versions": terms.minor_versions or None,
    }
    return {name: value for name, value in claims.items() if value is not None}


def receipt_claims(terms: Terms, *, evidence: Mapping[str, Any]) -> dict[str, Any]:
    """The claims of a customer's receipt, besides the registered ones."""
    return {
        "consent_id": terms.consent_id,
        "terms": terms.to_json(),
        "terms_hash": terms.hash(),
        "evidence": dict(evidence),
        "withdrawal": terms.withdrawal,
    }


def coarse(time: int) -> int:
    """A time (Unix seconds) as partners see it."""
    return time - time % COARSE_SECONDS
