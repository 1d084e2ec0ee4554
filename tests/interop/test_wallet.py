"""A wallet that nobody here wrote gives and withdraws consents at a running broker.

`wallet.mjs` is made of npm's @openid4vc/openid4vci and @openid4vc/openid4vp and of jose.
"""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.domain.bundle import pack, unpack
from broker.domain.ids import new_id
from broker.domain.trust import Trust
from credentials.keys import SoftwareKey, thumbprint
from credentials.pki import create_root
from credentials.status import StatusCheck
from credentials.verify import verify_credential
from dev.running import Broker, running_broker
from tests.interop.parties import HERE, Parties, Wallet, parties_of
from tests.npm import installed
from tests.programs import require

CHECKS = [
    *("bundle", "manifest", "terms", "request_objects"),
    *("signatures", "credentials", "log", "story"),
]
ITEMS = ("base", "visits", "singapore")


@pytest.fixture(scope="session")
def node() -> Path:
    """Node, with the wallet's packages installed as the lock file says: once for all workers."""
    node = require("node", "run a wallet that nobody here wrote")
    installed(HERE, "run a wallet that nobody here wrote")
    return node


@pytest.fixture(scope="module")
def parties(broker_server: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parties]:
    with parties_of(broker_server, tmp_path_factory.mktemp("trust")) as made:
        yield made


@pytest.fixture
def wallet(node: Path, parties: Parties, tmp_path: Path) -> Wallet:
    """An empty wallet."""
    return Wallet(node, parties, tmp_path / "wallet.json", new_id("crm"))


@pytest.fixture
def bound(wallet: Wallet) -> Wallet:
    """A wallet that holds its customer's credential, in four copies."""
    invitation = wallet.invite()
    wallet("accept", invitation["offer_uri"], invitation["tx_code"], "4")
    return wallet


def test_it_takes_a_batch_with_the_code_that_the_partner_sent(wallet: Wallet) -> None:
    invitation = wallet.invite()
    wrong = "000000" if invitation["tx_code"] != "000000" else "000001"
    refused = wallet.run("accept", invitation["offer_uri"], wrong, "4")
    assert refused.returncode != 0
    assert "invalid_grant" in refused.stderr
    assert not wallet.state.exists()
    received = wallet("accept", invitation["offer_uri"], invitation["tx_code"], "4")
    assert received["received"] == 4
    assert received["vct"] == f"{wallet.parties.broker.address}/vct/customer/1"
    assert len(set(received["jti"])) == 4
    again = wallet.run("accept", invitation["offer_uri"], invitation["tx_code"], "4")
    assert again.returncode != 0, "a code is redeemed once"


def test_it_takes_the_offer_by_value_and_without_a_code(wallet: Wallet) -> None:
    invitation = wallet.invite(grade="link")
    assert wallet("accept", invitation["offer_by_value"], "", "2")["received"] == 2


def test_it_signs_one_consent_of_three_and_withdraws_it(bound: Wallet, tmp_path: Path) -> None:
    parties = bound.parties
    request = bound.ask()
    base = request["consents"][0]["id"]
    assert parties.decide(bound.subject_ref)["decision"] is False

    answered = bound("answer", request["wallet_link"], "consent_base")

    assert (answered["status"], answered["client"], answered["signed"]) == (200, "x509_hash", True)
    assert answered["walletNonce"], "fetched by POST, with a nonce of the wallet's own inside"
    assert [data["credential_ids"] for data in answered["shown"]] == [
        [f"consent_{item}"] for item in ITEMS
    ]
    consent = parties.consent(base)
    assert answered["shown"][0]["type"] == "urn:consent-broker:consent:1"
    assert answered["shown"][0]["terms"] == consent["terms"], "what was shown is what is kept"
    assert consent["grade"] == "signed_and_displayed"
    assert parties.states(request) == ["granted", "refused", "refused"]
    _is_the_partners(parties, base)
    permit = parties.decide(bound.subject_ref)
    assert permit["decision"] is True
    assert permit["context"]["consent"] == base

    asked = bound.withdrawal(base)
    withdrawn = bound("answer", asked["wallet_link"], "same_key")

    assert withdrawn["status"] == 200
    assert {data["type"] for data in withdrawn["shown"]} == {"urn:consent-broker:withdrawal:1"}
    assert {data["consent_id"] for data in withdrawn["shown"]} == {base}
    assert {data["terms_hash"] for data in withdrawn["shown"]} == {consent["terms_hash"]}
    after = parties.consent(base)
    assert (after["state"], after["withdrawal_grade"]) == ("withdrawn", "same_key")
    denial = parties.decide(bound.subject_ref)
    assert denial["decision"] is False
    assert "consent_withdrawn" in [reason["code"] for reason in denial["context"]["reasons"]]

    _verifies_and_no_forgery_does(parties, parties.evidence(base, tmp_path), tmp_path)


