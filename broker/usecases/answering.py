"""What a wallet's answer is judged by, what may come of it, and what the log says of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from broker.domain.consent import ConsentState
from broker.domain.errors import BrokerError
from broker.domain.guardian import CUSTOMER
from broker.domain.template import Template
from broker.store import consents, presentations
from broker.store.consents import ConsentRequestRow
from broker.store.presentations import PresentationRequestRow
from broker.usecases import audit
from broker.usecases.asking import ask_for_signatures
from broker.usecases.closing import close_request
from broker.usecases.consent_request import page_token_of, page_url
from broker.usecases.context import Context
from broker.usecases.presentation_request import Document

REJECTIONS_LOGGED = 20


@dataclass(frozen=True)
class Accepted:
    """An answer that was taken: which consents changed, where the wallet sends the customer next.

    `body` is what the wallet gets (OpenID4VP 1.0, section 8.2).
    """

    changed: tuple[str, ...]
    body: Mapping[str, str]


@dataclass(frozen=True)
class Rejected:
    """An answer that did not count, and why; nothing but the log has changed."""

    code: str
    message: str


class Refused(BrokerError):
    """An answer that verification lets through and the rules do not; never leaves the use case."""

    def __init__(self, code: str, message: str) -> None:
        """Keep the stable `code` of the reason beside the message."""
        super().__init__(message)
        self.reason = code


@dataclass(frozen=True)
class Case:
    """What was asked, and by which rules an answer to it is judged."""

    row: PresentationRequestRow
    request: ConsentRequestRow
    template: Template
    document: Document

    def page_url(self, ctx: Context) -> str:
        """The page that shows what came of it."""
        return page_url(ctx, self.row.tenant_id, page_token_of(ctx, self.request.id))


def close_if_all_answered(ctx: Context, tx: Connection, case: Case) -> None:
    """Close the consent request unless requests of the fallback still wait for their answers.

    What a minor has signed goes to the guardian first.
    """
    waiting = presentations.open_ones(tx, case.request.id)
    if case.row.kind != "consent" or any(row.kind == "consent" for row in waiting):
        return
    rows = consents.of_request(tx, case.request.id)
    awaiting = [row for row in rows if row.awaits_guardian]
    if awaiting and case.document.signer == CUSTOMER:
        ask_for_signatures(ctx, tx, case.request, awaiting)
        return
    given = any(row.state not in {ConsentState.REQUESTED, ConsentState.REFUSED} for row in rows)
    state = "answered" if given else "refused"
    close_request(ctx, tx, case.request, state, reason="not_signed")


def reject(ctx: Context, row: PresentationRequestRow, code: str, **more: str) -> None:
    """Write into the log, by itself, that an answer did not count.

    Whoever has the request's address can answer it for ever: after `REJECTIONS_LOGGED` the log
    has seen enough of it.
    """
    with ctx.db.transaction() as tx:
        if presentations.count_rejection(tx, row.id) > REJECTIONS_LOGGED:
            return
        audit.record(
            ctx,
            tx,
            tenant_id=row.tenant_id,
            type="presentation.rejected",
            consent_id=row.consent_id,
            body={"presentation_request": row.id, "kind": row.kind, "code": code, **more},
        )
