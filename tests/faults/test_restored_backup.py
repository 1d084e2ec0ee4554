"""A database restored from an old backup: noticed, harmless, and recovered from copies outside."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import select

from broker.domain.checkpoint import open_checkpoint
from broker.domain.evidence import verify_evidence
from broker.outbound.client import Client
from broker.store import log_tree, outside_copies
from broker.store.consents import CONSENT
from broker.store.contacts import CONTACT
from broker.store.outside_copies import ErasureCopy, WithdrawalCopy
from broker.store.subjects import SUBJECT
from broker.usecases.bootstrap import demo_clients
from broker.usecases.trust import trust
from credentials.jcs import b64url
from dev.running import free_port, running_broker
from tests.faults.agreement import check_agreement, settled, show_held
from tests.faults.serving import Deployment, asked, behind, deployment
from tests.postgres import ROLE, Server


class Backup:
    """A copy of a stopped broker's database, and putting it back."""

    def __init__(self, engine: str, home: Path, server: Callable[[], Server]) -> None:
        self._home, self._server = home, server
        self.url = "" if engine == "sqlite" else server().create(home.name)

    def take(self) -> None:
        if self.url:
            name = self._home.name
            self._copy(name, f"{name}-backup")
        else:
            shutil.copy(self._home / "broker.db", self._home / "backup.db")

    def restore(self) -> None:
        if self.url:
            name = self._home.name
            self._server().drop(name)
            self._copy(f"{name}-backup", name)
        else:
            for path in self._home.glob("broker.db-*"):
                path.unlink()
            shutil.copy(self._home / "backup.db", self._home / "broker.db")

    def _copy(self, name: str, new: str) -> None:
        self._server().execute(f'CREATE DATABASE "{new}" TEMPLATE "{name}" OWNER {ROLE}')


def permitted(at: Deployment, subject_ref: str) -> bool:
    answer = at.caller("partner").post("/access/v1/evaluation", asked(at.partner_id, subject_ref))
    assert answer.status == 200, answer
    return bool(answer.json["decision"])


