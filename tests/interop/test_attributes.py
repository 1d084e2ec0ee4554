"""A wallet in TypeScript, made from `docs/zk.md`, takes credentials and proves at a running broker.

`zkp/` beside this file: issuance, status tokens and proofs over HTTP, down to the curve.
"""

import datetime as dt
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from broker.outbound.client import ApiError
from dev.running import Broker, running_broker
from tests.interop.parties import HERE, TEMPLATE, Parties, parties_of
from tests.npm import compiled
from tests.programs import require
from wallet_adapters.status_token import EPOCH_SECONDS

REASON = "run a wallet that was made from the document"
KIND: dict[str, Any] = {
    "id": "interop-person/1",
    "attributes": [
        {"name": "birth_date", "type": "date"},
        {"name": "city", "type": "code", "codes": ["Beijing", "Shanghai", "Berlin", "Paris"]},
        {"name": "revocation_id", "type": "identifier"},
    ],
}
BORN = "1996-05-17"


@dataclass
class Holder:
    """One customer's wallet, beside the partner and the officer."""

    node: Path
    parties: Parties
    state: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command, *rest = arguments
        return subprocess.run(
            [self.node, HERE / "attributes.mjs", command, self.state, self.parties.root, *rest],
            capture_output=True,
            text=True,
            check=False,
        )

    def __call__(self, *arguments: str) -> dict[str, Any]:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        printed: dict[str, Any] = json.loads(done.stdout)
        return printed

    def take(self, born: str = BORN) -> str:
        """Have a credential offered and take it; the id of the offer."""
        claims = {"birth_date": born, "city": "Shanghai"}
        body = {"type": KIND["id"], "claims": claims}
        offer = self.parties.partner.post("/v1/attribute-offers", body, idempotent=True)
        values = self("take", offer["offer_by_value"], offer["tx_code"])["values"]
        assert values.items() >= claims.items()
        return str(offer["id"])

    def ask(self, *, standing: bool = False) -> dict[str, Any]:
        """Have the partner ask: 18 or older, and not revoked in the epoch that it is?"""
        kinds = self.parties.officer.get("/v1/attribute-types").json()["types"]
        issuers = next(kind["issuers"] for kind in kinds if kind["id"] == KIND["id"])
        today = dt.datetime.now(dt.UTC).date().isoformat()
        adult = {"credential": "id", "attribute": "birth_date", "years": 18, "on": today}
        credentials = {"id": {"schema": KIND["id"], "issuers": issuers}}
        statements: list[dict[str, Any]] = [{"type": "older_than", **adult}]
        if standing:
            credentials["status"] = {"schema": "status-token/1", "issuers": issuers}
            stands = {"credential": "id", "attribute": "revocation_id", "token": "status"}
            epoch = self.parties.partner.get("/attribute-status").json()["epoch"]
            statements.append({"type": "not_revoked", **stands, "epoch": epoch})
        body = {"template": TEMPLATE, "credentials": credentials, "statements": statements}
        return self.parties.partner.post("/v1/proof-requests", body, idempotent=True)

    def proves(self, *, standing: bool = False) -> str:
        """Ask and answer; what the partner sees of it then."""
        asked = self.ask(standing=standing)
        answered = self("answer", asked["wallet_link"])
        assert answered["status"] == 200, answered
        followed = self.parties.partner.get(f"/v1/proof-requests/{asked['id']}").json()
        assert BORN not in json.dumps(followed)
        return str(followed["state"])


@pytest.fixture(scope="module")
def node() -> Path:
    compiled(HERE, "zkp", REASON)
    return require("node", REASON)


@pytest.fixture(scope="module")
def parties(broker_server: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parties]:
    with parties_of(broker_server, tmp_path_factory.mktemp("trust")) as made:
        register(made)
        yield made


def register(parties: Parties) -> None:
    with suppress(ApiError):  # it is there already
        parties.officer.post("/v1/attribute-types", KIND, idempotent=True)


@pytest.fixture
def holder(node: Path, parties: Parties, tmp_path: Path) -> Holder:
    return Holder(node, parties, tmp_path / "wallet.json")


def test_it_proves_what_is_true_and_refuses_what_is_not(holder: Holder, tmp_path: Path) -> None:
    assert holder.proves() == "refused", "it holds nothing yet"
    holder.take()
    assert holder.proves() == "proven"
    child = Holder(holder.node, holder.parties, tmp_path / "child.json")
    child.take(f"{dt.datetime.now(dt.UTC).year - 10}-01-01")
    assert child.proves() == "refused"


def test_not_revoked_until_it_is(holder: Holder) -> None:
    if EPOCH_SECONDS - time.time() % EPOCH_SECONDS < 30:
        time.sleep(30)  # so that all of it is in one epoch
    offer_id = holder.take()
    assert holder.proves(standing=True) == "refused", "without a token"
    assert holder("tokens") == {"tokens": 1}
    assert holder.proves(standing=True) == "proven"
    holder.parties.officer.post(f"/v1/attribute-offers/{offer_id}/revocation", {}, idempotent=True)
    assert holder("tokens") == {"tokens": 0}
    assert holder.proves(standing=True) == "refused"


def test_a_proof_is_taken_once(holder: Holder) -> None:
    holder.take()
    asked = holder.ask()
    assert holder("answer", asked["wallet_link"])["status"] == 200
    late = holder.run("answer", asked["wallet_link"])
    assert late.returncode != 0
    assert "410" in late.stderr


def test_it_encrypts_its_answer_where_that_is_asked_for(node: Path, tmp_path: Path) -> None:
    told = {"BROKER_RESPONSE_MODE": "direct_post.jwt"}
    with running_broker(tmp_path, told) as broker, parties_of(broker, tmp_path) as parties:
        register(parties)
        holder = Holder(node, parties, tmp_path / "wallet.json")
        holder.take()
        assert holder.proves() == "proven"
