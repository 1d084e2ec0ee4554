"""One linear system over hidden attributes and bits:  M . (m, b) = k,  every b_i in {0, 1}.

All statements of a presentation, over all its credentials, are rows of one system. It is brought
to reduced echelon form once, the same for prover and verifier: each row then determines one
variable, its pivot, by those that are free:

    x_p = k_p - sum over free j of M_pj x_j

From that follow the blindings (the kernel of M: the same with k = 0), the responses that need not
be sent (the same with c k), and that every row of M holds of the responses, by construction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from zkp.curve import ORDER, ZERO, Scalar, random_scalars, scalar_from_int
from zkp.errors import StatementInvalid, TooLarge
from zkp.transcript import Transcript

MOST_ROWS = 128
MOST_BITS = 1024


@dataclass(frozen=True)
class Row:
    """sum of coefficients times variables = constant, modulo the order.

    Variables are numbered: hidden attributes from 0, then bits. Coefficients are integers.
    """

    coefficients: Mapping[int, int]
    constant: int


@dataclass(frozen=True)
class LinearSystem:
    """Rows over `attributes` hidden attributes and `bits` bits, in that order."""

    attributes: int
    bits: int
    rows: tuple[Row, ...]

    def __post_init__(self) -> None:
        """Raise `TooLarge` beyond the caps, `StatementInvalid` for a variable that is none."""
        if len(self.rows) > MOST_ROWS or self.bits > MOST_BITS:
            raise TooLarge(f"at most {MOST_ROWS} rows over {MOST_BITS} bits are proven together")
        for row in self.rows:
            if any(not 0 <= variable < self.variables for variable in row.coefficients):
                raise StatementInvalid("a row is about a variable that there is not")

    @property
    def variables(self) -> int:
        """How many there are."""
        return self.attributes + self.bits

    @cached_property
    def pivots(self) -> Mapping[int, tuple[Mapping[int, Scalar], Scalar]]:
        """Each determined variable: the coefficients of the free ones, and the constant.

        Raises `StatementInvalid` when the rows contradict each other.
        """
        return _reduce(self.rows)

    @cached_property
    def free(self) -> tuple[int, ...]:
        """The variables that no row determines, ascending."""
        return tuple(number for number in range(self.variables) if number not in self.pivots)

    def complete(self, free: Sequence[Scalar], scale: Scalar) -> list[Scalar]:
        """The solution of M x = scale k whose free variables, in their order, are `free`."""
        values = [ZERO] * self.variables
        for number, value in zip(self.free, free, strict=True):
            values[number] = value
        for number, (coefficients, constant) in self.pivots.items():
            value = constant * scale
            for other, coefficient in coefficients.items():
                value -= coefficient * values[other]
            values[number] = value
        return values

    def blindings(self) -> list[Scalar]:
        """A uniform element of the kernel of M."""
        return self.complete(random_scalars(len(self.free)), ZERO)

    def holds(self, values: Sequence[Scalar]) -> bool:
        """Whether every row holds of `values`."""
        for row in self.rows:
            total = ZERO
            for number, coefficient in row.coefficients.items():
                total += _scalar(coefficient) * values[number]
            if total != _scalar(row.constant):
                return False
        return True

    def absorb(self, transcript: Transcript) -> None:
        """Tell the transcript M and k, as they were stated."""
        transcript.add(b"system", self._stated)

    @cached_property
    def _stated(self) -> bytes:
        told = self.attributes.to_bytes(8) + self.bits.to_bytes(8) + len(self.rows).to_bytes(8)
        for row in self.rows:
            told += len(row.coefficients).to_bytes(8)
            for number, coefficient in sorted(row.coefficients.items()):
                told += number.to_bytes(8) + (coefficient % ORDER).to_bytes(32)
            told += (row.constant % ORDER).to_bytes(32)
        return told


def _reduce(rows: Sequence[Row]) -> dict[int, tuple[Mapping[int, Scalar], Scalar]]:
    """Gauss and Jordan, sparse; a row's pivot is its last variable, so that bits come first."""
    done: dict[int, tuple[dict[int, Scalar], Scalar]] = {}
    for row in rows:
        left = {
            number: _scalar(value) for number, value in row.coefficients.items() if value % ORDER
        }
        constant = _scalar(row.constant)
        for number in [number for number in left if number in done]:
            factor = left.pop(number)
            others, other_constant = done[number]
            constant -= factor * other_constant
            _subtract(left, others, factor)
        if not left:
            if constant != ZERO:
                raise StatementInvalid("the statements contradict each other")
            continue
        pivot = max(left)
        inverse = left.pop(pivot).inverse()
        left = {number: value * inverse for number, value in left.items()}
        constant *= inverse
        for number, (others, other_constant) in list(done.items()):
            if pivot in others:
                factor = others.pop(pivot)
                _subtract(others, left, factor)
                done[number] = (others, other_constant - factor * constant)
        done[pivot] = (left, constant)
    return {number: done[number] for number in sorted(done)}


def _subtract(left: dict[int, Scalar], other: Mapping[int, Scalar], factor: Scalar) -> None:
    """Take away: left - factor * other, without zeros."""
    for number, value in other.items():
        rest = left.get(number, ZERO) - factor * value
        if rest == ZERO:
            left.pop(number, None)
        else:
            left[number] = rest


def _scalar(value: int) -> Scalar:
    return scalar_from_int(value % ORDER)
