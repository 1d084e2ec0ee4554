"""What each masking leaves: nothing at all where it does not recognise what it is for."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wallet_adapters.masking import HIDDEN, MASKINGS, masked

LEFT = [
    ("name", "张三丰", "张**"),
    ("name", "Li Wei", "Li **"),
    ("name", "Li", "L**"),
    ("name", "", HIDDEN),
    ("id_number", "310101199605171234", "310***********1234"),
    ("id_number", "31010119960517123X", "310***********123X"),
    ("id_number", "31010119960517123", HIDDEN),
    ("phone", "13812345678", "138****5678"),
    ("phone", "+86 13812345678", "+86 138****5678"),
    ("phone", "62345678", "******78"),
    ("phone", "call me", HIDDEN),
    ("address", "上海市浦东新区世纪大道100号", "上海市浦东新区****"),
    ("address", "广东省深圳市南山区科技园1栋", "广东省深圳市南山区****"),
    ("address", "内蒙古自治区呼和浩特市新城区1号", "内蒙古自治区呼和浩特市新城区****"),
    ("address", "张三住在上海市浦东新区1号", HIDDEN),
    ("address", "5 Main Street", HIDDEN),
    ("address", {"city": "上海", "street": "世纪大道100号"}, {"city": "上海"}),
    ("address", {"street": "世纪大道100号"}, HIDDEN),
    ("medical_summary", {"category": "chronic", "year": 2020, "text": "T2DM"}, {
        "category": "chronic",
        "year": 2020,
    }),
    ("medical_summary", "T2DM since 2020", HIDDEN),
    ("year", "1996-05-17", "1996"),
    ("year", "17 May 1996", HIDDEN),
    ("round_10", 14, 10),
    ("round_10", 25, 20),
    ("round_100", "1234.5", 1200),
    ("round_1000", -1600, -2000),
    ("round_10", True, HIDDEN),
    ("round_10", "1e999999999", HIDDEN),
    ("round_10", "NaN", HIDDEN),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value", "left"), LEFT)
def test_what_is_left(name: str, value: Any, left: Any) -> None:  # noqa: ANN401
    assert masked(name, value) == left


def test_every_masking_is_shown() -> None:
    assert {name for name, *_ in LEFT} == MASKINGS.keys()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=5,
)


@given(st.sampled_from(sorted(MASKINGS)), JSON)
def test_any_value_is_masked_and_stays_json(name: str, value: Any) -> None:  # noqa: ANN401
    json.dumps(masked(name, value))


@given(st.sampled_from(sorted(set(MASKINGS) - {"name"})), st.text(min_size=1, max_size=60))
def test_a_text_that_is_something_else_is_hidden_whole(name: str, text: str) -> None:
    found = masked(name, f"note: {text}")
    assert found == HIDDEN


def test_an_unknown_masking_is_refused() -> None:
    with pytest.raises(KeyError):
        masked("shuffle", "x")
