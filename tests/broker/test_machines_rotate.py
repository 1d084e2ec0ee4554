"""Machines with folders of their own rotate the master key, step by step as the guide says."""

import json
import secrets
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from broker.cli import app
from broker.composition import build_context, prepare
from broker.settings import read_settings
from broker.store.master_key_file import FILE_NAME
from broker.usecases.bootstrap import demo_clients
from broker.usecases.context import Context
from broker.usecases.person import Named
from broker.usecases.resealing import under_keys
from broker.usecases.subject_export import export_subject
from credentials.errors import SealBroken
from credentials.jcs import b64url
from credentials.sealing import MasterKey
from tests.broker.builders import Broker

CURRENT, PREVIOUS = "BROKER_MASTER_KEY", "BROKER_MASTER_KEY_PREVIOUS"


@dataclass
class Machine:
    """A home folder and an environment of its own, over the database that all share."""

    home: Path
    database_url: str
    changes: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {"BROKER_HOME": str(self.home), "DATABASE_URL": self.database_url, **self.changes}

    @contextmanager
    def running(self) -> Iterator[Context]:
        """What it does between a start and the next."""
        ctx = build_context(read_settings(self.environment))
        with closing(ctx.db):
            prepare(ctx)
            yield ctx

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, ["keys", *arguments], env=self.environment)


def each_reads_what_the_other_writes(machines: list[Machine], written: list[str]) -> None:
    """All run at once; each seals something, and opens all that was ever sealed."""
    with ExitStack() as stack:
        running = [stack.enter_context(one.running()) for one in machines]
        for ctx in running:
            partner = Broker(ctx)
            client_id = demo_clients(running[0])[0]["client_id"]
            written.append(partner.consent(client_id, f"crm-{secrets.token_hex(4)}"))
        for ctx in running:
            for consent_id in written:
                told = export_subject(ctx, "demo", Named(consent_id=consent_id), by="operator")
                assert told["contacts"][0]["subject_ref"].startswith("crm-")


@pytest.mark.timeout(300)
def test_two_machines_with_folders_of_their_own(postgres_database: str, tmp_path: Path) -> None:
    one, two = machines = [Machine(tmp_path / name, postgres_database) for name in ("one", "two")]
    with one.running():
        old = MasterKey((one.home / FILE_NAME).read_bytes())
    two.home.mkdir()
    (two.home / FILE_NAME).write_bytes(old.to_bytes())
    new = MasterKey.generate()
    older, newer = (b64url(key.to_bytes()) for key in (old, new))
    written: list[str] = []
    each_reads_what_the_other_writes(machines, written)

    # The keys into the environment first, and all can open the new one: one after the other.
    for machine in machines:
        machine.changes = {CURRENT: older, PREVIOUS: newer}
        each_reads_what_the_other_writes(machines, written)
    refused = one.run("rotate", "master")
    assert (refused.exit_code, "docs/deployment.md" in refused.stderr) == (2, True)
    # Switch, one after the other: the second opens what the first seals under the new key.
    for machine in machines:
        machine.changes = {CURRENT: newer, PREVIOUS: older}
        each_reads_what_the_other_writes(machines, written)
    with one.running() as ctx:
        assert under_keys(ctx)[old.key_id.hex()] > 0
        assert under_keys(ctx)[new.key_id.hex()] > 0
    # Seal anew, once, on any machine.
    done = two.run("reseal", "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert (told["remaining"], told["unopened"]) == (0, 0)
    assert told["resealed"] > 0
    listed = json.loads(one.run("list", "--json").stdout)["master"]
    assert listed["current"] == new.key_id.hex()
    assert listed["sealed"][old.key_id.hex()] == 0
    # The old key is taken out.
    for machine in machines:
        machine.changes = {CURRENT: newer}
        each_reads_what_the_other_writes(machines, written)
    with one.running() as ctx, pytest.raises(SealBroken):
        ctx.master.open(old.seal(b"from before", "x:1"), "x:1")


@pytest.mark.timeout(300)
def test_a_machine_that_was_switched_too_early_is_told_apart(
    postgres_database: str, tmp_path: Path
) -> None:
    """Step 1 left out: the other cannot open what the first seals, and reseal says so."""
    one, two = (Machine(tmp_path / name, postgres_database) for name in ("one", "two"))
    old, new = (b64url(MasterKey.generate().to_bytes()) for _ in range(2))
    one.changes = two.changes = {CURRENT: old}
    with one.running():
        pass
    one.changes = {CURRENT: new, PREVIOUS: old}
    with one.running() as ctx:
        Broker(ctx).consent(demo_clients(ctx)[0]["client_id"], "crm-early")
    done = two.run("reseal", "--json")
    assert done.exit_code == 1
    assert json.loads(done.stdout)["unopened"] > 0
    assert "BROKER_MASTER_KEY_PREVIOUS" in done.stderr
    # Nothing is lost by it: with both keys all of it is sealed anew.
    done = one.run("reseal", "--json")
    assert (done.exit_code, json.loads(done.stdout)["remaining"]) == (0, 0)
