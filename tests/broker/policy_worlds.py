"""Random questions and facts, one seed at a time: mostly what fits, so that permits come too."""

import random
from collections.abc import Iterator
from dataclasses import replace
from typing import get_args

from broker.domain.access import (
    AlgorithmFacts,
    AttributeFacts,
    ConsentFacts,
    Facts,
    GrantedTerms,
    PartnerFacts,
    PurposeFacts,
    Question,
)
from broker.domain.consent import BindingGrade
from broker.domain.cross_border import TransferFacts
from broker.domain.data_source import SourceFacts
from broker.domain.demand import DemandFacts
from broker.domain.guardian import Minor
from broker.domain.terms import Separate
from tests.broker.policy_cases import DEMAND, NOW, PROVEN, PURPOSE

Case = tuple[Question, Facts, int]

DEMANDS = tuple(
    DemandFacts(DEMAND, (), proven)
    for proven in (
        *(PROVEN, PROVEN, None),
        *(replace(PROVEN, status_until=NOW + ahead) for ahead in (0, 1)),
    )
)
STATES = {
    "requested": "consent.requested",
    "refused": "consent.refused",
    "withdrawn": "consent.withdrawn",
    "expired": "consent.expired",
    "superseded": "consent.superseded",
}


def cases(seed: int, count: int) -> Iterator[Case]:
    """`count` cases that the seed determines."""
    drawing = _Drawing(random.Random(seed))
    return (drawing.case() for _ in range(count))


class _Drawing:
    def __init__(self, source: random.Random) -> None:
        self._choice = source.choice
        self._random = source.random

    def mostly(self, value: str, *others: str) -> str:
        return value if self._random() < 0.93 else self._choice(others)

    def rarely(self) -> bool:
        return self._random() < 0.04

    def case(self) -> Case:
        choice = self._choice
        purpose = self.mostly(PURPOSE, "dpv:Marketing", "")
        algorithm = self.mostly("churn-v3", "shop-nearby", "")
        version = self.mostly("1", "1.2", "10", "2")
        attribute = self.mostly("home_city", "phone", "visit_log")
        question = Question(
            action=self.mostly("read", "profile", "train", "share", "publish", "delete"),
            attribute=attribute,
            purpose_id=purpose,
            algorithm_id=algorithm,
            algorithm_version=version,
            territory=choice(["CN"] * 8 + ["SG", None]),
            agent=choice([None, "crm-batch"]),
        )
        facts = Facts(
            tenant_id="demo",
            kill_switch=self.rarely(),
            partner=PartnerFacts(
                "p-1",
                self.mostly("CN", "SG"),
                self.rarely(),
                self.rarely(),
                self.mostly("open", "sandbox", "ended"),
            ),
            purpose=PurposeFacts(purpose, not self.rarely(), self.rarely()),
            algorithm=AlgorithmFacts(
                id=algorithm,
                version=version,
                purpose_id=self.mostly(PURPOSE, "dpv:Marketing"),
                registered=not self.rarely(),
                risk_tier=choice(["minimal", "limited", "high"]),
                automated_decision=choice([True, False]),
                kill_switch=self.rarely(),
            ),
            attribute=AttributeFacts(
                attribute,
                registered=not self.rarely(),
                category="pd:Location",
                sensitive=self._random() < 0.15,
                stored_in=self.mostly("CN", "SG"),
                public_place=self.rarely(),
            ),
            consents=() if self.rarely() else self._consents(),
            subject_id="s-1",
            demand=choice([None, None, None, *DEMANDS]),
            transfer=self._transfer() if self._random() < 0.3 else None,
            minor=self._minor() if self._random() < 0.12 else None,
            source=self._source() if self._random() < 0.3 else None,
            test_subject=choice([True, False]),
            binding=choice(list(BindingGrade)).value,
            agent_registered=choice([True, False]),
        )
        return question, facts, choice([NOW] * 6 + [999, 1_999, 2_000])

    def _minor(self) -> Minor:
        choice = self._choice
        band = choice(["under_13", "under_14", "under_15", "under_16"])
        return Minor(band, "ct-2", "parent", alone=False, of_age_at=choice([None, NOW, NOW + 1]))

    def _source(self) -> SourceFacts:
        if self.rarely():
            return SourceFacts("stranger", registered=False)
        return SourceFacts(
            "points-alliance",
            registered=True,
            state=self.mostly("open", "draft", "sandbox", "sandbox", "closed"),
            purposes=(PURPOSE, self.mostly("dpv:Marketing", "")),
            attributes=(self.mostly("home_city", "phone"), "visit_log"),
            recipients=(self.mostly("p-1", "p-2"), "p-3"),
            territories=self._choice([("CN",), ("CN", "SG"), ("CN", "SG")]),
            retention_days=90,
        )

    def _transfer(self) -> TransferFacts:
        """Mostly where it is near an edge, on either side of it."""
        choice = self._choice
        return TransferFacts(
            law=choice(["PIPL", "PIPL", "PIPL", "GDPR"]),
            filed=choice([0, 1, 1, 2, 2]),
            exemption=choice([None, None, None, "contract"]),
            subjects=choice([1, 99_999, 100_000, 999_999, 1_000_000]),
            sensitive=choice([0, 1, 9_999, 10_000]),
        )

    def _consents(self) -> tuple[ConsentFacts, ...]:
        """Newest first; what one lacks another may have."""
        count = self._choice([1, 1, 1, 2, 2, 3])
        return tuple(replace(self._consent(), id=f"c-{1 + place}") for place in range(count))

    def _consent(self) -> ConsentFacts:
        choice = self._choice
        terms = GrantedTerms(
            partner_id=self.mostly("p-1", "p-2"),
            controller_id=self.mostly("demo", "p-1"),
            purpose_id=self.mostly(PURPOSE, "dpv:Marketing"),
            algorithm_id=self.mostly("churn-v3", "shop-nearby"),
            algorithm_version=self.mostly("1", "2"),
            actions=choice([("read", "profile"), ("read",), ("train", "share", "read", "publish")]),
            attributes=choice([("home_city", "visit_log"), ("home_city",), ("phone", "home_city")]),
            separate=tuple(kind for kind in get_args(Separate) if self._random() < 0.85),
            territories=choice([("CN",), ("CN", "SG"), ("CN", "SG"), ("SG",)]),
            storage=("CN",),
            retention_days=180,
            countries=choice(
                [("CN", "CN"), ("CN", "SG"), ("DE", "PT"), ("FR", "CN"), ("SG", "US")]
            ),
            minor_versions=choice([None] * 5 + [(self.mostly("limited", "high"), True)]),
        )
        return ConsentFacts(
            id="c-1",
            state=self.mostly("granted", *STATES),
            subject_id="s-1",
            valid_from=choice([0, 0, 0, 0, 0, 500, 1_500]),
            valid_until=choice([2_000] * 5 + [1_000, 700]),
            uses_left=choice([None, None, None, 5, 1, 0]),
            refuses_automated_decisions=self.rarely(),
            terms=terms,
            guardian_signed=self._random() < 0.1,
        )
