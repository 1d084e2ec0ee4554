"""Ask for the consent that a denial names, and tell what has become of it."""

from dataclasses import dataclass

from broker.domain.access import Question
from broker.domain.access_request import (
    Denial,
    Denied,
    InvalidDenialBinding,
    NotRequestable,
    UnknownTask,
    verify_denial,
)
from broker.domain.errors import NotFound
from broker.store import consents
from broker.store.consents import ConsentRow
from broker.usecases import consent_request
from broker.usecases.consent_request import page_token_of, page_url
from broker.usecases.context import Context
from broker.usecases.person import readable_consent


@dataclass(frozen=True)
class Task:
    """A consent that was asked for after a denial; `row` as its partner may see it.

    `expires_at` (Unix seconds) is until when the customer can answer.
    """

    row: ConsentRow
    status: str
    page_url: str
    expires_at: int

    @property
    def approved_until(self) -> int | None:
        """Until when the consent is good, or was, in Unix seconds; None where it was not given."""
        return self.row.valid_until if self.row.ended_at is None else self.row.ended_at


def submit(
    ctx: Context,
    tenant_id: str,
    partner_id: str,
    question: Question,
    denial: Denial,
    *,
    language: str,
) -> Task:
    """Open the consent request that the denial of this question names.

    Raises `InvalidDenialBinding`, `ExpiredDenial`, `NotRequestable` (the template has changed
    since), and what opening a consent request raises.
    """
    key = ctx.keys.hmac_key("contact")
    denied = Denied(tenant_id, partner_id, question)
    template, item = verify_denial(key, denied, denial, ctx.now())
    if question.subject_ref is None:
        raise InvalidDenialBinding("resource.properties.subject_ref is missing")
    try:
        opened = consent_request.open_request(
            ctx,
            tenant_id,
            partner_id,
            subject_ref=question.subject_ref,
            template_id=template,
            language=language,
        )
    except NotFound:
        raise NotRequestable("the template is not there any more: evaluate again") from None
    for row in opened.consents:
        if row.item == item:
            return Task(row, "pending", opened.page_url, opened.request.expires_at)
    raise NotRequestable("the template has changed since: evaluate again")


def find(ctx: Context, tenant_id: str, partner_id: str, task_id: str) -> Task:
    """What has become of it; raises `UnknownTask`, `Erased`."""
    now = ctx.now()
    with ctx.db.reading() as tx:
        try:
            row = readable_consent(tx, tenant_id, task_id, partner_id, now).as_published(now)
        except NotFound:
            raise UnknownTask("no such task") from None
        request = consents.request(tx, tenant_id, row.request_id)
    address = page_url(ctx, tenant_id, page_token_of(ctx, request.id))
    return Task(row, _status(row, request.expires_at, now), address, request.expires_at)


def _status(row: ConsentRow, expires_at: int, now: int) -> str:
    if row.state == "requested":
        return "pending" if now < expires_at else "expired"
    if row.state == "refused":
        return "denied"
    # A consent that has ended since was given all the same: an evaluation says that it is over.
    return "expired" if row.valid_from is None else "approved"
