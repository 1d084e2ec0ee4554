"""Delete what was signed when the time is over that its template keeps it for."""

from broker.store import erasures, retention
from broker.usecases import audit
from broker.usecases.context import Context

DUE_AT_ONCE = 500


def delete_evidence_over(ctx: Context) -> int:
    """Delete evidence and credentials of consents that are over for long enough; how many consents.

    All of a consent together, with its last piece: half of what was signed proves nothing. The
    consent keeps its terms, its state and its place in the status list, and the log tells of it.
    """
    with ctx.db.transaction() as tx, erasures.overwriting(tx):
        over = retention.evidence_over(tx, ctx.now(), DUE_AT_ONCE)
        retention.forget_evidence(tx, [consent_id for _, consent_id, _ in over])
        for tenant_id, consent_id, subject_id in over:
            audit.record(
                ctx,
                tx,
                tenant_id=tenant_id,
                type="evidence.deleted",
                consent_id=consent_id,
                subject_id=subject_id,
                body={"reason": "retention_over"},
            )
    return len(over)
