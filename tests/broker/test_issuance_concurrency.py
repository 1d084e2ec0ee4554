"""What must happen once happens once, on both databases, whoever else tries at the same time."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import orjson
import pytest

from broker.domain.consent import BindingGrade
from broker.store import contacts
from broker.store.acting import acting_for
from broker.usecases.invitation import Opened, open_invitation
from broker.usecases.issuance import issue_customer_credentials
from broker.usecases.nonces import new_nonce
from broker.usecases.redemption import redeem_pre_authorized_code
from broker.usecases.status import allocate, mark_changed, published
from credentials.jcs import b64url
from credentials.keys import SoftwareKey
from tests.broker.issuance_world import OFFICER, PARTNER, World, world
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.openid4vci import PreAuthorizedCodeRequest, parse_offer_link

AT_ONCE = 12


@pytest.fixture(params=["sqlite", "postgresql"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    url = request.getfixturevalue("postgres_database") if request.param == "postgresql" else ""
    with world(tmp_path, url) as made:
        yield made


def code_of(opened: Opened) -> PreAuthorizedCodeRequest:
    offer = parse_offer_link(opened.offer_by_value)
    assert not isinstance(offer, str)
    return PreAuthorizedCodeRequest(offer.pre_authorized_code, opened.tx_code)


def invited(broker: World, subject_ref: str = "crm-1", *, rebind: bool = False) -> str:
    """The hash of the token of a wallet that has redeemed an invitation."""
    return redeemed(broker, subject_ref, rebind=rebind)[1]


def all_live(broker: World, count: int, *, rebind: bool = False) -> list[str]:
    """Hashes of tokens for so many invitations of one contact.

    A newer invitation ends the token of the older; here each has one still, so that binding is
    seen to stand by itself.
    """
    opened = [redeemed(broker, rebind=rebind)[0] for _ in range(count)]
    tokens = [broker.token(one, "wallet")["Authorization"] for one in opened]
    return [b64url(sha256(one.removeprefix("Bearer ").encode()).digest()) for one in tokens]


def redeemed(broker: World, subject_ref: str = "crm-1", *, rebind: bool = False) -> tuple[str, str]:
    """An invitation that a wallet has redeemed, and the hash of its token."""
    opened = open_invitation(
        broker.ctx,
        "demo",
        PARTNER,
        subject_ref,
        BindingGrade.LINK,
        rebind=rebind,
        opened_by=OFFICER,
    )
    token = redeem_pre_authorized_code(broker.ctx, "demo", code_of(opened)).access_token
    return opened.invitation_id, b64url(sha256(token.encode()).digest())


def body(broker: World, nonce: str, *keys: SoftwareKey) -> bytes:
    proofs = [broker.proof(nonce, key) for key in keys]
    return orjson.dumps(
        {"credential_configuration_id": "customer_credential", "proofs": {"jwt": proofs}}
    )


def issue_at_once(broker: World, requests: list[tuple[str, bytes]]) -> list[str]:
    """Send credential requests at the same time; "issued" or the code of each refusal."""

    async def one(token_hash: str, content: bytes) -> str:
        try:
            await issue_customer_credentials(broker.ctx, "demo", token_hash, content)
        except WalletProtocolError as problem:
            return problem.code
        return "issued"

    async def every() -> list[str]:
        return list(await asyncio.gather(*(one(*request) for request in requests)))

    return asyncio.run(every())


def key() -> SoftwareKey:
    return SoftwareKey.generate("ES256")


def test_an_offer_is_redeemed_once(broker: World) -> None:
    opened = open_invitation(broker.ctx, "demo", PARTNER, "crm-1", BindingGrade.LINK)
    request = code_of(opened)

    @acting_for("demo")
    def redeem(_: int) -> str:
        try:
            redeem_pre_authorized_code(broker.ctx, "demo", request)
        except WalletProtocolError as problem:
            return problem.error
        return "redeemed"

    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = sorted(pool.map(redeem, range(AT_ONCE)))
    assert outcomes == ["invalid_grant"] * (AT_ONCE - 1) + ["redeemed"]
    assert len(broker.logged("invitation.refused")) == AT_ONCE - 1


def test_wrong_codes_at_once_get_five_tries_together(broker: World) -> None:
    opened = open_invitation(broker.ctx, "demo", PARTNER, "crm-1", BindingGrade.CODE)
    wrong = "000000" if opened.tx_code != "000000" else "111111"
    request = PreAuthorizedCodeRequest(code_of(opened).pre_authorized_code, wrong)

    @acting_for("demo")
    def redeem(_: int) -> str:
        with pytest.raises(WalletProtocolError) as caught:
            redeem_pre_authorized_code(broker.ctx, "demo", request)
        return caught.value.code

    with ThreadPoolExecutor(AT_ONCE) as pool:
        outcomes = list(pool.map(redeem, range(AT_ONCE)))
    assert outcomes.count("tx_code_wrong") == 5
    with broker.ctx.db.reading() as tx:
        assert contacts.invitation(tx, "demo", opened.invitation_id).state == "locked"


def test_a_nonce_is_spent_once(broker: World) -> None:
    nonce = new_nonce(broker.ctx, "demo")
    requests = [
        (invited(broker, f"crm-{number}"), body(broker, nonce, key())) for number in range(AT_ONCE)
    ]
    outcomes = sorted(issue_at_once(broker, requests))
    assert outcomes == ["issued"] + ["proof_nonce_invalid"] * (AT_ONCE - 1)
    assert len(broker.copies()) == len(broker.logged("contact.bound")) == 1


def test_a_key_is_bound_once(broker: World) -> None:
    shared = key()
    requests = [
        (
            invited(broker, f"crm-{number}"),
            body(broker, new_nonce(broker.ctx, "demo"), key(), shared),
        )
        for number in range(AT_ONCE)
    ]
    outcomes = sorted(issue_at_once(broker, requests))
    assert outcomes == ["issued"] + ["proof_key_bound"] * (AT_ONCE - 1)
    assert len(broker.copies()) == 2
    assert len(broker.logged("contact.bound")) == 1


def test_a_contact_is_bound_once(broker: World) -> None:
    requests = [
        (token, body(broker, new_nonce(broker.ctx, "demo"), key()))
        for token in all_live(broker, AT_ONCE)
    ]
    outcomes = sorted(issue_at_once(broker, requests))
    assert outcomes == ["credential_request_denied"] * (AT_ONCE - 1) + ["issued"]
    (bound,) = broker.logged("contact.bound")
    assert {copy.subject_id for copy in broker.copies()} == {bound.subject_id}


def test_a_token_is_good_for_so_many_copies_and_no_more(broker: World) -> None:
    invitation = invited(broker)
    requests = [
        (invitation, body(broker, new_nonce(broker.ctx, "demo"), key())) for _ in range(AT_ONCE)
    ]
    outcomes = issue_at_once(broker, requests)
    assert outcomes.count("issued") == len(broker.copies()) == 8
    assert len(broker.logged("contact.bound")) == 1
    assert len({copy.status_index for copy in broker.copies()}) == 8


def test_binding_anew_at_once_leaves_one_wallet(broker: World) -> None:
    first = invited(broker)
    issue_at_once(broker, [(first, body(broker, new_nonce(broker.ctx, "demo"), key()))])
    requests = [
        (token, body(broker, new_nonce(broker.ctx, "demo"), key()))
        for token in all_live(broker, 4, rebind=True)
    ]
    assert set(issue_at_once(broker, requests)) == {"issued"}
    states = [copy.state for copy in broker.copies()]
    assert sorted(states) == ["active"] + ["superseded"] * 4
    assert len({copy.subject_id for copy in broker.copies()}) == 1


def test_places_are_given_once_and_lists_are_published(broker: World) -> None:
    @acting_for("demo")
    def take(_: int) -> tuple[str, int]:
        with broker.ctx.db.transaction() as tx:
            place = allocate(broker.ctx, tx, "demo", PARTNER)
        return place.list_id, place.index

    with ThreadPoolExecutor(8) as pool:
        places = list(pool.map(take, range(64)))
    assert len(set(places)) == 64
    list_id = places[0][0]
    first = published(broker.ctx, "demo", list_id)
    with broker.ctx.db.transaction() as tx:
        mark_changed(tx, list_id)
    broker.advance(1)
    with ThreadPoolExecutor(8) as pool:
        look = acting_for("demo")(lambda _: published(broker.ctx, "demo", list_id))
        later = set(pool.map(look, range(16)))
    assert len(later) == 1
    assert first not in later
