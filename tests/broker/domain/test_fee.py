"""Amounts of the channel fee: exact to the millionth, rounded once, in any currency."""

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.domain.errors import InvalidRequest
from broker.domain.fee import (
    MILLION,
    USUAL,
    DeclaredValue,
    Sums,
    Tariff,
    due,
    exact,
    month_of,
    percentage,
    read_month,
    read_rate,
    read_value,
    settle,
)

AMOUNTS = st.integers(0, 10**15 - 1)


@given(AMOUNTS, st.integers(0, 100_000))
def test_a_fee_is_the_share_to_the_millionth(value: int, rate: int) -> None:
    fee = Tariff(rate, "CNY").fee(DeclaredValue(value, "CNY"))
    whole = Decimal(value) * rate / MILLION
    assert fee == whole.quantize(Decimal(1), ROUND_HALF_EVEN)


@given(st.integers(0, 10**21), st.sampled_from([("CNY", "0.01"), ("JPY", "1"), ("KWD", "0.001")]))
def test_what_is_due_is_rounded_to_what_the_currency_has(
    amount: int, currency: tuple[str, str]
) -> None:
    name, step = currency
    with_all_digits = Decimal(amount).scaleb(-6)
    assert Decimal(due(amount, name)) == with_all_digits.quantize(Decimal(step), ROUND_HALF_EVEN)
    assert due(amount, name)[::-1].find(".") == len(step.partition(".")[2]) or "." not in step


@given(AMOUNTS)
def test_a_value_is_read_as_it_is_written(amount: int) -> None:
    told = {"amount": exact(amount), "currency": "CNY"}
    assert read_value(told, "value") == DeclaredValue(amount, "CNY")


def test_the_usual_fee() -> None:
    value = read_value({"amount": "12.50", "currency": "CNY"}, "value")
    assert (exact(USUAL.fee(value)), percentage(USUAL.rate)) == ("0.0375", "0.3")


BAD: list[Any] = [
    None,
    12.5,
    [],
    {},
    {"amount": "1"},
    {"amount": "1", "currency": "CNY", "more": 1},
    *({"amount": amount, "currency": "CNY"} for amount in (1, 1.5, True, None, "", "-1", "+1")),
    *({"amount": amount, "currency": "CNY"} for amount in ("1e3", "1.", ".5", "1,5", " 1", "1\n")),
    *({"amount": amount, "currency": "CNY"} for amount in ("1234567890", "1.1234567", "NaN", "１")),
    *({"amount": "1", "currency": code} for code in ("RMB", "cny", "", None, 156, ["CNY"])),
]


@pytest.mark.parametrize("value", BAD, ids=repr)
def test_what_is_no_value_is_refused(value: Any) -> None:  # noqa: ANN401
    with pytest.raises(InvalidRequest, match=r"context\.value"):
        read_value(value, "context.value")


def test_rates() -> None:
    assert [read_rate(one) for one in ("0", "0.3", "0.0001", "10")] == [0, 3000, 1, 100_000]
    for bad in ("", "-1", "10.0001", "11", "0.00001", "0.3 %", "1e1", "NaN"):
        with pytest.raises(InvalidRequest, match="percentage"):
            read_rate(bad)


def test_months_follow_each_other() -> None:
    november, december = read_month("2026-11"), read_month("2026-12")
    assert (november.until, december.until) == (december.since, read_month("2027-01").since)
    assert month_of(november.until - 1) == november
    assert month_of(november.until) == december
    for bad in ("2026-13", "2026-1", "1999-01", "2026-11-01", "", "２０２６-11"):
        with pytest.raises(InvalidRequest, match="2026-11"):
            read_month(bad)


def test_a_partner_owes_the_rounded_sum_and_not_the_sum_of_what_was_rounded() -> None:
    lines = [Sums("p", "CNY", f"dpv:P{n}#algo:a@1", 3000, 1, 1_000_000, 3000) for n in range(3)]
    (one,) = settle(lines)
    assert (one.uses, exact(one.amount), one.due) == (3, "0.009", "0.01")
    assert [due(line.amount, "CNY") for line in lines] == ["0.00"] * 3
