"""What the customer chose on the page, how an unknowing wallet binds it, and who may sign it."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from broker.domain.errors import InvalidRequest, InvalidTerms
from broker.usecases import consent_page, presentation
from tests.broker.flow_world import ITEMS, Customer, World, world
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.loopback import HeldCredential, PresentationRequest
from wallet_adapters.loopback.errors import NothingToPresent, PeerRefused, TransactionDataUnknown
from wallet_adapters.openid4vp.dcql import CredentialQuery


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


# The page narrows


def test_what_is_ticked_narrows_the_terms(broker: World, li: Customer) -> None:
    request = broker.ask(li.subject_ref)
    base = request["consents"][0]["id"]
    wide = broker.request(request["wallet_link"])
    asked = consent_page.choose(
        broker.ctx, "demo", page_token(request), {base: ["purchase_count_12m"]}, "a session"
    )
    assert broker.follow(request)["wallet_link"] == asked.wallet_link
    shown = broker.request(asked.wallet_link)
    assert [query.id for query in shown.dcql.credentials] == ["consent_base"]
    attributes = shown.transaction_data[0].content["terms"]["attributes"]
    assert [attribute["id"] for attribute in attributes] == ["purchase_count_12m"]
    before = broker.consent(base)
    li.sign(asked.wallet_link)
    after = broker.consent(base)
    assert after["terms"] == shown.transaction_data[0].content["terms"]
    assert after["terms_hash"] != before["terms_hash"]
    assert broker.states(request) == ["granted", "refused", "refused"]
    assert broker.reasons(li.subject_ref, attribute="home_city") == ["attribute_outside_terms"]
    assert broker.evidence(base).verdict == "verified"
    late = broker.post(wide, {"vp_token": "{}", "state": wide.state or ""})
    assert late.status_code == 410, "the wide request was replaced"


def test_what_cannot_be_ticked(broker: World, li: Customer) -> None:
    request = broker.ask(li.subject_ref)
    other = broker.ask(li.subject_ref)
    base = request["consents"][0]["id"]
    before = broker.rows()
    for chosen, error in (
        ({}, InvalidRequest),
        ({base: []}, InvalidRequest),
        ({other["consents"][0]["id"]: ["purchase_count_12m"]}, InvalidRequest),
        ({base: ["home_city"]}, InvalidTerms),  # what is required is left out
        ({base: ["purchase_count_12m", "id_number"]}, InvalidTerms),  # never asked for
    ):
        with pytest.raises(error):
            consent_page.choose(broker.ctx, "demo", page_token(request), chosen)
    assert broker.rows() == before


def test_the_response_code_is_good_in_the_browser_that_chose(broker: World, li: Customer) -> None:
    request = broker.ask(li.subject_ref)
    token = page_token(request)
    chosen = {request["consents"][0]["id"]: ["purchase_count_12m"]}
    asked = consent_page.choose(broker.ctx, "demo", token, chosen, "session of this browser")
    sent_to = li.sign(asked.wallet_link)
    assert sent_to is not None
    assert paths(sent_to) == f"/c/{token}/done"
    code = parse_qs(urlsplit(sent_to).query)["response_code"][0]

    def finish(code: str, session: str | None) -> bool:
        return presentation.finish(broker.ctx, "demo", token, code, session)

    assert finish(code, "session of this browser")
    assert not finish(code, "session of another browser")
    assert not finish(code, None)
    assert not finish("another code", "session of this browser")
    other = page_token(broker.ask(li.subject_ref))
    assert not presentation.finish(broker.ctx, "demo", other, code, "session of this browser")


# The wallet that does not know our transaction data


def fall_back(broker: World, li: Customer, request: dict[str, object]) -> None:
    with pytest.raises(TransactionDataUnknown):
        li.sign(str(request["wallet_link"]), known_types=())


def test_the_fallback_binds_each_consent_through_a_nonce_of_its_own(
    broker: World, li: Customer
) -> None:
    request = broker.ask(li.subject_ref)
    fall_back(broker, li, request)
    nonces = set()
    for left in (3, 2, 1):
        waiting = broker.follow(request)
        assert waiting["state"] == "open"
        shown = broker.request(waiting["wallet_link"])
        assert shown.transaction_data == ()
        assert len(shown.dcql.credentials) == 1
        nonces.add(shown.nonce)
        assert broker.states(request).count("requested") == left
        li.sign(waiting["wallet_link"], known_types=())
    assert len(nonces) == 3
    assert broker.follow(request)["state"] == "answered"
    assert broker.states(request) == ["granted"] * 3
    base = request["consents"][0]["id"]
    assert broker.consent(base)["grade"] == "bound_not_displayed"
    assert broker.evidence(base).verdict == "verified"
    assert broker.decide(li.subject_ref)["decision"] is True


def test_in_the_fallback_one_consent_is_refused_by_itself(broker: World, li: Customer) -> None:
    request = broker.ask(li.subject_ref)
    fall_back(broker, li, request)
    for sign in (True, False, True):
        link = broker.follow(request)["wallet_link"]
        if sign:
            li.sign(link)
        else:
            with pytest.raises(NothingToPresent):
                li.sign(link, "none")
    assert broker.follow(request)["state"] == "answered"
    assert sorted(broker.states(request)) == ["granted", "granted", "refused"]


def test_in_the_fallback_everything_may_be_refused(broker: World, li: Customer) -> None:
    request = broker.ask(li.subject_ref)
    fall_back(broker, li, request)
    for _ in ITEMS:
        with pytest.raises(NothingToPresent):
            li.sign(broker.follow(request)["wallet_link"], "none")
    assert broker.follow(request)["state"] == "refused"
    assert broker.states(request) == ["refused"] * 3


def test_the_page_may_narrow_what_is_left_of_a_fallback(broker: World, li: Customer) -> None:
    request = broker.ask(li.subject_ref)
    token, ids = page_token(request), [one["id"] for one in request["consents"]]
    chosen = {ids[0]: ["purchase_count_12m"]}
    asked = consent_page.choose(broker.ctx, "demo", token, chosen, "a session")
    fall_back(broker, li, {"wallet_link": asked.wallet_link})
    state = consent_page.page(broker.ctx, "demo", token)
    assert state.presentation is not None
    assert state.presentation.session_hash is not None, "the fallback stays this browser's"
    li.sign(broker.follow(request)["wallet_link"])
    attributes = broker.consent(ids[0])["terms"]["attributes"]
    assert [attribute["id"] for attribute in attributes] == ["purchase_count_12m"]


def test_a_template_may_forbid_the_fallback(broker: World, li: Customer) -> None:
    name = broker.template("strict", allow_bound_signature=False)
    request = broker.ask(li.subject_ref, name)
    fall_back(broker, li, request)
    assert broker.logged("presentation.fallback") == []
    rejected = broker.logged("presentation.rejected")
    assert (rejected[0].body["code"], rejected[0].body["error"]) == (
        "wallet_error",
        "invalid_transaction_data",
    )
    li.sign(request["wallet_link"], "consent_base")
    assert broker.states(request)[0] == "granted", "a wallet that can may still sign"


# Who signs


def test_a_contact_that_is_bound_too_weakly_cannot_sign(broker: World) -> None:
    name = broker.template("serious", minimum_grade="verified_person")
    weak = broker.customer("crm-1", "code")
    request = broker.ask(weak.subject_ref, name)
    with pytest.raises(PeerRefused):
        weak.sign(request["wallet_link"])
    assert broker.logged("presentation.rejected")[-1].body["code"] == "binding_too_weak"
    assert broker.states(request) == ["requested"] * 3
    strong = broker.customer("crm-2", "verified_person")
    request = broker.ask(strong.subject_ref, name)
    strong.sign(request["wallet_link"])
    assert broker.states(request) == ["granted"] * 3


def test_a_forwarded_code_does_not_sign_for_another_contact(broker: World, li: Customer) -> None:
    friend = broker.customer("crm-2")
    request = broker.ask(li.subject_ref)
    with pytest.raises(PeerRefused):
        friend.sign(request["wallet_link"])
    assert broker.logged("presentation.rejected")[-1].body["code"] == "subject_mismatch"
    assert broker.states(request) == ["requested"] * 3
    li.sign(request["wallet_link"], "consent_base")
    assert broker.states(request)[0] == "granted", "the request was still open to its customer"
    assert broker.decide(friend.subject_ref)["decision"] is False


def test_a_contact_without_a_wallet_cannot_be_signed_for(broker: World, li: Customer) -> None:
    request = broker.ask("crm-unbound")
    with pytest.raises(PeerRefused):
        li.sign(request["wallet_link"])
    assert broker.logged("presentation.rejected")[-1].body["code"] == "contact_not_bound"
    assert broker.states(request) == ["requested"] * 3


def test_copies_that_were_replaced_sign_nothing(broker: World, li: Customer) -> None:
    old = list(li.wallet.credentials)
    new = broker.bind(li, "verified_person", rebind=True)

    def choosing(
        copies: list[HeldCredential],
    ) -> dict[str, object]:
        def choose(_query: CredentialQuery, _matching: object) -> HeldCredential:
            return copies[0]

        return {"choose": choose}

    request = broker.ask(li.subject_ref)
    with pytest.raises(PeerRefused):
        li.sign(request["wallet_link"], **choosing(old))
    assert broker.logged("presentation.rejected")[-1].body["code"] == "credential_superseded"
    li.sign(request["wallet_link"], "consent_base", **choosing(new))
    assert broker.states(request)[0] == "granted"


def test_a_careful_wallet_refuses_a_link_of_somebody_else(broker: World, li: Customer) -> None:
    first, second = broker.ask(li.subject_ref), broker.ask(li.subject_ref)
    mixed = first["wallet_link"].replace("x509_hash", "x509_hasH")
    with pytest.raises(WalletProtocolError):
        li.sign(mixed)
    assert broker.states(first) == broker.states(second) == ["requested"] * 3


def test_the_development_link_is_unsigned_and_not_there_in_production(
    broker: World, li: Customer, tmp_path: Path
) -> None:
    request = broker.ask(li.subject_ref)
    li.sign(request["development_link"], "consent_base", allow_unsigned=True)
    assert broker.states(request)[0] == "granted"
    assert broker.evidence(request["consents"][0]["id"]).verdict == "verified"
    with world(tmp_path / "production", development=False) as production:
        customer = production.customer()
        request = production.ask(customer.subject_ref)
        assert request["development_link"] is None
        customer.sign(request["wallet_link"], "consent_base")
        assert production.states(request)[0] == "granted"


def test_the_log_that_lags_behind_grants_nothing(broker: World, li: Customer) -> None:
    request = broker.ask(li.subject_ref)
    shown: PresentationRequest = broker.request(request["wallet_link"])
    broker.time[0] += 61
    answer = broker.http.post(shown.response_uri, data={"vp_token": "{}"})
    assert (answer.status_code, answer.json()["code"]) == (503, "log_unavailable")
    assert answer.json()["error"] == "temporarily_unavailable"
    assert answer.headers["retry-after"]
    broker.advance()
    li.sign(request["wallet_link"], "consent_base")
    assert broker.states(request)[0] == "granted"
