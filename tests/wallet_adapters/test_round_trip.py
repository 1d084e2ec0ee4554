"""The loopback wallet and the server side, message for message, in one process."""

import json

import pytest

from credentials.jcs import b64url
from credentials.keys import SoftwareKey, thumbprint
from credentials.pki import create_root
from credentials.sdjwt import parse
from tests.wallet_adapters.parties import CONFIGURATION, NOW, URL, VCT, Authority, Broker
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.loopback import Wallet, accept_offer, answer_request
from wallet_adapters.loopback.errors import NothingToPresent, OfferRefused, PeerRefused
from wallet_adapters.openid4vp import (
    ClaimsQuery,
    CredentialQuery,
    CredentialSet,
    DcqlQuery,
    encode_transaction_data,
    fallback_nonce,
    optional_each,
    transaction_data_hash,
    verify_fallback_nonce,
)
from wallet_adapters.openid4vp.trusted_authorities import authorities_of
from wallet_adapters.wire import parse_form

CONSENT = "urn:consent-broker:consent:1"


def consent(query_id: str, **terms: object) -> str:
    return encode_transaction_data(
        {
            "type": CONSENT,
            "credential_ids": [query_id],
            "transaction_data_hashes_alg": ["sha-256"],
            "terms": terms,
        }
    )


def query(query_id: str, *paths: str) -> CredentialQuery:
    claims = tuple(ClaimsQuery((path,)) for path in paths)
    return CredentialQuery(query_id, (VCT,), claims=claims)


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def wallet(broker: Broker) -> Wallet:
    wallet = Wallet(anchors=[broker.authority.root])
    accept_offer(wallet, broker.offer.by_value(), carry=broker.carry, now=NOW, copies=3)
    return wallet


@pytest.mark.parametrize("identifiers", [False, True])
@pytest.mark.parametrize("by_reference", [False, True])
@pytest.mark.parametrize("tx_code", [None, "493536"])
def test_an_offer_becomes_a_batch_of_copies(
    tx_code: str | None, *, by_reference: bool, identifiers: bool
) -> None:
    broker = Broker(tx_code=tx_code, identifiers=identifiers)
    wallet = Wallet(anchors=[broker.authority.root])
    link = broker.offer.by_reference(f"{URL}/offer") if by_reference else broker.offer.by_value()
    received = accept_offer(wallet, link, carry=broker.carry, now=NOW, tx_code=tx_code, copies=3)
    assert wallet.credentials == received
    assert len({thumbprint(held.key.public_jwk()) for held in received}) == 3
    assert len({held.claims()["jti"] for held in received}) == 3
    assert {held.configuration_id for held in received} == {CONFIGURATION}
    assert not broker.nonces, "the nonce is spent"


def test_a_wallet_takes_no_more_copies_than_the_batch_allows() -> None:
    broker = Broker(batch_size=2)
    wallet = Wallet(anchors=[broker.authority.root])
    link = broker.offer.by_value()
    assert len(accept_offer(wallet, link, carry=broker.carry, now=NOW, copies=9)) == 2


def test_a_missing_transaction_code_is_noticed_before_anything_is_sent() -> None:
    broker = Broker(tx_code="493536")
    wallet = Wallet(anchors=[broker.authority.root])
    with pytest.raises(OfferRefused):
        accept_offer(wallet, broker.offer.by_value(), carry=broker.carry, now=NOW)
    assert not any(message.url.endswith("/token") for message in broker.messages)


def test_a_wrong_transaction_code_is_an_invalid_grant() -> None:
    broker = Broker(tx_code="493536")
    wallet = Wallet(anchors=[broker.authority.root])
    with pytest.raises(PeerRefused) as refused:
        accept_offer(wallet, broker.offer.by_value(), carry=broker.carry, now=NOW, tx_code="493537")
    assert refused.value.error == "invalid_grant"
    assert wallet.credentials == []


