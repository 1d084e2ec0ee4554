"""Recipients are told what to delete, and only their own signed receipt counts."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from sqlalchemy import select

from broker.domain.deletion import METHODS, RECEIPT_TYPE
from broker.domain.evidence import verify_evidence
from broker.store import tables
from broker.usecases.bootstrap import demo_clients
from broker.usecases.trust import trust
from credentials.keys import SoftwareKey, sign_jws
from tests.broker.flow_world import DAY, PUBLIC_URL, World, world


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("deletion") / "home") as broker:
        yield broker


@pytest.fixture
def task(made: World) -> dict[str, Any]:
    """The task of a consent that was just withdrawn."""
    request = made.customer(f"crm-{secrets.token_hex(4)}").grant("base")
    (consent,) = [one["id"] for one in request["consents"] if one["state"] == "granted"]
    assert made.withdrawal(consent, made.officer).status_code == 200
    (found,) = listed(made, consent=consent)
    return found


def listed(made: World, caller: str | None = None, **params: str) -> list[dict[str, Any]]:
    answer = made.api("GET", "/v1/deletion-tasks", caller, params=params)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["tasks"]
    return found


def claims_for(made: World, task: dict[str, Any]) -> dict[str, Any]:
    return {
        "iss": made.partner,
        "aud": PUBLIC_URL,
        "iat": made.time[0],
        "task": task["id"],
        "consent": task["consent"],
        "attributes": task["attributes"],
        "deleted_at": made.time[0],
        "method": "deleted",
    }


def own_key(made: World) -> SoftwareKey:
    partner, _ = demo_clients(made.ctx)
    return SoftwareKey.from_private_jwk(partner["private_jwk"])


def send(made: World, task: dict[str, Any], receipt: str, caller: str | None = None) -> Response:
    path = f"/v1/deletion-tasks/{task['id']}/receipt"
    answer: Response = made.api("POST", path, caller, json={"receipt": receipt})
    return answer


def test_a_withdrawal_makes_a_task_with_a_deadline(made: World, task: dict[str, Any]) -> None:
    assert (task["state"], task["reason"], task["overdue"]) == ("open", "withdrawn", False)
    assert task["due_at"] == task["created_at"] + 30 * DAY
    terms = made.consent(task["consent"])["terms"]
    assert task["attributes"] == [one["id"] for one in terms["attributes"]]
    assert terms["retention_days"] >= 30
    (entry,) = [
        one for one in made.logged("consent.withdrawn") if one.consent_id == task["consent"]
    ]
    assert entry.body["deletion_task"] == task["id"]


def test_the_terms_may_demand_it_sooner(made: World, tmp_path: Path) -> None:
    with world(tmp_path / "home", deletion_days=3) as strict:
        request = strict.customer().grant("base")
        (consent,) = [one["id"] for one in request["consents"] if one["state"] == "granted"]
        strict.withdrawal(consent, strict.officer)
        (found,) = listed(strict)
        assert found["due_at"] == found["created_at"] + 3 * DAY


def test_a_signed_receipt_is_kept_as_evidence(made: World, task: dict[str, Any]) -> None:
    receipt = sign_jws(own_key(made), {"typ": RECEIPT_TYPE}, claims_for(made, task))
    before = made.api("GET", f"/v1/deletion-tasks/{task['id']}/receipt", made.officer)
    assert before.status_code == 404
    answer = send(made, task, receipt)
    assert (answer.status_code, answer.json()["state"]) == (200, "done")
    kept = made.api("GET", f"/v1/deletion-tasks/{task['id']}/receipt", made.officer)
    assert kept.text == receipt
    with made.ctx.db.reading() as tx:
        table = tables.metadata.tables["deletion_task"]
        sealed = tx.execute(select(table.c.sealed_receipt).where(table.c.id == task["id"]))
        assert receipt.encode() not in (sealed.scalar_one() or b"")
    (entry,) = [one for one in made.logged("deletion.confirmed") if one.body["task"] == task["id"]]
    assert entry.consent_id == task["consent"]
    # The same again is the same; another one comes too late.
    assert send(made, task, receipt).status_code == 200
    later = sign_jws(
        own_key(made), {"typ": RECEIPT_TYPE}, claims_for(made, task) | {"method": "anonymized"}
    )
    assert send(made, task, later).json()["code"] == "state_conflict"
    # The evidence tells of it, and verifies.
    made.advance(2)
    zipped = made.api("GET", f"/v1/consents/{task['consent']}/evidence", made.officer)
    assert verify_evidence(zipped.content, trust(made.ctx)).verdict == "verified"


Change = Callable[[dict[str, Any]], dict[str, Any]]
WRONG: dict[str, Change] = {
    "another issuer": lambda claims: claims | {"iss": "p-another"},
    "another audience": lambda claims: claims | {"aud": "https://elsewhere.example"},
    "another task": lambda claims: claims | {"task": "dt-another"},
    "another consent": lambda claims: claims | {"consent": "c-another"},
    "fewer attributes": lambda claims: claims | {"attributes": claims["attributes"][:-1]},
    "more attributes": lambda claims: claims | {"attributes": [*claims["attributes"], "x"]},
    "attributes twice": lambda claims: claims | {"attributes": claims["attributes"] * 2},
    "no list": lambda claims: claims | {"attributes": "home_city"},
    "signed in the future": lambda claims: claims | {"iat": claims["iat"] + 120},
    "signed before the task": lambda claims: claims | {"iat": claims["iat"] - 120},
    "deleted after signing": lambda claims: claims | {"deleted_at": claims["iat"] + 120},
    "a float": lambda claims: claims | {"deleted_at": float(claims["iat"])},
    "a flag": lambda claims: claims | {"deleted_at": True},
    "an unknown method": lambda claims: claims | {"method": "shredded"},
    "a method of another type": lambda claims: claims | {"method": [METHODS[0]]},
    "one claim more": lambda claims: claims | {"note": "of 138-0000-0000"},
    "one claim fewer": lambda claims: {k: v for k, v in claims.items() if k != "method"},
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_what_a_receipt_must_say(made: World, task: dict[str, Any], change: Change) -> None:
    claims = change(claims_for(made, task))
    answer = send(made, task, sign_jws(own_key(made), {"typ": RECEIPT_TYPE}, claims))
    assert (answer.status_code, answer.json()["code"]) == (400, "deletion_receipt_invalid")
    assert "138-0000-0000" not in answer.text
    assert listed(made, consent=task["consent"])[0]["state"] == "open"


def test_who_has_to_sign_it(made: World, task: dict[str, Any]) -> None:
    claims = claims_for(made, task)
    key = own_key(made)
    good = sign_jws(key, {"typ": RECEIPT_TYPE}, claims)
    header, payload, signature = good.split(".")
    forged = {
        "another key": sign_jws(SoftwareKey.generate("ES256"), {"typ": RECEIPT_TYPE}, claims),
        "another algorithm": sign_jws(
            SoftwareKey.generate("Ed25519"), {"typ": RECEIPT_TYPE}, claims
        ),
        "another type": sign_jws(key, {"typ": "JWT"}, claims),
        "no type": sign_jws(key, {}, claims),
        "no signature": f"{header}.{payload}.",
        "a changed signature": f"{header}.{payload}.{signature[:-4]}AAAA",
        "not a JWS": "x",
        "not JSON": sign_jws(key, {"typ": RECEIPT_TYPE}, b"[]"),
    }
    for what, receipt in forged.items():
        answer = send(made, task, receipt)
        assert (answer.status_code, answer.json()["code"]) == (
            400,
            "deletion_receipt_invalid",
        ), what
    assert send(made, task, "x" * 8_193).status_code == 400
    # Neither another partner nor an officer signs for it.
    other = made.second_partner()
    assert send(made, task, good, other).status_code == 404
    assert made.api("GET", f"/v1/deletion-tasks/{task['id']}/receipt", other).status_code == 404
    assert listed(made, other) == []
    assert send(made, task, good, made.officer).status_code == 403
    assert send(made, task, good).status_code == 200


def test_pages_and_what_is_overdue(tmp_path: Path) -> None:
    with world(tmp_path / "home") as made:
        for number in range(3):
            request = made.customer(f"crm-{number}").grant("base", "visits")
            for one in request["consents"]:
                if one["state"] == "granted":
                    made.withdrawal(one["id"], made.officer)
        every = [one["id"] for one in listed(made)]
        assert len(every) == 6
        pages, after = [], None
        while True:
            params = {"limit": 4} | ({} if after is None else {"after": after})
            answer = made.api("GET", "/v1/deletion-tasks", params=params).json()
            pages += [one["id"] for one in answer["tasks"]]
            after = answer["next"]
            if after is None:
                break
        assert pages == every
        assert made.api("GET", "/v1/deletion-tasks", params={"after": "dt-x"}).status_code == 404
        assert listed(made, state="overdue") == []
        assert "consent_broker_deletion_tasks_overdue 0.0" in made.http.get("/metrics").text
        made.advance(31 * DAY)
        late = listed(made, made.officer, state="overdue")
        assert [one["overdue"] for one in late] == [True] * 6
        assert "consent_broker_deletion_tasks_overdue 6.0" in made.http.get("/metrics").text
