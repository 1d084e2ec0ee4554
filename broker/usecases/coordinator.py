"""Coordinators: programs that run federated training, registered with a key of their own."""

import json
from collections.abc import Mapping
from typing import Any

from broker.domain.ids import new_id
from broker.store import access_tokens, coordinators, registry
from broker.store.coordinators import CoordinatorRow
from broker.usecases import audit
from broker.usecases.context import Context
from broker.usecases.partner import ClientKind, NewClient, replace_key
from broker.usecases.tenant import require_text
from credentials.keys import SoftwareKey, thumbprint


def add_coordinator(ctx: Context, tenant_id: str, *, name: str) -> NewClient:
    """Register a coordinator; its private JWK is shown this once.

    Raises `InvalidRequest`, `StateConflict` (the name is taken), `NotFound` (tenant).
    """
    require_text(name)
    key = SoftwareKey.generate("ES256")
    added = NewClient(new_id("co"), name, key.private_jwk())
    row = CoordinatorRow(
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
        coordinators.add(tx, row)
        audit.record(
            ctx,
            tx,
            tenant_id=tenant_id,
            type="coordinator.added",
            body={"coordinator": row.id, "key": thumbprint(key.public_jwk())},
        )
    return added


def replace_coordinator_key(
    ctx: Context, tenant_id: str, coordinator_id: str, public_jwk: Mapping[str, Any] | None = None
) -> NewClient:
    """Replace a coordinator's key, as a partner's; raises `InvalidRequest`, `NotFound`."""
    kind = ClientKind("coordinator", coordinators.find, coordinators.set_key)
    return replace_key(ctx, tenant_id, coordinator_id, public_jwk, kind)


def set_coordinator_state(ctx: Context, tenant_id: str, coordinator_id: str, state: str) -> None:
    """Suspend a coordinator, or make it active again; its tokens end. Raises `NotFound`."""
    with ctx.db.transaction() as tx:
        coordinators.set_state(tx, tenant_id, coordinator_id, state)
        ended = access_tokens.end_of(tx, tenant_id=tenant_id, subject=coordinator_id)
        audit.record(
            ctx,
            tx,
            tenant_id=tenant_id,
            type="coordinator.suspended" if state == "suspended" else "coordinator.resumed",
            body={"coordinator": coordinator_id, "tokens_ended": ended},
        )
