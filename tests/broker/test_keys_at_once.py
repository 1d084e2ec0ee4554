"""Several processes start on an empty database: they end up with the same keys."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier, Event

import pytest
from sqlalchemy import insert, select

from broker.settings import Settings
from broker.store import tables
from broker.store.acting import acting_for_all
from broker.store.db import Database
from broker.usecases.keys import KeyRing
from credentials.sealing import MasterKey
from tests.broker.made_tables import make_tables

AT_ONCE = 6
NOW = 1_795_478_400
ADDRESS = "https://consent.example"
KEYS = tables.SigningKey.__table__  # type: ignore[attr-defined]


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    url = request.getfixturevalue("postgres_database") if request.param == "postgresql" else ""
    settings = Settings(home=tmp_path, public_url=ADDRESS, database_url=url)
    return settings.sqlalchemy_url


def _with_tenant(address: str, master: MasterKey) -> None:
    db = Database(address)
    make_tables(db)
    with db.transaction() as tx:
        tx.execute(
            insert(tables.Tenant).values(
                id="demo",
                name_zh="示例零售",
                name_en="Example Retail",
                contact="privacy@retail.example",
                country="CN",
                kill_switch=False,
                policy_version="1",
                sealed_log_key=master.seal(bytes(32), "log-key:tenant:demo"),
                version=1,
                created_at=NOW,
            )
        )
    db.close()


def test_keys_are_made_once_whoever_starts_at_the_same_time(address: str) -> None:
    master = MasterKey.generate()
    _with_tenant(address, master)
    start = Barrier(AT_ONCE)

    @acting_for_all()
    def process(_number: int) -> tuple[object, ...]:
        db = Database(address, pool_size=2)
        ring = KeyRing(db, master, lambda: NOW, ADDRESS)
        start.wait()
        ring.prepare("demo")
        found = (
            ring.anchors(),
            ring.issuer("demo").x5c,
            ring.request("demo").x5c,
            ring.log_signer().public_jwk()["x"],
            ring.hmac_key("pairwise"),
        )
        db.close()
        return found

    with ThreadPoolExecutor(AT_ONCE) as pool:
        assert len(set(pool.map(process, range(AT_ONCE)))) == 1
    db = Database(address)
    with db.reading() as tx:
        purposes = sorted(tx.execute(select(KEYS.c.purpose)).scalars())
    db.close()
    assert purposes == ["issuer", "log", "request", "root"]


def test_a_secret_in_memory_is_there_while_keys_are_read_anew(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who refreshes waits for a connection of the pool: transactions must not wait for it."""
    master = MasterKey.generate()
    _with_tenant(address, master)
    with closing(Database(address)) as db:
        ring = KeyRing(db, master, lambda: NOW, ADDRESS)
        ring.prepare("demo")
        kept, reading, go_on = ring.hmac_key("token"), Event(), Event()
        read = ring._read_trust  # noqa: SLF001

        def slowly() -> object:
            reading.set()
            assert go_on.wait(60)
            return read()

        monkeypatch.setattr(ring, "_read_trust", slowly)
        with ThreadPoolExecutor(2) as pool:
            refreshing = pool.submit(ring.refresh)
            assert reading.wait(60)
            asked = pool.submit(ring.hmac_key, "token")
            try:
                assert asked.result(timeout=20) == kept
                assert not refreshing.done()
            finally:
                go_on.set()
            refreshing.result(timeout=60)
