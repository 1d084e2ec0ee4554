"""docs/access.md says of each condition and obligation what the policies say, all of them."""

import re
from pathlib import Path
from typing import Final

import pytest

from broker.domain.conditions import POLICY_ERROR, UNJUDGED
from broker.domain.decision import EXPLAIN, MASK
from broker.domain.policy import consent_policies

TEXT: Final = (Path(__file__).parents[2] / "docs/access.md").read_text(encoding="utf-8")
REASONS: Final = (*consent_policies().conditions.values(), POLICY_ERROR, *UNJUDGED)
# The legal conditions that decisions have to know, each as a `forbid` of its own.
DEMANDED: Final = (
    *(f"PIPL-{article}" for article in (14, 15, 23, 24, 25, 26, 29, 31, 39)),
    *(f"GDPR-{article}" for article in (5, 6, 7, 9, 22, 44)),
)


def test_every_condition_stands_there_as_it_is() -> None:
    told = re.findall(
        r"^\| `([a-z.-]+)` \| `([a-z_]+)` \| ([^|]+) \| `([a-z_]+)` \|$", TEXT, re.MULTILINE
    )
    assert set(told) == {(one.id, one.code, ", ".join(one.law), one.obligation) for one in REASONS}
    assert len(told) == len(REASONS)


def test_every_obligation_is_explained() -> None:
    told = set(re.findall(r"^\| `([a-z_]+)` \| \S", TEXT, re.MULTILINE))
    assert {*consent_policies().obligations, MASK, EXPLAIN} - told == set()


@pytest.mark.parametrize("article", DEMANDED)
def test_a_condition_of_the_policies_rests_on_each_article(article: str) -> None:
    assert [one.id for one in consent_policies().conditions.values() if article in one.law]
