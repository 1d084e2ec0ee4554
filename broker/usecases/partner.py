"""Register partners and officers: each gets a client id and, once, a private key of its own."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from broker.domain.ids import new_id
from broker.store import access_tokens, consents, contacts, partners, registry
from broker.store.partners import OfficerRow, PartnerRow
from broker.usecases import audit
from broker.usecases.closing import close_request
from broker.usecases.context import Context
from broker.usecases.tenant import require_country, require_text
from credentials.keys import SoftwareKey, thumbprint


@dataclass(frozen=True)
class NewClient:
    """A new client of the API. The private JWK is shown once and kept nowhere."""

    client_id: str
    name: str
    private_jwk: Mapping[str, Any] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        return {
            "client_id": self.client_id,
            "name": self.name,
            "private_jwk": dict(self.private_jwk),
        }


def new_partner(name: str) -> NewClient:
    """A client id and a key for a partner, not registered yet."""
    return NewClient(new_id("p"), name, SoftwareKey.generate("ES256").private_jwk())


def new_officer(name: str) -> NewClient:
    """A client id and a key for an officer, not registered yet."""
    return NewClient(new_id("o"), name, SoftwareKey.generate("ES256").private_jwk())


def add_partner(
    ctx: Context,
    tenant_id: str,
    *,
    name: str,
    name_zh: str,
    contact: str,
    country: str,
    client: NewClient | None = None,
) -> NewClient:
    """Register a partner, under a client id and a key that were made before where given.

    Raises `InvalidRequest`, `StateConflict` (the name is taken), `NotFound` (tenant).
    """
    require_country(country)
    for text in (name, name_zh, contact):
        require_text(text)
    added = client or new_partner(name)
    key = SoftwareKey.from_private_jwk(added.private_jwk)
    row = PartnerRow(
        id=added.client_id,
        tenant_id=tenant_id,
        name=name,
        name_zh=name_zh,
        contact=contact,
        country=country,
        jwk=json.dumps(key.public_jwk()),
        state="active",
        kill_switch=False,
        version=1,
        created_at=ctx.now(),
    )
    with ctx.db.transaction() as tx:
        registry.tenant(tx, tenant_id)
        partners.add(tx, row)
        audit.record(
            ctx,
            tx,
            tenant_id=tenant_id,
            type="partner.added",
            body={"partner": row.id, "key": thumbprint(key.public_jwk()), "country": country},
        )
    return added


def add_officer(
    ctx: Context, tenant_id: str, *, name: str, client: NewClient | None = None
) -> NewClient:
    """Register a compliance officer, under a client id and a key made before where given.

    Raises `InvalidRequest`, `StateConflict` (the name is taken), `NotFound` (tenant).
    """
    require_text(name)
    added = client or new_officer(name)
    key = SoftwareKey.from_private_jwk(added.private_jwk)
    row = OfficerRow(
        id=added.client_id,
        tenant_id=tenant_id,
        name=name,
        jwk=json.dumps(key.public_jwk()),
        state="active",
        version=1,
        created_at=ctx.now(),
    )
    with ctx.db.transaction() as tx:
        registry.tenant(tx, tenant_id)
        partners.add_officer(tx, row)
        audit.record(
            ctx,
            tx,
            tenant_id=tenant_id,
            type="officer.added",
            body={"officer": row.id, "key": thumbprint(key.public_jwk())},
        )
    return added


def set_partner_state(ctx: Context, tenant_id: str, partner_id: str, state: str) -> None:
    """Suspend a partner, or resume it; raises `UnknownPartner`.

    Suspended, its tokens stop and decisions deny at once, and what it has begun ends with it:
    consent requests are closed to every wallet, invitations are over, and so are the tokens of
    wallets that redeemed one. Withdrawals stay open: they protect the customer. Resuming brings
    back its tokens, and nothing of the rest.
    """
    with ctx.db.transaction() as tx:
        partners.set_state(tx, tenant_id, partner_id, state)
        ended: dict[str, Any] = {}
        if state == "suspended":
            requests = consents.open_requests_of(tx, partner_id)
            for request in requests:
                close_request(ctx, tx, request, "refused", reason="partner_suspended")
            ended = {
                "requests_closed": len(requests),
                "invitations_ended": contacts.close_invitations_of(tx, partner_id),
                "tokens_ended": access_tokens.end_of_wallets(tx, partner_id),
            }
        audit.record(
            ctx,
            tx,
            tenant_id=tenant_id,
            type="partner.suspended" if state == "suspended" else "partner.resumed",
            body={"partner": partner_id, **ended},
        )


def set_officer_state(ctx: Context, tenant_id: str, officer_id: str, state: str) -> None:
    """Suspend an officer (tokens stop working) or make them active again; raises `NotFound`."""
    with ctx.db.transaction() as tx:
        partners.set_officer_state(tx, tenant_id, officer_id, state)
        audit.record(
            ctx,
            tx,
            tenant_id=tenant_id,
            type="officer.suspended" if state == "suspended" else "officer.resumed",
            body={"officer": officer_id},
        )
