"""Proofs over the whole broker: a partner asks, a wallet proves, nobody learns the attribute."""

import copy
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.domain.held import LONGEST_SECONDS
from broker.store import proofs
from broker.store.acting import acting_for_all
from broker.usecases.erasure import release_due
from broker.usecases.token import forget_expired
from credentials.jcs import b64url, b64url_decode
from tests.broker.flow_world import DAY, World, world
from tests.broker.proving import (
    ADULT,
    BORN,
    LI,
    PERSON,
    Registry,
    ask,
    asking,
    follow,
    holder,
    presentation,
    registry,
    show,
    verify,
)
from wallet_adapters.loopback import Wallet
from wallet_adapters.loopback.errors import NothingToPresent
from wallet_adapters.loopback.proof import asked_of
from wallet_adapters.openid4vp.proof import write_proof
from zkp import Schema, prove

CITY = {"type": "member_of", "credential": "id", "attribute": "city", "values": ["Berlin", "Paris"]}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("proofs")) as made:
        yield made


@pytest.fixture(scope="module")
def office() -> Registry:
    return registry()


@pytest.fixture(scope="module")
def li(broker: World, office: Registry) -> Wallet:
    return holder(broker, office.issue(LI))


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.parametrize("encrypted", [False, True])
def test_a_wallet_proves_and_the_partner_sees_that_and_no_more(
    tmp_path: Path, request: pytest.FixtureRequest, office: Registry, database: str, encrypted: bool
) -> None:
    url = request.getfixturevalue("postgres_database") if database == "postgresql" else ""
    chosen = {"database_url": url, "encrypted_responses": encrypted}
    with world(tmp_path / "home", **chosen) as made:
        wallet = holder(made, office.issue(LI))
        asked = ask(made, ADULT, CITY, by=office)
        assert asked["state"] == "open"
        assert show(made, wallet, asked["wallet_link"]) is None
        done = follow(made, asked)
        assert (done["state"], done["wallet_link"]) == ("proven", None)
        assert done["statements"] == [ADULT, CITY]
        assert done["proven_at"] == made.time[0]
        assert done["kept_until"] == made.time[0] + 1095 * DAY
        assert BORN not in str(done)
        (entry,) = made.logged("proof.verified")
        assert entry.id == done["entry"]
        assert entry.body["request_hash"] == asked["request_hash"]
        assert follow(made, asked, made.officer) == done
        assert made.http.get(f"/openid4vp/request/{asked['id']}").status_code == 410


def test_a_partner_hands_in_a_proof_that_it_received(
    broker: World, li: Wallet, office: Registry
) -> None:
    asked = ask(broker, by=office)
    shown = presentation(li, broker.request(asked["wallet_link"]))
    answer = verify(broker, asked["id"], shown, key="once")
    assert answer.status_code == 200, answer.text
    assert answer.json()["state"] == "proven"
    again = verify(broker, asked["id"], shown, key="once")
    assert again.json() == answer.json()
    replayed = verify(broker, asked["id"], shown)
    assert (replayed.status_code, replayed.json()["code"]) == (410, "gone")
    assert broker.logged("proof.rejected")[-1].body["code"] == "gone"


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_of_many_at_once_one_counts(
    tmp_path: Path, request: pytest.FixtureRequest, office: Registry, database: str
) -> None:
    url = request.getfixturevalue("postgres_database") if database == "postgresql" else ""
    with world(tmp_path / "home", database_url=url) as made:
        asked = ask(made, by=office)
        wallet = holder(made, office.issue(LI))
        shown = presentation(wallet, made.request(asked["wallet_link"]))

        def hand_in(_number: int) -> int:
            with acting_for_all():
                status: int = verify(made, asked["id"], shown, turn=False).status_code
                return status

        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(hand_in, range(8)))
        assert sorted(answers) == [200, *[410] * 7]
        assert len(made.logged("proof.verified")) == 1


def test_the_wallet_says_no_or_has_nothing_and_both_look_the_same(
    broker: World, li: Wallet, office: Registry
) -> None:
    before = len(broker.logged("proof.refused"))
    child = holder(broker, office.issue(LI | {"birth_date": "2015-01-01"}))
    states = []
    for wallet, grant in ((li, ()), (child, None), (holder(broker), None)):
        asked = ask(broker, by=office)
        with pytest.raises(NothingToPresent):
            show(broker, wallet, asked["wallet_link"], grant=grant)
        states.append(follow(broker, asked)["state"])
    assert states == ["refused"] * 3
    assert len(broker.logged("proof.refused")) == before + 3


def test_a_proof_of_another_occasion_is_none(broker: World, li: Wallet, office: Registry) -> None:
    first, second = (broker.request(ask(broker, by=office)["wallet_link"]) for _ in range(2))
    asked = second.state or ""
    earlier = presentation(li, first)
    refused = verify(broker, asked, earlier)
    assert (refused.status_code, refused.json()["code"]) == (400, "proof_of_another_request")
    # That it says so does not help: every challenge depends on the request.
    lying = earlier | {"request": presentation(li, second)["request"]}
    refused = verify(broker, asked, lying)
    assert (refused.status_code, refused.json()["code"]) == (400, "proof_invalid")
    assert verify(broker, asked, presentation(li, second)).status_code == 200


