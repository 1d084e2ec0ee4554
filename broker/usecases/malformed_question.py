"""That a partner asked for a decision in a form that cannot be read: refused, and in the log.

The question was answered 400 and decided nothing, which an auditor has to see as a denial too.
"""

from typing import Final

from broker.store import access_tokens
from broker.usecases.context import Context
from broker.usecases.refusal_log import log_refusals

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
    body = {"decision": False, "partner": token.subject, "code": code}
    log_refusals(ctx, tenant_id, MALFORMED, [body])
