"""Members of the federation: partners with a node and a key for receipts, admitted and revoked."""

import json

from broker.domain.campaign import read_node_key
from broker.domain.errors import InvalidRequest, StateConflict
from broker.store import federation_members, partners, registry
from broker.store.federation_members import MemberRow
from broker.usecases import audit
from broker.usecases.context import Context
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
    node, receipts = read_node_key(node_key), _receipt_key(receipt_key)
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
    return _become(ctx, tenant_id, partner_id, "admitted", {"invited"})


def revoke_member(ctx: Context, tenant_id: str, partner_id: str) -> MemberRow:
    """End a membership at once, in mid-round too; raises `NotFound`, `StateConflict`."""
    return _become(ctx, tenant_id, partner_id, "revoked", {"invited", "admitted"})


def members(ctx: Context, tenant_id: str) -> list[MemberRow]:
    """All members of a tenant, those revoked too; raises `NotFound` (tenant)."""
    with ctx.db.reading() as tx:
        registry.tenant(tx, tenant_id)
        return federation_members.of_tenant(tx, tenant_id)


def _become(
    ctx: Context, tenant_id: str, partner_id: str, state: str, before: set[str]
) -> MemberRow:
    with ctx.db.transaction() as tx:
        held = federation_members.find(tx, tenant_id, partner_id, lock=True)
        if held.state not in before:
            raise StateConflict(f"the member is {held.state} and does not become {state}")
        row = MemberRow(**{**vars(held), "state": state, "since": ctx.now()})
        federation_members.put(tx, row)
        body = {"member": partner_id, "receipt_key": thumbprint(json.loads(row.receipt_key))}
        audit.record(ctx, tx, tenant_id=tenant_id, type=f"federation.{state}", body=body)
    return row


def _receipt_key(data: bytes) -> dict[str, str]:
    try:
        source = read_json_object(data, max_bytes=LARGEST_KEY)
        if "d" in source:
            raise InvalidRequest("that is a private key: hand in its public members alone")
        return PublicKey(source).jwk
    except CredentialError as error:
        raise InvalidRequest(
            f"the key for receipts is no public JWK for ES256 or Ed25519: {error}"
        ) from None
