"""The credentials about a consent: one for the partner or CRM, a receipt for the customer."""

from collections.abc import Mapping
from typing import Any

from broker.domain.addresses import tenant_url
from broker.domain.credential_types import CONSENT, RECEIPT
from broker.domain.issued_claims import coarse, consent_claims, receipt_claims
from broker.domain.terms import Terms
from broker.usecases.context import Context
from broker.usecases.status import Allocated
from credentials.issue import issue_sd_jwt_vc
from credentials.model import StatusReference


def issue_consent_credential(
    ctx: Context,
    *,
    tenant_id: str,
    terms: Terms,
    partner_jwk: Mapping[str, Any],
    pairwise: str,
    status: Allocated,
    evidence_hashes: Mapping[str, Any],
    grade: str,
    now: int,
) -> str:
    """The consent credential (SD-JWT VC), bound to the partner's key; all that the CRM keeps.

    `pairwise` is the customer's identifier with this partner alone, `evidence_hashes` what the
    customer signed (base64url SHA-256), `grade` what that signature proves, `now` Unix seconds
    (rounded down to a minute in it). Nothing in it is selectively disclosable: it holds which
    attributes may be used and no attribute.
    """
    base = tenant_url(ctx.settings.public_url, tenant_id)
    key = ctx.keys.issuer(tenant_id)
    claims = consent_claims(terms, evidence=evidence_hashes, grade=grade)
    return issue_sd_jwt_vc(
        signer=key.signer,
        x5c=key.x5c,
        issuer=base,
        vct=base + CONSENT.path,
        claims={"sub": pairwise, **claims},
        disclosable=(),
        holder_jwk=partner_jwk,
        status=StatusReference(status.uri, status.index),
        issued_at=coarse(now),
        not_before=terms.valid_from,
        expires_at=terms.valid_until,
    )


def issue_receipt(
    ctx: Context,
    *,
    tenant_id: str,
    terms: Terms,
    evidence_hashes: Mapping[str, Any],
    now: int,
) -> str:
    """The customer's receipt (SD-JWT VC).

    It holds the whole terms, with the address where to withdraw, and no status: a receipt stays
    true after a withdrawal, and fetching its status would tell who holds it. It does not expire.
    It is bound to no key: the customer's key is one for all partners, and the page where the
    receipt lies is known to this one.
    """
    base = tenant_url(ctx.settings.public_url, tenant_id)
    key = ctx.keys.issuer(tenant_id)
    return issue_sd_jwt_vc(
        signer=key.signer,
        x5c=key.x5c,
        issuer=base,
        vct=base + RECEIPT.path,
        claims=receipt_claims(terms, evidence=evidence_hashes),
        disclosable=(),
        holder_jwk=None,
        status=None,
        issued_at=coarse(now),
        expires_at=None,
    )
