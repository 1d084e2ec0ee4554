"""`consent-broker subject`: export and erase by reference or consent, and see what waits."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from broker.cli import app
from broker.composition import build_context
from broker.domain.bundle import unpack
from broker.domain.held import LONGEST_SECONDS
from broker.settings import read_settings
from broker.store import consents
from broker.usecases.bootstrap import demo_clients, ensure_demo_tenant
from broker.usecases.erasure import release_due
from broker.usecases.withdrawal import withdraw_by_officer
from tests.broker.builders import Broker

REFUSED, USAGE = 1, 2
REF = "crm-of-the-command-line"


@pytest.fixture
def consent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A customer's consent, in a home that the commands find."""
    for name in list(os.environ):
        if name == "DATABASE_URL" or name.startswith("BROKER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BROKER_HOME", str(tmp_path))
    ctx = build_context(read_settings())
    ensure_demo_tenant(ctx)
    partner, officer = demo_clients(ctx)
    seeds = Broker(ctx)
    made = seeds.consent(partner["client_id"], REF)
    withdrawn = seeds.consent(partner["client_id"], "crm-another")
    withdraw_by_officer(ctx, "demo", officer["client_id"], withdrawn)
    ctx.db.close()
    monkeypatch.setenv("TEST_PARTNER", partner["client_id"])
    return made


def run(*arguments: str, answer: str = "") -> Result:
    return CliRunner().invoke(app, ["subject", *arguments], input=answer, catch_exceptions=False)


def told(*arguments: str) -> Any:  # noqa: ANN401 (JSON)
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def by_ref() -> tuple[str, ...]:
    return ("--partner", os.environ["TEST_PARTNER"], "--subject-ref", REF)


def test_export_by_reference_and_into_a_file(consent: str, tmp_path: Path) -> None:
    shown = told("export", *by_ref())
    assert [one["id"] for one in shown["consents"]] == [consent]
    assert shown["contacts"][0]["subject_ref"] == REF
    file = tmp_path / "export.json"
    counts = told("export", "--consent", consent, "--out", str(file), "--json")
    assert counts["consents"] == 1
    again = json.loads(file.read_bytes())
    assert [one["entry"]["type"] for one in again["looks"]] == ["subject.exported"]
    assert file.stat().st_mode & 0o777 == 0o600
    zipped = tmp_path / "export.zip"
    assert "1 consents" in run("export", "--consent", consent, "--out", str(zipped)).stdout
    # This consent was put there without a signature, so there is no bundle beside the export.
    assert list(unpack(zipped.read_bytes())) == ["export.json"]
    assert run("export", "--consent", consent, "--out", "/no/where.json").exit_code == USAGE
    assert again["looks"][0]["entry"]["body"]["by"] == "operator"


def test_erase_asks_first_and_says_what_it_did(consent: str) -> None:
    refused = run("erase", *by_ref(), answer="n\n")
    assert refused.exit_code == REFUSED
    assert told("export", *by_ref())["erasure"] is None
    done = told("erase", *by_ref(), "--yes", "--json")
    assert (done["withdrawn"], done["deletion_tasks"], done["state"]) == (1, 1, "held")
    assert [one["id"] for one in told("erasures", "--json")] == [done["id"]]
    later = build_context(read_settings())
    later = replace(later, now=lambda: int(time.time()) + LONGEST_SECONDS)
    assert release_due(later) == 1
    later.db.close()
    assert told("erasures", "--json") == []
    assert [one["id"] for one in told("erasures", "--all", "--json")] == [done["id"]]
    # The reference leads nowhere any more; a consent says what remains.
    nobody = run("export", *by_ref())
    assert (nobody.exit_code, nobody.stdout) == (REFUSED, "")
    assert "nothing is held under this reference" in nobody.stderr
    assert REF not in nobody.stderr
    assert told("export", "--consent", consent)["erasure"]["id"] == done["id"]
    assert run("erase", "--consent", consent, "--yes").exit_code == REFUSED


def test_tasks_and_their_pages(consent: str) -> None:
    (task,) = told("tasks", "--json")["tasks"]
    assert task["consent"] != consent
    assert told("tasks", "--state", "overdue", "--json")["tasks"] == []
    assert told("tasks", "--after", task["id"], "--json")["tasks"] == []
    assert "open" in run("tasks").stdout


def test_whoever_is_meant_has_to_be_named(consent: str) -> None:
    for arguments in ((), ("--partner", "p-x"), (*by_ref(), "--consent", consent)):
        assert run("export", *arguments).exit_code == USAGE
    assert run("export", "--consent", "c-unknown").exit_code == REFUSED


def test_withdraw_all_asks_first_and_lists_what_it_ended(consent: str) -> None:
    contact = f"{os.environ['TEST_PARTNER']}:{REF}"
    refused = run("withdraw-all", "--contact", contact, answer="n\n")
    assert refused.exit_code == REFUSED
    assert _state(consent) == "granted"
    done = told("withdraw-all", "--contact", contact, "--yes", "--json")
    assert done["withdrawn"] == [consent]
    assert 0 <= done["shown_by"] - int(time.time()) <= LONGEST_SECONDS
    assert _state(consent) == "withdrawn"
    # Again there is nothing to end; named by a consent, and by both, it is the same customer.
    again = run("withdraw-all", "--consent", consent, "--contact", contact, "--yes")
    assert (again.exit_code, again.stdout) == (0, "0 withdrawn\n")


def test_withdraw_all_of_several_contacts_of_one_person(consent: str) -> None:
    ctx = build_context(read_settings())
    second = Broker(ctx).consent(os.environ["TEST_PARTNER"], "crm-second")
    ctx.db.close()
    done = run("withdraw-all", "--consent", consent, "--consent", second, "--yes")
    assert done.exit_code == 0, done.output
    assert sorted(done.stdout.splitlines()) == sorted([consent, second, "2 withdrawn"])


def test_withdraw_all_of_nobody(consent: str) -> None:
    nobody = run("withdraw-all", "--contact", f"{os.environ['TEST_PARTNER']}:{REF}x", "--yes")
    assert (nobody.exit_code, nobody.stdout) == (REFUSED, "")
    assert REF not in nobody.stderr
    for wrong in ((), ("--contact", "no-colon"), ("--contact", ":"), ("--contact", "p:")):
        assert run("withdraw-all", *wrong, "--yes").exit_code == USAGE
    assert run("withdraw-all", "--consent", "c-" + "z" * 20, "--yes").exit_code == REFUSED
    assert _state(consent) == "granted"
    assert "撤回" in run("withdraw-all", "--help").stdout


def _state(consent_id: str) -> str:
    ctx = build_context(read_settings())
    with ctx.db.reading() as tx:
        state: str = consents.consent(tx, "demo", consent_id).state
    ctx.db.close()
    return state


def test_decisions_by_a_program_alone(consent: str) -> None:
    named = ("automated-decisions", "--consent", consent)
    done = told(*named, "--refuse", "--json")
    assert done == {"consent": consent, "refused": True, "changed": True}
    assert "refused, as it was" in run(*named, "--refuse").output
    assert run(*named, "--allow").output == f"{consent}: allowed\n"
    assert run("automated-decisions", "--consent", "c-0", "--allow").exit_code == REFUSED
