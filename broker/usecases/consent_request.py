"""Open a consent request, show it, narrow it to what the customer ticked, refuse it, let it expire."""

import hashlib
import hmac
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import orjson
from sqlalchemy import Connection

from broker.domain.addresses import tenant_url
from broker.domain.consent import BindingGrade, ConsentState, transition
from broker.domain.errors import Gone, InvalidRequest, NotFound, UnknownPartner
from broker.domain.ids import new_id
from broker.domain.template import Template, TemplateItem, build_terms
from broker.domain.terms import Party, Terms
from broker.store import consents, contacts, partners, presentations, registry
from broker.store.consents import ConsentRequestRow, ConsentRow
from broker.store.contacts import ContactRow
from broker.store.presentations import PresentationRequestRow
from broker.usecases import audit
from broker.usecases.asking import Asked, ask_for_signatures
from broker.usecases.context import Context
from credentials.jcs import b64url

LIFETIME_SECONDS = 900
SHORT_CODE_ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
DUE_AT_ONCE = 500


@dataclass(frozen=True)
class Opened:
    """A consent request as its partner sees it."""

    request: ConsentRequestRow
    consents: tuple[ConsentRow, ...]
    grade: BindingGrade
    invitation_needed: bool
    page_url: str
    wallet_link: str | None


@dataclass(frozen=True)
class PageState:
    """Everything that a customer's page shows."""

    request: ConsentRequestRow
    template: Template
    controller: Party
    partner: Party
    consents: tuple[tuple[ConsentRow, TemplateItem, Terms], ...]
    contact: ContactRow
    presentation: PresentationRequestRow | None
    wallet_link: str | None
    withdrawals: Mapping[str, str]
    expired: bool


def open_request(
    ctx: Context, tenant_id: str, partner_id: str, *, subject_ref: str, template_id: str, language: str
) -> Opened:
    """Ask the customer behind `subject_ref` for the consents of a template.

    One transaction: request, consents (requested), the wallet's request for all of them, audit.
    Raises `NotFound` (template), `UnknownPartner`, `UnknownPurpose`, `UnknownAttribute`, `InvalidTerms`.
    """
    now = ctx.now()
    contact_hash = contacts.subject_ref_hash(ctx.keys.hmac_key("contact"), partner_id, subject_ref)
    with ctx.db.transaction() as tx:
        partner = partners.find(tx, tenant_id, partner_id)
        if partner.state != "active":
            raise UnknownPartner("the partner is suspended")
        template = registry.template(tx, tenant_id, template_id)
        parties = _parties(tx, tenant_id, partner_id)
        known = registry.registry(tx, tenant_id)
        contact = contacts.get_or_create(
            tx, ctx.master, tenant_id=tenant_id, partner_id=partner_id, subject_ref=subject_ref,
            ref_hash=contact_hash, now=now,
        )
        request_id = new_id("cr")
        page_token = page_token_of(ctx, request_id)
        request = ConsentRequestRow(
            id=request_id,
            tenant_id=tenant_id,
            partner_id=partner_id,
            contact_id=contact.id,
            template_id=template.id,
            template_version=template.version,
            language=language,
            page_token_hash=token_hash(page_token),
            short_code="".join(secrets.choice(SHORT_CODE_ALPHABET) for _ in range(4)),
            state="open",
            expires_at=now + LIFETIME_SECONDS,
            created_at=now,
        )
        consents.add_request(tx, request)
        rows = []
        for item in template.items:
            consent_id = new_id("c")
            terms = build_terms(
                template, item, consent_id=consent_id, controller=parties[0], partner=parties[1], registry=known,
                chosen=None, language=language, now=now, withdrawal_url=page_url(ctx, tenant_id, page_token),
            )
            row = _requested(request, item, terms, now)
            consents.add_consent(tx, row)
            audit.record(
                ctx, tx, tenant_id=tenant_id, type="consent.requested", consent_id=consent_id,
                subject_id=contact.subject_id,
                body={"request": request_id, "partner": partner_id, "template": f"{template.id}@{template.version}",
                      "item": item.item, "terms_hash": row.terms_hash},
            )
            rows.append(row)
        asked = ask_for_signatures(ctx, tx, request, rows)
    return _opened(ctx, request, rows, contact, asked.wallet_link)


