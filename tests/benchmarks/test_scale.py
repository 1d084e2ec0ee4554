"""The experiment with many consents, in its smallest form: so that it goes on running."""

import xml.etree.ElementTree as ET

import pytest
from rich.console import Console

from benchmarks.scale import experiment, report
from benchmarks.scale.experiment import FORMS, PLAIN, Found

ROWS = (3_000,)
CUSTOMERS = 3
# What finds its rows by reading all of a table, at any size, is forgotten in large databases.
BIG = ("consent", "contact", "consent_request", "audit_entry")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_experiment_finds_what_it_is_for() -> None:
    # One test: spread over several workers it would be run several times.
    found = experiment.run(ROWS, FORMS, CUSTOMERS, lambda *_: None, seconds=0.5)
    assert {one.form for one in found.grown} == set(FORMS)
    real_acts_cost_something_and_leave_rows(found)
    databases_have_the_rows_that_were_asked_for(found)
    the_acts_find_rows_and_never_read_whole_tables(found)
    the_log_refuses_changes_in_every_partition(found)
    the_figures_can_be_read_and_drawn(found)


def real_acts_cost_something_and_leave_rows(found: Found) -> None:
    assert {cost.act for cost in found.real.costs} >= {"bind and grant", "decide", "withdraw"}
    assert all(cost.broker_ms > 0 for cost in found.real.costs)
    _, _, rows = found.real.sizes["consent"]
    assert rows == 3 * CUSTOMERS
    assert found.real.log_bytes_per_customer > 0


def databases_have_the_rows_that_were_asked_for(found: Found) -> None:
    for one in found.grown:
        for table in ("consent", "audit_entry"):
            _, indexes, rows = one.sizes[table]
            assert rows >= one.rows
            assert indexes > 0


def the_acts_find_rows_and_never_read_whole_tables(found: Found) -> None:
    for one in found.grown:
        if one.form != PLAIN:
            continue
        assert {taken.act for taken in one.warm if taken.rows} >= {
            *("decision: read", "decision: hold", "expiry: consents due"),
            *("customer: contacts", "evidence: entries of a consent"),
        }
        for taken in one.warm:
            assert not {f"Seq Scan {table}" for table in BIG} & set(taken.scans), taken


def the_log_refuses_changes_in_every_partition(found: Found) -> None:
    for one in found.grown:
        if one.form == PLAIN:
            continue
        unguarded = "delete from a partition that has only its parent's guard"
        assert one.guards[unguarded] is False
        assert {name for name, refused in one.guards.items() if refused} == set(one.guards) - {
            unguarded
        }


def the_figures_can_be_read_and_drawn(found: Found) -> None:
    console = Console(width=200)
    with console.capture() as shown:
        report.show(found, console)
    assert "decision: read" in shown.get()
    svg = report.plot([one for one in found.grown if one.form == PLAIN])
    drawn = ET.fromstring(svg)  # noqa: S314 (our own)
    assert drawn.tag.endswith("svg")
    assert found.to_json()["grown"][0]["rows"] == ROWS[0]
