"""Partners and officers: registered with a key of their own, suspended, given another key."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection

from broker.domain.errors import InvalidRequest
from broker.domain.ids import new_id
from broker.store import (
    access_tokens,
    attribute_credentials,
    consent_locks,
    contacts,
    data_requests,
    join_requests,
    memberships,
    partners,
    proofs,
    registry,
)
from broker.store.coordinators import CoordinatorRow
from broker.store.partners import OfficerRow, PartnerRow
from broker.usecases import audit
from broker.usecases.closing import close_request
from broker.usecases.context import Context
from broker.usecases.tenant import require_country, require_text
from credentials.errors import CredentialError
from credentials.jws import PublicKey
from credentials.keys import SoftwareKey, thumbprint


@dataclass(frozen=True)
class NewClient:
    """A client of the API with a new key. The private JWK is shown once and kept nowhere.

    It is empty where the client has made the key and handed in its public part.
    """

    client_id: str
    name: str
    private_jwk: Mapping[str, Any] = field(repr=False)

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints."""
        shown = {"private_jwk": dict(self.private_jwk)} if self.private_jwk else {}
        return {"client_id": self.client_id, "name": self.name, **shown}


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


def replace_partner_key(
    ctx: Context, tenant_id: str, partner_id: str, public_jwk: Mapping[str, Any] | None = None
) -> NewClient:
    """Replace a partner's key by `public_jwk`, or by a fresh one that is shown once.

    The earlier key gets no token any more, and every token that it had ends. Consent credentials
    of before stay bound to the earlier key. Raises `InvalidRequest`, `UnknownPartner`.
    """
    client = ClientKind("partner", partners.find, partners.set_key)
    return replace_key(ctx, tenant_id, partner_id, public_jwk, client)


def replace_officer_key(
    ctx: Context, tenant_id: str, officer_id: str, public_jwk: Mapping[str, Any] | None = None
) -> NewClient:
    """The same for an officer; raises `InvalidRequest`, `NotFound`."""
    client = ClientKind("officer", partners.officer, partners.set_officer_key)
    return replace_key(ctx, tenant_id, officer_id, public_jwk, client)


class ClientKind(NamedTuple):
    """How a kind of client is found, and its key replaced."""

    role: str
    find: Callable[[Connection, str, str], PartnerRow | OfficerRow | CoordinatorRow]
    set_key: Callable[[Connection, str, str, str], None]


def replace_key(
    ctx: Context,
    tenant_id: str,
    client_id: str,
    public_jwk: Mapping[str, Any] | None,
    client: ClientKind,
) -> NewClient:
    """The same for a client of any kind."""
    private, public = _replacement(public_jwk)
    with ctx.db.transaction() as tx:
        before = client.find(tx, tenant_id, client_id)
        client.set_key(tx, tenant_id, client_id, json.dumps(public))
        # After the update, which has waited for tokens that the earlier key is just being given.
        ended = access_tokens.end_of(tx, tenant_id=tenant_id, subject=client_id)
        audit.record(
            ctx,
            tx,
            tenant_id=tenant_id,
            type=f"{client.role}.key_replaced",
            body={
                client.role: client_id,
                "key": thumbprint(public),
                "replaced": thumbprint(json.loads(before.jwk)),
                "tokens_ended": ended,
            },
        )
    return NewClient(client_id, before.name, private)


def _replacement(
    public_jwk: Mapping[str, Any] | None,
) -> tuple[Mapping[str, Any], dict[str, str]]:
    """The private JWK that is shown (empty where the client keeps it) and the public one."""
    if public_jwk is None:
        key = SoftwareKey.generate("ES256")
        return key.private_jwk(), key.public_jwk()
    if "d" in public_jwk:
        raise InvalidRequest("that is a private key: hand in its public members alone")
    try:
        return {}, PublicKey(public_jwk).jwk
    except CredentialError as problem:
        raise InvalidRequest(f"the key is no public JWK for ES256 or Ed25519: {problem}") from None


def set_partner_state(ctx: Context, tenant_id: str, partner_id: str, state: str) -> None:
    """Suspend a partner, or resume it; raises `UnknownPartner`.

    Suspended, its tokens stop and decisions deny at once, and what it has begun ends with it:
    consent requests are closed to every wallet, invitations are over, and so are the tokens of
    wallets that redeemed one. Withdrawals stay open: they protect the customer. Resuming brings
    back nothing of that, its tokens of before neither: until then they are good for denials, which
    the log tells of.
    """
    ctx.db.run(lambda tx: _set_state(ctx, tx, tenant_id, partner_id, state))


def set_officer_state(ctx: Context, tenant_id: str, officer_id: str, state: str) -> None:
    """Suspend an officer, or make them active again; raises `NotFound`.

    Their tokens stop, and do not come back.
    """
    with ctx.db.transaction() as tx:
        partners.set_officer_state(tx, tenant_id, officer_id, state)
        ended = access_tokens.end_of(tx, tenant_id=tenant_id, subject=officer_id)
        audit.record(
            ctx,
            tx,
            tenant_id=tenant_id,
            type="officer.suspended" if state == "suspended" else "officer.resumed",
            body={"officer": officer_id, "tokens_ended": ended},
        )


def _set_state(ctx: Context, tx: Connection, tenant_id: str, partner_id: str, state: str) -> None:
    partners.set_state(tx, tenant_id, partner_id, state)
    if state == "suspended":
        requests = consent_locks.hold_open_of(tx, partner_id)
        for request in requests:
            close_request(ctx, tx, request, "refused", reason="partner_suspended")
        ended = {
            "requests_closed": len(requests),
            # In the order of an erasure, which takes these with the consents.
            "data_requests_closed": data_requests.close_of_partner(tx, partner_id),
            "invitations_ended": contacts.close_invitations_of(tx, partner_id),
            "tokens_ended": access_tokens.end_of_wallets(tx, partner_id),
            "proof_requests_closed": proofs.close_of_partner(tx, partner_id),
            "attribute_offers_closed": attribute_credentials.close_of(tx, tenant_id, partner_id),
            "membership_offers_closed": len(memberships.close_of(tx, tenant_id, partner_id)),
            "join_requests_closed": join_requests.close_of_partner(tx, tenant_id, partner_id),
        }
    else:
        own = access_tokens.end_of(tx, tenant_id=tenant_id, subject=partner_id)
        ended = {"tokens_ended": own}
    audit.record(
        ctx,
        tx,
        tenant_id=tenant_id,
        type="partner.suspended" if state == "suspended" else "partner.resumed",
        body={"partner": partner_id, **ended},
    )
