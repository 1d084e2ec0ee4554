"""Turn kill switches: an operator's or an officer's act, in the log like every other."""

from broker.domain.kill_switch import KillSwitch
from broker.store import kill_switches, registry
from broker.usecases import audit
from broker.usecases.context import Context


def turn(
    ctx: Context, tenant_id: str, switch: KillSwitch, *, on: bool, officer_id: str | None = None
) -> bool:
    """Turn a switch on or off; whether that changed anything (only then is there an entry).

    Once this returns with `on`, the next decision on what it stops is a denial, `kill_switch`.
    Raises `NotFound`, `InvalidRequest`.
    """
    with ctx.db.transaction() as tx:
        registry.tenant(tx, tenant_id)
        changed = kill_switches.turn(tx, tenant_id, switch, on=on)
        if changed:
            body = {switch.kind: switch.id, "by": officer_id or "operator"}
            audit.record(
                ctx,
                tx,
                tenant_id=tenant_id,
                type="kill_switch.on" if on else "kill_switch.off",
                body=body,
            )
    return changed


def turned_on(ctx: Context, tenant_id: str) -> list[KillSwitch]:
    """The tenant's switches that are on; raises `NotFound` (tenant)."""
    with ctx.db.reading() as tx:
        registry.tenant(tx, tenant_id)
        return kill_switches.turned_on(tx, tenant_id)
