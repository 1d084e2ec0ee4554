"""Backups: taken while serving, sealed, and restored by the drill of docs/deployment.md."""

import json
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from broker.cli import app
from broker.composition import build_context, prepare
from broker.domain.backup import FORMAT, Manifest
from broker.domain.errors import BackupInvalid, BackupRefused
from broker.domain.evidence import verify_evidence
from broker.outbound.client import Client
from broker.settings import Settings, read_settings
from broker.store import outside_copies
from broker.store.database_copy import Moment, copy_database
from broker.store.head_file import HeadFile
from broker.usecases import backup as usecases
from broker.usecases.bootstrap import demo_clients
from broker.usecases.trust import trust
from credentials.sealing import MasterKey
from dev.running import free_port, running_broker
from tests.faults.agreement import check_agreement, settled
from tests.faults.load import Load
from tests.faults.serving import Deployment, asked, behind, deployment
from tests.postgres import Server
from tests.programs import require

MASTER = MasterKey.from_bytes(bytes(range(32)))


def no_step(_name: str, _done: int, _of: int) -> None:
    """Nobody looks."""


def permitted(at: Deployment, subject_ref: str) -> bool:
    answer = at.caller("partner").post("/access/v1/evaluation", asked(at.partner_id, subject_ref))
    assert answer.status == 200, answer
    return bool(answer.json["decision"])


