"""PostgreSQL keeps tenants apart by itself: whatever a statement asks for, it gets its tenant's."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from contextvars import Context as Surroundings
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Table, delete, func, insert, select, text, update
from sqlalchemy.exc import InternalError, ProgrammingError

from broker.domain.errors import NotFound
from broker.store import audit, consents, deferred, erasures, registry, row_security, tables
from broker.store.acting import NobodyActing, acting_for, acting_for_all
from broker.store.consents import CONSENT, ConsentRow
from broker.store.data_requests import ANSWER, DataAnswerRow
from broker.store.db import Database
from broker.store.deferred import DeferredRow
from broker.store.erasures import ErasureRow
from broker.store.migrate import migrate
from broker.usecases.keys import KeyRing
from broker.usecases.withdrawal import withdraw_by_officer
from credentials.sealing import MasterKey
from tests.faults.two_tenants import OTHER, Stage, two_tenants
from tests.postgres import Server

TABLES = tables.metadata.tables
# What is of the whole broker, each with the reason: a table with a tenant's data is not among them.
OF_THE_BROKER = {
    "checkpoint": "signed heads of the one log, public",
    "checkpoint_time": "others' words on them, public",
    "key_generation": "how often keys were changed",
    "log_head": "the one head",
    "log_tile": "hashes of salted hashes, public",
    "schema_support": "which brokers may serve",
    "secret": "keys of the whole broker, sealed",
    "used_once": "hashes of nonces, which name nobody",
}
OF_TENANTS = sorted(TABLES.keys() - OF_THE_BROKER.keys())
LOG = ("audit_entry", "fee_charge")  # which refuse changes to everybody


def owner(table: Table) -> Any:  # noqa: ANN401 (a column)
    return table.c.id if table.name == "tenant" else table.c.tenant_id


@pytest.fixture(scope="module")
def stage(postgres_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """The demonstration tenant in full use, and another one."""
    url = postgres_server.create("row_security")
    with two_tenants(tmp_path_factory.mktemp("apart"), database_url=url) as made:
        with made.world.ctx.db.transaction() as tx:
            # What the way of a consent has no need of.
            registry.replace_mapping(tx, "demo", made.known.partner, {"city": "home_city"})
            later = made.world.time[0] + 600
            waiting = DeferredRow("t" * 43, "demo", made.known.invitation, "[]", later)
            deferred.add(tx, waiting)
            known = made.known
            shown = DataAnswerRow(
                known.data_request, "home_city", "demo", known.consent, "none", "a.jwe", later
            )
            tx.execute(ANSWER.insert().values(**vars(shown)))
            erasures.add(tx, ErasureRow("er-1", "demo", None, "o-1", later, later, later))
        yield made
    postgres_server.drop("row_security")


@pytest.fixture
def db(stage: Stage) -> Database:
    return stage.world.ctx.db


def opened(url: str) -> Database:
    return Database(url.replace("postgresql://", "postgresql+psycopg://"), pool_size=1)


def test_every_table_says_whose_it_is(db: Database) -> None:
    """A table that is added has a tenant, or stands above with its reason."""
    assert [name for name in OF_TENANTS if owner(TABLES[name]) is None] == []
    with db.reading() as tx:
        assert row_security.unprotected(tx) == []
        assert row_security.weakness(tx) is None


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE consent DISABLE ROW LEVEL SECURITY",
        "ALTER TABLE consent NO FORCE ROW LEVEL SECURITY",
        "DROP POLICY of_the_tenant ON consent",
        "CREATE POLICY more ON consent USING (true)",
        "CREATE POLICY more ON consent FOR INSERT WITH CHECK (true)",
        "CREATE TABLE consent_note (tenant_id text)",
    ],
)
def test_a_table_that_is_open_to_others_is_named(db: Database, change: str) -> None:
    name = "consent_note" if "consent_note" in change else "consent"
    with db.transaction() as tx:
        tx.exec_driver_sql(change)
        assert row_security.unprotected(tx) == [name]
        assert name in (row_security.weakness(tx) or "")
        tx.rollback()


def test_a_tenant_sees_no_row_of_another(db: Database) -> None:
    with db.reading() as tx:
        filled = [name for name in OF_TENANTS if _count(tx, name, owner(TABLES[name]) == "demo")]
    assert filled == OF_TENANTS, "a table without a row would be a test that cannot fail"
    with acting_for(OTHER), db.reading() as tx:
        for name in OF_TENANTS:
            assert _count(tx, name, owner(TABLES[name]) == "demo") == 0, name
            strangers = _count(tx, name) - _count(tx, name, owner(TABLES[name]) == OTHER)
            shared = ("root", "log") if name == "signing_key" else ()
            assert strangers == len(shared), name
        for name in OF_THE_BROKER:
            _count(tx, name)


@pytest.mark.parametrize("name", OF_TENANTS)
def test_a_tenant_cannot_write_rows_of_another(db: Database, name: str) -> None:
    table = TABLES[name]
    with db.reading() as tx:
        rows = tx.execute(select(table).where(owner(table) == "demo").limit(1)).mappings().all()
        before = _count(tx, name)
    with acting_for(OTHER):
        if name not in LOG:
            with db.transaction() as tx:
                touched = update(table).where(owner(table) == "demo").values(_same(table))
                assert tx.execute(touched).rowcount == 0
                assert tx.execute(delete(table).where(owner(table) == "demo")).rowcount == 0
        for row in rows:
            taken = insert(table).values(**row)
            with (
                pytest.raises(ProgrammingError, match="row-level security"),
                db.transaction() as tx,
            ):
                tx.execute(taken)
        if name not in LOG:
            _cannot_give_away(db, table)
    with db.reading() as tx:
        assert _count(tx, name) == before


def _same(table: Table) -> dict[str, Any]:
    return {owner(table).name: owner(table)}


def _cannot_give_away(db: Database, table: Table) -> None:
    with db.transaction() as tx:
        if _count(tx, table.name, owner(table) == OTHER) == 0:
            return
    with pytest.raises(ProgrammingError, match="row-level security"), db.transaction() as tx:
        tx.execute(update(table).values({owner(table).name: "demo"}))


def test_keys_of_the_broker_are_read_and_not_changed_by_a_tenant(db: Database) -> None:
    keys = TABLES["signing_key"]
    ours = keys.c.tenant_id.is_(None)
    with acting_for(OTHER), db.transaction() as tx:
        assert sorted(tx.execute(select(keys.c.purpose).where(ours)).scalars()) == ["log", "root"]
        assert tx.execute(update(keys).where(ours).values(tenant_id=OTHER)).rowcount == 0
        assert tx.execute(delete(keys).where(ours)).rowcount == 0
    with (
        acting_for(OTHER),
        pytest.raises(ProgrammingError, match="row-level security"),
        db.transaction() as tx,
    ):
        tx.execute(update(keys).where(keys.c.tenant_id == OTHER).values(tenant_id=None))


def test_without_the_setting_nothing_is_seen_and_nothing_taken(stage: Stage) -> None:
    """What somebody who forgot it gets, on a connection that was somebody's before."""
    db = opened(stage.world.ctx.db.url)
    with db.engine.connect().execution_options() as connection:
        driver: Any = connection.connection.driver_connection
        for setting in (None, ""):
            assert driver.execute("SELECT current_setting('broker.tenant', true)").fetchone() == (
                setting,
            )
            for name in OF_TENANTS:
                found = driver.execute(f"SELECT count(*) FROM {name}").fetchone()
                assert found == (0,), (setting, name)
            with pytest.raises(Exception, match="row-level security"):
                driver.execute(
                    "INSERT INTO audit_pending (id, tenant_id, type, leaf_data, sealed_body, "
                    "created_at) VALUES ('e', '', 'x', '', '', 1)"
                )
            driver.execute("BEGIN; SET LOCAL broker.tenant = 'demo'")
            assert driver.execute("SELECT count(*) FROM tenant").fetchone() == (1,)
            driver.execute("COMMIT")
    db.close()


