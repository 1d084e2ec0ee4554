"""Whatever bytes arrive: each parser accepts them or raises a leaf of its own family of errors.

The long form is `test_guided.py`, which looks at the code that an input reaches.
"""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.lengths import SOAK, short_or_long
from tests.fuzzing.inventory import PARSERS
from tests.fuzzing.judging import judge
from tests.fuzzing.mutations import mutated
from tests.fuzzing.parser import Parser

EXAMPLES = short_or_long(25, 2_000)
# Many seeds in one example: drawing costs more than most of these parsers take.
CHANGED_EACH = 4

named = pytest.mark.parametrize("parser", PARSERS, ids=lambda parser: parser.name)
often = settings(max_examples=EXAMPLES, deadline=None, derandomize=not SOAK, database=None)


@named
def test_samples_are_read_or_refused(parser: Parser) -> None:
    for sample in parser.samples:
        judge(parser, sample)


@pytest.mark.timeout(3600)
@named
@often
@given(data=st.binary(max_size=300) | st.text(max_size=100).map(str.encode))
def test_any_bytes(parser: Parser, data: bytes) -> None:
    judge(parser, data)


@pytest.mark.timeout(3600)
@named
@often
@given(seed=st.integers(0, 2**64 - 1))
def test_changed_samples(parser: Parser, seed: int) -> None:
    choose = Random(seed)
    for _ in range(CHANGED_EACH):
        judge(parser, mutated(parser.samples, choose))