@pytest.mark.parametrize("post", [False, True])
def test_a_consent_is_signed(broker: Broker, wallet: Wallet, *, post: bool) -> None:
    broker.post = post
    entry = consent("c1", purpose="dpv:ServicePersonalisation#algo:churn-v3@1")
    link = broker.ask(DcqlQuery((query("c1", "city"),)), [entry])
    answer = answer_request(wallet, link, carry=broker.carry, now=NOW)
    assert answer == f"{URL}/done?response_code=abc123"
    presentation = broker.verified["c1"]
    assert presentation.transaction_data_hashes == (transaction_data_hash(entry),)
    assert presentation.audience.startswith("x509_hash:")
    assert presentation.credential.claims["city"] == "Ghent"
    assert "binding_grade" not in presentation.credential.claims, "nobody asked for it"


def test_each_consent_is_signed_for_itself_and_may_be_withheld(
    broker: Broker, wallet: Wallet
) -> None:
    entries = [consent(name, purpose=name) for name in ("c1", "c2", "c3")]
    link = broker.ask(optional_each([query("c1"), query("c2"), query("c3")]), entries)
    answer_request(wallet, link, carry=broker.carry, now=NOW, grant={"c1", "c3"})
    assert set(broker.verified) == {"c1", "c3"}
    assert broker.verified["c1"].transaction_data_hashes == (transaction_data_hash(entries[0]),)
    assert broker.verified["c3"].transaction_data_hashes == (transaction_data_hash(entries[2]),)
    thumbprints = {found.holder_thumbprint for found in broker.verified.values()}
    assert len(thumbprints) == 2, "separate consents are signed by separate copies"


def test_the_holder_decides_on_seeing_the_request(broker: Broker, wallet: Wallet) -> None:
    link = broker.ask(optional_each([query("c1"), query("c2")]), [consent("c1"), consent("c2")])
    answer_request(
        wallet,
        link,
        carry=broker.carry,
        now=NOW,
        grant=lambda request: [
            entry.credential_ids[0] for entry in request.transaction_data if entry.type == CONSENT
        ][:1],
    )
    assert set(broker.verified) == {"c1"}


def test_a_copy_is_asked_for_by_its_jti(broker: Broker, wallet: Wallet) -> None:
    wanted = wallet.credentials[2].claims()["jti"]
    by_jti = CredentialQuery("c1", (VCT,), claims=(ClaimsQuery(("jti",), values=(wanted,)),))
    answer_request(wallet, broker.ask(DcqlQuery((by_jti,))), carry=broker.carry, now=NOW)
    assert broker.verified["c1"].credential.claims["jti"] == wanted
    assert [held.uses for held in wallet.credentials] == [0, 0, 1]


def test_a_credential_is_not_shown_to_who_trusts_another_root(
    broker: Broker, wallet: Wallet
) -> None:
    another = create_root("Another root", SoftwareKey.generate(), NOW)
    for roots, shown in (((another,), False), ((another, *wallet.anchors), True)):
        named = CredentialQuery("c1", (VCT,), trusted_authorities=authorities_of(roots))
        link = broker.ask(DcqlQuery((named,)))
        if shown:
            answer_request(wallet, link, carry=broker.carry, now=NOW)
            assert "c1" in broker.verified
        else:
            with pytest.raises(NothingToPresent):
                answer_request(wallet, link, carry=broker.carry, now=NOW)


def test_granting_nothing_tells_the_verifier_no(broker: Broker, wallet: Wallet) -> None:
    link = broker.ask(optional_each([query("c1")]), [consent("c1")])
    with pytest.raises(NothingToPresent):
        answer_request(wallet, link, carry=broker.carry, now=NOW, grant=())
    assert broker.refusal is not None
    assert broker.refusal.error == "access_denied"
    assert not broker.refusal.transaction_data_unknown


def test_a_required_query_cannot_be_left_out(broker: Broker, wallet: Wallet) -> None:
    required = CredentialSet(options=(("c1",),))
    optional = CredentialSet(options=(("c2",),), required=False)
    link = broker.ask(DcqlQuery((query("c1"), query("c2")), (required, optional)))
    with pytest.raises(NothingToPresent):
        answer_request(wallet, link, carry=broker.carry, now=NOW, grant={"c2"})


