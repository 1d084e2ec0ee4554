"""What a customer's signature is over: consents and withdrawals, as a wallet is sent them.

Normally the content is `transaction_data`, which the wallet displays. For wallets that do not know
its types the request's nonce commits to the content instead, through `bound_text`.
"""

from collections.abc import Mapping
from typing import Any, Literal

from broker.domain.terms import Terms
from credentials.jcs import b64url, canonical

Kind = Literal["grant", "withdrawal"]

CONSENT_TYPE = "urn:consent-broker:consent:1"
WITHDRAWAL_TYPE = "urn:consent-broker:withdrawal:1"
WITHDRAWAL_EFFECT = "the_next_use_is_refused"


def consent_content(terms: Terms) -> dict[str, Any]:
    """The members of a consent's transaction data, besides those of the protocol."""
    return {"type": CONSENT_TYPE, "terms": terms.to_json()}


def withdrawal_content(terms: Terms) -> dict[str, Any]:
    """The members of a withdrawal's transaction data, besides those of the protocol."""
    return {
        "type": WITHDRAWAL_TYPE,
        "consent_id": terms.consent_id,
        "terms_hash": terms.hash(),
        "effect": WITHDRAWAL_EFFECT,
    }


def holds(kind: Kind, signed: Mapping[str, Any], terms: Terms) -> bool:
    """Whether decoded transaction data gives, or withdraws, a consent of exactly these terms."""
    wanted = consent_content(terms) if kind == "grant" else withdrawal_content(terms)
    return all(
        name in signed and canonical(signed[name]) == canonical(value)
        for name, value in wanted.items()
    )


def bound_text(kind: Kind, terms: Terms) -> str:
    """What the nonce of the fallback commits to: base64url of the canonical JSON.

    For a consent that is its terms alone; for a withdrawal its content, so that a signature of the
    one can never be taken for the other.
    """
    if kind == "grant":
        return b64url(terms.canonical())
    return b64url(canonical(withdrawal_content(terms)))
