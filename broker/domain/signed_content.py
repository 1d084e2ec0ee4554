"""What is signed: consents, a guardian's part in them, withdrawals, as a wallet gets them.

Normally the content is `transaction_data`, which the wallet displays. For wallets that do not know
its types the request's nonce commits to the content instead, through `bound_text`.
"""

from collections.abc import Mapping
from typing import Any, Literal

from broker.domain.terms import Terms
from credentials.jcs import b64url, canonical

Kind = Literal["grant", "guardian", "withdrawal"]
"""What is signed; a guardian who acts alone signs the grant, and with a guardian's content."""

CONSENT_TYPE = "urn:consent-broker:consent:1"
GUARDIAN_TYPE = "urn:consent-broker:guardian-consent:1"
WITHDRAWAL_TYPE = "urn:consent-broker:withdrawal:1"
WITHDRAWAL_EFFECT = "the_next_use_is_refused"


def consent_content(terms: Terms) -> dict[str, Any]:
    """The members of a consent's transaction data, besides those of the protocol."""
    return {"type": CONSENT_TYPE, "terms": terms.to_json()}


def guardian_content(terms: Terms) -> dict[str, Any]:
    """The same terms as a guardian signs them.

    Of a type of its own, so that neither signature can be taken for the other.
    """
    return {"type": GUARDIAN_TYPE, "terms": terms.to_json()}


def withdrawal_content(terms: Terms) -> dict[str, Any]:
    """The members of a withdrawal's transaction data, besides those of the protocol."""
    return {
        "type": WITHDRAWAL_TYPE,
        "consent_id": terms.consent_id,
        "terms_hash": terms.hash(),
        "effect": WITHDRAWAL_EFFECT,
    }


def content(kind: Kind, terms: Terms) -> dict[str, Any]:
    """What a signature of this kind is over, besides the members of the protocol."""
    if kind == "withdrawal":
        return withdrawal_content(terms)
    alone = terms.guardian is not None and terms.guardian.alone
    return guardian_content(terms) if kind == "guardian" or alone else consent_content(terms)


def holds(kind: Kind, signed: Mapping[str, Any], terms: Terms) -> bool:
    """Whether decoded transaction data gives, or withdraws, a consent of exactly these terms."""
    return all(
        name in signed and canonical(signed[name]) == canonical(value)
        for name, value in content(kind, terms).items()
    )


def bound_text(kind: Kind, terms: Terms) -> str:
    """What the nonce of the fallback commits to: base64url of the canonical JSON.

    For a customer's consent that is its terms alone; for all else its content, so that a signature
    of the one can never be taken for the other.
    """
    signed = content(kind, terms)
    return b64url(terms.canonical() if signed["type"] == CONSENT_TYPE else canonical(signed))
