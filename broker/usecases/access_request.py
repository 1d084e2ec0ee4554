"""Ask for the consent that a denial names, and tell what has become of it."""

import hmac
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Connection

from broker.domain.access_request import (
    Denial,
    Denied,
    InvalidDenialBinding,
    NotRequestable,
    UnknownTask,
    verify_denial,
)
from broker.domain.errors import NotFound
from broker.domain.template import Template, TemplateItem
from broker.store import consents, idempotency
from broker.store.consents import ConsentRow
from broker.store.idempotency import KeyOf, KeyTaken
from broker.usecases import consent_request
from broker.usecases.consent_request import page_token_of, page_url
from broker.usecases.context import Context
from broker.usecases.covering_template import covers
from broker.usecases.decide import Asking, judge_now
from broker.usecases.person import readable_consent
from credentials.jcs import b64url

ACCEPTED: Final = 202
USED_SECONDS: Final = 86_400
"""For so long it is known that a denial was used; longer than one is good, by any clock."""


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


def submit(ctx: Context, asking: Asking, denial: Denial, *, language: str) -> Task:
    """Ask for the one consent that the denial of this question names.

    1. The denial is of this question, and not too old.
    2. One transaction, while no other request for this customer is opened: the question is judged
       again, and consent alone still stands in its way; the denial is used, once; the request.

    Raises `InvalidDenialBinding`, `ExpiredDenial`, `NotRequestable` (something has changed since,
    or the denial was used before), `Unauthorized`, and what opening a consent request raises.
    """
    # 1.
    question = asking.question
    denied = Denied(asking.tenant_id, asking.partner_id, question)
    named, item = verify_denial(ctx.keys.hmac_key("contact"), denied, denial, ctx.now())
    if question.subject_ref is None:
        raise InvalidDenialBinding("resource.properties.subject_ref is missing")

    # 2.
    def choose(tx: Connection, template: Template) -> list[TemplateItem]:
        attribute = _judge_again(ctx, tx, asking)
        chosen = [one for one in template.items if one.item == item]
        if not all(covers(one, question, attribute) for one in chosen) or not chosen:
            raise NotRequestable("the template has changed since: evaluate again")
        _use(ctx, tx, asking, denial)
        return chosen

    try:
        opened = consent_request.open_request(
            ctx,
            asking.tenant_id,
            asking.partner_id,
            subject_ref=question.subject_ref,
            template_id=named,
            language=language,
            choose=choose,
        )
    except NotFound:
        raise NotRequestable("the template is not there any more: evaluate again") from None
    (row,) = opened.consents
    return Task(row, "pending", opened.page_url, opened.request.expires_at)


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


def _judge_again(ctx: Context, tx: Connection, asking: Asking) -> str:
    """The attribute (its canonical name) whose use consent alone still stands in the way of.

    Since the denial the customer may have refused, an agent been suspended, a switch been turned.
    """
    now = judge_now(ctx, tx, asking)
    if now.verdict.permit:
        raise NotRequestable("this would be permitted now: evaluate again")
    if not now.turnable:
        told = ", ".join(reason.code for reason in now.verdict.reasons)
        raise NotRequestable(f"asking for consent would not turn this denial now: {told}")
    return now.standing.snapshot.facts.attribute.name


def _use(ctx: Context, tx: Connection, asking: Asking, denial: Denial) -> None:
    """Use the denial: of many calls with it, whatever their keys, the database lets one through."""
    named = b"denial\x00" + denial.evaluation_id.encode("utf-8", "surrogatepass")
    digest = b64url(hmac.digest(ctx.keys.hmac_key("idempotency"), named, "sha256"))
    key = KeyOf(asking.tenant_id, asking.partner_id, digest)
    now = ctx.now()
    try:
        idempotency.take(tx, key, request_hash=digest, expires_at=now + USED_SECONDS, now=now)
    except KeyTaken:
        raise NotRequestable("this denial has been used: evaluate again") from None
    idempotency.keep(tx, key, status=ACCEPTED, sealed=None)


def _status(row: ConsentRow, expires_at: int, now: int) -> str:
    if row.state == "requested":
        return "pending" if now < expires_at else "expired"
    if row.state == "refused":
        return "denied"
    # A consent that has ended since was given all the same: an evaluation says that it is over.
    return "expired" if row.valid_from is None else "approved"
