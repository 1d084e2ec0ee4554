"""Transfers abroad: which uses are one, by what mechanism, and what the year's count requires.

A use is a transfer where the data are stored in one country and reached from another: where they
are processed or looked at (the question's territory), or where the partner is that asks. So remote
access counts, whatever territory is declared.

For data stored in China (PIPL 38-40; Provisions on Promoting and Regulating Cross-Border Data
Flows, 2024, articles 3-8) the exporting handler's distinct subjects since 1 January, Beijing time,
say what has to be filed. The handler is the controller that the consent's terms name. Of n subjects
whose data that are not sensitive were exported and s whose sensitive data were, this one included:

    what is exported      n < 100,000   n < 1,000,000           n >= 1,000,000
    not sensitive         nothing       contract, s < 10,000    assessment
    sensitive, s < 10,000 contract      contract                assessment
    otherwise             assessment    assessment              assessment

("nothing" is article 5(4), which is of what is not sensitive alone; "contract" is a standard
contract or a certification.) Exempt transfers are not counted among them. For data stored in the
European Economic Area there has to be a mechanism whatever the count (GDPR 44-49).
A person should check the articles before anyone relies on them.

A subject is a contact of a partner: who is known to two partners of one exporting handler counts
twice, since nothing here says that both are one. So a count is never below the number of persons.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Final, Literal

from broker.domain.errors import InvalidRequest

PIPL, GDPR = "PIPL", "GDPR"
CHINA: Final = "CN"
EEA: Final = frozenset(
    "AT BE BG CY CZ DE DK EE ES FI FR GR HR HU IE IS IT LI LT LU LV MT NL NO PL PT RO SE SI SK".split()  # noqa: SIM905,E501 (a list of thirty lines otherwise)
)
BEIJING: Final = timezone(timedelta(hours=8))

CONTRACT_BAND, ASSESSMENT_BAND, SENSITIVE_BAND = 100_000, 1_000_000, 10_000
NOTHING, CONTRACT, ASSESSMENT = 0, 1, 2
"""Levels: what is filed, and what has to be."""

Kind = Literal[
    "standard_contract",
    "certification",
    "security_assessment",
    "exemption",
    "adequacy",
    "standard_clauses",
    "binding_rules",
    "derogation",
]
KINDS: Final[Mapping[str, tuple[str, int]]] = {
    "standard_contract": (PIPL, CONTRACT),
    "certification": (PIPL, CONTRACT),
    "security_assessment": (PIPL, ASSESSMENT),
    "exemption": (PIPL, NOTHING),
    "adequacy": (GDPR, CONTRACT),
    "standard_clauses": (GDPR, CONTRACT),
    "binding_rules": (GDPR, CONTRACT),
    "derogation": (GDPR, CONTRACT),
}
"""The law and the level of each kind of mechanism."""
GROUNDS: Final[Mapping[str, Mapping[str, str]]] = {
    "exemption": {
        "transit": "CN-FLOWS-4",
        "contract": "CN-FLOWS-5.1",
        "human_resources": "CN-FLOWS-5.2",
        "emergency": "CN-FLOWS-5.3",
        "free_trade_zone": "CN-FLOWS-6",
        "treaty": "PIPL-38",
    },
    "derogation": {
        "explicit_consent": "GDPR-49.1.a",
        "contract": "GDPR-49.1.b",
        "contract_in_interest": "GDPR-49.1.c",
        "public_interest": "GDPR-49.1.d",
        "legal_claims": "GDPR-49.1.e",
        "vital_interests": "GDPR-49.1.f",
        "public_register": "GDPR-49.1.g",
    },
}
"""The legal grounds of an exemption or a derogation, each with its article."""
FILED: Final = frozenset({"standard_contract", "certification", "security_assessment"})
LONGEST_FILING: Final = 100
ASSESSMENT_YEARS: Final = 3
_YEAR_SECONDS: Final = 366 * 86_400
_NO_LIMIT: Final = 2**62


@dataclass(frozen=True)
class Mechanism:
    """What a handler (`exporter`) rests its transfers to a partner in a country on.

    An exemption and a derogation are for one `purpose`. `law`, `level`, `article` follow from the
    kind and its ground. Times are Unix seconds; it is over at `valid_until`, or at once by
    `ended_at`.
    """

    id: str
    exporter: str
    partner: str
    destination: str
    kind: str
    ground: str | None
    purpose: str | None
    filing_number: str | None
    valid_from: int
    valid_until: int | None
    ended_at: int | None
    registered_by: str
    created_at: int

    @property
    def law(self) -> str:
        """`PIPL` or `GDPR`."""
        return KINDS[self.kind][0]

    @property
    def level(self) -> int:
        """What it suffices for."""
        return KINDS[self.kind][1]

    @property
    def article(self) -> str | None:
        """The article of its ground."""
        return None if self.ground is None else GROUNDS[self.kind][self.ground]

    def in_force(self, now: int) -> bool:
        """Whether it counts at `now`."""
        return (
            self.ended_at is None
            and self.valid_from <= now
            and (self.valid_until is None or now < self.valid_until)
        )

    def to_json(self) -> dict[str, Any]:
        """As the API, commands and exports tell it."""
        return {**vars(self), "law": self.law, "article": self.article}


@dataclass(frozen=True, slots=True)
class TransferFacts:
    """What a decision rests on where its use is a transfer: `law` says under which one.

    `filed` is the level of what is filed for every destination, `exemption` the ground where every
    destination is exempt. `subjects` and `sensitive` are the year's distinct subjects with this one
    included; `counted` says that it was counted before. `until` is when the first mechanism ends.
    """

    law: str
    filed: int
    exemption: str | None = None
    subjects: int = 0
    sensitive: int = 0
    exporter: str = ""
    subject_key: str = ""
    year: int = 0
    month: int = 0
    is_sensitive: bool = False
    counted: bool = False
    mechanisms: tuple[str, ...] = ()
    until: int | None = None

    @property
    def category(self) -> str:
        """Under what it is counted."""
        if self.exemption is not None:
            return f"exempt:{self.exemption}"
        return "sensitive" if self.is_sensitive else "general"


@dataclass(frozen=True, slots=True)
class Room:
    """Up to where a count may go: below `sure` whatever the other, or below both limits.

    The limits are for the counts before one is added.
    """

    sure: int
    general: int
    sensitive: int


@dataclass(frozen=True, slots=True)
class Destinations:
    """Where a use takes data that are stored in another country, and under which law."""

    law: str
    countries: tuple[str, ...]


def destinations(stored_in: str, country: str, territory: str) -> Destinations | None:
    """The countries that a use reaches: the partner's and the territory's.

    None where it is no transfer that these laws know.
    """
    if country == stored_in == territory:
        return None
    if stored_in == CHINA:
        law, home = PIPL, frozenset({CHINA})
    elif stored_in in EEA:
        law, home = GDPR, EEA
    else:
        return None
    reached = {country, territory} - home
    return Destinations(law, tuple(sorted(reached))) if reached else None


def year_and_month(now: int) -> tuple[int, int]:
    """The calendar year and month in Beijing (UTC+8) at `now` (Unix seconds)."""
    there = datetime.fromtimestamp(now, BEIJING)
    return there.year, there.month


def chosen(
    found: Iterable[Mechanism], to: Destinations, purpose: str, now: int
) -> tuple[int, str | None, tuple[Mechanism, ...]]:
    """The level that is filed for all destinations, the ground where all are exempt, and by what.

    The best counts for each destination; an exemption for this purpose comes before all others.
    """
    live = [one for one in found if one.law == to.law and one.in_force(now)]
    level, exemptions, used = ASSESSMENT, list[str](), list[Mechanism]()
    for country in to.countries:
        here = [
            one
            for one in live
            if one.destination == country and (one.purpose is None or one.purpose == purpose)
        ]
        best = max(here, key=lambda one: (one.kind == "exemption", one.level), default=None)
        if best is None:
            return NOTHING, None, ()
        used.append(best)
        if best.kind == "exemption":
            exemptions.append(best.ground or "")
        else:
            level = min(level, best.level)
    if len(exemptions) == len(to.countries):
        return NOTHING, exemptions[0], tuple(used)
    return level, None, tuple(used)


def room(filed: int, *, sensitive: bool) -> Room:
    """How far the counts may go under what is filed, as the policies have it (`transfer.*`)."""
    if filed >= ASSESSMENT:
        return Room(_NO_LIMIT, _NO_LIMIT, _NO_LIMIT)
    if sensitive:
        most = SENSITIVE_BAND - 1 if filed == CONTRACT else 0
        return Room(0, ASSESSMENT_BAND, most)
    sure = CONTRACT_BAND - 1
    if filed == CONTRACT:
        return Room(sure, ASSESSMENT_BAND - 1, SENSITIVE_BAND)
    return Room(sure, 0, 0)


def edge(count: int, *edges: int) -> int:
    """The lower edge of the band that a count is in: what an entry of a decision may tell of it."""
    return max((one for one in edges if one <= count), default=0)


def check_mechanism(one: Mechanism) -> None:
    """Raise `InvalidRequest` for a mechanism that no law knows so."""
    if one.kind not in KINDS:
        raise InvalidRequest(f"a mechanism is one of {', '.join(KINDS)}")
    grounds = GROUNDS.get(one.kind)
    if grounds is None and (one.ground is not None or one.purpose is not None):
        raise InvalidRequest("ground and purpose belong to exemptions and derogations alone")
    if grounds is not None and one.ground not in grounds:
        raise InvalidRequest(f"the ground of this {one.kind} is one of {', '.join(grounds)}")
    if grounds is not None and one.purpose is None:
        raise InvalidRequest(f"this {one.kind} is for one purpose: name it, like dpv:Marketing")
    if one.filing_number is None and one.kind in FILED:
        raise InvalidRequest(f"a {one.kind} has the number under which it was filed")
    if one.filing_number is not None and not (
        one.filing_number.isprintable() and 0 < len(one.filing_number.strip()) <= LONGEST_FILING
    ):
        raise InvalidRequest(f"a filing number is printable and has at most {LONGEST_FILING} signs")
    home = {CHINA} if one.law == PIPL else EEA
    if one.destination in home:
        raise InvalidRequest(f"{one.destination} is not abroad for a {one.kind}")
    if one.valid_until is not None and one.valid_until <= one.valid_from:
        raise InvalidRequest("it ends after it begins")
    if one.kind == "security_assessment" and (
        one.valid_until is None
        or one.valid_until - one.valid_from > ASSESSMENT_YEARS * _YEAR_SECONDS
    ):
        raise InvalidRequest(
            f"a security_assessment is good for at most {ASSESSMENT_YEARS} years: say until when"
        )


@dataclass(frozen=True)
class Count:
    """How many distinct subjects a handler has exported of in a year, by month when first counted.

    `months` is twelve counts for each category: `general`, `sensitive`, `exempt:<ground>`.
    """

    exporter: str
    year: int
    months: Mapping[str, tuple[int, ...]]

    def total(self, category: str) -> int:
        """The year's count in a category."""
        return sum(self.months.get(category, ()))

    @property
    def required(self) -> int:
        """What the bands require by now, of what is not exempt."""
        general, sensitive = self.total("general"), self.total("sensitive")
        if general >= ASSESSMENT_BAND or sensitive >= SENSITIVE_BAND:
            return ASSESSMENT
        return CONTRACT if general >= CONTRACT_BAND or sensitive else NOTHING

    def to_json(self) -> dict[str, Any]:
        """As the API, commands and exports tell it."""
        general = self.total("general")
        return {
            "exporter": self.exporter,
            "year": self.year,
            "subjects": general,
            "sensitive_subjects": self.total("sensitive"),
            "exempt": {
                name.removeprefix("exempt:"): sum(counts)
                for name, counts in sorted(self.months.items())
                if name.startswith("exempt:")
            },
            "required": ("nothing", "contract", "assessment")[self.required],
            "bands": {
                "contract": CONTRACT_BAND,
                "assessment": ASSESSMENT_BAND,
                "sensitive_assessment": SENSITIVE_BAND,
            },
            "first_counted_in_month": {
                name: list(counts) for name, counts in sorted(self.months.items())
            },
        }


def day(text: str, what: str) -> int:
    """When a day like 2026-11-27 begins in Beijing (Unix seconds); raises `InvalidRequest`."""
    try:
        return int(datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=BEIJING).timestamp())
    except ValueError:
        raise InvalidRequest(f"{what} is a day like 2026-11-27") from None