def test_another_audience_address_or_statement_is_another_request(
    broker: World, li: Wallet, office: Registry
) -> None:
    request = broker.request(ask(broker, by=office)["wallet_link"])
    own = presentation(li, request)
    meta = copy.deepcopy(dict(request.dcql.credentials[0].meta))
    meta["statements"][0]["years"] = 17  # type: ignore[index]
    weaker = replace(request.dcql.credentials[0], meta=meta)
    dcql = replace(request.dcql, credentials=(weaker,))
    for change in (
        {"client_id": "x509_hash:" + "A" * 43},
        {"response_uri": request.response_uri + "/x"},
        {"nonce": "B" * 43},
        {"dcql": dcql},
    ):
        other = presentation(li, replace(request, **change))
        for shown, code in (
            (other, "proof_of_another_request"),
            (other | {"request": own["request"]}, "proof_invalid"),
        ):
            refused = verify(broker, request.state or "", shown)
            assert (refused.status_code, refused.json()["code"]) == (400, code), change
    assert follow(broker, {"id": request.state})["state"] == "open"


def test_other_issuers_and_kinds_are_named(broker: World, office: Registry) -> None:
    request = broker.request(ask(broker, by=office)["wallet_link"])
    thief = registry()
    for wallet, code in (
        (holder(broker, thief.issue(LI)), "issuer_not_trusted"),
        (
            holder(broker, Registry(office.key, "https://other.example").issue(LI)),
            "issuer_not_trusted",
        ),
        (
            holder(broker, office.issue(LI, Schema("person/2", PERSON.attributes))),
            "proof_schema_differs",
        ),
    ):
        forged = forced(wallet, request)
        refused = verify(broker, request.state or "", forged)
        assert (refused.status_code, refused.json()["code"]) == (400, code)
    # Under the trusted key's name the thief's signature is none.
    forged = forced(holder(broker, thief.issue(LI)), request)
    forged["credentials"]["id"]["issuer_key"] = office.trusted()["key"]
    assert verify(broker, request.state or "", forged).json()["code"] == "proof_invalid"


def forced(wallet: Wallet, request: Any) -> dict[str, Any]:  # noqa: ANN401
    """The proof of a wallet that does not ask whose credentials are wanted."""
    asked = asked_of(request)
    return write_proof(asked, prove(asked, {"id": wallet.attributes[0].opened()}))


def _longer(shown: dict[str, Any]) -> None:
    shown["proof"] = b64url(b64url_decode(shown["proof"]) + b"\x00" * 32)


def _flipped(shown: dict[str, Any]) -> None:
    data = bytearray(b64url_decode(shown["proof"]))
    data[-1] ^= 1
    shown["proof"] = b64url(bytes(data))


def _revealing(shown: dict[str, Any]) -> None:
    shown["credentials"]["id"]["revealed"] = {"city": "Berlin"}


ALTERED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a bit": (_flipped, "proof_invalid"),
    "longer": (_longer, "proof_invalid"),
    "bound": (lambda shown: shown["credentials"]["id"].update(bound=True), "proof_invalid"),
    "revealing": (_revealing, "statement_invalid"),
    "another name": (
        lambda shown: shown["credentials"].update(x=shown["credentials"].pop("id")),
        "proof_credentials_differ",
    ),
    "no credentials": (lambda shown: shown["credentials"].clear(), "too_large"),
    "a version": (lambda shown: shown.update(version="2"), "malformed"),
    "more": (lambda shown: shown.update(more=1), "malformed"),
    "not base64url": (lambda shown: shown.update(proof="?"), "malformed"),
}


@pytest.mark.parametrize("name", ALTERED)
def test_what_was_altered_is_refused(
    broker: World, li: Wallet, office: Registry, name: str
) -> None:
    request = broker.request(ask(broker, by=office)["wallet_link"])
    shown = presentation(li, request)
    alter, code = ALTERED[name]
    alter(shown)
    refused = verify(broker, request.state or "", shown)
    assert refused.status_code == 400
    assert refused.json()["code"] == code
    assert refused.headers["content-type"] == "application/problem+json"
    assert broker.logged("proof.rejected")[-1].body["code"] == code