def wait_for(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def destroy(home: Path, url: str, server: Callable[[], Server]) -> None:
    """The database is gone; what lies outside of it, on another disk, is not."""
    if url:
        server().drop(home.name)
        server().create(home.name)
        return
    for path in home.glob("broker.db*"):
        path.unlink()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("engine", ["sqlite", "postgresql"])
def test_drill(engine: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    home, file = tmp_path / f"drill-{engine}", tmp_path / "made.backup"

    def server() -> Server:
        made: Server = request.getfixturevalue("postgres_server")
        return made

    url = ""
    if engine == "postgresql":
        require("pg_dump", "back up PostgreSQL")
        url = server().create(home.name)
    with deployment(home, url, PORT=str(free_port())) as made:
        broker = made.servers[0]
        told = broker.run("demo", "--json")
        assert told.returncode == 0, told.stderr
        steps = json.loads(told.stdout)["steps"]
        (signed,) = {one["shown"]["consent"] for one in steps if one["id"] == "credential"}
        kept, later = made.granted("kept"), made.granted("later")
        # Backed up under load, and then more happens, withdrawals too.
        load = Load(made, "load", 30)
        with load.running():
            wait_for(lambda: load.acknowledged >= 20)
            done = broker.run("backup", "--out", str(file), "--json")
            assert done.returncode == 0, done.stderr
            during = load.acknowledged
            wait_for(lambda: load.acknowledged >= during + 20)
        manifest = json.loads(done.stdout)["manifest"]
        withdrawal = f"/v1/consents/{later}/withdrawal"
        assert made.caller("officer").post(withdrawal, {}).status == 200
        entries = len(settled(made.ctx))
    assert 0 < manifest["log_size"] < entries
    destroy(home, url, server)

    restored = broker.run("restore", str(file), "--json")
    assert restored.returncode == 0, restored.stderr
    assert json.loads(restored.stdout)["log"] == "rolled_back"
    assert f"log recover --after {entries}" in json.loads(restored.stdout)["next"]
    recovered = broker.run("log", "recover", "--after", str(entries))
    assert recovered.returncode == 0, recovered.stderr
    environment = dict(broker.environment)
    with running_broker(home, environment, log_name="again.log") as again, behind([again]) as made:
        assert permitted(made, "kept")
        assert not permitted(made, "later")
        # Those whom the backup knows are withdrawn again; the rest are unknown and cannot permit.
        assert not any(permitted(made, f"load-{number}") for number in range(len(load.withdrawn)))
        check_agreement(made.ctx, again.address, withdrawn=[*load.withdrawn, later])
        assert kept
        zipped = evidence_of(made, environment["PUBLIC_URL"], signed)
        assert verify_evidence(zipped, trust(made.ctx)).verdict == "verified"
        looked = json.loads(again.run("doctor", "--json").stdout)
        problems = {one["code"] for one in looked["findings"] if one["level"] == "problem"}
        # The tests' cluster gives durability up.
        assert problems == ({"postgresql_unsafe"} if url else set())


def evidence_of(made: Deployment, address: str, consent_id: str) -> bytes:
    _, officer = demo_clients(made.ctx)
    client = Client(address, officer["client_id"], officer["private_jwk"])
    zipped: bytes = client.get(f"/v1/consents/{consent_id}/evidence").content
    client.close()
    return zipped


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A deployment on SQLite that has served."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("BROKER_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PUBLIC_URL", "http://127.0.0.1:8000")
    found = read_settings()
    ctx = build_context(found)
    prepare(ctx)
    ctx.log.run_once(ctx.now())
    outside_copies.keep(found.home, outside_copies.WithdrawalCopy("demo", "c-1", 1))
    ctx.db.close()
    return found


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def test_a_backup_of_what_is_newest_goes_on_at_once(settings: Settings, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    made = run("backup", "--out", str(folder))
    assert made.exit_code == 0, made.output
    (file,) = folder.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    assert file.read_bytes().startswith(FORMAT)
    assert str(file) in run("backup", "verify", str(file)).output
    # Nothing of it can be read without the master key.
    secret = b"dpv:ServicePersonalisation"
    assert secret in (settings.home / "broker.db").read_bytes()
    assert secret not in file.read_bytes()
    refused = run("restore", str(file))
    assert refused.exit_code == 1
    assert "--force" in refused.output
    (settings.home / "withdrawals").unlink()
    done = json.loads(run("restore", str(file), "--force", "--json").stdout)
    assert (done["log"], done["withdrawals_added"]) == ("sound", 1)
    assert (settings.home / "broker.db.before-restore").exists()
    again = json.loads(run("restore", str(file), "--force", "--json").stdout)
    assert again["withdrawals_added"] == 0


def test_on_a_machine_without_the_head_nothing_is_taken_for_granted(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, fresh = tmp_path / "b", tmp_path / "fresh"
    assert run("backup", "--out", str(file)).exit_code == 0
    monkeypatch.setenv("BROKER_HOME", str(fresh))
    no_key = run("restore", str(file))
    assert no_key.exit_code == 2
    assert "master.key: put it back" in no_key.output
    assert not (fresh / "master.key").exists(), "a new key would open nothing"
    shutil.copy(settings.home / "master.key", fresh / "master.key")
    done = json.loads(run("restore", str(file), "--json").stdout)
    assert done["log"] == "no_head"
    assert HeadFile(fresh / "log-head").read() is None
    assert "log adopt" in done["next"]
    assert run("log", "status").exit_code == 1
    assert run("log", "adopt").exit_code == 0
    assert run("log", "status").exit_code == 0


def test_another_master_key_opens_nothing(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "b"
    assert run("backup", "--out", str(file)).exit_code == 0
    (settings.home / "master.key").write_bytes(bytes(32))
    before = (settings.home / "broker.db").read_bytes()
    refused = run("restore", str(file), "--force")
    assert refused.exit_code == 1
    assert "sealed under another master key" in refused.output
    assert (settings.home / "broker.db").read_bytes() == before


def test_a_broker_that_still_runs_is_in_the_way(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "b"
    assert run("backup", "--out", str(file)).exit_code == 0
    ctx = build_context(settings)
    with ctx.db.reading() as tx:
        tx.exec_driver_sql("SELECT 1")
        refused = run("restore", str(file), "--force")
    ctx.db.close()
    assert refused.exit_code == 1
    assert "stop the broker first" in refused.output


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of a database and a large file beside it: several pieces."""
    home = tmp_path_factory.mktemp("sealed")
    settings = Settings(home=home, master_key=MASTER.to_bytes())
    ctx = build_context(settings)
    ctx.log.run_once(0)
    ctx.db.close()
    (home / "withdrawals").write_bytes(b"\n" * 3_000_000)
    usecases.backup(settings, MASTER, home / "b", 1, no_step)
    assert usecases.verify(MASTER, home / "b", no_step).taken_at == 1
    return home / "b"


def pieces(data: bytes) -> list[bytes]:
    """The head of a backup and its pieces, with their lengths."""
    at = len(FORMAT) + 16
    found = [data[:at]]
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4])
        found.append(data[at:end])
        at = end
    return found


DAMAGE: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "cut": lambda p: [*p[:-1], p[-1][:-1]],
    "without its end": lambda p: p[:-1],
    "without a piece": lambda p: [*p[:2], *p[3:]],
    "in another order": lambda p: [p[0], p[2], p[1], *p[3:]],
    "a piece twice": lambda p: [*p[:2], p[1], *p[2:]],
    "of another id": lambda p: [p[0][:-1] + bytes([p[0][-1] ^ 1]), *p[1:]],
    "with more behind": lambda p: [*p, b"x"],
    "of another format": lambda p: [b"x" + p[0][1:], *p[1:]],
    "empty": lambda _p: [],
    "a changed bit": lambda p: [*p[:2], p[2][:-1] + bytes([p[2][-1] ^ 1]), *p[3:]],
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_noticed(sealed: Path, tmp_path: Path, kind: str) -> None:
    parts = pieces(sealed.read_bytes())
    assert len(parts) > 4
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"".join(DAMAGE[kind](parts)))
    with pytest.raises(BackupInvalid):
        usecases.verify(MASTER, damaged, no_step)


@pytest.mark.parametrize(
    "told", [b"", b"[]", b"{}", b'{"files": 3}', b'{"files": {}}', b'{"files": {"database": {}}}']
)
def test_a_manifest_of_another_form(told: bytes) -> None:
    with pytest.raises(BackupInvalid):
        Manifest.parse(told)


def test_what_is_no_database_of_a_broker(tmp_path: Path, empty_postgres_database: str) -> None:
    (tmp_path / "empty.db").touch()
    for url in (
        f"sqlite:///{tmp_path / 'none.db'}",
        f"sqlite:///{tmp_path / 'empty.db'}",
        empty_postgres_database.replace("postgresql://", "postgresql+psycopg://"),
    ):
        with pytest.raises(BackupRefused):
            copy_database(url, tmp_path / "copy", lambda _done, _of: None)
        (tmp_path / "copy").unlink(missing_ok=True)


def test_without_postgresql_s_programs(
    empty_postgres_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = empty_postgres_database.replace("postgresql://", "postgresql+psycopg://")
    ctx = build_context(Settings(home=tmp_path, database_url=url, master_key=MASTER.to_bytes()))
    ctx.db.close()
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BackupRefused, match="postgresql-client"):
        copy_database(url, tmp_path / "copy", lambda _done, _of: None)


def test_nothing_unsealed_lies_where_backups_are_kept(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    seen: list[set[str]] = []

    def look(url: str, to: Path, progress: Callable[[int, int], None]) -> Moment:
        # What a backup that was killed has left is gone, and another one has to wait.
        assert [path.name for path in settings.home.glob(".scratch-f*")] == [to.parent.name]
        assert to.parent.stat().st_mode & 0o777 == 0o700
        moment = copy_database(url, to, progress)
        seen.append({path.name for path in folder.iterdir()})
        with pytest.raises(BackupRefused, match="at work"):
            usecases.backup(settings, MASTER, folder / "c", 1, no_step)
        return moment

    monkeypatch.setattr(usecases, "copy_database", look)
    left = settings.home / ".scratch-folder-left"
    left.mkdir()
    (left / "database").write_bytes(b"what was in it")
    usecases.backup(settings, MASTER, folder / "b", 1, no_step)
    assert seen == [{"b.partial"}]
    assert {path.name for path in folder.iterdir()} == {"b"}
    assert not list(settings.home.glob(".scratch-f*"))


def test_a_backup_writes_through_nobody_s_link(settings: Settings, tmp_path: Path) -> None:
    folder, precious = tmp_path / "backups", tmp_path / "precious"
    folder.mkdir()
    precious.write_bytes(b"precious")
    (folder / "b.partial").symlink_to(precious)
    refused = run("backup", "--out", str(folder / "b"))
    assert refused.exit_code == 1
    assert "b.partial is there" in refused.output
    assert precious.read_bytes() == b"precious"


def test_wrong_use(settings: Settings, tmp_path: Path) -> None:
    def said(*arguments: str) -> tuple[int, str]:
        done = run(*arguments)
        return done.exit_code, done.output

    assert said("backup")[0] == 2
    assert said("backup", "verify", str(tmp_path / "none")) == (
        2,
        f"consent-broker: {tmp_path / 'none'}: No such file or directory\n",
    )
    (tmp_path / "there").touch()
    code, words = said("backup", "--out", str(tmp_path / "there"))
    assert (code, "is there already" in words) == (1, True)
