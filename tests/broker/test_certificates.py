"""Certificates are renewed before they end, and what was signed before stays valid."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.store import registry
from broker.store.db import Database
from broker.store.registry import TenantRow
from broker.usecases.entry_keys import EntryKeys
from broker.usecases.key_making import LEAF_DAYS
from broker.usecases.keys import RENEWAL_DAYS, SECONDS_PER_DAY, KeyRing
from credentials.chain import verify_chain
from credentials.issue import issue_sd_jwt_vc
from credentials.sealing import MasterKey
from credentials.verify import verify_credential
from tests.broker.log_fixtures import pending_bodies
from tests.broker.made_tables import make_tables

START = 1_795_000_000
MASTER = MasterKey.from_bytes(bytes(range(32)))


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = Database(f"sqlite:///{tmp_path / 'broker.db'}")
    make_tables(opened)
    with opened.transaction() as tx:
        row = TenantRow(
            id="demo",
            name_zh="示例零售",
            name_en="Example Retail",
            contact="privacy@retail.example",
            country="CN",
            kill_switch=False,
            policy_version="built-in",
            sealed_log_key=EntryKeys(MASTER).make("tenant:demo"),
            version=1,
            created_at=START,
        )
        registry.add_tenant(tx, row)
    yield opened
    opened.close()


def test_a_certificate_is_renewed_in_time_and_not_before(db: Database) -> None:
    now = [START]
    ring = KeyRing(db, MASTER, lambda: now[0], "https://consent.example")
    first = ring.issuer("demo")
    ring.request("demo")
    credential = issue_sd_jwt_vc(
        signer=first.signer,
        x5c=first.x5c,
        issuer="https://consent.example",
        vct="https://consent.example/vct/x/1",
        claims={"a": 1},
        disclosable=(),
        holder_jwk=None,
        status=None,
        issued_at=START,
        expires_at=None,
    )
    now[0] = START + (LEAF_DAYS - RENEWAL_DAYS - 1) * SECONDS_PER_DAY
    ring.renew("demo")
    assert ring.issuer("demo").kid == first.kid
    assert pending_bodies(db, ring, "demo", "key.rotated") == []
    now[0] += 2 * SECONDS_PER_DAY
    ring.renew("demo")
    second = ring.issuer("demo")
    assert second.kid != first.kid
    ring.renew("demo")
    assert ring.issuer("demo").kid == second.kid
    # Nobody asked for it, and the log has it all the same.
    assert pending_bodies(db, ring, "demo", "key.rotated") == [
        {"purpose": "issuer", "key": second.kid, "automatic": True},
        {"purpose": "request", "key": ring.request("demo").kid, "automatic": True},
    ]
    anchors = ring.anchors()
    assert verify_credential(credential, anchors=anchors, now=now[0]).claims["a"] == 1
    later = START + LEAF_DAYS * SECONDS_PER_DAY
    assert verify_chain(second.x5c, anchors, later).leaf == second.leaf