def test_what_is_too_large_is_refused_before_any_curve_is_touched(
    broker: World, li: Wallet, office: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = broker.request(ask(broker, by=office)["wallet_link"])
    shown = presentation(li, request)

    def touched(*_: object) -> None:
        raise AssertionError("a point was read")

    for name in ("g1_from_bytes", "g2_from_bytes"):
        monkeypatch.setattr(f"zkp.curve.{name}", touched)
    monkeypatch.setattr("zkp.presentation.g1_from_bytes", touched)
    monkeypatch.setattr("zkp.keys._point", touched)
    huge = copy.deepcopy(shown)
    huge["proof"] = "A" * 200_000
    wide = copy.deepcopy(shown)
    wide["credentials"]["id"]["header"] = "A" * 200_000
    many = copy.deepcopy(shown)
    many["credentials"] = {str(number): shown["credentials"]["id"] for number in range(9)}
    for large in (huge, wide, many):
        assert verify(broker, request.state or "", large).json()["code"] == "too_large"
    whole = verify(broker, request.state or "", shown | {"proof": "A" * 2_000_000})
    assert (whole.status_code, whole.json()["code"]) == (413, "body_too_large")


def test_it_is_over_after_a_quarter_of_an_hour(broker: World, li: Wallet, office: Registry) -> None:
    asked = ask(broker, by=office)
    request = broker.request(asked["wallet_link"])
    shown = presentation(li, request)
    broker.advance(900)
    late = verify(broker, asked["id"], shown)
    assert (late.status_code, late.json()["code"]) == (410, "gone")
    assert follow(broker, asked)["state"] == "expired"


def test_other_partners_find_nothing(broker: World, li: Wallet, office: Registry) -> None:
    asked = ask(broker, by=office)
    shown = presentation(li, broker.request(asked["wallet_link"]))
    other = broker.second_partner()
    assert verify(broker, asked["id"], shown, other).status_code == 404
    assert broker.api("GET", f"/v1/proof-requests/{asked['id']}", other).status_code == 404
    assert follow(broker, asked)["state"] == "open"


NOT_TO_BE_ASKED: dict[str, tuple[dict[str, Any], str]] = {
    "shows": (
        {"type": "reveal", "credential": "id", "attribute": "city"},
        "statement_shows_attribute",
    ),
    "one member": (CITY | {"values": ["Berlin"]}, "statement_shows_attribute"),
    "a point": (
        {"type": "between", "credential": "id", "attribute": "income", "low": 3, "high": 3},
        "statement_shows_attribute",
    ),
    "an age to come": (ADULT | {"on": "2031-01-01"}, "invalid_request"),
    "no day": (ADULT | {"on": "soon"}, "invalid_request"),
    "unknown": (ADULT | {"type": "taller_than"}, "invalid_request"),
    "another credential": (ADULT | {"credential": "x"}, "invalid_request"),
    "half a pair": (CITY | {"values": ["\ud800", "b"]}, "invalid_request"),
    "too much": (CITY | {"values": ["x" * 2000 + str(n) for n in range(20)]}, "invalid_request"),
}


@pytest.mark.parametrize("name", NOT_TO_BE_ASKED)
def test_what_cannot_be_asked_is_refused_by_name(
    broker: World, office: Registry, name: str
) -> None:
    statement, code = NOT_TO_BE_ASKED[name]
    before = len(broker.logged("proof.requested"))
    answer = broker.api(
        "POST",
        "/v1/proof-requests",
        content=json.dumps(asking(statement, by=office)),
        headers={"Idempotency-Key": name, "Content-Type": "application/json"},
    )
    assert (answer.status_code, answer.json()["code"]) == (400, code), answer.text
    assert len(broker.logged("proof.requested")) == before


def test_the_proof_goes_when_its_retention_is_over_and_with_the_customer(
    broker: World, li: Wallet, office: Registry
) -> None:
    customer = broker.customer("crm-7")
    kept = []
    for subject_ref in (None, customer.subject_ref):
        asked = ask(broker, by=office, subject_ref=subject_ref)
        show(broker, li, asked["wallet_link"])
        kept.append(asked)
    sealed = [row(broker, one).sealed_proof for one in kept]
    assert all(sealed)
    assert not any(b"1987" in (one or b"") for one in sealed)
    exported = broker.api(
        "POST",
        "/v1/subject-exports",
        broker.officer,
        json={"partner": broker.partner, "subject_ref": "crm-7"},
        headers={"Idempotency-Key": "x"},
    ).json()
    assert [one["id"] for one in exported["proof_requests"]] == [kept[1]["id"]]
    erased = broker.api(
        "POST",
        "/v1/subject-erasures",
        broker.officer,
        json={"partner": broker.partner, "subject_ref": "crm-7"},
        headers={"Idempotency-Key": "y"},
    )
    assert erased.status_code < 300, erased.text
    broker.advance(LONGEST_SECONDS)
    assert release_due(broker.ctx) == 1
    assert broker.api("GET", f"/v1/proof-requests/{kept[1]['id']}").status_code == 404
    broker.advance(1095 * DAY)
    assert forget_expired(broker.ctx) > 0
    assert row(broker, kept[0]).sealed_proof is None
    assert follow(broker, kept[0])["state"] == "proven"


def row(world: World, asked: dict[str, Any]) -> proofs.ProofRequestRow:
    with world.ctx.db.reading() as tx:
        return proofs.find(tx, "demo", asked["id"])
