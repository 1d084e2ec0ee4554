"""What a wallet must not send: each with its stable code, an entry in the log, nothing changed.

One broker serves all of them; every case has a consent request of its own.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import pytest

from credentials.keys import SoftwareKey
from tests.broker.attacks import BASE, CASES, WITHDRAWALS, Attack
from tests.broker.clients_world import JWT_BEARER, Client
from tests.broker.flow_world import (
    PUBLIC_URL,
    PURPOSE,
    Customer,
    World,
    world,
)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("broker")) as made:
        yield made


@pytest.fixture(scope="module")
def li(broker: World) -> Customer:
    return broker.customer("crm-1")


@pytest.fixture(scope="module")
def friend(broker: World) -> Customer:
    return broker.customer("crm-2")


@pytest.fixture
def attack(broker: World, li: Customer, friend: Customer) -> Attack:
    return Attack(broker, li, friend)


def said(world: World, before: int) -> list[str]:
    """The codes of the rejections in the log since there were `before` of them."""
    return [entry.body["code"] for entry in world.logged("presentation.rejected")[before:]]


@pytest.mark.parametrize("name", CASES)
def test_a_bad_answer_changes_nothing_and_is_logged(name: str, attack: Attack) -> None:
    make, code = CASES[name]
    sent = make(attack)
    before = attack.world.rows()
    rejections = len(attack.world.logged("presentation.rejected"))

    answer = attack.world.post(attack.request, sent)

    assert answer.status_code == 400, answer.text
    assert answer.headers["cache-control"] == "no-store"
    body = answer.json()
    assert (body["error"], body["code"]) == ("invalid_request", code), body["error_description"]
    assert body["error_description"].startswith(code)
    assert attack.world.rows() == before
    assert said(attack.world, rejections) == [code]

    good = attack.world.post(attack.request, attack.answered())
    assert good.status_code == 200, "the request still waits for its customer"


def test_a_parameter_twice_is_refused(attack: Attack) -> None:
    sent = attack.answered()
    twice = urlencode([*sent.items(), ("vp_token", sent["vp_token"])])
    answer = attack.world.http.post(
        attack.request.response_uri,
        content=twice,
        headers={"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert (answer.status_code, answer.json()["code"]) == (400, "repeated_parameter")
    assert attack.world.states(attack.opened) == ["requested"] * 3


def test_a_good_answer_that_is_sent_again_finds_the_request_closed(attack: Attack) -> None:
    sent = attack.answered()
    assert attack.world.post(attack.request, sent).status_code == 200
    before, rejections = attack.world.rows(), len(attack.world.logged("presentation.rejected"))
    for again in (sent, attack.answered("consent_visits"), {"error": "access_denied"}):
        answer = attack.world.post(attack.request, again)
        assert (answer.status_code, answer.json()["code"]) == (410, "gone")
        assert answer.json()["error"] == "invalid_request", "in the form of the protocol"
    assert attack.world.rows() == before
    assert said(attack.world, rejections) == ["gone"] * 3


def test_of_answers_at_the_same_time_exactly_one_counts(attack: Attack) -> None:
    answers = [
        attack.answered(query) for query in (BASE, "consent_visits", "consent_singapore") * 3
    ]
    http, address = attack.world.http, attack.request.response_uri
    with ThreadPoolExecutor(len(answers)) as pool:
        statuses = list(pool.map(lambda sent: http.post(address, data=sent).status_code, answers))
    assert sorted(statuses) == [200] + [410] * (len(answers) - 1)
    states = attack.world.states(attack.opened)
    assert sorted(states) == ["granted", "refused", "refused"]
    granted = [one["id"] for one in attack.opened["consents"]]
    entries = [e for e in attack.world.logged("consent.granted") if e.consent_id in granted]
    assert len(entries) == 1


def test_unknown_requests_are_not_found(attack: Attack) -> None:
    address = attack.request.response_uri
    unknown = address[:-4] + "aaaa"
    answer = attack.world.http.post(unknown, data=attack.answered())
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    request = attack.world.http.get(unknown.replace("response", "request"))
    assert (request.status_code, request.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("error", ["invalid_request", "server_error", "vp_formats_not_supported"])
def test_an_error_of_the_wallet_is_taken_and_noted(attack: Attack, error: str) -> None:
    before, rejections = attack.world.rows(), len(attack.world.logged("presentation.rejected"))
    sent = {"error": error, "error_description": "<b>", "state": attack.request.state or ""}
    answer = attack.world.post(attack.request, sent)
    # OpenID4VP 1.0, section 8.2: an error response that was processed is answered 200.
    assert answer.status_code == 200
    assert answer.json()["redirect_uri"] == attack.opened["page_url"]
    assert attack.world.rows() == before
    assert said(attack.world, rejections) == ["wallet_error"]
    assert attack.world.logged("presentation.rejected")[-1].body["error"] == error


# Withdrawals


@pytest.fixture
def withdrawing(attack: Attack) -> Attack:
    """A consent that was granted by the first copy, and a withdrawal that waits."""
    assert attack.world.post(attack.request, attack.answered()).status_code == 200
    consent_id = attack.opened["consents"][0]["id"]
    asked = attack.world.withdrawal(consent_id).json()
    attack.request = attack.world.request(asked["wallet_link"])
    return attack


@pytest.mark.parametrize("name", WITHDRAWALS)
def test_a_bad_withdrawal_changes_nothing_and_is_logged(name: str, withdrawing: Attack) -> None:
    make, code = WITHDRAWALS[name]
    sent, consent_id = make(withdrawing), withdrawing.opened["consents"][0]["id"]
    before = withdrawing.world.rows()
    answer = withdrawing.world.post(withdrawing.request, sent)
    assert (answer.status_code, answer.json().get("code")) == (400, code), answer.text
    assert withdrawing.world.rows() == before
    entry = withdrawing.world.logged("presentation.rejected")[-1]
    assert (entry.body["code"], entry.body["kind"]) == (code, "withdrawal")
    assert entry.consent_id == consent_id, "it belongs to the consent's evidence"
    assert withdrawing.world.decide(withdrawing.li.subject_ref)["decision"] is True
    good = withdrawing.world.post(withdrawing.request, withdrawing.answered("same_key"))
    assert good.status_code == 200


# Decisions


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"attribute": "medical_summary"}, "attribute_outside_terms"),
        ({"attribute": "no_such_attribute"}, "attribute_unregistered"),
        ({"purpose": "dpv:Marketing#algo:churn-v3@1"}, "purpose_unregistered"),
        ({"purpose": "dpv:ServicePersonalisation#algo:churn-v3@9"}, "algorithm_unregistered"),
        ({"territory": "SG"}, "territory_outside_terms"),
    ],
)
def test_a_use_outside_of_the_terms_is_denied_with_its_reason_and_logged(
    broker: World, attack: Attack, asked: dict[str, str], code: str
) -> None:
    attack.world.post(attack.request, attack.answered())
    before = broker.rows()
    assert code in broker.reasons(attack.li.subject_ref, **asked)
    assert broker.rows() == before
    entry = broker.logged("decision")[-1]
    assert entry.body["decision"] is False


def test_a_partner_that_is_another_is_denied_and_logged(broker: World, attack: Attack) -> None:
    attack.world.post(attack.request, attack.answered())
    before = broker.rows()
    answer = broker.api(
        "POST",
        "/access/v1/evaluation",
        broker.second_partner(),
        json={
            "subject": {"type": "partner", "id": broker.partner},
            "action": {"name": "read"},
            "resource": {
                "type": "attribute",
                "id": "purchase_count_12m",
                "properties": {"consent": attack.opened["consents"][0]["id"]},
            },
            "context": {"purpose": PURPOSE},
        },
    )
    assert answer.json()["decision"] is False
    codes = [reason["code"] for reason in answer.json()["context"]["reasons"]]
    assert "subject_not_caller" in codes
    assert broker.rows() == before
    assert broker.logged("decision")[-1].body["decision"] is False


def test_a_partner_that_nobody_knows_gets_no_token(broker: World) -> None:
    stranger = Client("p-unknown", SoftwareKey.generate("ES256"))
    answer = broker.http.post(
        "/oauth/token",
        data={
            "grant_type": "client_credentials",
            "client_assertion_type": JWT_BEARER,
            "client_assertion": stranger.assertion(broker.time[0], aud=PUBLIC_URL),
        },
    )
    assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
