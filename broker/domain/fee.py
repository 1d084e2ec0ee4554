"""The channel fee: a share of the value that a partner declares for one use of data.

    fee = value * rate, in millionths of the currency's unit, half to even

All amounts are whole millionths, so that nothing is lost before the monthly statement, which
rounds once for each partner and currency, half to even, to what the currency has (ISO 4217: 0.01
for CNY, 1 for JPY). A charge moves its amount from one account to another; one that does not
balance cannot be written.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from babel.numbers import get_currency_precision, list_currencies

from broker.domain.errors import InvalidRequest

MILLION: Final = 1_000_000
HIGHEST_RATE: Final = 100_000  # a tenth, in millionths
INCOME: Final = "income:channel-fees"
CURRENCIES: Final = frozenset(list_currencies())
_AMOUNT = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")
_PERCENT = re.compile(r"[0-9]{1,2}(\.[0-9]{1,4})?")
_MONTH = re.compile(r"(20[0-9]{2})-(0[1-9]|1[0-2])")
_DECIMALS = 6


@dataclass(frozen=True, slots=True)
class DeclaredValue:
    """What a use is worth to the partner by its own word: millionths of a currency's unit."""

    millionths: int
    currency: str


@dataclass(frozen=True, slots=True)
class Tariff:
    """What a tenant's channel costs: the rate in millionths (3,000 are 0.3 %), the currency."""

    rate: int
    currency: str

    def fee(self, value: DeclaredValue) -> int:
        """The fee of a value, in millionths."""
        return rounded(value.millionths * self.rate, MILLION)


USUAL: Final = Tariff(3_000, "CNY")


@dataclass(frozen=True, slots=True)
class Charge:
    """A fee as it was charged for one decision at `time` (Unix seconds); `id` is its log entry's.

    `debit` is the account that the amount comes from, `credit` the one that it goes to.
    """

    id: str
    decision: str
    partner: str
    purpose: str
    value: int
    currency: str
    rate: int
    amount: int
    debit: str
    credit: str
    time: int

    def to_body(self) -> dict[str, Any]:
        """What the log keeps of it: all but the entry's own id and time."""
        return {name: getattr(self, name) for name in _LOGGED}

    @classmethod
    def from_body(cls, entry_id: str, time: int, body: Mapping[str, Any]) -> "Charge | None":
        """The charge that an entry tells of; None where it is not of this form."""
        if body.keys() != _LOGGED.keys():
            return None
        if not all(type(body[name]) is kind for name, kind in _LOGGED.items()):
            return None
        return cls(id=entry_id, time=time, **body)

    def to_json(self) -> dict[str, Any]:
        """The charge as the answer to its decision tells it."""
        return {
            "id": self.id,
            "value": {"amount": exact(self.value), "currency": self.currency},
            "rate_percent": percentage(self.rate),
            "amount": exact(self.amount),
        }

    @property
    def computed(self) -> int:
        """What the amount has to be, by value and rate."""
        return Tariff(self.rate, self.currency).fee(DeclaredValue(self.value, self.currency))


_LOGGED: Final[Mapping[str, type]] = {
    "decision": str,
    "partner": str,
    "purpose": str,
    "value": int,
    "currency": str,
    "rate": int,
    "amount": int,
    "debit": str,
    "credit": str,
}


