"""Members of the federation: partners with a node and a key for receipts, admitted and revoked."""

import json
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from broker.domain.campaign import read_node_key
from broker.domain.errors import InvalidRequest, NotFound, StateConflict
from broker.store import federation_members, join_requests, memberships, partners, registry
from broker.store.federation_members import MemberRow
from broker.usecases import audit
from broker.usecases.context import Context
from broker.usecases.status import mark_changed
from credentials.errors import CredentialError
from credentials.json_reader import read_json_object
from credentials.jws import PublicKey
from credentials.keys import thumbprint

LARGEST_KEY = 4_096


def add_member(
    ctx: Context, tenant_id: str, partner_id: str, *, node_key: bytes, receipt_key: bytes
) -> MemberRow:
    """Invite a partner, by the public keys of its node and for its receipts.

    One that was revoked, or not admitted yet, is invited anew with these keys. Raises
    `InvalidRequest`, `UnknownPartner`, `StateConflict` (admitted), `NotFound` (tenant).
    """
    node, receipts = read_node_key(node_key), read_receipt_key(receipt_key)
    row = MemberRow(
        tenant_id=tenant_id,
        partner_id=partner_id,
        node_key=node,
        receipt_key=json.dumps(receipts),
        state="invited",
        since=ctx.now(),
    )
    with ctx.db.transaction() as tx:
        registry.tenant(tx, tenant_id)
        partners.find(tx, tenant_id, partner_id)
        before = {one.partner_id: one for one in federation_members.of_tenant(tx, tenant_id)}
        if partner_id in before:
            held = federation_members.find(tx, tenant_id, partner_id, lock=True)
            if held.state == "admitted":
                raise StateConflict("the member is admitted: revoke it before it gets other keys")
        federation_members.put(tx, row)
        body = {"member": partner_id, "receipt_key": thumbprint(receipts)}
        audit.record(ctx, tx, tenant_id=tenant_id, type="federation.invited", body=body)
    return row


def admit_member(ctx: Context, tenant_id: str, partner_id: str) -> MemberRow:
    """Admit a member that was invited; raises `NotFound`, `StateConflict`."""
    with ctx.db.transaction() as tx:
        return _become(ctx, tx, tenant_id, partner_id, "admitted", {"invited"})


@dataclass(frozen=True)
class Ended:
    """Memberships that were ended, by id: credentials `revoked`, and offers `closed`."""

    revoked: tuple[str, ...]
    closed: tuple[str, ...]

    def __bool__(self) -> bool:
        return bool(self.revoked or self.closed)


@dataclass(frozen=True)
class Revoked:
    """What a revocation has ended, by id: credentials, and offers that nobody had taken.

    `member` is how it stands now; None for a partner that never joined.
    """

    member: MemberRow | None
    memberships: tuple[str, ...]
    offers: tuple[str, ...]


def revoke_member(ctx: Context, tenant_id: str, partner_id: str) -> Revoked:
    """End a membership at once, in mid-round too, with its credentials and what it is offered.

    A partner that is no member, or was revoked before, may have been offered or given a membership
    since: that ends too. Raises, where nothing is left to end, `NotFound`, `StateConflict`.
    """
    with ctx.db.transaction() as tx:
        # In the order of who is offered, takes or presents a membership meanwhile.
        partners.hold_alone(tx, tenant_id, partner_id)
        ended = _end_memberships(ctx, tx, tenant_id, partner_id)
        row: MemberRow | None = None
        try:
            row = federation_members.find(tx, tenant_id, partner_id, lock=True)
        except NotFound:
            if not ended:
                raise
        if row is not None and not (ended and row.state == "revoked"):
            row = _become(ctx, tx, tenant_id, partner_id, "revoked", {"invited", "admitted"})
        join_requests.close_of_partner(tx, tenant_id, partner_id)
    return Revoked(row, ended.revoked, ended.closed)


def members(ctx: Context, tenant_id: str) -> list[MemberRow]:
    """All members of a tenant, those revoked too; raises `NotFound` (tenant)."""
    with ctx.db.reading() as tx:
        registry.tenant(tx, tenant_id)
        return federation_members.of_tenant(tx, tenant_id)


def _end_memberships(ctx: Context, tx: Connection, tenant_id: str, partner_id: str) -> Ended:
    """Revoke a partner's credentials and end what is offered to it.

    The caller holds the partner alone (`partners.hold_alone`): who issues to it takes the status
    list before the membership, the other way round than here.
    """
    closed = memberships.close_of(tx, tenant_id, partner_id)
    revoked = memberships.revoke_of(tx, tenant_id, partner_id)
    for list_id in sorted({one.status_list_id for one in revoked if one.status_list_id}):
        mark_changed(tx, list_id)
    ended = Ended(tuple(one.id for one in revoked), tuple(closed))
    for what, ids in vars(ended).items():
        for membership_id in ids:
            body = {"membership": membership_id, "member": partner_id}
            audit.record(ctx, tx, tenant_id=tenant_id, type=f"membership.{what}", body=body)
    return ended


def _become(
    ctx: Context, tx: Connection, tenant_id: str, partner_id: str, state: str, before: set[str]
) -> MemberRow:
    held = federation_members.find(tx, tenant_id, partner_id, lock=True)
    if held.state not in before:
        raise StateConflict(f"the member is {held.state} and does not become {state}")
    row = replace(held, state=state, since=ctx.now())
    federation_members.put(tx, row)
    body = {"member": partner_id, "receipt_key": thumbprint(json.loads(row.receipt_key))}
    audit.record(ctx, tx, tenant_id=tenant_id, type=f"federation.{state}", body=body)
    return row


def read_receipt_key(data: bytes) -> dict[str, str]:
    """A public JWK for receipts, ES256 or Ed25519, from its file. Raises `InvalidRequest`."""
    try:
        source = read_json_object(data, max_bytes=LARGEST_KEY)
        if "d" in source:
            raise InvalidRequest("that is a private key: hand in its public members alone")
        return PublicKey(source).jwk
    except CredentialError as error:
        raise InvalidRequest(
            f"the key for receipts is no public JWK for ES256 or Ed25519: {error}"
        ) from None