def withdraw(at: Deployment, consent_id: str) -> int:
    return at.caller("officer").post(f"/v1/consents/{consent_id}/withdrawal", {}).status


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_restored_backup(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    home = tmp_path / f"restored-{engine}"
    backup = Backup(engine, home, lambda: request.getfixturevalue("postgres_server"))
    port = str(free_port())
    with deployment(home, backup.url, PORT=port) as made:
        environment = dict(made.servers[0].environment)
        first, second, _third, fourth = (
            made.granted(name) for name in ("first", "second", "third", "fourth")
        )
        told = made.servers[0].run("demo", "--json")
        assert told.returncode == 0, told.stderr
        (signed,) = {
            step["shown"]["consent"]
            for step in json.loads(told.stdout)["steps"]
            if step["id"] == "credential"
        }
        settled(made.ctx)
    backup.take()
    with deployment(home, backup.url, PORT=port) as made:
        assert withdraw(made, first) == 200
        lost = made.granted("lost")
        assert withdraw(made, lost) == 200
        assert permitted(made, "third")
        assert erase(made, fourth) == 201
        show_held(made.ctx)
        entries = len(settled(made.ctx))
        old_origin = made.ctx.log.origin
    backup.restore()

    # Noticed: it serves, permits nothing, and takes withdrawals.
    with running_broker(home, environment, ready=False) as server, behind([server]) as made:
        ready = made.caller("partner").get("/readyz")
        assert (ready.status, ready.json["reasons"]) == (503, ["log_rolled_back"])
        assert not any(permitted(made, name) for name in ("first", "second", "third"))
        assert withdraw(made, second) == 200
        stands = server.run("log", "status", "--json")
        assert stands.returncode == 1
        assert json.loads(stands.stdout)["signed_size"] == entries

    # Recovered, once the operator has said which head they mean.
    wrong = server.run("log", "recover", "--after", str(entries - 1))
    assert wrong.returncode == 2
    done = server.run("log", "recover", "--after", str(entries))
    assert done.returncode == 0, done.stderr
    # The fourth customer's was withdrawn by their erasure.
    assert "2 consents were withdrawn again; 1 withdrawals were of" in done.stdout
    assert "1 customers were erased again" in done.stdout
    again = server.run("log", "recover", "--after", str(entries))
    assert "nothing to recover" in again.stdout
    with deployment(home, backup.url, PORT=port) as made:
        assert [permitted(made, name) for name in ("first", "second", "third")] == [
            False,
            False,
            True,
        ]
        check_agreement(made.ctx, made.servers[0].address, withdrawn=[first, second, fourth])
        _check_erased(made, fourth)
        _check_new_origin(made, old_origin, entries)
        _, officer = demo_clients(made.ctx)
        client = Client(environment["PUBLIC_URL"], officer["client_id"], officer["private_jwk"])
        zipped = client.get(f"/v1/consents/{signed}/evidence").content
        client.close()
        assert verify_evidence(zipped, trust(made.ctx)).verdict == "verified"
        with made.ctx.db.reading() as tx:
            assert tx.execute(select(CONSENT).where(CONSENT.c.id == lost)).one_or_none() is None


def erase(at: Deployment, consent_id: str) -> int:
    key = {"Idempotency-Key": consent_id}
    return at.caller("officer").post("/v1/subject-erasures", {"consent": consent_id}, **key).status


def _check_erased(made: Deployment, consent_id: str) -> None:
    """The key that the backup had brought back is destroyed again, and the reference forgotten."""
    with made.ctx.db.reading() as tx:
        chosen = (
            select(SUBJECT.c.sealed_log_key, CONTACT.c.sealed_subject_ref)
            .join(CONTACT, CONTACT.c.subject_id == SUBJECT.c.id)
            .join(CONSENT, CONSENT.c.contact_id == CONTACT.c.id)
        )
        assert tuple(tx.execute(chosen.where(CONSENT.c.id == consent_id)).one()) == (None, b"")


def _check_new_origin(made: Deployment, old_origin: str, entries: int) -> None:
    with made.ctx.db.reading() as tx:
        newest = log_tree.latest_checkpoint(tx)
    assert newest is not None
    checkpoint = open_checkpoint(newest.note, made.ctx.log.verifier)
    assert checkpoint.origin.startswith(f"{old_origin}-after-{entries}-")


@pytest.mark.timeout(300)
def test_a_new_machine_joins_when_it_is_told_to(postgres_database: str, tmp_path: Path) -> None:
    with deployment(tmp_path / "one", postgres_database) as made:
        consent_id = made.granted("before")
        settled(made.ctx)
        master_key = b64url((tmp_path / "one" / "master.key").read_bytes())
        joining = tmp_path / "two"
        joining.mkdir()
        theirs = {
            "DATABASE_URL": postgres_database,
            "BROKER_MASTER_KEY": master_key,
            "PUBLIC_URL": made.servers[0].address,
        }
        with running_broker(joining, theirs, ready=False) as server:
            stands = server.run("log", "status")
            assert stands.returncode == 1
            assert "missing" in stands.stderr
        adopted = server.run("log", "adopt")
        assert adopted.returncode == 0, adopted.stderr
        with running_broker(joining, theirs) as server:
            made.servers.append(server)
            assert permitted(made, "before")
            assert (
                made.caller("officer", 1).post(f"/v1/consents/{consent_id}/withdrawal", {}).status
                == 200
            )
            assert not permitted(made, "before")
            check_agreement(made.ctx, made.servers[0].address, withdrawn=[consent_id])


def test_a_half_written_line_spoils_no_other(tmp_path: Path) -> None:
    copies = [WithdrawalCopy("demo", f"c-{number}", number) for number in range(3)]
    outside_copies.keep(tmp_path, copies[0])
    path = tmp_path / outside_copies.FILE_NAME
    with path.open("ab") as file:
        file.write(b'\n{"type":"consent.withdrawn","tenant":"demo","cons')
    outside_copies.keep(tmp_path, copies[1])
    with path.open("ab") as file:
        file.write(b'\n{"type":"of a later version","what":1}\n\n[]\n"text"\n')
    outside_copies.keep(tmp_path, copies[2])
    erased = ErasureCopy("demo", ("ct-1", "ct-2"), 5)
    outside_copies.keep(tmp_path, erased)
    outside_copies.keep(tmp_path, copies[0])
    assert outside_copies.read([path, path]) == copies
    assert outside_copies.read_erasures([path, path]) == [erased]
    assert path.stat().st_mode & 0o777 == 0o600