def test_a_pooled_connection_carries_no_tenant_on(stage: Stage) -> None:
    db = opened(stage.world.ctx.db.url)

    def tenants(tx: Connection) -> list[str]:
        return sorted(tx.execute(select(TABLES["tenant"].c.id)).scalars())

    def begin(whom: str) -> list[str]:
        with acting_for(whom), db.transaction() as tx:
            return tenants(tx)

    for _ in range(7):  # the driver prepares a statement that it has seen five times
        assert begin("demo") == ["demo"]
        assert begin(OTHER) == [OTHER]
        assert begin("nobody") == []
        with acting_for_all(), db.reading() as tx:
            assert tenants(tx) == [OTHER, "demo"]
    with pytest.raises(ZeroDivisionError), acting_for("demo"), db.transaction() as tx:
        len(tenants(tx)) / 0
    assert begin(OTHER) == [OTHER]
    with acting_for("demo"), db.reading() as tx, acting_for(OTHER):
        assert tenants(tx) == ["demo"]  # a transaction is whose it was when it began
    db.close()


def test_reads_cannot_write_and_keep_what_the_driver_has_prepared(stage: Stage) -> None:
    db = opened(stage.world.ctx.db.url)
    with pytest.raises(InternalError, match="read-only"), db.reading() as tx:
        tx.execute(update(TABLES["tenant"]).values(version=1))
    for _ in range(8):
        with db.reading() as tx:
            tx.execute(select(TABLES["tenant"].c.id)).all()
    with db.transaction() as tx:
        prepared = tx.execute(text("SELECT count(*) FROM pg_prepared_statements")).scalar_one()
        tx.execute(update(TABLES["tenant"]).values(version=TABLES["tenant"].c.version))
    assert prepared > 0
    db.close()


