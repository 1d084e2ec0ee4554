"""Data out of vaults under load and faults: over two servers on PostgreSQL, as partners meet it."""

import http.client
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from typing import Any
from urllib.parse import quote, urlsplit

import orjson
import pytest
from sqlalchemy import select

from broker.domain.vault import PIECE_BYTES
from broker.store.acting import acting_for_all
from broker.store.audit import ENTRY, PENDING
from broker.store.consents import CONSENT
from broker.usecases.vault_upkeep import delete_due
from tests.broker.builders import WIRE
from tests.faults.scanning import opened_entry
from tests.faults.serving import Deployment, at_once, deployment, fresh_key, store_envelope
from tests.postgres import Server

LARGE = 40 * PIECE_BYTES


@pytest.fixture(scope="module")
def at(postgres_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    url = postgres_server.create("transfers")
    home = tmp_path_factory.mktemp("transfers")
    with deployment(home, url, servers=2, BROKER_RATE_LIMITS="off") as made:
        yield made
    postgres_server.drop("transfers")


def filled(at: Deployment, name: str, content: bytes, uses_left: int | None = None) -> str:
    """A consent under which something lies in the vault; what it is, nobody here looks at."""
    if uses_left is None:
        consent_id = at.granted(name)
    else:
        consent_id = at.seeds.consent(at.partner_id, name, uses_left=uses_left)
    store_envelope(at, consent_id, f"demo/transfers/{name}", content)
    return consent_id


@contextmanager
def begun(at: Deployment, consent_id: str, server: int) -> Iterator[http.client.HTTPResponse]:
    """A transfer of which little was read: the server waits for its reader."""
    at.caller("partner")
    netloc = urlsplit(at.servers[server].address).netloc
    headers = {"Authorization": f"Bearer {at.tokens['partner']}"}
    with closing(http.client.HTTPConnection(netloc, timeout=30)) as connection:
        connection.request("GET", path_of(consent_id), headers=headers)
        with connection.getresponse() as answer:
            assert (answer.status, int(answer.headers["Content-Length"])) == (200, LARGE)
            yield answer


def path_of(consent_id: str) -> str:
    return f"/v1/data/{consent_id}/home_city?territory=CN&purpose={quote(WIRE, safe='')}"


def test_of_many_at_once_one_gets_the_last_use(at: Deployment) -> None:
    consent_id = filled(at, "last-use", b"sealed", uses_left=1)
    callers = [at.caller("partner", number % 2) for number in range(16)]
    get = [
        partial(one.send, "GET", path_of(consent_id), None, **{"Idempotency-Key": fresh_key()})
        for one in callers
    ]
    answers = at_once(get)
    assert sorted(answer.status for answer in answers) == [200] + [403] * 15
    refused = [answer.json["code"] for answer in answers if answer.status == 403]
    assert set(refused) == {"uses_exhausted"}
    with at.ctx.db.reading() as tx:
        left = select(CONSENT.c.uses_left).where(CONSENT.c.id == consent_id)
        assert tx.execute(left).scalar_one() == 0


def test_a_withdrawal_stops_what_is_under_way(at: Deployment) -> None:
    consent_id = filled(at, "under-way", b"x" * LARGE)
    with begun(at, consent_id, 0) as answer:
        got = len(answer.read(1_000))
        withdrawn = at.caller("officer", 1).post(f"/v1/consents/{consent_id}/withdrawal", {})
        assert withdrawn.status == 200
        with pytest.raises(http.client.IncompleteRead) as cut:
            answer.read()
    got += len(cut.value.partial)
    assert got < LARGE
    entry = stopped(at, consent_id)
    assert entry["cause"] == "not_in_force"
    assert got <= entry["sent"] < LARGE
    again = at.caller("partner", 1).get(path_of(consent_id))
    assert again.status == 403
    with acting_for_all():
        assert delete_due(at.ctx) == 1
    assert not (at.ctx.settings.home / "vault/demo/transfers/under-way").exists()


def test_what_changes_in_the_vault_meanwhile_is_not_sent(at: Deployment) -> None:
    consent_id = filled(at, "changing", b"y" * LARGE)
    with begun(at, consent_id, 1) as answer:
        answer.read(1_000)
        with (at.ctx.settings.home / "vault/demo/transfers/changing").open("r+b") as file:
            file.seek(LARGE - PIECE_BYTES)
            file.write(b"z")
        with pytest.raises(http.client.IncompleteRead) as cut:
            answer.read()
    assert b"z" not in cut.value.partial
    assert stopped(at, consent_id)["cause"] == "envelope_damaged"


def stopped(at: Deployment, consent_id: str) -> dict[str, Any]:
    """The body of the entry that a transfer under a consent was stopped."""
    with at.ctx.db.reading() as tx:
        for table in (PENDING, ENTRY):
            chosen = select(table).where(
                table.c.consent_id == consent_id, table.c.type == "transfer.stopped"
            )
            for row in tx.execute(chosen):
                body = opened_entry(at.ctx, tx, row)
                assert body is not None
                found: dict[str, Any] = orjson.loads(body)["body"]
                return found
    raise AssertionError("there is no such entry")
