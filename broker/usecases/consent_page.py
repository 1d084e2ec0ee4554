"""The customer's page: what it shows, what is ticked or refused on it, the receipt."""

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import orjson
from sqlalchemy import Connection

from broker.domain.consent import ConsentState
from broker.domain.errors import Gone, InvalidRequest, NotFound, StateConflict
from broker.domain.guardian import GUARDIAN
from broker.domain.template import Template, TemplateItem
from broker.domain.terms import Party, Terms
from broker.store import consent_locks, consents, contacts, partners, presentations, registry
from broker.store.consents import ConsentRequestRow, ConsentRow
from broker.store.contacts import ContactRow
from broker.store.presentations import PresentationRequestRow
from broker.usecases import guardian
from broker.usecases.asking import ask_for_signatures
from broker.usecases.closing import close_request
from broker.usecases.consent_request import Drafting, answerable, in_order, token_hash
from broker.usecases.context import Context
from broker.usecases.presentation_request import Asked
from credentials.jcs import b64url

REVISION_BYTES = 12


@dataclass(frozen=True)
class PageState:
    """Everything that a customer's page shows.

    `waiting` are the wallet's open requests with their links: one, or one for each consent when
    the wallet refused to take them together. `proof` is the link by which a wallet proves whose it
    is, to withdraw everything; `proven` that one has, and goes on with a page of its own. `signer`
    is whose turn it is, the customer's or the guardian's, and `contact` that one's.
    """

    request: ConsentRequestRow
    template: Template
    controller: Party
    partner: Party
    consents: tuple[tuple[ConsentRow, TemplateItem, Terms], ...]
    contact: ContactRow
    signer: str
    presentation: PresentationRequestRow | None
    wallet_link: str | None
    waiting: tuple[tuple[PresentationRequestRow, str], ...]
    withdrawals: Mapping[str, str]
    expired: bool
    proof: str | None = None
    proven: bool = False


def page(ctx: Context, tenant_id: str, page_token: str) -> PageState:
    """What the page of a request shows now; raises `NotFound`."""
    now = ctx.now()
    with ctx.db.reading() as tx:
        request = consents.request_by_page(tx, tenant_id, token_hash(page_token))
        template = registry.template(tx, tenant_id, request.template_id, request.template_version)
        controller = registry.tenant_party(tx, tenant_id)
        partner = partners.party(tx, tenant_id, request.partner_id)
        rows = in_order(template, consents.of_request(tx, request.id))
        rows = [row.as_published(now) for row in rows]
        contact = contacts.find(tx, tenant_id, request.contact_id)
        signer = guardian.turn(tx, request, rows)
        contact = guardian.signer(tx, contact, signer)
        waiting = presentations.latest(tx, request.id, "consent")
        opened = presentations.open_ones(tx, request.id)
        proof = presentations.asking_who(tx, request.id)
    items = {item.item: item for item in template.items}
    asked, proving = answerable(ctx, waiting), answerable(ctx, proof)
    return PageState(
        request=request,
        template=template,
        controller=controller,
        partner=partner,
        consents=tuple(
            (row, items[row.item], Terms.from_json(orjson.loads(row.terms))) for row in rows
        ),
        contact=contact,
        signer=signer,
        presentation=waiting,
        wallet_link=None if asked is None else asked.wallet_link,
        waiting=tuple(
            (row, Asked.of(ctx, row).wallet_link)
            for row in sorted(opened, key=lambda row: row.created_at)
            if row.kind == "consent" and row.expires_at > now
        ),
        withdrawals={
            row.consent_id: Asked.of(ctx, row).wallet_link
            for row in sorted(opened, key=lambda row: row.created_at)
            if row.kind == "withdrawal" and row.consent_id is not None and row.expires_at > now
        },
        expired=request.expires_at <= now,
        proof=None if proving is None else proving.wallet_link,
        proven=proof is not None and proof.state == "answered" and proof.expires_at > now,
    )