def test_what_of_the_log_is_public_is_read_for_all_and_nothing_else(db: Database) -> None:
    with db.reading() as tx:
        everything = audit.leaf_data(tx, 0, 1000)
    with acting_for(OTHER), db.reading() as tx:
        own = _count(tx, "audit_entry")
        assert own < len(everything)
        assert audit.leaf_data(tx, 0, 1000) == everything
        assert audit.leaf_data(tx, 1, 3) == everything[1:3]
        assert _count(tx, "audit_entry") == own


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_forgotten_tenant_fails_closed(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    url = f"sqlite:///{tmp_path / 'broker.db'}"
    if kind == "postgresql":
        url = request.getfixturevalue("postgres_database")
    db = opened(url)
    migrate(db)

    async def read() -> None:
        await db.read(lambda _tx: None)

    async def write() -> None:
        await db.write(lambda _tx: None)

    def fails(work: Callable[[], Any]) -> None:
        with pytest.raises(NobodyActing, match="acting_for"):
            Surroundings().run(work)

    fails(lambda: db.transaction().__enter__())
    fails(lambda: db.reading().__enter__())
    fails(lambda: asyncio.run(read()))
    fails(lambda: asyncio.run(write()))
    fails(KeyRing(db, MasterKey.generate(), lambda: 0, "https://c.example").anchors)
    db.close()


@pytest.mark.parametrize("name", ["", "*", "Demo", "demo'; DROP TABLE consent; --", "a" * 33])
def test_only_a_tenants_id_is_acted_for(name: str) -> None:
    with pytest.raises(ValueError, match="no tenant's id"), acting_for(name):
        pass


# The program's own checks are gone: what another tenant gets then.


@pytest.fixture(params=["sqlite", "postgresql"])
def careless(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Stage]:
    """A broker whose look-up of a consent has forgotten the tenant."""

    def consent(tx: Connection, _tenant_id: str, consent_id: str) -> ConsentRow:
        row = tx.execute(select(CONSENT).where(CONSENT.c.id == consent_id)).one_or_none()
        if row is None:
            raise NotFound("no such consent")
        return ConsentRow(**row._mapping)  # noqa: SLF001 (SQLAlchemy's public accessor)

    if request.param == "postgresql":
        stage = request.getfixturevalue("stage")
        monkeypatch.setattr(consents, "consent", consent)
        yield stage
        return
    with two_tenants(tmp_path) as made:
        monkeypatch.setattr(consents, "consent", consent)
        yield made


def test_where_the_program_forgets_the_tenant_the_database_holds(careless: Stage) -> None:
    ctx, consent_id = careless.world.ctx, careless.known.consent
    officer = careless.others["officer"].client_id
    held: AbstractContextManager[object] = pytest.raises(NotFound)
    if ctx.db.is_sqlite:  # so that the mistake is one: SQLite has nothing to hold with
        held = nullcontext()
    with held, acting_for(OTHER):
        withdraw_by_officer(ctx, OTHER, officer, consent_id)
    own = {"Authorization": f"Bearer {careless.own['officer'].token}"}
    shown = careless.world.http.get(f"/v1/consents/{consent_id}", headers=own).json()
    assert shown["state"] == ("withdrawn" if ctx.db.is_sqlite else "granted")


@pytest.mark.parametrize("attribute", ["SUPERUSER", "BYPASSRLS"])
def test_a_role_that_nothing_binds_is_reported(
    postgres_server: Server, stage: Stage, attribute: str
) -> None:
    role = f"free_{attribute.lower()}"
    postgres_server.execute(f"CREATE ROLE {role} LOGIN {attribute}")
    postgres_server.execute(f"GRANT ALL ON SCHEMA public TO {role}", "row_security")
    db = opened(postgres_server.url("row_security", role))
    with db.reading() as tx:
        found = row_security.weakness(tx) or ""
    db.close()
    assert f"as the role {role}" in found
    assert "CREATE ROLE" in found
    postgres_server.execute(f"DROP OWNED BY {role}", "row_security")
    postgres_server.execute(f"DROP ROLE {role}")


def _count(tx: Connection, name: str, *where: Any) -> int:  # noqa: ANN401 (conditions)
    found = select(func.count()).select_from(TABLES[name]).where(*where)
    return int(tx.execute(found).scalar_one())