def _is_the_partners(parties: Parties, consent_id: str) -> None:
    credential = verify_credential(
        parties.partner.get(f"/v1/consents/{consent_id}/credential").text,
        anchors=parties.trust.roots,
        now=int(time.time()),
        issuer=parties.broker.address,
        vct=f"{parties.broker.address}/vct/consent/1",
        status=StatusCheck.BY_CALLER,
    )
    assert credential.claims["consent_id"] == consent_id
    assert credential.claims["terms_hash"] == parties.consent(consent_id)["terms_hash"]
    clients = json.loads((parties.broker.home / "demo-clients.json").read_text())
    partner_key = SoftwareKey.from_private_jwk(clients["partner"]["private_jwk"])
    assert credential.holder_jwk is not None
    assert thumbprint(credential.holder_jwk) == thumbprint(partner_key.public_jwk())


def _verifies_and_no_forgery_does(parties: Parties, path: Path, folder: Path) -> None:
    code, report = parties.verify(path)
    assert (code, report["verdict"]) == (0, "verified"), report
    assert [check["code"] for check in report["checks"]] == CHECKS
    assert "grant signed" in report["checks"][4]["found"]
    assert "withdrawal signed" in report["checks"][4]["found"]

    files = unpack(path.read_bytes())
    forged = folder / "forged.zip"
    terms = files["terms.json"].replace(b'"CN"', b'"SG"')
    assert terms != files["terms.json"]
    forged.write_bytes(pack({**files, "terms.json": terms}))
    code, report = parties.verify(forged)
    assert (code, report["failure"]["code"]) == (1, "manifest")
    assert "terms.json" in report["failure"]["found"]

    strangers = folder / "strangers.json"
    root = create_root("Another root", SoftwareKey.generate(), int(time.time()) - 60)
    strangers.write_text(json.dumps(Trust((root,), parties.trust.logs).to_json()))
    code, report = parties.verify(path, strangers)
    assert (code, report["verdict"], report["failure"]["code"]) == (1, "failed", "manifest")


def test_it_withdraws_with_another_copy_of_the_customer(bound: Wallet, tmp_path: Path) -> None:
    request = bound.ask()
    base = request["consents"][0]["id"]
    bound("answer", request["wallet_link"], "consent_base:0")
    asked = bound.withdrawal(base)
    assert bound("answer", asked["wallet_link"], "other_key:1")["status"] == 200
    after = bound.parties.consent(base)
    assert (after["state"], after["withdrawal_grade"]) == ("withdrawn", "bound_key")
    assert bound.parties.decide(bound.subject_ref)["decision"] is False
    assert bound.parties.verify(bound.parties.evidence(base, tmp_path))[0] == 0


def test_another_customer_cannot_withdraw(bound: Wallet, node: Path, tmp_path: Path) -> None:
    request = bound.ask()
    base = request["consents"][0]["id"]
    bound("answer", request["wallet_link"], "consent_base")
    stranger = Wallet(node, bound.parties, tmp_path / "stranger.json", new_id("crm"))
    invitation = stranger.invite()
    stranger("accept", invitation["offer_uri"], invitation["tx_code"], "1")
    asked = bound.withdrawal(base)
    refused = stranger("answer", asked["wallet_link"], "other_key")
    assert (refused["status"], refused["body"]["code"]) == (400, "not_the_signer")
    assert bound.parties.consent(base)["state"] == "granted"
    assert bound.parties.decide(bound.subject_ref)["decision"] is True


def test_it_answers_the_unsigned_link_of_development(bound: Wallet, tmp_path: Path) -> None:
    request = bound.ask()
    answered = bound("answer", request["development_link"], "consent_base", "consent_visits")
    assert (answered["status"], answered["client"]) == (200, "redirect_uri")
    assert answered["signed"] is False
    assert bound.parties.states(request) == ["granted", "granted", "refused"]
    path = bound.parties.evidence(request["consents"][0]["id"], tmp_path)
    assert bound.parties.verify(path)[0] == 0


