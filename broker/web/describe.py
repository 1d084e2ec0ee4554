"""From the state of a page to what its templates get, in one language."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import orjson

from broker.domain.guardian import GUARDIAN
from broker.domain.terms import AttributeTerms, Party, Terms
from broker.usecases.consent_page import PageState
from broker.usecases.invitation import WaitingOffer
from broker.usecases.presentation_request import Document
from broker.usecases.withdraw_all import Everything
from broker.web.languages import Language
from broker.web.qr import qr_svg
from broker.web.views import (
    AttributeView,
    CardView,
    ConsentView,
    EverythingView,
    GivenView,
    KeptView,
    Kind,
    LinkView,
    OutcomeState,
    OutcomeView,
    PartyView,
    RequestView,
    SignedBy,
    SignView,
    WhatView,
    WhoView,
)


def who(state: PageState, spoken: Language) -> WhoView:
    """Step 1: each purpose and algorithm once, however many consents they are split into."""
    request = describe_request(state, spoken)
    seen: dict[tuple[str, str, str, bool], ConsentView] = {}
    for consent in request.consents:
        algorithm = (consent.algorithm, consent.algorithm_version, consent.minor_versions)
        seen.setdefault((consent.purpose, *algorithm), consent)
    return WhoView(request, tuple(seen.values()))


def what(state: PageState, spoken: Language) -> WhatView:
    """Step 2, with nothing ticked: the consents that are not answered yet."""
    request = describe_request(state, spoken)
    waiting = {row.id for row, _, _ in state.consents if row.state == "requested"}
    left = tuple(consent for consent in request.consents if consent.id in waiting)
    return WhatView(replace(request, consents=left))


def sign(state: PageState, spoken: Language, card: WaitingOffer | None) -> SignView:
    """Step 3: the terms that the wallet is asked to sign, and what was left out of them."""
    request = describe_request(state, spoken)
    asked = {
        question.consent_id: Terms.from_json(orjson.loads(question.terms))
        for row, _ in state.waiting
        for question in Document.load(row.document).questions
    }
    signing, signed, not_shared = [], [], []
    for view, (row, _, terms) in zip(request.consents, state.consents, strict=True):
        # In the fallback a minor signs each by itself, and goes on with the others.
        if row.state == "granted" or (row.awaits_guardian and row.id not in asked):
            signed.append(view)
            continue
        if row.id not in asked:
            not_shared.extend(_left_out(view, terms.attributes, spoken))
            continue
        kept = {attribute.id for attribute in asked[row.id].attributes}
        signing.append(
            describe_consent(state, asked[row.id], view.sentence, spoken, (view.number, view.of))
        )
        not_shared.extend(spoken.text(one.label) for one in terms.attributes if one.id not in kept)
    bound = state.contact.subject_id is not None
    return SignView(
        request=request,
        signing=tuple(signing),
        signed=tuple(signed),
        not_shared=tuple(not_shared),
        short_code=state.request.short_code,
        links=tuple(_link(row.consent_id, link, signing) for row, link in state.waiting if bound),
        card=None if bound else _card(card),
    )


def outcome(state: PageState, spoken: Language) -> OutcomeView:
    """After the answer: each consent with its state, its receipt and its withdrawal."""
    request = describe_request(state, spoken)
    kept = []
    for view, (row, _, terms) in zip(request.consents, state.consents, strict=True):
        link = state.withdrawals.get(row.id)
        country = state.controller.country
        kept.append(
            KeptView(
                consent=view,
                state="refused" if row.state == "expired" and row.valid_from is None else row.state,
                decided="" if row.decided_at is None else spoken.moment(row.decided_at, country),
                ended="" if row.ended_at is None else spoken.moment(row.ended_at, country),
                signature_grade=row.grade or "",
                withdrawal_grade=row.withdrawal_grade or "",
                withdrawal=None if link is None else LinkView(link, qr_svg(link)),
                decides_alone="no"
                if not view.automated_decision
                else "refused"
                if row.refuses_automated_decisions
                else "allowed",
                signed_by=_signed_by(terms),
            )
        )
    return OutcomeView(
        request,
        tuple(kept),
        _overall([one.state for one in kept]),
        proof=None if state.proof is None else LinkView(state.proof, qr_svg(state.proof)),
        proven=state.proven,
    )


def everything(told: Everything, spoken: Language) -> EverythingView:
    """All that somebody has given, by its terms and as it stands."""
    return EverythingView(
        given=tuple(
            _given(row.state, Terms.from_json(orjson.loads(row.terms)), spoken) for row in told.rows
        ),
        links=tuple(LinkView(one.wallet_link, qr_svg(one.wallet_link)) for one in told.waiting),
    )


def _given(state: str, terms: Terms, spoken: Language) -> GivenView:
    return GivenView(
        id=terms.consent_id,
        recipient=describe_party(terms.partner, spoken),
        shared=spoken.listed([spoken.text(attribute.label) for attribute in terms.attributes]),
        purpose=spoken.text(terms.purpose.label),
        until=spoken.date(terms.valid_until, terms.controller.country),
        state=state,
    )


def describe_request(state: PageState, spoken: Language) -> RequestView:
    """Who asks, and for what."""
    of = len(state.consents)
    partner = describe_party(state.partner, spoken)
    return RequestView(
        id=state.request.id,
        title=spoken.said_of(partner.name, state.template.title),
        summary=spoken.said_of(partner.name, state.template.summary),
        refusal=spoken.text(state.template.refusal),
        partner=partner,
        controller=describe_party(state.controller, spoken),
        template=f"{state.request.template_id}@{state.request.template_version}",
        expires_at=_until(state, spoken),
        guardian=_guardian(state),
        consents=tuple(
            describe_consent(state, terms, spoken.text(item.sentence), spoken, (number, of))
            for number, (_, item, terms) in enumerate(state.consents, start=1)
        ),
    )


def describe_consent(
    state: PageState, terms: Terms, sentence: str, spoken: Language, place: tuple[int, int]
) -> ConsentView:
    """One consent by its terms; `place` is which signature it is, of how many."""
    territories = terms.territories
    home = {attribute.stored_in for attribute in terms.attributes}
    return ConsentView(
        id=terms.consent_id,
        kind=_kind(terms),
        number=place[0],
        of=place[1],
        sentence=sentence,
        attributes=tuple(_attribute(attribute, spoken) for attribute in terms.attributes),
        shared=spoken.listed([spoken.text(attribute.label) for attribute in terms.attributes]),
        purpose=spoken.text(terms.purpose.label),
        algorithm=spoken.text(terms.algorithm.label),
        algorithm_version=terms.algorithm.version,
        minor_versions=terms.minor_versions,
        explanation=spoken.text(terms.algorithm.explanation),
        automated_decision=terms.algorithm.automated_decision,
        necessary_for_service=terms.purpose.necessary_for_service,
        actions=terms.actions,
        stored=_places(territories.storage, spoken),
        processed=_places(territories.processing, spoken),
        accessed=_places(territories.access, spoken),
        abroad=_places(sorted(territories.every - home), spoken),
        retention_days=terms.retention_days,
        until=spoken.date(terms.valid_until, state.controller.country),
        max_uses=terms.max_uses,
        recipient=describe_party(terms.partner, spoken),
        third_party="third_party" in terms.separate,
        legal_basis=", ".join(terms.legal_basis),
        terms_hash=terms.hash(),
    )


def describe_party(party: Party, spoken: Language) -> PartyView:
    """A company by its terms; an address of e-mail becomes a link, nothing else does."""
    name = spoken.text(party.name)
    is_mail = "@" in party.contact and "/" not in party.contact and " " not in party.contact
    return PartyView(
        name=name,
        initial=name[:1].upper(),
        contact=party.contact,
        contact_href=f"mailto:{party.contact}" if is_mail else None,
        place=spoken.place(party.country),
    )


def _until(state: PageState, spoken: Language) -> str:
    """Until when it can be signed; with the day where that may be another."""
    request, country = state.request, state.controller.country
    guarded = any(terms.guardian is not None for _, _, terms in state.consents)
    return (spoken.moment if guarded else spoken.clock)(request.expires_at, country)


def _guardian(state: PageState) -> Literal["", "first_minor", "guardian_now", "alone"]:
    guardian = next((terms.guardian for _, _, terms in state.consents if terms.guardian), None)
    if guardian is None:
        return ""
    if guardian.alone:
        return "alone"
    return "guardian_now" if state.signer == GUARDIAN else "first_minor"


def _signed_by(terms: Terms) -> SignedBy:
    if terms.guardian is None:
        return "customer"
    return "guardian" if terms.guardian.alone else "both"


def _kind(terms: Terms) -> Kind:
    kinds: tuple[Kind, ...] = ("sensitive", "cross_border", "publication", "public_place")
    return next((kind for kind in kinds if kind in terms.separate), "ordinary")


def _attribute(attribute: AttributeTerms, spoken: Language) -> AttributeView:
    return AttributeView(
        id=attribute.id,
        label=spoken.text(attribute.label),
        required=attribute.required,
    )


def _places(countries: Sequence[str], spoken: Language) -> str:
    return spoken.listed([spoken.place(country) for country in dict.fromkeys(countries)])


def _left_out(
    view: ConsentView, attributes: Sequence[AttributeTerms], spoken: Language
) -> list[str]:
    """A consent that is not asked for: as one line where it is an export, else by attribute."""
    if view.kind == "cross_border":
        return [f"{view.shared} → {view.abroad}"]
    return [spoken.text(attribute.label) for attribute in attributes]


def _link(consent_id: str | None, link: str, signing: Sequence[ConsentView]) -> LinkView:
    """A wallet's link; of one consent alone when the wallet takes only one at a time."""
    consent = next((view for view in signing if view.id == consent_id), None)
    return LinkView(link, qr_svg(link), consent)


def _card(offer: WaitingOffer | None) -> CardView:
    if offer is None:
        return CardView(None, with_code=False)
    return CardView(LinkView(offer.offer_uri, qr_svg(offer.offer_uri)), offer.with_code)


def _overall(states: Sequence[str]) -> OutcomeState:
    """What the page's heading says, by what still holds."""
    if "granted" in states:
        return "granted"
    if "withdrawn" in states:
        return "withdrawn"
    return "over" if {"expired", "superseded"} & set(states) else "refused"
