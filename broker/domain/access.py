"""What a decision is about: the question, the facts as they stand, the consent that fits best.

Values only; `policy.py` judges them, `usecases/decide.py` reads and records.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from broker.domain.algorithm_versions import covers_version
from broker.domain.cross_border import TransferFacts
from broker.domain.data_source import SANDBOX, SourceFacts
from broker.domain.demand import DemandFacts
from broker.domain.errors import InvalidTerms
from broker.domain.guardian import Minor
from broker.domain.own_attribute import Own, OwnValues

NO_CONSENT = "none"
GRANTED = "granted"
TERMS_CACHED = 4096
# Where several consents fit a question equally, the one that says most about its fate comes first.
STATES = ("requested", "refused", "superseded", "expired", "withdrawn", "granted")
STATE_RANK = {state: rank for rank, state in enumerate(STATES)}


@dataclass(frozen=True, slots=True)
class Question:
    """What a partner asks: may this attribute of this customer be used so, for this, there?

    `attribute` is the partner's own field name or a canonical name. The customer is named by the
    partner's `subject_ref` or by one `consent_id`. `territory` is where the data are processed or
    looked at (ISO 3166-1); None means the partner's own country. An empty purpose or algorithm
    was not stated. `role` is that of the partner's people who will see it, as the partner says.
    `source` is the outside source that the value is from, None where it is the customer's own.
    `own` is what the partner states of the tenant's own attributes of a request.
    """

    action: str
    attribute: str
    purpose_id: str
    algorithm_id: str
    algorithm_version: str
    territory: str | None = None
    subject_ref: str | None = None
    consent_id: str | None = None
    agent: str | None = None
    role: str | None = None
    source: str | None = None
    own: Own = ()

    @property
    def purpose_wire(self) -> str:
        """The purpose as partners name it, `dpv:ServicePersonalisation#algo:churn-v3@1`."""
        return f"{self.purpose_id}#algo:{self.algorithm_id}@{self.algorithm_version}"


@dataclass(frozen=True, slots=True)
class PartnerFacts:
    """The partner that asks; `admission` is `open`, `sandbox`, or `ended` without a sign-off."""

    id: str
    country: str
    suspended: bool
    kill_switch: bool
    admission: str = "open"
    own: OwnValues | None = None


@dataclass(frozen=True, slots=True)
class PurposeFacts:
    """The purpose as registered with the tenant, or not."""

    id: str
    registered: bool
    kill_switch: bool


@dataclass(frozen=True, slots=True)
class AlgorithmFacts:
    """The algorithm in one version as registered with the tenant, or not."""

    id: str
    version: str
    purpose_id: str
    registered: bool
    risk_tier: str
    automated_decision: bool
    kill_switch: bool


@dataclass(frozen=True, slots=True)
class AttributeFacts:
    """The canonical attribute. One that is not in the dictionary counts as sensitive."""

    name: str
    registered: bool
    category: str
    sensitive: bool
    stored_in: str
    public_place: bool = False
    """Collected by a device in a public place, an image for example."""
    maskings: tuple[tuple[str, str], ...] = ()
    """How it is masked, by role."""
    own: OwnValues | None = None


@dataclass(frozen=True, slots=True)
class GrantedTerms:
    """What a decision reads of a consent's terms.

    `territories` are those of processing and of access: storage alone permits no use.
    """

    partner_id: str
    controller_id: str
    purpose_id: str
    algorithm_id: str
    algorithm_version: str
    actions: tuple[str, ...]
    attributes: tuple[str, ...]
    separate: tuple[str, ...]
    territories: tuple[str, ...]
    storage: tuple[str, ...]
    retention_days: int
    explanation: tuple[str, str] = ("", "")
    """How the algorithm decides, as it was shown and signed: in Chinese and in English."""
    countries: tuple[str, ...] = ()
    """Where those sit who process: the controller and the partner (ISO 3166-1)."""
    minor_versions: tuple[str, bool] | None = None
    """Where minor versions are covered: risk tier and whether it decides by itself, as signed."""

    def names(self, algorithm_id: str, version: str) -> bool:
        """Whether an algorithm is the one signed, in a version that the terms cover by its name."""
        minor = self.minor_versions is not None
        covered = covers_version(self.algorithm_version, version, minor_versions=minor)
        return covered and algorithm_id == self.algorithm_id

    def covers(self, algorithm: AlgorithmFacts) -> bool:
        """Whether the algorithm is covered as it is registered, if it is."""
        stays = (algorithm.risk_tier, algorithm.automated_decision)
        if algorithm.registered and self.minor_versions not in (None, stays):
            return False
        return self.names(algorithm.id, algorithm.version)


NO_TERMS = GrantedTerms("", "", "", "", "", (), (), (), (), (), 0)


@dataclass(frozen=True, slots=True)
class ConsentFacts:
    """A consent as its row stands; `uses_left` is None where uses are not counted."""

    id: str
    state: str
    subject_id: str | None
    valid_from: int
    valid_until: int
    uses_left: int | None
    refuses_automated_decisions: bool
    terms: GrantedTerms
    guardian_signed: bool = False
    """Whether it rests on the signature of a minor's guardian."""

    def live(self, now: int) -> bool:
        """Whether it is granted and within its validity at `now`."""
        return self.state == GRANTED and self.valid_from <= now < self.valid_until

    @property
    def exhausted(self) -> bool:
        """Whether its uses are counted and none is left."""
        return self.uses_left is not None and self.uses_left <= 0


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that a decision rests on, read at one moment."""

    tenant_id: str
    kill_switch: bool
    partner: PartnerFacts
    purpose: PurposeFacts
    algorithm: AlgorithmFacts
    attribute: AttributeFacts
    consents: tuple[ConsentFacts, ...]
    subject_id: str | None
    demand: DemandFacts | None = None
    """What the purpose demands to be proven, and what was, where it demands anything."""
    transfer: TransferFacts | None = None
    """By what mechanism the data leave their country, where the use makes them."""
    minor: Minor | None = None
    """What the partner has said of the customer, where it is a minor."""
    source: SourceFacts | None = None
    """The outside source that the value is from, where it is from one."""
    test_subject: bool = False
    """Whether the contact is one that the sandbox may be tried on."""
    binding: str = "none"
    """How surely whoever holds the wallet is this contact, a `BindingGrade`."""
    agent_registered: bool = False
    """Whether the question is for a program that the partner has registered."""


@dataclass(frozen=True, slots=True)
class Separate:
    """Whether the separate consents that the law may ask for are there."""

    third_party: bool
    sensitive: bool
    cross_border: bool
    publication: bool = False
    public_place: bool = False


def stored_terms(text: str) -> GrantedTerms:
    """`read_terms` of a consent's row.

    Of one that was erased there is no text any more, and nothing that it would permit.
    """
    return read_terms(text) if text else NO_TERMS


@functools.lru_cache(maxsize=TERMS_CACHED)
def read_terms(text: str) -> GrantedTerms:
    """What a decision needs of stored terms (`Terms.to_json()` as JSON text).

    The text was validated when it was stored; raises `InvalidTerms` if it is not such a text.
    """
    try:
        terms: dict[str, Any] = orjson.loads(text)
        territories = terms["territories"]
        return GrantedTerms(
            partner_id=terms["partner"]["id"],
            controller_id=terms["controller"]["id"],
            purpose_id=terms["purpose"]["id"],
            algorithm_id=terms["algorithm"]["id"],
            algorithm_version=terms["algorithm"]["version"],
            actions=tuple(terms["actions"]),
            attributes=tuple([attribute["id"] for attribute in terms["attributes"]]),
            separate=tuple(terms["separate"]),
            territories=tuple(dict.fromkeys(territories["processing"] + territories["access"])),
            storage=tuple(territories["storage"]),
            retention_days=terms["retention_days"],
            explanation=(
                terms["algorithm"]["explanation"]["zh"],
                terms["algorithm"]["explanation"]["en"],
            ),
            countries=(terms["controller"]["country"], terms["partner"]["country"]),
            minor_versions=(
                terms["algorithm"]["risk_tier"],
                terms["algorithm"]["automated_decision"],
            )
            if terms.get("minor_versions")
            else None,
        )
    except (orjson.JSONDecodeError, KeyError, TypeError) as error:
        raise InvalidTerms("the stored terms of a consent cannot be read") from error


def in_sandbox(facts: Facts) -> bool:
    """Whether the use is a trial of a source or of the partner."""
    source = facts.source
    return facts.partner.admission == SANDBOX or (source is not None and source.state == SANDBOX)


def territory_of(question: Question, facts: Facts) -> str:
    """Where the use takes place: as stated, otherwise the partner's own country."""
    return facts.partner.country if question.territory is None else question.territory


