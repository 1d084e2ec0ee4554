"""Minors: whose consent needs a guardian's signature, and what is known of the two.

A partner marks its contact as a minor by an age band, never by a birth date, and names the contact
of the guardian. Where the law asks for the guardian, the terms name the guardian's role, and both
sign the same terms; for a child with no wallet the guardian signs alone. That the one is the
other's guardian is the partner's word: no signature proves it.

A person should check the ages before anyone relies on them: member states change theirs.
"""

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

import orjson

from broker.domain.errors import InvalidRequest, InvalidTerms
from broker.domain.json_values import read_flag, read_object, read_text

AGE_BANDS: Final[Mapping[str, int]] = {
    "under_13": 13,
    "under_14": 14,
    "under_15": 15,
    "under_16": 16,
}
"""Each band and the age (years) that the minor has not reached; a minor is in the lowest of them.

The bounds are the ages from which the laws below let a minor consent alone.
"""

CUSTOMER, GUARDIAN = "customer", "guardian"
"""Whose turn it is to sign."""

RELATIONS: Final = ("parent", "legal_guardian")
PIPL, GDPR = "PIPL", "GDPR"
PIPL_AGE: Final = 14
"""PIPL 31: under 14 the parents or other guardians consent."""

GDPR_AGES: Final[Mapping[str, int]] = {
    **dict.fromkeys(("BE", "EE", "FI", "GB", "IS", "LV", "MT", "NO", "PT", "SE"), 13),
    **dict.fromkeys(("AT", "BG", "CY", "ES", "IT", "LT"), 14),
    **dict.fromkeys(("CZ", "DK", "FR", "GR", "SI"), 15),
    **dict.fromkeys(("DE", "HR", "HU", "IE", "LI", "LU", "NL", "PL", "RO", "SK"), 16),
}
"""GDPR 8(1): the age from which a child consents alone, by ISO 3166-1 country."""


@dataclass(frozen=True)
class GuardianTerms:
    """What the terms say of the guardian's signature: by which role, and whether it stands alone.

    `alone`: the minor has no wallet and signs nothing.
    """

    role: str
    alone: bool

    def to_json(self) -> dict[str, Any]:
        """The member `guardian` of the terms."""
        return {"role": self.role, "alone": self.alone}

    @classmethod
    def from_json(cls, value: Any) -> Self:  # noqa: ANN401 (untrusted JSON)
        """Read it; raises `InvalidTerms`."""
        guardian = read_object(value, "a guardian")
        role = read_text(guardian, "role")
        if role not in RELATIONS:
            raise InvalidTerms("the terms name a guardian in an unknown role")
        return cls(role, read_flag(guardian, "alone"))


@dataclass(frozen=True, slots=True)
class Minor:
    """What a partner has said of a contact that is a minor.

    `guardian` is the id of the guardian's contact. `of_age_at` (Unix seconds), where known, is from
    when on the customer is asked again in person.
    """

    age_band: str
    guardian: str
    relation: str
    alone: bool
    of_age_at: int | None = None

    def laws(self, countries: Collection[str], now: int) -> tuple[str, ...]:
        """Which laws ask for the guardian, where companies of `countries` process, at `now`."""
        if self.of_age_at is not None and now >= self.of_age_at:
            return ()
        not_yet = AGE_BANDS[self.age_band]
        european = max((GDPR_AGES.get(country, 0) for country in countries), default=0)
        asked = ((PIPL, PIPL_AGE if "CN" in countries else 0), (GDPR, european))
        return tuple(law for law, age in asked if not_yet <= age)

    def terms(self, countries: Collection[str], now: int) -> GuardianTerms | None:
        """What terms for this minor say of the guardian; None where no law asks for one."""
        return GuardianTerms(self.relation, self.alone) if self.laws(countries, now) else None

    def dump(self) -> str:
        """The JSON text of the contact's row."""
        return orjson.dumps(self).decode()


@functools.lru_cache(maxsize=4_096)
def stored_minor(text: str | None) -> Minor | None:
    """The minor of a contact's row; None where the partner has not said that it is one."""
    return None if text is None else Minor(**orjson.loads(text))


def check_minor(minor: Minor, now: int) -> None:
    """Raise `InvalidRequest` where it is not what a partner can say of a minor."""
    if minor.age_band not in AGE_BANDS:
        raise InvalidRequest(f"age_band is one of {', '.join(AGE_BANDS)}: the lowest that holds")
    if minor.relation not in RELATIONS:
        raise InvalidRequest(f"relation is one of {', '.join(RELATIONS)}")
    if minor.of_age_at is not None and minor.of_age_at <= now:
        raise InvalidRequest("of_age_at lies in the past: the customer is no minor any more")