def owed_by(partner_id: str) -> str:
    """The account of what a partner owes."""
    return f"receivable:{partner_id}"


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month in UTC, as `2026-11`: from `since` to before `until` (Unix seconds)."""

    name: str
    since: int
    until: int


@dataclass(frozen=True, slots=True)
class Sums:
    """What was charged to a partner in a month for one purpose at one rate, in millionths."""

    partner: str
    currency: str
    purpose: str
    rate: int
    uses: int
    value: int
    amount: int


@dataclass(frozen=True, slots=True)
class Due:
    """What a partner owes for a month in one currency: exact in millionths, and rounded text."""

    partner: str
    currency: str
    uses: int
    value: int
    amount: int
    due: str


def read_value(value: object, where: str) -> DeclaredValue:
    """Read a declared value, `{"amount": "12.50", "currency": "CNY"}`; raises `InvalidRequest`."""
    if not isinstance(value, dict) or value.keys() != {"amount", "currency"}:
        raise InvalidRequest(f"{where} has amount and currency, and no more")
    amount, currency = value["amount"], value["currency"]
    if not isinstance(amount, str) or not _AMOUNT.fullmatch(amount):
        raise InvalidRequest(
            f'{where}.amount is text like "12.50": at most 9 digits before the point and 6 after it'
        )
    return DeclaredValue(_millionths(amount), read_currency(currency, f"{where}.currency"))


def read_currency(code: object, where: str = "the currency") -> str:
    """A currency of ISO 4217, in capital letters; raises `InvalidRequest`."""
    if not isinstance(code, str) or code not in CURRENCIES:
        raise InvalidRequest(f"{where} is a code of ISO 4217, like CNY")
    return code


def read_rate(percent: str) -> int:
    """A rate from its percentage, "0.3", in millionths; raises `InvalidRequest`."""
    if not _PERCENT.fullmatch(percent) or (rate := _millionths(percent) // 100) > HIGHEST_RATE:
        raise InvalidRequest(
            "the rate is a percentage from 0 to 10 with at most 4 decimals, like 0.3"
        )
    return rate


def read_month(name: str) -> Month:
    """A month by its name, `2026-11`; raises `InvalidRequest`."""
    found = _MONTH.fullmatch(name)
    if found is None:
        raise InvalidRequest("a month is written like 2026-11")
    year, number = int(found[1]), int(found[2])
    since = datetime(year, number, 1, tzinfo=UTC)
    until = datetime(year + number // 12, number % 12 + 1, 1, tzinfo=UTC)
    return Month(name, int(since.timestamp()), int(until.timestamp()))


def month_of(moment: int) -> Month:
    """The month of a moment (Unix seconds)."""
    return read_month(datetime.fromtimestamp(moment, UTC).strftime("%Y-%m"))


def settle(lines: Iterable[Sums]) -> list[Due]:
    """What each partner owes in each currency: summed exactly, rounded once."""
    found: dict[tuple[str, str], tuple[int, int, int]] = {}
    for line in lines:
        uses, value, amount = found.get((line.partner, line.currency), (0, 0, 0))
        sums = (uses + line.uses, value + line.value, amount + line.amount)
        found[line.partner, line.currency] = sums
    return [
        Due(partner, currency, uses, value, amount, due(amount, currency))
        for (partner, currency), (uses, value, amount) in found.items()
    ]


def due(amount: int, currency: str) -> str:
    """An amount in millionths, rounded to what the currency has, as text."""
    decimals = get_currency_precision(currency)
    step = 10 ** (_DECIMALS - decimals)
    return exact(rounded(amount, step) * step, decimals)


def exact(millionths: int, decimals: int = 0) -> str:
    """Millionths as decimal text, with at least so many decimals: 37,500 are "0.0375"."""
    whole, rest = divmod(millionths, MILLION)
    digits = f"{rest:06d}".rstrip("0").ljust(decimals, "0")
    return f"{whole}.{digits}" if digits else str(whole)


def percentage(rate: int) -> str:
    """A rate in millionths as text: 3,000 are "0.3"."""
    return exact(rate * 100)


def rounded(numerator: int, denominator: int) -> int:
    """The quotient as a whole number, half to even."""
    quotient, rest = divmod(numerator, denominator)
    twice = 2 * rest
    return quotient + (twice > denominator or (twice == denominator and quotient % 2 == 1))


def _millionths(text: str) -> int:
    whole, _, fraction = text.partition(".")
    return int(whole) * MILLION + int(fraction.ljust(_DECIMALS, "0"))