def find_request(ctx: Context, tenant_id: str, partner_id: str | None, request_id: str) -> Opened:
    """A consent request, for its partner (or, with None, for an officer); raises `NotFound`."""
    with ctx.db.reading() as tx:
        request = consents.request(tx, tenant_id, request_id)
        if partner_id is not None and request.partner_id != partner_id:
            raise NotFound("no such consent request")
        rows = consents.of_request(tx, request_id)
        contact = contacts.find(tx, tenant_id, request.contact_id)
        waiting = presentations.latest(tx, request_id, "consent")
    link = None if waiting is None or waiting.state != "open" else Asked.of(ctx, waiting).wallet_link
    return _opened(ctx, request, rows, contact, link)


def page(ctx: Context, tenant_id: str, page_token: str) -> PageState:
    """What the page of a request shows now; raises `NotFound`."""
    with ctx.db.reading() as tx:
        request = consents.request_by_page(tx, tenant_id, token_hash(page_token))
        template = registry.template(tx, tenant_id, request.template_id, request.template_version)
        controller, partner = _parties(tx, tenant_id, request.partner_id)
        rows = consents.of_request(tx, request.id)
        contact = contacts.find(tx, tenant_id, request.contact_id)
        waiting = presentations.latest(tx, request.id, "consent")
        withdrawals = {
            row.consent_id: Asked.of(ctx, row).wallet_link
            for row in presentations.open_ones(tx, request.id)
            if row.kind == "withdrawal" and row.consent_id is not None and row.expires_at > ctx.now()
        }
    items = {item.item: item for item in template.items}
    order = [item.item for item in template.items]
    listed = sorted(rows, key=lambda row: order.index(row.item))
    return PageState(
        request=request,
        template=template,
        controller=controller,
        partner=partner,
        consents=tuple((row, items[row.item], _terms(row)) for row in listed),
        contact=contact,
        presentation=waiting,
        wallet_link=Asked.of(ctx, waiting).wallet_link if waiting is not None and waiting.state == "open" else None,
        withdrawals=withdrawals,
        expired=request.expires_at <= ctx.now(),
    )


def choose(
    ctx: Context, tenant_id: str, page_token: str, chosen: Mapping[str, Collection[str]], session: str | None = None
) -> Asked:
    """Ask for signatures on just the consents and attributes that the customer ticked.

    `chosen` maps consent id to attribute ids. The wallet's earlier request is replaced. `session` is
    the browser's secret, to which the answer's `response_code` will be bound (OpenID4VP section 13.3).
    Raises `Gone` (answered or expired), `InvalidRequest` (nothing ticked, foreign id, needed attribute left out).
    """
    now = ctx.now()
    if not any(chosen.values()):
        raise InvalidRequest("nothing is ticked: tick what you want to share, or refuse")
    with ctx.db.transaction() as tx:
        request = _answerable(ctx, tx, tenant_id, page_token)
        template = registry.template(tx, tenant_id, request.template_id, request.template_version)
        items = {item.item: item for item in template.items}
        parties = _parties(tx, tenant_id, request.partner_id)
        known = registry.registry(tx, tenant_id)
        rows = {row.id: row for row in consents.of_request(tx, request.id)}
        if not set(chosen) <= set(rows):
            raise InvalidRequest("a consent of another request was named")
        narrowed = []
        for consent_id, attributes in chosen.items():
            if attributes:
                row = rows[consent_id]
                terms = build_terms(
                    template, items[row.item], consent_id=consent_id, controller=parties[0], partner=parties[1],
                    registry=known, chosen=attributes, language=request.language, now=now,
                    withdrawal_url=page_url(ctx, tenant_id, page_token),
                )
                narrowed.append(replace(row, terms=terms.canonical().decode(), terms_hash=terms.hash()))
        return ask_for_signatures(
            ctx, tx, request, narrowed, session_hash=None if session is None else token_hash(session)
        )


def refuse(ctx: Context, tenant_id: str, page_token: str) -> None:
    """Refuse every consent of a request; raises `Gone` when it was answered before."""
    with ctx.db.transaction() as tx:
        request = _answerable(ctx, tx, tenant_id, page_token)
        close_request(ctx, tx, request, "refused", reason="refused_on_page")


