"""The public log over HTTP, read by a client that knows only the specifications."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from sqlalchemy import Table, insert

from broker.api import errors, log, tenancy
from broker.domain.checkpoint import open_checkpoint
from broker.domain.entry import Entry, LogKey
from broker.domain.merkle import leaf_hash, root_of
from broker.domain.tiles import parse_entry_bundle, split_hashes
from broker.domain.tlog_proof import LogProof, verify_log_proof
from broker.settings import Settings
from broker.store import access_tokens, audit, tables
from broker.store.db import Database
from broker.usecases.context import Context
from broker.usecases.keys import KeyRing
from broker.usecases.sequencer import Sequencer
from credentials.jcs import b64url
from credentials.sealing import MasterKey
from tests.broker.made_tables import make_tables

NOW = 1_795_000_000
IMMUTABLE = "public, max-age=31536000, immutable"


@dataclass
class World:
    """A broker's log and its HTTP interface."""

    ctx: Context
    http: TestClient
    now: int = NOW

    def act(self, *names: object, tenant: str = "demo", consent_id: str | None = None) -> None:
        with self.ctx.db.transaction() as tx:
            key = self.ctx.keys.log_key(tx, tenant, None)
            entries = [entry(name, tenant, consent_id) for name in names]
            audit.append(tx, *(key.seal(item) for item in entries))

    def sequence(self) -> None:
        self.now += 2
        while self.ctx.log.run_once(self.now) is not None:
            self.now += 2

    def token(self, client_id: str, role: str, tenant: str = "demo") -> dict[str, str]:
        token = b64url(secrets.token_bytes(32))
        with self.ctx.db.transaction() as tx:
            access_tokens.add(
                tx,
                token_hash=b64url(sha256(token.encode()).digest()),
                tenant_id=tenant,
                subject=client_id,
                role=role,
                expires_at=NOW * 2,
            )
        return {"Authorization": f"Bearer {token}"}


def entry(name: object, tenant: str = "demo", consent_id: str | None = None) -> Entry:
    return Entry(f"e-{name}", tenant, "test", NOW, {"name": str(name)}, consent_id=consent_id)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    settings = Settings(home=tmp_path, public_url="https://broker.example")
    db = Database(settings.sqlalchemy_url)
    make_tables(db)
    master = MasterKey.generate()
    keys = KeyRing(db, master, lambda: NOW, settings.public_url)
    sequencer = Sequencer(db, keys.log_signer(), settings, lambda: NOW)
    ctx = Context(
        settings=settings, db=db, master=master, keys=keys, log=sequencer, now=lambda: NOW
    )
    populate(ctx)
    app = FastAPI()
    app.state.context = ctx
    errors.install(app)
    app.include_router(log.router)
    tenancy.install(app)
    with TestClient(app) as http:
        yield World(ctx, http)
    db.close()


def populate(ctx: Context) -> None:
    """Two tenants with an officer each; in the first, two partners and one consent of `p-a`."""
    made = {"created_at": NOW}
    person = {"jwk": "{}", "state": "active", "kill_switch": False, "version": 1, **made}
    partner = {"name_zh": "", "contact": "", "country": "CN", **person}
    about = {"tenant_id": "demo", "partner_id": "p-a"}
    with ctx.db.transaction() as tx:
        for tenant in ("demo", "acme"):
            names = {"name_zh": tenant, "name_en": tenant, "contact": "", "country": "CN"}
            key = ctx.keys.new_log_key(f"tenant:{tenant}")
            row = {"kill_switch": False, "policy_version": "1", "version": 1, **made}
            tx.execute(
                insert(table("tenant")).values(id=tenant, sealed_log_key=key, **names, **row)
            )
            officer = {name: value for name, value in person.items() if name != "kill_switch"}
            tx.execute(
                insert(table("officer")).values(
                    id=f"o-{tenant}", tenant_id=tenant, name="Officer", **officer
                )
            )
        for name in ("p-a", "p-b"):
            tx.execute(
                insert(table("partner")).values(id=name, tenant_id="demo", name=name, **partner)
            )
        tx.execute(
            insert(table("contact")).values(
                id="ct-1",
                subject_ref_hash="h",
                sealed_subject_ref=b"",
                grade="none",
                **about,
                **made,
            )
        )
        tx.execute(
            insert(table("consent_request")).values(
                id="r-1",
                contact_id="ct-1",
                template_id="t",
                template_version=1,
                language="en",
                page_token_hash="h",
                short_code="s",
                state="open",
                expires_at=NOW,
                **about,
                **made,
            )
        )
        tx.execute(
            insert(table("consent")).values(
                id="c-1",
                contact_id="ct-1",
                request_id="r-1",
                item="i",
                state="requested",
                version=1,
                terms="{}",
                terms_hash="h",
                **about,
                **made,
            )
        )


def table(name: str) -> Table:
    return tables.metadata.tables[name]


def test_before_the_first_checkpoint_there_is_nothing_to_read(world: World) -> None:
    for path in ("checkpoint", "tile/0/000.p/1", "tile/entries/000.p/1"):
        answer = world.http.get(f"/log/{path}")
        assert answer.status_code == 404
        assert answer.json()["code"] == "not_found"
        assert answer.headers["cache-control"] == "no-store"