def choose(
    ctx: Context,
    tenant_id: str,
    page_token: str,
    chosen: Mapping[str, Collection[str]],
    session: str | None = None,
    language: str | None = None,
) -> Asked:
    """Ask for signatures on just the consents and attributes that the customer ticked.

    `chosen` maps consent id to attribute ids. The wallet's earlier request is replaced. `session`
    is the browser's secret, to which the answer's `response_code` will be bound (OpenID4VP 1.0,
    section 13.3). `language` is the one in which the page showed the notice, the request's own
    when None. Raises `Gone` (answered or expired), `InvalidRequest` (nothing ticked, foreign
    id, answered before), `InvalidTerms` (a needed attribute left out).
    """
    if not any(chosen.values()):
        raise InvalidRequest("nothing is ticked: tick what you want to share, or refuse")
    with ctx.db.transaction() as tx:
        request = _answerable(ctx, tx, tenant_id, page_token)
        template = registry.template(tx, tenant_id, request.template_id, request.template_version)
        shown = request if language is None else replace(request, language=language)
        contact = contacts.find(tx, tenant_id, request.contact_id)
        drafting = Drafting.of(ctx, tx, shown, template, contact)
        rows = {row.id: row for row in in_order(template, consents.of_request(tx, request.id))}
        if not set(chosen) <= set(rows):
            raise InvalidRequest("a consent of another request was named")
        if any(row.awaits_guardian for row in rows.values()):
            raise StateConflict(
                "the minor has signed: now it is the guardian's turn"
                if guardian.turn(tx, request, list(rows.values())) == GUARDIAN
                else "some of this is signed: sign or refuse the others in the wallet"
            )
        ticked = [row for row in rows.values() if chosen.get(row.id)]
        if any(row.state != ConsentState.REQUESTED for row in ticked):
            raise InvalidRequest("one of these consents has been answered before")
        return ask_for_signatures(
            ctx,
            tx,
            request,
            [_narrowed(ctx, drafting, row, chosen[row.id]) for row in ticked],
            session_hash=None if session is None else token_hash(session),
        )


def refuse(ctx: Context, tenant_id: str, page_token: str) -> None:
    """Refuse every consent of a request; raises `Gone` when it was answered before."""

    def close(tx: Connection) -> None:
        request = _answerable(ctx, tx, tenant_id, page_token)
        close_request(ctx, tx, request, "refused", reason="refused_on_page")

    ctx.db.run(close)


def revision(ctx: Context, tenant_id: str, page_token: str) -> str:
    """A short text that changes whenever the page would show something else; raises `NotFound`.

    It reads rows only, so that many open pages may ask every second.
    """
    now = ctx.now()
    with ctx.db.reading() as tx:
        request = consents.request_by_page(tx, tenant_id, token_hash(page_token))
        rows = [row.as_published(now) for row in consents.of_request(tx, request.id)]
        contact = contacts.find(tx, tenant_id, request.contact_id)
        contact = guardian.signer(tx, contact, guardian.turn(tx, request, rows))
        waiting = presentations.latest(tx, request.id, "consent")
        invited = (
            contacts.open_invitation(tx, contact.id, now) if contact.subject_id is None else None
        )
        open_ones = [
            row.id for row in presentations.open_ones(tx, request.id) if row.expires_at > now
        ]
        proof = presentations.asking_who(tx, request.id)
    seen = (
        request.state,
        request.state == "open" and request.expires_at <= now,
        [(row.id, row.state, row.version) for row in rows],
        contact.subject_id is not None,
        None if waiting is None else (waiting.id, waiting.state),
        None if invited is None else invited.id,
        sorted(open_ones),
        None if proof is None else (proof.id, proof.state, proof.expires_at > now),
    )
    return b64url(hashlib.sha256(orjson.dumps(seen)).digest()[:REVISION_BYTES])


def receipt(ctx: Context, tenant_id: str, page_token: str, consent_id: str) -> str:
    """The receipt credential of a consent of this page (SD-JWT VC); raises `NotFound`."""
    with ctx.db.reading() as tx:
        request = consents.request_by_page(tx, tenant_id, token_hash(page_token))
        row = consents.consent(tx, tenant_id, consent_id)
        if row.request_id != request.id:
            raise NotFound("no such consent")
        issued = presentations.issued(tx, tenant_id, consent_id, "receipt")
    return ctx.master.open(issued.sealed, f"issued:{consent_id}:receipt").decode()


def _narrowed(
    ctx: Context, drafting: Drafting, row: ConsentRow, chosen: Collection[str]
) -> ConsentRow:
    item = next(item for item in drafting.template.items if item.item == row.item)
    terms = drafting.terms(item, row.id, ctx.now(), chosen)
    return replace(row, terms=terms.canonical().decode(), terms_hash=terms.hash())


def _answerable(ctx: Context, tx: Connection, tenant_id: str, page_token: str) -> ConsentRequestRow:
    request = consent_locks.hold(
        tx, consents.request_by_page(tx, tenant_id, token_hash(page_token))
    )
    if request.state != "open":
        raise Gone("this request has been answered")
    if request.expires_at <= ctx.now():
        raise Gone("this request has expired: nothing was signed; ask the company for a new link")
    return request