def test_an_unsigned_request_goes_by_value_in_development(broker: Broker, wallet: Wallet) -> None:
    link = broker.ask(optional_each([query("c1", "city")]), [consent("c1", a="ü")], unsigned=True)
    answer_request(wallet, link, carry=broker.carry, now=NOW, allow_unsigned=True)
    assert broker.verified["c1"].audience == f"redirect_uri:{URL}/response"


def test_the_wallet_survives_being_written_down(broker: Broker, wallet: Wallet) -> None:
    restored = Wallet.from_json(wallet.to_json())
    assert restored == wallet
    link = broker.ask(DcqlQuery((query("c1"),)))
    answer_request(restored, link, carry=broker.carry, now=NOW)
    assert set(broker.verified) == {"c1"}


def test_the_wallet_posts_its_nonce_and_what_it_can(broker: Broker, wallet: Wallet) -> None:
    answer_request(wallet, broker.ask(DcqlQuery((query("c1"),))), carry=broker.carry, now=NOW)
    fetched = next(message for message in broker.messages if message.url == f"{URL}/request")
    form = parse_form(fetched.body)
    assert len(form["wallet_nonce"]) >= 16
    assert "dc+sd-jwt" in json.loads(form["wallet_metadata"])["vp_formats_supported"]


def test_a_claim_set_is_met_by_its_first_possible_option(broker: Broker, wallet: Wallet) -> None:
    either = CredentialQuery(
        "c1",
        (VCT,),
        claims=(ClaimsQuery(("street",), id="s"), ClaimsQuery(("city",), id="c")),
        claim_sets=(("s",), ("c",)),
    )
    answer_request(wallet, broker.ask(DcqlQuery((either,))), carry=broker.carry, now=NOW)
    assert broker.verified["c1"].credential.claims["city"] == "Ghent"
    assert len(parse(broker.verified["c1"].raw).disclosures) == 1


def test_of_two_ways_the_first_possible_one_is_gone(broker: Broker, wallet: Wallet) -> None:
    same = CredentialQuery("same_key", (VCT,), claims=(ClaimsQuery(("jti",), values=("gone",)),))
    either = CredentialSet(options=(("same_key",), ("other_key",)))
    link = broker.ask(
        DcqlQuery((same, query("other_key")), (either,)),
        [consent("same_key"), consent("other_key")],
    )
    answer_request(wallet, link, carry=broker.carry, now=NOW)
    assert set(broker.verified) == {"other_key"}
    both = DcqlQuery((query("same_key"), query("other_key")), (either,))
    answer_request(wallet, broker.ask(both), carry=broker.carry, now=NOW)
    assert set(broker.verified) == {"same_key"}


def test_a_wallet_without_transaction_data_signs_by_the_nonce(
    broker: Broker, wallet: Wallet
) -> None:
    link = broker.ask(DcqlQuery((query("c1"),)), [consent("c1", purpose="p")])
    with pytest.raises(WalletProtocolError) as refused:
        answer_request(wallet, link, carry=broker.carry, now=NOW, known_types=())
    assert refused.value.code == "transaction_data_type_unknown"
    assert broker.refusal is not None
    assert broker.refusal.transaction_data_unknown
    assert broker.refusal.state == broker.request["state"]

    terms = b64url(b'{"purpose":"p"}')
    made = fallback_nonce(terms)
    link = broker.ask(DcqlQuery((query("c1"),)), nonce=made.nonce)
    answer_request(wallet, link, carry=broker.carry, now=NOW, known_types=())
    verified = broker.verified["c1"]
    assert verify_fallback_nonce(verified.nonce, terms, made.random).nonce == made.nonce
    assert verified.transaction_data_hashes == ()


def test_a_credential_of_another_authority_is_worth_nothing(broker: Broker) -> None:
    wallet = Wallet(anchors=[broker.authority.root])
    stranger = Broker(authority=Authority("Other root"))
    with pytest.raises(WalletProtocolError, match="does not verify") as refused:
        accept_offer(wallet, stranger.offer.by_value(), carry=stranger.carry, now=NOW)
    assert refused.value.code == "credential_refused"
