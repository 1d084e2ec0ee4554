"""What the templates get: frozen values, their texts in the visitor's language."""

from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

Kind = Literal["ordinary", "sensitive", "cross_border", "publication", "public_place"]
Answer = Literal["agree", "refuse"]
SignedBy = Literal["customer", "guardian", "both"]
OutcomeState = Literal["granted", "refused", "withdrawn", "over"]


@dataclass(frozen=True)
class Frame:
    """What every page has: language, addresses, the form's token, what it listens to.

    `base` is the path of the tenant; `here` the path of this page without its query. `live` is the
    address of the page's events and `revision` what they are compared with; `refresh` the seconds
    after which a browser without script looks again (at `here`, since a refresh of an address with
    a fragment would only scroll).
    """

    tag: str
    other: str
    other_tag: str
    other_href: str
    base: str
    here: str
    stylesheet: str
    script: str
    icon: str
    form_token: str = ""
    live: str | None = None
    revision: str = ""
    refresh: int | None = None


@dataclass(frozen=True)
class PartyView:
    """A company: its name, the first letter for its mark, how to reach it, its country's name."""

    name: str
    initial: str
    contact: str
    contact_href: str | None
    place: str


@dataclass(frozen=True)
class AttributeView:
    """An attribute that is asked for; `ticked` only when the customer ticked it before."""

    id: str
    label: str
    required: bool
    ticked: bool = False


@dataclass(frozen=True)
class ConsentView:
    """One consent as asked for: a card of its own and a signature of its own.

    `number` of `of` counts signatures. `shared` names the attributes as one phrase, `abroad` the
    places other than where they are stored.
    `answer` and `missing` are what the customer sent when the form comes back.
    """

    id: str
    kind: Kind
    number: int
    of: int
    sentence: str
    attributes: tuple[AttributeView, ...]
    shared: str
    purpose: str
    algorithm: str
    algorithm_version: str
    minor_versions: bool
    explanation: str
    automated_decision: bool
    necessary_for_service: bool
    actions: tuple[str, ...]
    stored: str
    processed: str
    accessed: str
    abroad: str
    retention_days: int
    until: str
    max_uses: int | None
    recipient: PartyView
    third_party: bool
    legal_basis: str
    terms_hash: str
    answer: Answer | None = None
    missing: str = ""


@dataclass(frozen=True)
class RequestView:
    """Who asks, and for what: the parts that all three steps show."""

    id: str
    title: str
    summary: str
    refusal: str
    partner: PartyView
    controller: PartyView
    template: str
    expires_at: str
    consents: tuple[ConsentView, ...]
    guardian: Literal["", "first_minor", "guardian_now", "alone"] = ""
    """Who signs for a minor: first the minor, now the guardian, or the guardian alone."""


@dataclass(frozen=True)
class WhoView:
    """Step 1: who and why."""

    request: RequestView
    purposes: tuple[ConsentView, ...]


@dataclass(frozen=True)
class WhatView:
    """Step 2: what and how long; `problem` says why the form came back."""

    request: RequestView
    problem: Literal["", "nothing_ticked", "missing"] = ""


@dataclass(frozen=True)
class LinkView:
    """A link that starts a wallet, and its QR code; `consent` when it is for one alone."""

    href: str
    qr: Markup
    consent: ConsentView | None = None


@dataclass(frozen=True)
class CardView:
    """The customer's card, to be put into the wallet before anything can be signed."""

    link: LinkView | None
    with_code: bool


@dataclass(frozen=True)
class SignView:
    """Step 3: the terms again, what is not shared, and where to sign.

    Several links when a wallet takes each consent alone, some of which may be `signed` by then;
    none when the card comes first.
    """

    request: RequestView
    signing: tuple[ConsentView, ...]
    signed: tuple[ConsentView, ...]
    not_shared: tuple[str, ...]
    short_code: str
    links: tuple[LinkView, ...]
    card: CardView | None


@dataclass(frozen=True)
class KeptView:
    """One consent after the answer: its state, when, the receipt, a withdrawal under way.

    `decides_alone` says whether a program decides by itself: allowed, refused, or not at all.
    `signed_by` says whose signatures it rests on once it was given: `both` are a minor's and the
    guardian's.
    """

    consent: ConsentView
    state: str
    decided: str
    ended: str
    signature_grade: str
    withdrawal_grade: str
    withdrawal: LinkView | None
    decides_alone: Literal["allowed", "refused", "no"]
    signed_by: SignedBy


@dataclass(frozen=True)
class OutcomeView:
    """After the answer: what was agreed to, what not; receipts and withdrawal in the same place.

    `proof` starts a wallet that is to withdraw everything given to anybody; `proven` that one has
    shown whose it is and goes on elsewhere.
    """

    request: RequestView
    kept: tuple[KeptView, ...]
    state: OutcomeState
    proof: LinkView | None = None
    proven: bool = False


@dataclass(frozen=True)
class GivenView:
    """One consent in the list of all that somebody has given."""

    id: str
    recipient: PartyView
    shared: str
    purpose: str
    until: str
    state: str


@dataclass(frozen=True)
class EverythingView:
    """All that somebody has given, and the wallet's links that withdraw it."""

    given: tuple[GivenView, ...]
    links: tuple[LinkView, ...]


@dataclass(frozen=True)
class NoticeView:
    """A page that only says what happened and what to do now."""

    kind: str
    back: str | None = None
    who: PartyView | None = None


@dataclass(frozen=True)
class AuthorizeView:
    """A wallet that asks for the customer's card; `wrong` after a code that was not the one."""

    partner: PartyView
    client_id: str
    origin: str
    request_uri: str
    coded: bool
    wrong: bool