def test_it_fetches_the_request_by_get(bound: Wallet) -> None:
    request = bound.ask()
    link = request["wallet_link"].replace("&request_uri_method=post", "")
    assert link != request["wallet_link"]
    answered = bound("answer", link, *(f"consent_{item}" for item in ITEMS))
    assert (answered["status"], answered["signed"]) == (200, True)
    assert answered["walletNonce"] is False
    assert bound.parties.states(request) == ["granted", "granted", "granted"]
    late = bound.run("answer", link, "consent_base")
    assert late.returncode != 0
    assert "410" in late.stderr, "a request that was answered is served no more"


def test_it_refuses(bound: Wallet) -> None:
    request = bound.ask()
    refused = bound("refuse", request["wallet_link"], "access_denied")
    assert refused["status"] == 200
    assert bound.parties.states(request) == ["refused", "refused", "refused"]
    assert bound.parties.decide(bound.subject_ref)["decision"] is False


def test_one_that_knows_no_such_transaction_data_signs_the_terms_by_the_nonce(
    bound: Wallet, tmp_path: Path
) -> None:
    request = bound.ask()
    first = bound("refuse", request["wallet_link"], "invalid_transaction_data")
    assert first["status"] == 200
    for _ in ITEMS:
        waiting = bound.parties.partner.get(f"/v1/consent-requests/{request['id']}").json()
        answered = bound("answer", waiting["wallet_link"], *(f"consent_{item}" for item in ITEMS))
        assert (answered["status"], answered["shown"], len(answered["answered"])) == (200, [], 1)
    assert bound.parties.states(request) == ["granted", "granted", "granted"]
    base = request["consents"][0]["id"]
    assert bound.parties.consent(base)["grade"] == "bound_not_displayed"
    asked = bound.withdrawal(base)
    assert bound("answer", asked["wallet_link"], "same_key")["shown"] == []
    assert bound.parties.consent(base)["state"] == "withdrawn"
    assert bound.parties.verify(bound.parties.evidence(base, tmp_path))[0] == 0


def test_it_encrypts_its_answer_where_that_is_asked_for(node: Path, tmp_path: Path) -> None:
    told = {"BROKER_RESPONSE_MODE": "direct_post.jwt"}
    with (
        running_broker(tmp_path, told) as broker,
        parties_of(broker, tmp_path) as parties,
    ):
        wallet = Wallet(node, parties, tmp_path / "wallet.json", new_id("crm"))
        invitation = wallet.invite()
        wallet("accept", invitation["offer_uri"], invitation["tx_code"], "2")
        request = wallet.ask()
        answered = wallet("answer", request["wallet_link"], "consent_base")
        assert answered["status"] == 200, answered
        assert answered["encrypted"] in {"A128GCM", "A256GCM"}
        assert parties.states(request) == ["granted", "refused", "refused"]


def test_the_strict_profile_from_the_first_offer_to_the_consent(node: Path, tmp_path: Path) -> None:
    """HAIP 1.0, its way: pushed authorization code, PKCE, DPoP, x509_hash, direct_post.jwt."""
    told = {
        "BROKER_PROFILE": "strict",
        "BROKER_DEMONSTRATION": "on",
        "BROKER_WALLETS": "wallet.interop https://wallet.interop.example/cb",
    }
    with (
        running_broker(tmp_path, told) as broker,
        parties_of(broker, tmp_path) as parties,
    ):
        wallet = Wallet(node, parties, tmp_path / "wallet.json", new_id("crm"))
        invitation = wallet.invite()
        without = wallet.run("accept", invitation["offer_uri"], invitation["tx_code"], "2")
        assert without.returncode != 0, "a token that is bound to nothing"
        assert "invalid_dpop_proof" in without.stderr
        received = wallet("authorize", invitation["offer_uri"], invitation["tx_code"], "2")
        assert (received["received"], received["token"]) == (2, "DPoP")
        assert received["pushed"].startswith("urn:ietf:params:oauth:request_uri:")
        assert (received["challenge"], received["iss"]) == ("S256", broker.address)
        request = wallet.ask()
        answered = wallet("answer", request["wallet_link"], "consent_base")
        assert (answered["status"], answered["client"]) == (200, "x509_hash"), answered
        assert answered["encrypted"] in {"A128GCM", "A256GCM"}
        assert parties.states(request) == ["granted", "refused", "refused"]
        assert parties.decide(wallet.subject_ref)["decision"] is True