def rightly_signed(minor: Minor | None, consent: ConsentFacts, now: int) -> bool:
    """Whether a guardian has signed where a law asks for one now, and has not where none does."""
    asked = minor is not None and bool(minor.laws(consent.terms.countries, now))
    return consent.guardian_signed is asked


def best_consent(question: Question, facts: Facts, now: int) -> ConsentFacts | None:
    """The consent that fits the question best, or None where there is none.

    The terms come first and the state after them, so that a use which was once granted is told
    "withdrawn" and not "purpose not granted"; a consent that fits in everything always wins. Where
    the question names a consent, it is that one.
    """
    if question.consent_id is not None:
        return next((one for one in facts.consents if one.id == question.consent_id), None)
    if not facts.consents:
        return None
    territory = territory_of(question, facts)

    def fit(consent: ConsentFacts) -> tuple[bool | int, ...]:
        terms = consent.terms
        return (
            terms.purpose_id == question.purpose_id,
            terms.covers(facts.algorithm),
            facts.attribute.name in terms.attributes,
            territory in terms.territories,
            question.action in terms.actions,
            consent.live(now),
            not consent.exhausted,
            rightly_signed(facts.minor, consent, now),
            consent.uses_left is None,
            STATE_RANK.get(consent.state, -1),
        )

    return max(facts.consents, key=fit)  # the first of equals: rows come newest first