def test_a_client_rebuilds_the_signed_tree_from_what_is_served(world: World) -> None:
    world.act(*range(600))
    world.sequence()
    note = world.http.get("/log/checkpoint")
    assert note.headers["content-type"] == "text/plain; charset=utf-8"
    assert note.headers["cache-control"] == "public, max-age=1"
    checkpoint = open_checkpoint(note.content, world.ctx.log.verifier, "broker.example/log")
    assert checkpoint.size == 600

    leaves: list[bytes] = []
    for path in ("000", "001", "002.p/88"):
        bundle = world.http.get(f"/log/tile/entries/{path}")
        tile = world.http.get(f"/log/tile/0/{path}")
        for answer in (bundle, tile):
            assert answer.headers["content-type"] == "application/octet-stream"
            assert answer.headers["cache-control"] == IMMUTABLE
            assert answer.headers["access-control-allow-origin"] == "*"
        hashes = [leaf_hash(data) for data in parse_entry_bundle(bundle.content)]
        assert hashes == list(split_hashes(tile.content))
        leaves += hashes
    assert root_of(leaves) == checkpoint.root
    above = list(split_hashes(world.http.get("/log/tile/1/000.p/2").content))
    assert above == [root_of(leaves[:256]), root_of(leaves[256:512])]
    first = audit_entry(world, "e-0")
    assert leaf_hash(first.sealed.leaf_data) == leaves[0]


def audit_entry(world: World, name: str) -> audit.LoggedEntry:
    with world.ctx.db.reading() as tx:
        found = audit.entry(tx, name)
    assert found is not None
    return found


def test_what_is_indexed_and_not_yet_signed_is_not_served(world: World) -> None:
    world.act(*range(10))
    world.sequence()
    narrow = world.http.get("/log/tile/0/000.p/10").content
    world.act(*range(10, 300))
    # In the second of the last checkpoint entries get indexes, and no signature yet.
    signed_at = latest_signed_at(world)
    done = world.ctx.log.run_once(signed_at)
    assert done is not None
    assert (done.added, done.note) == (290, None)
    for path in ("0/000.p/11", "0/000", "entries/000.p/11", "entries/000", "1/000.p/1"):
        assert world.http.get(f"/log/tile/{path}").status_code == 404
    world.sequence()
    assert world.http.get("/log/tile/0/000").content[:320] == narrow
    assert world.http.get("/log/tile/0/000.p/10").content == narrow
    assert len(world.http.get("/log/tile/entries/000.p/10").content) == 340


def latest_signed_at(world: World) -> int:
    return world.now - 2


@pytest.mark.parametrize(
    "path",
    [
        "0/000.p/601",
        "0/000.p/0",
        "0/003",
        "0/002",
        "1/000",
        "1/000.p/3",
        "2/000.p/1",
        "64/000",
        "63/x999/x999/x999/x999/x999/x999/999",
        "0/x000/000",
        "00/000",
        "entries/002",
        "entries/",
        "x/000",
        "0/%30%30%30.p/%2e",
    ],
)
def test_addresses_that_are_no_tile_s_are_not_found(world: World, path: str) -> None:
    world.act(*range(600))
    world.sequence()
    assert world.http.get(f"/log/tile/{path}").status_code == 404


def proof(world: World, name: str, headers: dict[str, str], prefix: str = "") -> tuple[int, str]:
    answer = world.http.get(f"{prefix}/v1/log/proof", params={"entry": name}, headers=headers)
    return answer.status_code, answer.text


def test_an_officer_gets_a_proof_that_verifies_offline(world: World) -> None:
    world.act(*range(300))
    world.sequence()
    status, text = proof(world, "e-7", world.token("o-demo", "officer"))
    assert status == 200
    read = LogProof.parse(text)
    data = sha256(read.extra + entry(7).canonical()).digest()
    assert verify_log_proof(read, leaf_hash(data), world.ctx.log.verifier).size == 300


def test_a_partner_gets_proofs_of_its_own_consents_only(world: World) -> None:
    world.act("mine", consent_id="c-1")
    world.act("other")
    world.sequence()
    mine, theirs = world.token("p-a", "partner"), world.token("p-b", "partner")
    assert proof(world, "e-mine", mine)[0] == 200
    assert proof(world, "e-mine", theirs)[0] == 404
    assert proof(world, "e-other", mine)[0] == 404


def test_another_tenant_and_nobody_get_no_proof(world: World) -> None:
    world.act("a")
    world.sequence()
    stranger = world.token("o-acme", "officer", "acme")
    assert proof(world, "e-a", stranger, "/t/acme")[0] == 404
    assert proof(world, "e-a", {})[0] == 401
    assert proof(world, "e-unknown", world.token("o-demo", "officer"))[0] == 404


def test_an_entry_that_waits_is_asked_for_again(world: World) -> None:
    world.act("a")
    world.sequence()
    world.act("b")
    headers = world.token("o-demo", "officer")
    assert proof(world, "e-b", headers)[0] == 503
    world.ctx.log.run_once(latest_signed_at(world))
    assert proof(world, "e-b", headers)[0] == 503
    world.sequence()
    assert proof(world, "e-b", headers)[0] == 200


def test_a_destroyed_log_key_leaves_the_place_and_takes_the_salt(world: World) -> None:
    with world.ctx.db.transaction() as tx:
        subject = {"id": "s-1", "tenant_id": "demo", "created_at": NOW}
        tx.execute(insert(table("subject")).values(sealed_log_key=None, **subject))
        erased = Entry("e-x", "demo", "test", NOW, {}, subject_id="s-1")
        audit.append(tx, LogKey(secrets.token_bytes(32)).seal(erased))
    world.sequence()
    status, text = proof(world, "e-x", world.token("o-demo", "officer"))
    assert status == 200
    assert LogProof.parse(text).extra == b""
