"""That a partner asked for a decision in a form that cannot be read: refused, and in the log.

The question was answered 400 and decided nothing, which an auditor has to see as a denial too.
"""

from typing import Final

from broker.store import access_tokens, used_once
from broker.usecases import audit
from broker.usecases.client_authentication import REFUSALS_LOGGED_EVERY, digest
from broker.usecases.context import Context

MALFORMED: Final = "decision.malformed"


def log_malformed(ctx: Context, tenant_id: str, token_hash: str, code: str) -> None:
    """Log it for a partner's valid token: once a minute for each partner and cause.

    Nothing of what was sent is kept. Whoever has no such token has asked nothing.
    """
    now = ctx.now()
    with ctx.db.reading() as tx:
        token = access_tokens.find(tx, tenant_id, token_hash)
    if token is None or token.role != "partner" or token.expires_at <= now:
        return
    once = digest(f"{tenant_id}\x00{token.subject}\x00{code}\x00{now // REFUSALS_LOGGED_EVERY}")
    expires_at = now + REFUSALS_LOGGED_EVERY
    with ctx.db.transaction() as tx:
        if used_once.spend(tx, MALFORMED, once, expires_at=expires_at, now=now):
            body = {"decision": False, "partner": token.subject, "code": code}
            audit.record(ctx, tx, tenant_id=tenant_id, type=MALFORMED, body=body)
