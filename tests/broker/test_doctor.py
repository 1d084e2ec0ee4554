"""`consent-broker doctor`: each problem is provoked as it happens, named, and told how to cure."""

import base64
import json
import re
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from broker.cli import app
from broker.cli.doctor_texts import texts
from broker.composition import build_context, prepare
from broker.domain.conditions import POLICY_ERROR, UNJUDGED
from broker.domain.finding import AREAS, Finding
from broker.domain.policy import ConsentPolicies
from broker.outbound.own_address import ask_own_address
from broker.settings import Settings, WitnessAddress
from broker.store import inbox, outbox, sources, webhooks
from broker.store.db import Database
from broker.store.inbox import NewEvent
from broker.usecases import audit, doctor
from broker.usecases.agent import add_agent, set_agent_state
from broker.usecases.bootstrap import demo_clients
from broker.usecases.doctor import database, examine, surroundings
from broker.usecases.source import add_source
from broker.usecases.status import allocate, published
from broker.usecases.webhook import add_webhook
from credentials.keys import SoftwareKey, sign_jws
from credentials.pki import create_root, issue_leaf
from dev.running import free_port
from tests.postgres import OWNER, Server

LOCAL = "http://127.0.0.1:8000"
YEAR = 365 * 86_400


@dataclass
class Patient:
    """A deployment on SQLite that has served, and what is changed about it."""

    settings: Settings
    now: int
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return self.settings.home / "broker.db"

    def sql(self, *statements: str) -> None:
        with sqlite3.connect(self.path) as connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()

    def examined(self) -> list[Finding]:
        return list(examine(replace(self.settings, **self.more), self.now, ask=False))


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A home as a broker leaves it, with a published status list; made once."""
    home = tmp_path_factory.mktemp("healthy") / "home"
    ctx = build_context(Settings(home=home, public_url=LOCAL))
    prepare(ctx)
    with ctx.db.transaction() as tx:
        place = allocate(ctx, tx, "demo", None)
    published(ctx, "demo", place.list_id)
    while ctx.log.run_once(ctx.now()) is not None:
        pass
    with sqlite3.connect(home / "broker.db") as connection:
        connection.execute(f"VACUUM INTO '{home / 'older.db'}'")
    connection.close()
    now = ctx.now() + 2
    with ctx.db.transaction() as tx:
        audit.record(ctx, tx, tenant_id="demo", type="test", body={})
    while ctx.log.run_once(now) is not None:
        pass
    ctx.db.close()
    return home, now


@pytest.fixture
def patient(healthy: tuple[Path, int], tmp_path: Path) -> Patient:
    home, now = healthy
    shutil.copytree(home, tmp_path / "home")
    (tmp_path / "home").chmod(0o700)
    return Patient(Settings(home=tmp_path / "home", public_url=LOCAL), now)


def codes(found: list[Finding], *levels: str) -> list[str]:
    return [one.code for one in found if one.level in (levels or ("problem", "warning"))]


def test_a_sound_deployment(patient: Patient) -> None:
    found = patient.examined()
    assert codes(found) == []
    assert set(AREAS) == {one.area for one in found}


def older_database(at: Patient) -> None:
    shutil.copy(at.settings.home / "older.db", at.path)


def waiting_entry(at: Patient) -> None:
    ctx = build_context(at.settings)
    with ctx.db.transaction() as tx:
        audit.record(ctx, tx, tenant_id="demo", type="test", body={})
    ctx.db.close()
    at.now += 120


def open_key(at: Patient) -> None:
    at.settings.home.chmod(0o755)
    (at.settings.home / "master.key").chmod(0o644)


def damaged(at: Patient) -> None:
    data = bytearray(at.path.read_bytes())
    for page in range(8, len(data) // 4096, 2):
        data[page * 4096 : page * 4096 + 512] = b"\xff" * 512
    at.path.write_bytes(data)


def foreign_chain(at: Patient) -> None:
    root = SoftwareKey.generate("ES256")
    der = create_root("Another Root", root, now=at.now, years=1)
    leaf = SoftwareKey.generate("ES256").public_jwk()
    made = issue_leaf(
        der, root, leaf, dns=("127.0.0.1",), uri=(LOCAL,), name="x", now=at.now, days=9
    )
    chain = json.dumps([base64.b64encode(made).decode()])
    at.sql(f"UPDATE signing_key SET chain = '{chain}' WHERE purpose = 'issuer'")


def forged_checkpoint(at: Patient) -> None:
    at.sql(
        "DROP TRIGGER checkpoint_no_update",
        "UPDATE checkpoint SET note = replace(note, char(10) || '—', 'x' || char(10) || '—')",
    )


def set_more(**more: Any) -> Callable[[Patient], None]:  # noqa: ANN401 (settings)
    return lambda at: at.more.update(more)


def later(seconds: int) -> Callable[[Patient], None]:
    def wait(at: Patient) -> None:
        at.now += seconds

    return wait


def write(name: str, data: bytes) -> Callable[[Patient], None]:
    def writing(at: Patient) -> None:
        (at.settings.home / name).write_bytes(data)

    return writing


def sql(*statements: str) -> Callable[[Patient], None]:
    return lambda at: at.sql(*statements)


def remove(name: str) -> Callable[[Patient], None]:
    return lambda at: (at.settings.home / name).unlink()


def a_folder(name: str) -> Callable[[Patient], None]:
    return lambda at: (at.settings.home / name).mkdir()


WITNESS = WitnessAddress("not a key", "https://witness.example")
ILLNESSES: dict[str, tuple[str, Callable[[Patient], None]]] = {
    "public_url_plain": ("problem", set_more(public_url="http://consent.example")),
    "public_url_local": ("warning", set_more(development=False)),
    "development_exposed": ("problem", set_more(host="0.0.0.0")),
    "file_open_to_others": ("problem", open_key),
    "withdrawals_unreadable": ("problem", a_folder("withdrawals")),
    "master_key_missing": ("problem", remove("master.key")),
    "master_key_malformed": ("problem", write("master.key", b"short")),
    "master_key_wrong": ("problem", write("master.key", bytes(32))),
    "schema_missing": ("problem", remove("broker.db")),
    "schema_behind": ("problem", sql("UPDATE alembic_version SET version_num = '0001'")),
    "schema_ahead": (
        "problem",
        sql(
            "UPDATE alembic_version SET version_num = '9999'",
            "UPDATE schema_support SET oldest = '9999'",
        ),
    ),
    "sqlite_damaged": ("problem", damaged),
    "certificate_ends": ("warning", later(2 * YEAR + 30 * 86_400)),
    "certificate_ended": ("problem", later(3 * YEAR)),
    "certificate_elsewhere": ("problem", set_more(public_url="https://other.example")),
    "chain_broken": ("problem", foreign_chain),
    "clock_behind_log": ("problem", later(-3600)),
    "log_rolled_back": ("problem", older_database),
    "log_head_missing": ("problem", remove("log-head")),
    "log_pending_old": ("problem", waiting_entry),
    "checkpoint_invalid": ("problem", forged_checkpoint),
    "witness_setting": ("problem", set_more(witnesses=(WITNESS,))),
    "list_invalid": ("problem", sql("UPDATE status_list SET token = 'e30.e30.AA'")),
}


@pytest.mark.parametrize("code", ILLNESSES)
def test_each_illness_is_named(patient: Patient, code: str) -> None:
    level, provoke = ILLNESSES[code]
    provoke(patient)
    found = patient.examined()
    assert code in codes(found, level), found
    for one in found:
        assert_told(one)


def assert_told(found: Finding) -> None:
    """Its texts are complete in both languages: what, and of a problem why and how to cure it."""
    for text in texts()[found.code].values():
        parts = [text.what] if found.level == "fine" else [text.what, text.why, text.cure]
        for part in parts:
            assert part.format_map(found.values)


def test_time_of_others_that_stays_away(patient: Patient) -> None:
    patient.more.update(timestamp_url="https://time.example", timestamp_roots=(b"root",))
    assert "time_stale" not in codes(patient.examined())
    patient.now += 7200
    assert "time_stale" in codes(patient.examined(), "warning")


def test_a_log_that_has_not_begun(tmp_path: Path) -> None:
    ctx = build_context(Settings(home=tmp_path, public_url=LOCAL))
    ctx.db.close()
    before = (tmp_path / "broker.db").read_bytes()
    found = list(examine(Settings(home=tmp_path, public_url=LOCAL), ctx.now(), ask=False))
    assert "log_not_begun" in codes(found, "warning")
    assert (tmp_path / "broker.db").read_bytes() == before, "looking has changed something"


def test_a_home_that_is_not_there(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    found = list(examine(Settings(home=gone, public_url=LOCAL), 1, ask=False))
    assert {"home_missing", "schema_missing"} <= set(codes(found))
    assert not gone.exists()


def test_little_room(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surroundings, "FREE_BYTES", 2**70)
    assert codes(patient.examined()) == ["disk_low"]


def test_a_vault_without_its_share(patient: Patient, tmp_path: Path) -> None:
    patient.more["vault_root"] = tmp_path
    assert codes(patient.examined()) == ["vault_unmarked"]


def test_policies_that_do_not_load(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "consent_policies", lambda: ConsentPolicies("permit(", "{}"))
    assert codes(patient.examined()) == ["policies_invalid"]


def test_webhooks_that_do_not_take_their_events(patient: Patient) -> None:
    ctx = build_context(patient.settings)
    partner = str(demo_clients(ctx)[0]["client_id"])
    failing, gone = (
        add_webhook(ctx, "demo", partner, url="http://crm.example/", types=[]).row.id
        for _ in range(2)
    )
    agent = add_agent(ctx, "demo", partner, name="bot")
    set_agent_state(ctx, "demo", agent.id, "suspended")
    with ctx.db.transaction() as tx:
        for _ in range(webhooks.FAILING):
            webhooks.failed(tx, failing, "timeout", patient.now - 7_200, patient.now)
        webhooks.disable(tx, gone, "status_410")
    found = {one.code: one.values for one in patient.examined() if one.level == "warning"}
    assert found["webhook_failing"]["webhook"] == failing
    assert found["webhook_failing"]["hours"] == 2
    assert found["webhook_disabled"]["webhook"] == gone
    with ctx.db.transaction() as tx:
        (one,) = outbox.due(tx, failing, ctx.now(), 10)
        outbox.died(tx, one.seq, "timeout", ctx.now())
    ctx.db.close()
    assert "dead_letters" in codes(patient.examined())


def test_sources_and_events_that_nobody_fetches(patient: Patient) -> None:
    ctx = build_context(patient.settings)
    row = add_source(ctx, "demo", "loyalty").row
    one = NewEvent("demo", row.id, "e", "h", "t", 1, b"", patient.now - 3 * 86_400)
    with ctx.db.transaction() as tx:
        sources.trip(tx, row, open_until=patient.now + 5, reason="flood")
        assert inbox.add(tx, [one]) == 1
    ctx.db.close()
    found = {one.code: one.values for one in patient.examined() if one.level == "warning"}
    assert found["source_refused"]["state"] == "open"
    assert found["inbox_waiting"] == {"count": 1, "days": 3}
    patient.now += 5
    half = {one.code: one.values for one in patient.examined()}["source_refused"]
    assert (half["state"], half["reason"]) == ("half open", "flood")


def test_a_tenants_policies_that_do_not_load(patient: Patient) -> None:
    patient.sql("UPDATE tenant SET policy_version = 'lost' WHERE id = 'demo'")
    (found,) = [one for one in patient.examined() if one.level == "problem"]
    assert (found.code, found.values["tenant"]) == ("policy_set_invalid", "demo")


def test_postgresql(postgres_server: Server, empty_postgres_database: str, tmp_path: Path) -> None:
    settings = Settings(
        home=tmp_path, public_url=LOCAL, database_url=empty_postgres_database, workers=4
    )
    found = list(examine(settings, 1, ask=False))
    assert "schema_missing" in codes(found)
    ctx = build_context(settings)
    prepare(ctx)
    ctx.log.run_once(ctx.now())
    ctx.db.close()
    found = list(examine(settings, ctx.now(), ask=False))
    # The tests' own cluster gives durability up; its ordinary role is bound by row security.
    unsafe = {one.values["setting"] for one in found if one.code == "postgresql_unsafe"}
    assert unsafe == {"fsync", "full_page_writes"}
    assert "connections_few" in codes(found)
    assert not {"clock_skew", "log_rolled_back"} & set(codes(found))
    for one in found:
        assert_told(one)
    name = empty_postgres_database.partition("@/")[2].partition("?")[0]
    free = replace(settings, database_url=postgres_server.url(name, OWNER))
    assert "tenants_not_apart" in codes(list(examine(free, ctx.now(), ask=False)), "warning")
    free = replace(free, development=False)
    assert "tenants_not_apart" in codes(list(examine(free, ctx.now(), ask=False)), "problem")
    db = Database(settings.sqlalchemy_url)
    assert codes(list(database.clock(db, ctx.now() + 60))) == ["clock_skew"]
    db.close()
    not_one = tmp_path / "not-one"
    not_one.mkdir()
    (not_one / "broker.db").write_bytes(b"no database" * 1000)
    assert "sqlite_damaged" in codes(list(examine(Settings(home=not_one), 1, ask=False)))
    unreachable = replace(settings, database_url=f"postgresql://127.0.0.1:{free_port()}/x")
    assert "database_unreachable" in codes(list(examine(unreachable, 1, ask=False)))


@pytest.fixture
def answering() -> Iterator[Callable[[int, str], str]]:
    """Servers that answer everything with a status and a Date; gives their address."""
    servers: list[HTTPServer] = []

    def serve(status: int, date: str) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response_only(status)
                self.send_header("Date", date)
                self.send_header("Content-Length", "0")
                self.end_headers()

        server = HTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_address[1]}"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


def test_the_own_address(answering: Callable[[int, str], str]) -> None:
    date, now = "Thu, 26 Nov 2026 20:00:00 GMT", 1_795_723_200
    for url, at, expected in (
        (answering(200, date), now, ["address_fine"]),
        (answering(200, date), now + 60, ["clock_skew"]),
        (answering(404, date), now, ["address_elsewhere"]),
        (f"http://127.0.0.1:{free_port()}", now, ["address_unanswered"]),
    ):
        found = list(surroundings.clock(ask_own_address(url), at))
        assert [one.code for one in found] == expected
        assert_told(found[0])


def run(env: Mapping[str, str], *arguments: str) -> tuple[int, str]:
    told = {"DATABASE_URL": "", "BROKER_MASTER_KEY": "", **env}
    done = CliRunner().invoke(app, ["doctor", *arguments], env=told, catch_exceptions=False)
    return done.exit_code, done.output


def test_the_command(patient: Patient) -> None:
    env = {"BROKER_HOME": str(patient.settings.home), "PUBLIC_URL": LOCAL}
    assert run(env, "--offline")[0] == 0
    assert "All is well." in run(env, "--offline")[1]
    (patient.settings.home / "master.key").write_bytes(bytes(32))
    code, words = run(env, "--offline")
    assert code == 1
    assert "✗ keys: the master key does not open" in words
    assert "cure: Find the key" in words
    code, words = run(env, "--offline", "--lang", "zh")
    assert code == 1
    assert "✗ 密钥: 主密钥打不开" in words
    code, words = run(env, "--offline", "--json")
    told = json.loads(words)
    assert (code, told["problems"]) == (1, 1)
    (wrong,) = [one for one in told["findings"] if one["level"] == "problem"]
    assert wrong["code"] == "master_key_wrong"
    code, words = run(env | {"WORKERS": "2"}, "--offline")
    assert code == 1
    assert "WORKERS=2 needs PostgreSQL" in words


def test_a_chain_says_which_certificate_fails_and_why(patient: Patient, tmp_path: Path) -> None:
    env = {"BROKER_HOME": str(patient.settings.home), "PUBLIC_URL": LOCAL}
    ctx = build_context(patient.settings)
    key, root = ctx.keys.issuer("demo"), ctx.keys.root_der()
    ctx.db.close()
    credential, pem = tmp_path / "credential", tmp_path / "chain.pem"
    credential.write_text(sign_jws(key.signer, {"x5c": list(key.x5c)}, {}) + "~")
    assert run(env, "chain", str(credential))[0] == 0
    pem.write_text("".join(_pem(base64.b64decode(one)) for one in key.x5c) + _pem(root))
    code, words = run(env, "chain", str(pem))
    assert code == 1
    assert "✗ 1  CN=Consent Broker Root" in words
    assert "self-signed or a root; x5c must leave it out" in words
    stranger = tmp_path / "stranger.pem"
    stranger.write_text(_pem(create_root("Other", SoftwareKey.generate("ES256"), now=1, years=99)))
    code, words = run(env, "chain", str(credential), "--anchors", str(stranger), "--json")
    told = json.loads(words)
    assert (code, told["trusted"], told["fault"]["position"]) == (1, False, 0)
    assert "none of the 1 trust anchors" in told["fault"]["reason"]
    code, words = run(env, "chain", str(credential), "--at", "0")
    assert (code, "not valid yet" in words) == (1, True)
    for nothing in (b"", b"[]", b"{}", b"~~~", b'{"x5c": [1]}', b"\xff\xfe"):
        credential.write_bytes(nothing)
        assert run(env, "chain", str(credential))[0] == 2
    assert run(env, "chain", str(tmp_path / "none"))[0] == 2


def _pem(der: bytes) -> str:
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n"


def test_texts_are_complete_and_each_has_its_test() -> None:
    here = Path(__file__)
    vaults = here.parents[1] / "object_stores" / "test_object_vaults.py"  # at real services
    source = here.read_text("utf-8") + vaults.read_text("utf-8")
    for code, languages in texts().items():
        assert set(languages) == {"en", "zh"}
        told = list(languages.values())
        assert len({bool(text.cure) for text in told}) == 1
        if told[0].cure and code != "settings_invalid":
            assert f'"{code}"' in source, f"nothing provokes {code}"


def test_texts_name_only_codes_that_there_are() -> None:
    codes = {one.code for one in (*UNJUDGED, POLICY_ERROR)}
    named = [
        code
        for languages in texts().values()
        for text in languages.values()
        for code in re.findall(r"[(（]([a-z]+(?:_[a-z]+)+)[)）]", f"{text.why} {text.cure}")
    ]
    assert named
    assert set(named) <= codes