def close_request(ctx: Context, tx: Connection, request: ConsentRequestRow, state: str, *, reason: str) -> None:
    """Refuse (or let expire) what is still requested, and close the request and its open questions."""
    now = ctx.now()
    if not consents.set_request_state(tx, request.id, ("open",), state):
        raise Gone("this request has been answered")
    presentations.replace_open(tx, request.id, "consent", now)
    contact = contacts.find(tx, request.tenant_id, request.contact_id)
    after = ConsentState.EXPIRED if state == "expired" else ConsentState.REFUSED
    for row in consents.of_request(tx, request.id):
        if row.state == ConsentState.REQUESTED:
            consents.move(tx, row.id, transition(ConsentState.REQUESTED, after), now)
            audit.record(
                ctx, tx, tenant_id=request.tenant_id, type=f"consent.{after}", consent_id=row.id,
                subject_id=contact.subject_id,
                body={"request": request.id, "terms_hash": row.terms_hash, "reason": reason},
            )


def expire_due(ctx: Context) -> int:
    """Write the expiry of consents and requests whose time is over; how many were written.

    Decisions do not wait for this: they compare the validity with the clock.
    """
    now = ctx.now()
    with ctx.db.transaction() as tx:
        late = consents.requests_due(tx, now, DUE_AT_ONCE)
        for request in late:
            close_request(ctx, tx, request, "expired", reason="not_answered_in_time")
        over = consents.due(tx, now, DUE_AT_ONCE)
        for row in over:
            consents.move(tx, row.id, transition(ConsentState.GRANTED, ConsentState.EXPIRED), now)
            audit.record(
                ctx, tx, tenant_id=row.tenant_id, type="consent.expired", consent_id=row.id,
                subject_id=row.subject_id, body={"terms_hash": row.terms_hash, "reason": "validity_over"},
            )
    return len(late) + len(over)


def page_token_of(ctx: Context, request_id: str) -> str:
    """The secret part of a page's address: derived, so that it can be shown again and is stored nowhere."""
    return b64url(hmac.digest(ctx.keys.hmac_key("token"), f"page:{request_id}".encode(), "sha256")[:18])


def page_url(ctx: Context, tenant_id: str, page_token: str) -> str:
    """The address of a consent page."""
    return f"{tenant_url(ctx.settings.public_url, tenant_id)}/c/{page_token}"


def token_hash(token: str) -> str:
    """SHA-256 of a high-entropy secret, base64url: what the database keeps of it."""
    return b64url(hashlib.sha256(token.encode()).digest())


def _answerable(ctx: Context, tx: Connection, tenant_id: str, page_token: str) -> ConsentRequestRow:
    request = consents.request_by_page(tx, tenant_id, token_hash(page_token))
    if request.state != "open":
        raise Gone("this request has been answered")
    if request.expires_at <= ctx.now():
        raise Gone("this request has expired: nothing was signed; ask the company for a new link")
    return request


def _parties(tx: Connection, tenant_id: str, partner_id: str) -> tuple[Party, Party]:
    return registry.tenant_party(tx, tenant_id), partners.party(tx, tenant_id, partner_id)


def _terms(row: ConsentRow) -> Terms:
    return Terms.from_json(orjson.loads(row.terms))


def _requested(request: ConsentRequestRow, item: TemplateItem, terms: Terms, now: int) -> ConsentRow:
    return ConsentRow(
        id=terms.consent_id,
        tenant_id=request.tenant_id,
        partner_id=request.partner_id,
        contact_id=request.contact_id,
        request_id=request.id,
        item=item.item,
        subject_id=None,
        state=str(ConsentState.REQUESTED),
        version=1,
        terms=terms.canonical().decode(),
        terms_hash=terms.hash(),
        grade=None,
        signed_copy_id=None,
        valid_from=None,
        valid_until=None,
        uses_left=None,
        status_list_id=None,
        status_index=None,
        withdrawal_grade=None,
        created_at=now,
        decided_at=None,
        ended_at=None,
    )


def _opened(
    ctx: Context, request: ConsentRequestRow, rows: Sequence[ConsentRow], contact: ContactRow, link: str | None
) -> Opened:
    return Opened(
        request=request,
        consents=tuple(rows),
        grade=BindingGrade(contact.grade),
        invitation_needed=contact.subject_id is None,
        page_url=page_url(ctx, request.tenant_id, page_token_of(ctx, request.id)),
        wallet_link=link,
    )
