"""Open a consent request: the terms of each consent, and one wallet request for all of them."""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Self

from sqlalchemy import Connection

from broker.domain.addresses import tenant_url
from broker.domain.consent import BindingGrade, ConsentState
from broker.domain.errors import Erased, NotFound, UnknownPartner
from broker.domain.guardian import GuardianTerms, stored_minor
from broker.domain.ids import new_id
from broker.domain.template import Registry, Template, TemplateItem, build_terms
from broker.domain.terms import Party, Terms
from broker.store import consents, contacts, erasures, partners, presentations, registry
from broker.store.consents import ConsentRequestRow, ConsentRow
from broker.store.contacts import ContactRow
from broker.store.presentations import PresentationRequestRow
from broker.usecases import audit, guardian
from broker.usecases.asking import ask_for_signatures
from broker.usecases.context import Context
from broker.usecases.presentation_request import Asked
from credentials.jcs import b64url

LIFETIME_SECONDS = 900
GUARDED_SECONDS = 86_400
"""For a minor's request: the guardian may be elsewhere."""
SHORT_CODE_ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
SHORT_CODE_LENGTH = 4
PAGE_TOKEN_BYTES = 18


@dataclass(frozen=True)
class Opened:
    """A consent request as its partner sees it."""

    request: ConsentRequestRow
    consents: tuple[ConsentRow, ...]
    grade: BindingGrade
    invitation_needed: bool
    page_url: str
    asked: Asked | None
    signer: str | None


@dataclass(frozen=True)
class Drafting:
    """Everything that the terms of one request's consents are made of."""

    request: ConsentRequestRow
    template: Template
    controller: Party
    partner: Party
    known: Registry
    withdrawal_url: str
    guardian: GuardianTerms | None

    @classmethod
    def of(
        cls,
        ctx: Context,
        tx: Connection,
        request: ConsentRequestRow,
        template: Template,
        contact: ContactRow,
    ) -> Self:
        """Read it; raises `NotFound`, `UnknownPartner`."""
        controller = registry.tenant_party(tx, request.tenant_id)
        partner = partners.party(tx, request.tenant_id, request.partner_id)
        minor = stored_minor(contact.minor)
        countries = (controller.country, partner.country)
        return cls(
            request=request,
            template=template,
            controller=controller,
            partner=partner,
            guardian=None if minor is None else minor.terms(countries, ctx.now()),
            known=registry.registry(tx, request.tenant_id),
            withdrawal_url=page_url(ctx, request.tenant_id, page_token_of(ctx, request.id)),
        )

    def terms(
        self, item: TemplateItem, consent_id: str, now: int, chosen: Collection[str] | None = None
    ) -> Terms:
        """The terms of an item: all its attributes, or those of `chosen`."""
        return build_terms(
            self.template,
            item,
            consent_id=consent_id,
            controller=self.controller,
            partner=self.partner,
            registry=self.known,
            chosen=chosen,
            language=self.request.language,
            now=now,
            withdrawal_url=self.withdrawal_url,
            guardian=self.guardian,
        )


def open_request(
    ctx: Context,
    tenant_id: str,
    partner_id: str,
    *,
    subject_ref: str,
    template_id: str,
    language: str,
    choose: Callable[[Connection, Template], Sequence[TemplateItem]] | None = None,
) -> Opened:
    """Ask the customer behind `subject_ref` for the consents of a template, or some of them.

    `choose` says for which, in the transaction, while no other request for this customer is opened.

    One transaction: request, consents (requested), the wallet's request for all of them, audit.
    Raises `NotFound` (template), `UnknownPartner`, `UnknownPurpose`, `UnknownAttribute`,
    `InvalidTerms`, and what `choose` raises.
    """
    now = ctx.now()
    contact_hash = contacts.subject_ref_hash(ctx.keys.hmac_key("contact"), partner_id, subject_ref)
    with ctx.db.transaction() as tx:
        # Held: whoever suspends it meanwhile waits, and closes what is opened here.
        if partners.find(tx, tenant_id, partner_id, lock=True).state != "active":
            raise UnknownPartner("the partner is suspended")
        template = registry.template(tx, tenant_id, template_id)
        contact = contacts.get_or_create(
            tx,
            ctx.master,
            tenant_id=tenant_id,
            partner_id=partner_id,
            subject_ref=subject_ref,
            ref_hash=contact_hash,
            now=now,
        )
        items = template.items if choose is None else choose(tx, template)
        request = _new_request(ctx, contact, template, language)
        drafting = Drafting.of(ctx, tx, request, template, contact)
        if drafting.guardian is not None:
            request = replace(request, expires_at=now + GUARDED_SECONDS)
            drafting = replace(drafting, request=request)
        consents.add_request(tx, request)
        rows = [_ask_for(ctx, tx, drafting, item, contact) for item in items]
        asked = ask_for_signatures(ctx, tx, request, rows)
        whose = guardian.signer_of(rows)
        signing = guardian.signer(tx, contact, whose)
    return _opened(ctx, request, rows, signing, (whose, asked))


