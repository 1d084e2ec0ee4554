"""The harness: figures that hold or do not, and a command that says so with its exit code."""

import itertools
import json
import math
import re
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import catalogue
from benchmarks.figure import (
    Bound,
    Figure,
    ratio_at_least,
    ratio_at_most,
    value_at_least,
    value_at_most,
)
from benchmarks.probe import calls_per_second, interleaved, seconds_per_call

FIELDS = ["name", "value", "unit", "probe", "ratio", "bound", "holds"]
MODULE = '''"""{title}"""

from benchmarks.figure import Figure, ratio_at_least


def run() -> list[Figure]:
    return [Figure(name="made", value={value}, unit="1/s", probe=100, bound=ratio_at_least(0.6))]
'''


@pytest.mark.parametrize(
    ("value", "probe", "bound", "holds"),
    [
        (60, 100, ratio_at_least(0.6), True),
        (59, 100, ratio_at_least(0.6), False),
        (130, 100, ratio_at_most(1.3), True),
        (131, 100, ratio_at_most(1.3), False),
        (40_000, None, value_at_least(40_000), True),
        (39_999, None, value_at_least(40_000), False),
        (1.0, None, value_at_most(1), True),
        (1.1, None, value_at_most(1), False),
        (math.nan, 100, ratio_at_least(0.6), False),
        (math.nan, None, value_at_most(1), False),
        (1, None, None, True),
    ],
)
def test_a_figure_holds_its_bound_or_not(
    value: float, probe: float | None, bound: Bound | None, holds: bool
) -> None:
    figure = Figure(name="f", value=value, unit="1/s", probe=probe, bound=bound)
    assert figure.holds is holds
    assert list(figure.to_json()) == FIELDS


@pytest.mark.parametrize("probe", [None, 0, -1, math.nan])
def test_a_ratio_needs_a_probe_that_measured_something(probe: float | None) -> None:
    with pytest.raises(ValueError, match="probe"):
        Figure(name="f", value=1, unit="s", probe=probe, bound=ratio_at_least(0.6))


def test_measurements_alternate_and_give_the_median() -> None:
    order: list[str] = []

    def measurement(name: str, values: list[float]) -> float:
        order.append(name)
        return values[order.count(name) - 1]

    medians = interleaved(
        {
            "subject": lambda: measurement("subject", [99, 1, 2, 30]),
            "probe": lambda: measurement("probe", [99, 10, 20, 30]),
        },
        rounds=3,
    )
    assert medians == {"subject": 2, "probe": 20}
    assert order == [*("subject", "probe") * 2, "probe", "subject", "subject", "probe"]


def test_nothing_to_measure_is_an_error() -> None:
    with pytest.raises(ValueError, match="nothing to measure"):
        interleaved({})


def test_a_measurement_is_an_average_over_its_calls() -> None:
    ticks = itertools.count(start=0, step=8)
    calls = itertools.count()
    measure = seconds_per_call(lambda: next(calls), calls=4, clock=lambda: next(ticks))
    assert measure() == 2
    assert next(calls) == 4
    assert calls_per_second(lambda: None, calls=4, clock=lambda: next(ticks))() == 0.5


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made_fast.py").write_text(MODULE.format(title="One that holds.", value=61))
    (tmp_path / "made_slow.py").write_text(MODULE.format(title="One that does not.", value=59))
    (tmp_path / "no_benchmark.py").write_text("x = 1\n")
    monkeypatch.setattr(catalogue, "FOLDER", tmp_path)
    monkeypatch.setattr("benchmarks.__path__", [str(tmp_path)])


@pytest.mark.usefixtures("made")
def test_the_command_lists_the_benchmarks(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"made_fast +One that holds\.", printed)
    assert "no_benchmark" not in printed


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize(("name", "code"), [("made_fast", 0), ("made_slow", 1)])
def test_the_exit_code_says_whether_the_figures_hold(
    name: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([name, "--json"]) == code
    [figure] = json.loads(capsys.readouterr().out)["figures"]
    assert list(figure) == FIELDS
    assert figure["holds"] is (code == 0)
    assert figure["bound"] == "ratio >= 0.6"


@pytest.mark.usefixtures("made")
@pytest.mark.parametrize("form", [[], ["--markdown"]])
def test_all_of_them_in_a_table(form: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--all", *form]) == 1
    assert "0.59" in capsys.readouterr().out


@pytest.mark.usefixtures("made")
def test_several_are_asked_for_by_one_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(catalogue.GROUPS, "made", ("made_slow", "made_fast"))
    assert command.main(["made_fast", "made", "--json"]) == 1
    printed = capsys.readouterr()
    figures = json.loads(printed.out)["figures"]
    assert [one["value"] for one in figures] == [61, 59], "each once"
    assert re.search(r"measuring made_fast\n +made +61 .*yes\nmeasuring made_slow", printed.err)
    assert command.main([]) == 0
    assert re.search(r"made +made_slow, made_fast", capsys.readouterr().out)


def test_a_name_of_several_is_nobodys_own_and_names_what_there_is() -> None:
    known = catalogue.descriptions()
    assert not known.keys() & catalogue.GROUPS.keys()
    assert {one for of in catalogue.GROUPS.values() for one in of} <= known.keys()
    assert "consent_gate" in catalogue.GROUPS["federation"]


def test_an_unknown_benchmark_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["nonesuch"])
    assert "no benchmark called nonesuch" in capsys.readouterr().err
