"""Several processes start on an empty database: they end up with the same keys."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

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