def separate_consents(
    question: Question, facts: Facts, best: ConsentFacts | None, now: int
) -> Separate:
    """Which separate consents there are for this attribute, purpose and algorithm.

    Each (PIPL 23, 25, 26, 29, 39) may be another consent than the one that fits best, and then has
    to be live, signed by whoever has to sign, and for this action, recipient and territory too; a
    cross-border consent also has to name the partner's country where that is abroad. What the best
    consent itself grants separately counts in any state: its state is a condition of its own, and
    so is all of the rest.
    """
    territory = territory_of(question, facts)
    covering = [
        consent.terms
        for consent in facts.consents
        if consent.live(now)
        and not consent.exhausted
        and consent.terms.purpose_id == question.purpose_id
        and consent.terms.covers(facts.algorithm)
        and facts.attribute.name in consent.terms.attributes
        and consent.terms.partner_id == facts.partner.id
        and question.action in consent.terms.actions
        and territory in consent.terms.territories
        and rightly_signed(facts.minor, consent, now)
    ]
    remote = (
        set() if facts.transfer is None else {facts.partner.country} - {facts.attribute.stored_in}
    )
    abroad = [terms for terms in covering if remote <= set(terms.territories)]
    own = () if best is None else best.terms.separate
    owned = best is not None and remote - {territory} <= set(best.terms.territories)
    return Separate(
        third_party="third_party" in own or _grants("third_party", covering),
        sensitive="sensitive" in own or _grants("sensitive", covering),
        cross_border=("cross_border" in own and owned) or _grants("cross_border", abroad),
        publication="publication" in own or _grants("publication", covering),
        public_place="public_place" in own or _grants("public_place", covering),
    )


def _grants(kind: str, terms: Sequence[GrantedTerms]) -> bool:
    return any(kind in one.separate for one in terms)
