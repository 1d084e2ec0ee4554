"""The regulator's file: what it tells, and that nothing of it can be changed unnoticed."""

import csv
import hashlib
import io
import json
from dataclasses import replace
from typing import Any

import pytest

from broker.domain.cross_border import Count, Mechanism
from broker.domain.cross_border_export import Register, verify_register, vouch
from broker.domain.errors import EvidenceInvalid
from broker.domain.spreadsheet import plain
from broker.domain.trust import CompromisedKey
from broker.web.cross_border import page, svg
from tests.broker.domain import dishonest_broker as honest

YEAR = 2026
MECHANISM = Mechanism(
    id="tm-1",
    exporter="demo",
    partner="p-1",
    destination="SG",
    kind="standard_contract",
    ground=None,
    purpose=None,
    filing_number="=京标备1",
    valid_from=1,
    valid_until=None,
    ended_at=None,
    registered_by="operator",
    created_at=1,
)
COUNT = Count("demo", YEAR, {"general": (3, 4) + (0,) * 10, "exempt:contract": (1,) + (0,) * 11})
REGISTER = Register(
    "demo", "<商场>", "Mall & Co", YEAR, 100, (MECHANISM,), (COUNT,), {"p-1": "<b>Coffee</b>"}
)


def word(content: bytes, **changes: object) -> str:
    told = {
        "signer": honest.LEAF,
        "x5c": honest.CHAIN,
        "issuer": honest.ISSUER,
        "year": YEAR,
        "form": "json",
        "now": honest.GRANTED_AT,
        "checkpoint": None,
        **changes,
    }
    return vouch(content, **told)  # type: ignore[arg-type]


def test_the_same_register_is_the_same_bytes_and_they_are_signed() -> None:
    content = REGISTER.as_json()
    assert content == replace(REGISTER).as_json()
    assert json.loads(content)["counts"][0]["subjects"] == 7
    found = verify_register(content, word(content), honest.TRUST)
    assert (found.issuer, found.year, found.form) == (honest.ISSUER, YEAR, "json")


def test_a_table_has_each_month_and_no_formula() -> None:
    text = REGISTER.as_csv().decode("utf-8-sig")
    rows = list(csv.DictReader(io.StringIO(text)))
    assert rows[0]["filing_number"] == "'=京标备1"
    general = [row for row in rows if row["category"] == "general"]
    assert [row["so_far"] for row in general[:3]] == ["3", "7", "7"]
    assert len(general) == 12


@pytest.mark.parametrize("sign", [*"=+-@\t\r", *"\uff1d\uff0b\uff0d\uff20"])
def test_no_text_of_a_table_begins_a_formula(sign: str) -> None:
    assert plain(f"{sign}1+1") == f"'{sign}1+1"
    assert [plain(value) for value in ("1+1", "京标备1", "", 7, None)] == [
        *("1+1", "京标备1", "", 7, None)
    ]


def test_a_page_and_a_picture_in_both_languages_without_markup_of_others() -> None:
    picture = svg(COUNT, 2)
    assert picture.count("<circle") == 4
    assert "100,000" in picture
    assert "敏感个人信息 Sensitive" in picture
    shown = page(REGISTER, 2)
    assert "<svg" in shown
    assert "<b>" not in shown
    assert "&lt;商场&gt;" in shown


LIES: dict[str, tuple[Any, dict[str, Any], str]] = {
    "another file": (lambda content: content + b" ", {}, "not the one that was signed"),
    "another's name": (None, {"issuer": honest.OTHER_ISSUER}, "does not hold"),
    "nobody's key": (None, {"signer": honest.OTHER_KEY}, "does not hold"),
    "no certificates": (None, {"x5c": []}, "does not hold"),
    "a checkpoint of nobody": (None, {"checkpoint": "x"}, "the checkpoint does not hold"),
    "no year": (None, {"year": "2026"}, "not over a register"),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_lie_is_found(lie: str) -> None:
    changed, changes, cause = LIES[lie]
    content = REGISTER.as_json()
    token = word(content, **changes)
    with pytest.raises(EvidenceInvalid, match=cause):
        verify_register(changed(content) if changed else content, token, honest.TRUST)


def test_a_stolen_key_vouches_for_nothing() -> None:
    content = REGISTER.as_json()
    stolen = CompromisedKey(hashlib.sha256(honest.LEAF_DER).hexdigest(), 1, 1)
    trust = replace(honest.TRUST, compromised=(stolen,))
    with pytest.raises(EvidenceInvalid, match="somebody else may hold"):
        verify_register(content, word(content), trust)