def find_request(ctx: Context, tenant_id: str, partner_id: str | None, request_id: str) -> Opened:
    """A consent request, for its partner (or, with None, for an officer).

    Raises `NotFound`, `Erased`.
    """
    with ctx.db.reading() as tx:
        request = consents.request(tx, tenant_id, request_id)
        if partner_id is not None and request.partner_id != partner_id:
            raise NotFound("no such consent request")
        template = registry.template(tx, tenant_id, request.template_id, request.template_version)
        rows = in_order(template, consents.of_request(tx, request_id))
        if partner_id is not None:
            rows = [row.as_published(ctx.now()) for row in rows]
        contact = contacts.find(tx, tenant_id, request.contact_id)
        if contact.erasure_id is not None and (
            partner_id is None
            or not erasures.is_hidden(tx, tenant_id, contact.erasure_id, ctx.now())
        ):
            raise Erased("the customer was erased, and this request with them")
        waiting = presentations.latest(tx, request_id, "consent")
        whose = guardian.turn(tx, request, rows)
        signing = guardian.signer(tx, contact, whose)
    return _opened(ctx, request, rows, signing, (whose, answerable(ctx, waiting)))


def in_order(template: Template, rows: Sequence[ConsentRow]) -> list[ConsentRow]:
    """The consents of a request in the order of its template."""
    order = [item.item for item in template.items]
    return sorted(rows, key=lambda row: order.index(row.item))


def answerable(ctx: Context, row: PresentationRequestRow | None) -> Asked | None:
    """A request as a wallet may still answer it; None when it may not."""
    if row is None or row.state != "open" or row.expires_at <= ctx.now():
        return None
    return Asked.of(ctx, row)


def page_token_of(ctx: Context, request_id: str) -> str:
    """The secret part of a page's address.

    Derived, so that it can be shown again and is stored nowhere.
    """
    whole = hmac.digest(ctx.keys.hmac_key("token"), f"page:{request_id}".encode(), "sha256")
    return b64url(whole[:PAGE_TOKEN_BYTES])


def page_url(ctx: Context, tenant_id: str, page_token: str) -> str:
    """The address of a consent page."""
    return f"{tenant_url(ctx.settings.public_url, tenant_id)}/c/{page_token}"


def token_hash(token: str) -> str:
    """SHA-256 of a high-entropy secret, base64url: what the database keeps of it."""
    return b64url(hashlib.sha256(token.encode()).digest())


def _new_request(
    ctx: Context, contact: ContactRow, template: Template, language: str
) -> ConsentRequestRow:
    now = ctx.now()
    request_id = new_id("cr")
    return ConsentRequestRow(
        id=request_id,
        tenant_id=contact.tenant_id,
        partner_id=contact.partner_id,
        contact_id=contact.id,
        template_id=template.id,
        template_version=template.version,
        language=language,
        page_token_hash=token_hash(page_token_of(ctx, request_id)),
        short_code="".join(secrets.choice(SHORT_CODE_ALPHABET) for _ in range(SHORT_CODE_LENGTH)),
        state="open",
        expires_at=now + LIFETIME_SECONDS,
        created_at=now,
    )


def _ask_for(
    ctx: Context, tx: Connection, drafting: Drafting, item: TemplateItem, contact: ContactRow
) -> ConsentRow:
    request, template, now = drafting.request, drafting.template, ctx.now()
    row = _requested(request, item, drafting.terms(item, new_id("c"), now), now)
    consents.add_consent(tx, row)
    audit.record(
        ctx,
        tx,
        tenant_id=row.tenant_id,
        type="consent.requested",
        consent_id=row.id,
        subject_id=contact.subject_id,
        body={
            "request": request.id,
            "partner": request.partner_id,
            "template": f"{template.id}@{template.version}",
            "item": item.item,
            "terms_hash": row.terms_hash,
        },
    )
    return row


def _requested(
    request: ConsentRequestRow, item: TemplateItem, terms: Terms, now: int
) -> ConsentRow:
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
    ctx: Context,
    request: ConsentRequestRow,
    rows: Sequence[ConsentRow],
    contact: ContactRow,
    asking: tuple[str, Asked | None],
) -> Opened:
    whose, asked = asking
    return Opened(
        request=request,
        consents=tuple(rows),
        grade=BindingGrade(contact.grade),
        invitation_needed=contact.subject_id is None,
        page_url=page_url(ctx, request.tenant_id, page_token_of(ctx, request.id)),
        asked=asked,
        signer=None if asked is None else whose,
    )
