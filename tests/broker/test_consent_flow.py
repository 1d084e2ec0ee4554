"""The way of a consent through the application: asked, shown, signed, refused, replaced, over."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest

from broker.domain.errors import Gone
from broker.usecases import consent_page
from broker.usecases.closing import expire_due
from credentials.jws import parse_jws
from credentials.status import StatusCheck
from credentials.verify import verify_credential
from tests.broker.flow_world import DAY, ITEMS, PUBLIC_URL, START, Customer, World, world
from wallet_adapters.loopback.errors import NothingToPresent, PeerRefused


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


@pytest.fixture
def li(broker: World) -> Customer:
    return broker.customer("crm-1")


def page_token(request: dict[str, object]) -> str:
    return str(request["page_url"]).rsplit("/", 1)[1]


def paths(message: object) -> str:
    return urlsplit(str(message)).path


# Asked


def test_a_request_opens_its_consents_and_says_how_surely_the_contact_is_bound(
    broker: World,
) -> None:
    request = broker.ask("crm-9")
    assert request["state"] == "open"
    assert [(one["item"], one["state"]) for one in request["consents"]] == [
        (item, "requested") for item in ITEMS
    ]
    assert request["binding"] == {"grade": "none", "invitation_needed": True}
    assert request["expires_at"] == START + 900
    assert request["page_url"].startswith(f"{PUBLIC_URL}/c/")
    assert len(request["short_code"]) == 4
    assert broker.follow(request) == request, "following it shows the same"
    entries = broker.logged("consent.requested")
    assert [entry.consent_id for entry in entries] == [one["id"] for one in request["consents"]]
    assert "crm-9" not in orjson.dumps([entry.body for entry in entries]).decode()


def test_a_retry_with_the_same_key_opens_nothing_new(broker: World) -> None:
    body = {"subject_ref": "crm-9", "template": "loyalty-churn"}
    headers = {"Idempotency-Key": "same"}
    answers = [
        broker.api("POST", "/v1/consent-requests", json=body, headers=headers) for _ in range(2)
    ]
    assert answers[0].json() == answers[1].json()
    assert len(broker.rows()["consent_request"]) == 1
    other = broker.api(
        "POST", "/v1/consent-requests", json={**body, "subject_ref": "x"}, headers=headers
    )
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


def test_what_cannot_be_asked_is_refused_and_leaves_nothing(broker: World) -> None:
    before = broker.rows()
    for body, code in (
        ({"subject_ref": "crm-1", "template": "unknown"}, "not_found"),
        ({"subject_ref": "", "template": "loyalty-churn"}, "invalid_request"),
        ({"subject_ref": "crm-1", "template": "loyalty-churn", "more": 1}, "invalid_request"),
        (
            {"subject_ref": "crm-1", "template": "loyalty-churn", "language": "fr"},
            "invalid_request",
        ),
    ):
        headers = {"Idempotency-Key": str(body)}
        answer = broker.api("POST", "/v1/consent-requests", json=body, headers=headers)
        assert answer.json()["code"] == code
    assert broker.rows() == before


def test_a_request_and_its_consents_are_their_partners_and_the_officers_alone(
    broker: World, li: Customer
) -> None:
    request = li.grant("base")
    other = broker.second_partner()
    consent = request["consents"][0]["id"]
    for path in (
        f"/v1/consent-requests/{request['id']}",
        f"/v1/consents/{consent}",
        f"/v1/consents/{consent}/credential",
        f"/v1/consents/{consent}/evidence",
    ):
        for entitled in (broker.partner, broker.officer):
            broker.advance(2)
            assert broker.api("GET", path, entitled).status_code == 200
        refused = broker.api("GET", path, other)
        assert (refused.status_code, refused.json()["code"]) == (404, "not_found")
    receipt = f"/v1/consents/{consent}/receipt"
    assert broker.api("GET", receipt).status_code == 404
    assert broker.api("GET", receipt, broker.officer).status_code == 200


# Shown


def test_each_consent_is_a_query_of_its_own_with_terms_of_its_own(
    broker: World, li: Customer
) -> None:
    request = broker.ask(li.subject_ref)
    shown = broker.request(request["wallet_link"])
    assert shown.signed
    assert [query.id for query in shown.dcql.credentials] == [f"consent_{item}" for item in ITEMS]
    assert [one.credential_ids for one in shown.transaction_data] == [
        (f"consent_{item}",) for item in ITEMS
    ]
    for data, consent in zip(shown.transaction_data, request["consents"], strict=True):
        assert data.content["terms"] == broker.consent(consent["id"])["terms"]


def test_fetched_again_it_is_the_same_bytes_and_by_post_the_wallets_nonce_is_inside(
    broker: World, li: Customer
) -> None:
    request = broker.ask(li.subject_ref)
    address = parse_qs(urlsplit(request["wallet_link"]).query)["request_uri"][0]
    first, again = broker.http.get(address), broker.http.get(address)
    assert first.status_code == 200
    assert first.headers["content-type"] == "application/oauth-authz-req+jwt"
    assert first.headers["cache-control"] == "no-store"
    assert first.content == again.content

    def payload(text: str) -> dict[str, object]:
        jws = parse_jws(text, typ="oauth-authz-req+jwt", max_characters=100_000)
        found: dict[str, object] = orjson.loads(jws.payload)
        return found

    got = payload(first.text)
    posted = payload(broker.http.post(address, data={"wallet_nonce": "mine"}).text)
    assert posted.pop("wallet_nonce") == "mine"
    assert "wallet_nonce" not in got
    assert posted == got, "the same nonce and terms"
    assert payload(broker.http.post(address).text) == got, "a wallet may send no nonce"
    assert broker.http.post(address, data={"wallet_nonce": "n" * 600}).status_code == 400

    li.sign(request["wallet_link"], "consent_base")
    for late in (broker.http.get(address), broker.http.post(address)):
        assert (late.status_code, late.json()["code"]) == (410, "gone")


def test_a_request_is_not_served_without_end(broker: World, li: Customer) -> None:
    request = broker.ask(li.subject_ref)
    address = parse_qs(urlsplit(request["wallet_link"]).query)["request_uri"][0]
    codes = [broker.http.post(address).status_code for _ in range(25)]
    assert codes == [200] * 20 + [400] * 5
    # Whoever saw the link cannot use it up: by GET it is always had.
    assert [broker.http.get(address).status_code for _ in range(25)] == [200] * 25


# Signed


def test_a_partial_grant_is_normal(broker: World, li: Customer) -> None:
    request = li.grant("base", "singapore")
    assert (request["state"], broker.states(request)) == (
        "answered",
        ["granted", "refused", "granted"],
    )
    base, visits, _singapore = (one["id"] for one in request["consents"])
    consent = broker.consent(base)
    assert (consent["grade"], consent["valid_until"]) == (
        "signed_and_displayed",
        START + 180 * DAY,
    )
    assert broker.decide(li.subject_ref)["decision"] is True
    assert broker.api("GET", f"/v1/consents/{visits}/credential").status_code == 404
    granted = broker.logged("consent.granted")
    assert [entry.body["binding_grade"] for entry in granted] == ["code", "code"]
    assert [entry.body["reason"] for entry in broker.logged("consent.refused")] == ["not_signed"]
    assert broker.evidence(base).verdict == "verified"


def test_each_consent_has_a_signature_of_its_own(broker: World, li: Customer) -> None:
    request = li.grant()
    hashes = {
        entry.consent_id: entry.body["evidence"]["presentation"]
        for entry in broker.logged("consent.granted")
    }
    assert len(set(hashes.values())) == 3
    assert set(hashes) == {one["id"] for one in request["consents"]}


def test_the_partner_gets_a_credential_and_the_customer_a_receipt(
    broker: World, li: Customer
) -> None:
    request = li.grant("base")
    base = request["consents"][0]["id"]
    texts = (
        broker.api("GET", f"/v1/consents/{base}/credential").text,
        broker.http.get(f"/c/{page_token(request)}/receipt/{base}").text,
    )
    credential, receipt = (
        verify_credential(
            text,
            anchors=broker.ctx.keys.anchors(),
            now=broker.time[0],
            issuer=PUBLIC_URL,
            status=StatusCheck.BY_CALLER,
        )
        for text in texts
    )
    terms_hash = broker.consent(base)["terms_hash"]
    assert credential.claims["terms_hash"] == receipt.claims["terms_hash"] == terms_hash
    assert credential.status is not None
    assert receipt.status is None
    assert receipt.holder_jwk is None


def test_a_new_grant_supersedes_the_older_one(broker: World, li: Customer) -> None:
    older = li.grant("base")
    broker.advance(60)
    newer = li.grant("base", "visits")
    assert broker.states(older) == ["superseded", "refused", "refused"]
    assert broker.states(newer) == ["granted", "granted", "refused"]
    decision = broker.decide(li.subject_ref)
    assert decision["context"]["consent"] == newer["consents"][0]["id"]
    entry = broker.logged("consent.superseded")[0]
    assert entry.body["by"] == newer["consents"][0]["id"]
    answer = broker.withdrawal(older["consents"][0]["id"])
    assert (answer.status_code, answer.json()["code"]) == (409, "state_conflict")
    assert broker.evidence(older["consents"][0]["id"]).verdict == "verified"


def test_consents_of_another_template_stay(broker: World, li: Customer) -> None:
    first = li.grant("base")
    request = broker.ask(li.subject_ref, broker.template("another"))
    li.sign(request["wallet_link"], "consent_base")
    assert broker.states(first)[0] == "granted"


# Refused


def test_refused_in_the_wallet(broker: World, li: Customer) -> None:
    request = broker.ask(li.subject_ref)
    with pytest.raises(NothingToPresent):
        li.sign(request["wallet_link"], "no_query_of_this_request")
    after = broker.follow(request)
    assert (after["state"], after["wallet_link"]) == ("refused", None)
    assert broker.states(request) == ["refused"] * 3
    reasons = {entry.body["reason"] for entry in broker.logged("consent.refused")}
    assert reasons == {"refused_in_wallet"}


def test_refused_on_the_page(broker: World, li: Customer) -> None:
    request = broker.ask(li.subject_ref)
    consent_page.refuse(broker.ctx, "demo", page_token(request))
    assert broker.states(request) == ["refused"] * 3
    assert {e.body["reason"] for e in broker.logged("consent.refused")} == {"refused_on_page"}
    with pytest.raises(PeerRefused) as late:
        li.sign(request["wallet_link"])
    assert late.value.status == 410
    for again in (
        lambda: consent_page.refuse(broker.ctx, "demo", page_token(request)),
        lambda: consent_page.choose(
            broker.ctx, "demo", page_token(request), {request["consents"][0]["id"]: ["home_city"]}
        ),
    ):
        with pytest.raises(Gone):
            again()


# Over


def test_not_answered_in_time(broker: World, li: Customer) -> None:
    request = broker.ask(li.subject_ref)
    shown = broker.request(request["wallet_link"])
    broker.advance(900)
    assert broker.follow(request)["wallet_link"] is None
    with pytest.raises(PeerRefused) as late:
        li.sign(request["wallet_link"])
    assert late.value.status == 410
    answer = broker.post(shown, {"vp_token": "{}", "state": shown.state or ""})
    assert (answer.status_code, answer.json()["code"]) == (410, "gone")
    assert expire_due(broker.ctx) == 1
    assert broker.follow(request)["state"] == "expired"
    assert broker.states(request) == ["expired"] * 3
    assert expire_due(broker.ctx) == 0


def test_validity_that_is_over_ends_at_once_and_is_written_later(
    broker: World, li: Customer
) -> None:
    request = li.grant("base")
    base = request["consents"][0]["id"]
    broker.advance(180 * DAY - 1)
    assert broker.decide(li.subject_ref)["decision"] is True
    broker.advance(1)
    assert "consent_expired" in broker.reasons(li.subject_ref)
    assert broker.consent(base)["state"] == "expired", "before anything was written"
    assert expire_due(broker.ctx) == 1
    assert broker.logged("consent.expired")[0].consent_id == base
    assert broker.states(request)[0] == "expired"
    assert broker.withdrawal(base).status_code == 409
