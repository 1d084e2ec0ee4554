"""Joining a training consortium: a node's membership, issued, presented, refused, revoked."""

import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from broker.domain.credential_types import MEMBERSHIP
from broker.domain.errors import NotFound, StateConflict, UnknownPartner
from broker.domain.membership import QUERY, TYPE, statement
from broker.store import memberships
from broker.store.acting import acting_for_all
from broker.usecases import federation_member as members
from broker.usecases.membership import OFFER_SECONDS, VALID_SECONDS, offer_membership
from broker.usecases.partner import add_partner, set_partner_state
from broker.usecases.token import forget_expired
from credentials.issue import issue_sd_jwt_vc
from credentials.jws import Signer
from credentials.keys import SoftwareKey, thumbprint
from credentials.model import StatusReference
from credentials.pki import create_root, issue_leaf, x5c
from credentials.status import verify_status_token
from tests.broker.flow_world import PUBLIC_URL, World, presentation, world
from tests.broker.training import BEGAN, invented, model, training
from tests.waiting import somebody_waits
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.loopback import (
    HeldCredential,
    PresentationRequest,
    Wallet,
    accept_offer,
    answer_request,
)
from wallet_adapters.loopback.errors import NothingToPresent, PeerRefused

MINUTE = 60


@dataclass
class Node:
    """A member's side: its partner, its node's key, its key for receipts, what it holds."""

    world: World
    partner: str
    key: SoftwareKey
    receipts: SoftwareKey
    wallet: Wallet

    def take(self, offer: str, tx_code: str | None, key: SoftwareKey | None = None) -> None:
        """Fetch the membership credential."""
        accept_offer(
            self.wallet,
            offer,
            carry=self.world.carry,
            now=self.world.time[0],
            tx_code=tx_code,
            key=key or self.key,
        )

    def asked(self) -> str:
        """Begin to join; the link that the node answers."""
        body = {"receipt_key": self.receipts.public_jwk()}
        path = "/v1/federation/join-requests"
        answer = self.world.api("POST", path, self.partner, json=body)
        assert answer.status_code == 201, answer.text
        assert answer.headers["Cache-Control"] == "no-store"
        self.world.advance()
        link: str = answer.json()["wallet_link"]
        return link

    def present(self, link: str) -> None:
        """Answer as the node."""
        now = self.world.time[0]
        answer_request(self.wallet, link, carry=self.world.carry, now=now, known_types=(TYPE,))

    def forge(self, link: str, held: HeldCredential | None = None, **wrong: Any) -> Any:  # noqa: ANN401
        """Answer with what is wrong on purpose; the broker's answer."""
        request = self.world.request(link)
        shown = presentation(
            self.world, request, held or self.wallet.credentials[0], QUERY, **wrong
        )
        return self.world.post(request, form(request, shown))


def form(request: PresentationRequest, shown: str) -> dict[str, str]:
    return {"vp_token": json.dumps({QUERY: [shown]}), "state": request.state or ""}


def node_of(made: World, partner: str | None = None) -> Node:
    wallet = Wallet(anchors=list(made.ctx.keys.anchors()))
    key, receipts = SoftwareKey.generate("ES256"), SoftwareKey.generate("ES256")
    return Node(made, partner or made.partner, key, receipts, wallet)


def holding(made: World, partner: str | None = None) -> Node:
    """A node that holds its membership credential."""
    node = node_of(made, partner)
    offered = offer_membership(made.ctx, "demo", node.partner)
    node.take(offered.offer, offered.tx_code)
    return node


def another(made: World) -> str:
    """A further partner."""
    name = secrets.token_hex(6)
    return add_partner(
        made.ctx, "demo", name=name, name_zh=name, contact="o@o.example", country="CN"
    ).client_id


def entries(made: World, kind: str) -> list[Mapping[str, Any]]:
    """What the log says of the partner of a test."""
    return [one.body for one in made.logged(kind) if one.body["member"] == made.partner]


def state(made: World, partner: str | None = None) -> str | None:
    found = members.members(made.ctx, "demo")
    named = partner or made.partner
    return next((one.state_at(made.time[0]) for one in found if one.partner_id == named), None)


def refusals(made: World) -> list[str]:
    """The codes of what was refused, as the log has them."""
    return [str(one["code"]) for one in entries(made, "federation.join_refused")]


@pytest.fixture(params=["sqlite", "postgresql"])
def each(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_database")
    with world(tmp_path / "home", database_url=url) as found:
        yield found


@pytest.fixture
def many(postgres_database: str, tmp_path: Path) -> Iterator[World]:
    """A broker whose transactions run beside each other."""
    with world(tmp_path / "home", database_url=postgres_database) as found:
        yield found


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[World]:
    """A broker whose clock may be turned by a year."""
    with world(tmp_path / "home") as found:
        yield found


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("shared") / "home") as found:
        yield found


@pytest.fixture
def made(shared: World) -> World:
    """The shared broker, as a partner of this test's own."""
    return replace(shared, partner=another(shared))


def test_a_node_takes_its_membership_and_is_admitted(each: World) -> None:
    node = holding(each)
    [held] = node.wallet.credentials
    assert held.vct == PUBLIC_URL + MEMBERSHIP.path
    assert held.claims()["member"] == each.partner
    assert thumbprint(held.claims()["cnf"]["jwk"]) == thumbprint(node.key.public_jwk())
    assert state(each) is None, "holding it is not having joined"

    node.present(node.asked())

    assert state(each) == "admitted"
    [member] = members.members(each.ctx, "demo")
    assert json.loads(member.receipt_key) == node.receipts.public_jwk()
    assert member.node_key.startswith("-----BEGIN PUBLIC KEY-----")
    assert member.membership_id == held.claims()["jti"]
    kinds = ("membership.offered", "membership.issued", "federation.join_asked")
    assert len(each.logged(*kinds)) == 3
    [entry] = each.logged("federation.admitted")
    assert entry.body["member"] == each.partner
    assert entry.body["node"] == thumbprint(node.key.public_jwk())
    assert entry.body["receipt_key"] == thumbprint(node.receipts.public_jwk())
    # The same node may show it again, and nothing changes but the entry.
    node.present(node.asked())
    assert members.members(each.ctx, "demo") == [member]


def test_what_a_node_signs_names_member_consortium_and_receipt_key(made: World) -> None:
    node = holding(made)
    request = made.request(node.asked())
    [signed] = request.transaction_data
    assert signed.content == statement(PUBLIC_URL, made.partner, node.receipts.public_jwk())
    [query] = request.dcql.credentials
    assert query.require_holder_binding
    assert [claim.values for claim in query.claims] == [(made.partner,)]


WRONG: Mapping[str, tuple[dict[str, Any], str]] = {
    "another request's": ({"nonce": "of-another-request"}, "nonce_mismatch"),
    "another verifier's": ({"aud": "x509_hash:somebody-else"}, "audience_mismatch"),
    "nothing signed": ({"transaction_data_hashes": None}, "transaction_data_mismatch"),
    "other keys signed": ({"transaction_data_hashes": ["A" * 43]}, "transaction_data_mismatch"),
    "another credential's": ({"sd_hash": "A" * 43}, "sd_hash_mismatch"),
    "old": ({"iat": 0}, "key_binding_expired"),
    "none": ({"make": lambda *_: ""}, "key_binding_missing"),
}


def test_a_wrong_key_binding_is_refused(made: World) -> None:
    node = holding(made)
    link = node.asked()
    for name, (wrong, code) in WRONG.items():
        refused = node.forge(link, **wrong)
        assert (refused.status_code, refused.json()["code"]) == (400, code), name
    assert refusals(made) == [code for _, code in WRONG.values()]
    assert state(made) is None
    node.present(link)
    assert state(made) == "admitted", "what was refused has not used the request up"


def test_an_answer_counts_once(made: World) -> None:
    node = holding(made)
    request = made.request(link := node.asked())
    answer = form(request, presentation(made, request, node.wallet.credentials[0], QUERY))
    assert made.post(request, answer).status_code == 200
    again = made.post(request, answer)
    assert (again.status_code, again.json()["code"]) == (410, "gone")
    assert refusals(made) == ["gone"]
    # Nor for another request of the same member.
    other = made.request(node.asked())
    replayed = made.post(other, {**answer, "state": other.state or ""})
    assert (replayed.status_code, replayed.json()["code"]) == (400, "nonce_mismatch")
    with pytest.raises(WalletProtocolError):
        node.present(link)


def test_a_request_that_is_over_or_replaced_admits_nobody(made: World) -> None:
    node = holding(made)
    first = made.request(node.asked())
    shown = presentation(made, first, node.wallet.credentials[0], QUERY)
    second = made.request(node.asked())
    replaced = made.post(first, form(first, shown))
    assert (replaced.status_code, replaced.json()["code"]) == (410, "gone")
    made.advance(10 * MINUTE)
    late = made.post(
        second, form(second, presentation(made, second, node.wallet.credentials[0], QUERY))
    )
    assert (late.status_code, late.json()["code"]) == (410, "gone")
    assert state(made) is None
    assert refusals(made) == ["gone", "gone"]


def made_up(
    node: Node,
    vct: str,
    signer: Signer,
    chain: Sequence[str],
    claims: dict[str, Any],
    now: int,
) -> str:
    """A membership that the broker has not issued, for a node's key."""
    return issue_sd_jwt_vc(
        signer=signer,
        x5c=chain,
        issuer=PUBLIC_URL,
        vct=vct,
        claims=claims,
        disclosable=(),
        holder_jwk=node.key.public_jwk(),
        status=StatusReference(f"{PUBLIC_URL}/status/x", 0),
        issued_at=now,
        expires_at=now + MINUTE,
    )


def test_a_credential_of_another_issuer_is_refused(made: World) -> None:
    node = holding(made)
    [held] = node.wallet.credentials
    root_key, leaf_key = SoftwareKey.generate("ES256"), SoftwareKey.generate("ES256")
    now = made.time[0]
    root = create_root("Another consortium", root_key, now - MINUTE)
    leaf = issue_leaf(
        root, root_key, leaf_key.public_jwk(), name="issuer", now=now, uri=[PUBLIC_URL]
    )
    claims = {name: held.claims()[name] for name in ("jti", "member")}
    forged = made_up(node, held.vct, leaf_key, x5c([leaf]), claims, now)
    refused = node.forge(node.asked(), replace(held, credential=forged))
    assert (refused.status_code, refused.json()["code"]) == (400, "untrusted_chain")
    assert refusals(made) == ["untrusted_chain"]


def test_a_credential_of_this_issuer_that_it_never_wrote_down_is_refused(made: World) -> None:
    node = holding(made)
    [held] = node.wallet.credentials
    key, now = made.ctx.keys.issuer("demo"), made.time[0]
    claims = {"jti": "mb-invented", "member": made.partner}
    forged = made_up(node, held.vct, key.signer, key.x5c, claims, now)
    refused = node.forge(node.asked(), replace(held, credential=forged))
    assert (refused.status_code, refused.json()["code"]) == (400, "unknown_credential")
    assert refusals(made) == ["unknown_credential"]


def test_a_customers_credential_admits_nobody(made: World) -> None:
    node = holding(made)
    customer = made.customer("crm-1")
    refused = node.forge(node.asked(), customer.wallet.credentials[0])
    assert (refused.status_code, refused.json()["code"]) == (400, "type_mismatch")


def test_another_members_node_is_not_bound(made: World) -> None:
    """Neither its credential, nor its key, serve anybody else."""
    node, other = holding(made), holding(made, another(made))
    # The credential of the other, by its own key: it is the other's membership.
    refused = node.forge(node.asked(), other.wallet.credentials[0])
    assert (refused.status_code, refused.json()["code"]) == (400, "claims_not_satisfied")
    # One's own credential, by the other's key: it is bound to one's own.
    mixed = replace(node.wallet.credentials[0], holder_key=other.key.private_jwk())
    refused = node.forge(node.asked(), mixed)
    assert (refused.status_code, refused.json()["code"]) == (400, "signature_invalid")
    # A credential of one's own for the other's node.
    offered = offer_membership(made.ctx, "demo", node.partner)
    with pytest.raises(PeerRefused, match="invalid_proof"):
        node.take(offered.offer, offered.tx_code, key=other.key)
    assert [one["code"] for one in entries(made, "membership.refused")] == ["proof_key_bound"]
    # An officer may have registered that key by hand meanwhile, for somebody else.
    third = members.add_member(
        made.ctx,
        "demo",
        other.partner,
        node_key=json.dumps(node.key.public_jwk()).encode(),
        receipt_key=json.dumps(other.receipts.public_jwk()).encode(),
    )
    assert third.state == "invited"
    refused = node.forge(node.asked())
    assert (refused.status_code, refused.json()["code"]) == (400, "node_key_taken")
    assert refusals(made) == ["claims_not_satisfied", "signature_invalid", "node_key_taken"]
    assert state(made) is None


def test_what_was_revoked_or_expired_is_refused(alone: World) -> None:
    made = alone
    node = holding(made)
    link = node.asked()
    members.revoke_member(made.ctx, "demo", made.partner)
    with pytest.raises(PeerRefused, match="410"):
        node.present(link)
    refused = node.forge(node.asked())
    assert (refused.status_code, refused.json()["code"]) == (400, "membership_revoked")
    later = holding(made)
    made.advance(VALID_SECONDS + 2 * MINUTE)
    refused = later.forge(later.asked())
    assert (refused.status_code, refused.json()["code"]) == (400, "expired")
    assert refusals(made) == ["membership_revoked", "expired"]
    assert state(made) is None


def test_a_suspended_partner_does_not_join(made: World) -> None:
    node = holding(made)
    link = node.asked()
    request = made.request(link)
    shown = presentation(made, request, node.wallet.credentials[0], QUERY)
    offered = offer_membership(made.ctx, "demo", made.partner)
    set_partner_state(made.ctx, "demo", made.partner, "suspended")
    assert made.post(request, form(request, shown)).status_code == 410
    with pytest.raises(PeerRefused):
        node.take(offered.offer, offered.tx_code, key=SoftwareKey.generate("ES256"))
    with pytest.raises(UnknownPartner):
        offer_membership(made.ctx, "demo", made.partner)
    body = {"receipt_key": node.receipts.public_jwk()}
    assert made.api("POST", "/v1/federation/join-requests", json=body).status_code == 403
    assert state(made) is None


def test_other_keys_need_a_revocation_first(made: World) -> None:
    node = holding(made)
    node.present(node.asked())
    node.receipts = SoftwareKey.generate("ES256")
    refused = node.forge(node.asked())
    assert (refused.status_code, refused.json()["code"]) == (400, "member_admitted")
    members.revoke_member(made.ctx, "demo", made.partner)
    assert state(made) == "revoked"
    refused = node.forge(node.asked())
    assert refused.json()["code"] == "membership_revoked", "the credential went with the member"
    again = holding(made)
    again.present(again.asked())
    assert state(made) == "admitted"


def test_an_offer_is_good_once_with_its_code(made: World) -> None:
    node = node_of(made)
    offered = offer_membership(made.ctx, "demo", made.partner)
    wrong = "000000" if offered.tx_code != "000000" else "000001"
    for _ in range(5):
        with pytest.raises(PeerRefused):
            node.take(offered.offer, wrong)
    with pytest.raises(PeerRefused):
        node.take(offered.offer, offered.tx_code)
    assert len(entries(made, "membership.refused")) == 5

    first = offer_membership(made.ctx, "demo", made.partner)
    second = offer_membership(made.ctx, "demo", made.partner)
    with pytest.raises(PeerRefused):
        node.take(first.offer, first.tx_code)
    node.take(second.offer, second.tx_code)
    with pytest.raises(PeerRefused):
        node.take(second.offer, second.tx_code)

    late = offer_membership(made.ctx, "demo", made.partner)
    made.advance(OFFER_SECONDS)
    with pytest.raises(PeerRefused):
        node.take(late.offer, late.tx_code)
    made.advance(OFFER_SECONDS)
    assert forget_expired(made.ctx) > 0
    node.present(node.asked())
    assert state(made) == "admitted", "what was issued stays"


def test_a_membership_is_bound_to_a_key_that_nodes_have(made: World) -> None:
    offered = offer_membership(made.ctx, "demo", made.partner)
    with pytest.raises(PeerRefused):
        node_of(made).take(offered.offer, offered.tx_code, key=SoftwareKey.generate("Ed25519"))


def test_a_node_refuses_and_the_log_tells(made: World) -> None:
    node = holding(made)
    link = node.asked()
    with pytest.raises(NothingToPresent):
        answer_request(
            Wallet(node.wallet.anchors),
            link,
            carry=made.carry,
            now=made.time[0],
            known_types=(TYPE,),
        )
    assert refusals(made) == ["by_the_node"]
    with pytest.raises(WalletProtocolError):
        node.present(link)


def test_a_membership_that_is_revoked_ends_in_mid_round(each: World) -> None:
    """Status bit, the round that is open, and the next one: all of it by one act of an officer."""
    partner, other = each.partner, another(each)
    at = training(each, partner, other, minimum_members=1)
    nodes = {}
    for one in (partner, other):
        members.revoke_member(each.ctx, "demo", one)
        nodes[one] = holding(each, one)
        nodes[one].receipts = at.members[one].key
        nodes[one].present(nodes[one].asked())
    jti, reference = _status_of(nodes[other])
    assert _bit(each, reference) == 0

    opened = at.open(1)
    assert opened["taking_part"] == sorted([partner, other])
    path = f"/v1/federation/members/{other}/revocation"
    revoked = each.api("POST", path, each.officer)
    assert revoked.status_code == 200, revoked.text
    assert revoked.json()["memberships"] == [jti]
    assert revoked.json()["member"]["state"] == "revoked"
    assert each.api("POST", path, each.officer).status_code == 409

    refused = at.hand_in(opened, invented(at, opened, partner))
    assert refused.status_code == 200, refused.text
    late = at.call("GET", "/rounds/consortium/1/key", caller=other)
    assert (late.status_code, late.json()["code"]) == (409, "member_not_admitted")
    assert at.close(opened, model(1)).status_code == 200
    assert at.open(2, model(1))["taking_part"] == [partner]
    each.advance(2)
    assert _bit(each, reference) == 1
    shown = {one["member"]: one["state"] for one in at.call("GET", "").json()["members"]}
    assert shown == {partner: "admitted", other: "revoked"}
    assert len(each.logged("membership.revoked")) == 1


def test_a_membership_ends_with_its_credential(alone: World) -> None:
    made = alone
    at = training(made)
    members.revoke_member(made.ctx, "demo", made.partner)
    node = holding(made)
    node.present(node.asked())
    [shown] = at.call("GET", "").json()["members"]
    assert (shown["state"], shown["valid_until"]) == ("admitted", made.time[0] + VALID_SECONDS)
    made.advance(VALID_SECONDS)
    [shown] = at.call("GET", "").json()["members"]
    assert shown["state"] == "expired"
    refused = at.call("POST", "/rounds", {"stage": "consortium", "number": 1, "model_in": BEGAN})
    assert refused.status_code == 409, refused.text


def test_revoking_somebody_who_never_joined(made: World) -> None:
    with pytest.raises(NotFound):
        members.revoke_member(made.ctx, "demo", made.partner)
    node = holding(made)
    ended = members.revoke_member(made.ctx, "demo", made.partner)
    assert ended.member is None
    assert ended.memberships == (node.wallet.credentials[0].claims()["jti"],)
    with pytest.raises(NotFound):
        members.revoke_member(made.ctx, "demo", made.partner)
    again = holding(made)
    again.present(again.asked())
    members.revoke_member(made.ctx, "demo", made.partner)
    with pytest.raises(StateConflict):
        members.revoke_member(made.ctx, "demo", made.partner)


def test_what_a_revoked_member_got_since_is_revoked_too(each: World) -> None:
    node = holding(each)
    node.present(node.asked())
    members.revoke_member(each.ctx, "demo", each.partner)
    later = holding(each)
    link = later.asked()
    jti, reference = _status_of(later)

    path = f"/v1/federation/members/{each.partner}/revocation"
    ended = each.api("POST", path, each.officer)
    assert ended.status_code == 200, ended.text
    assert (ended.json()["memberships"], ended.json()["offers"]) == ([jti], [])
    assert ended.json()["member"]["state"] == "revoked"

    with pytest.raises(PeerRefused, match="410"):
        later.present(link)
    refused = later.forge(later.asked())
    assert (refused.status_code, refused.json()["code"]) == (400, "membership_revoked")
    assert state(each) == "revoked"
    each.advance(2)
    assert _bit(each, reference) == 1
    # Nothing is left.
    assert each.api("POST", path, each.officer).status_code == 409
    assert len(each.logged("membership.revoked")) == 2
    assert len(each.logged("federation.revoked")) == 1


@pytest.mark.parametrize("was_member", [False, True])
def test_an_offer_alone_is_revoked(made: World, was_member: bool) -> None:
    if was_member:
        before = holding(made)
        before.present(before.asked())
        members.revoke_member(made.ctx, "demo", made.partner)
    node, offered = node_of(made), offer_membership(made.ctx, "demo", made.partner)
    ended = members.revoke_member(made.ctx, "demo", made.partner)
    assert (ended.memberships, ended.offers) == ((), (offered.membership_id,))
    with pytest.raises(PeerRefused):
        node.take(offered.offer, offered.tx_code)
    assert state(made) == ("revoked" if was_member else None)
    [entry] = entries(made, "membership.closed")
    assert entry["membership"] == offered.membership_id
    with pytest.raises((NotFound, StateConflict)):
        members.revoke_member(made.ctx, "demo", made.partner)


def test_who_revokes_while_a_credential_is_issued_revokes_it(
    many: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = holding(many)
    held.present(held.asked())
    node, offered = node_of(many), offer_membership(many.ctx, "demo", many.partner)

    def revoke() -> None:
        members.revoke_member(many.ctx, "demo", many.partner)

    first, second = _meanwhile(
        many, monkeypatch, lambda: node.take(offered.offer, offered.tx_code), revoke
    )
    first.result()
    second.result()
    assert state(many) == "revoked"
    assert len(many.logged("membership.revoked")) == 2
    many.advance(2)
    assert [_bit(many, _status_of(one)[1]) for one in (held, node)] == [1, 1]


def test_what_is_issued_while_another_is_offered_can_be_revoked(
    many: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, offered = node_of(many), offer_membership(many.ctx, "demo", many.partner)
    first, second = _meanwhile(
        many,
        monkeypatch,
        lambda: node.take(offered.offer, offered.tx_code),
        lambda: offer_membership(many.ctx, "demo", many.partner),
    )
    first.result()
    ended = members.revoke_member(many.ctx, "demo", many.partner)
    assert ended.memberships == (offered.membership_id,)
    assert ended.offers == (second.result().membership_id,)


def test_of_two_members_with_one_key_at_once_one_has_it(
    many: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = node_of(many), node_of(many, another(many))
    offers = [offer_membership(many.ctx, "demo", each.partner) for each in (one, other)]
    first, second = _meanwhile(
        many,
        monkeypatch,
        lambda: one.take(offers[0].offer, offers[0].tx_code),
        lambda: other.take(offers[1].offer, offers[1].tx_code, key=one.key),
    )
    first.result()
    with pytest.raises(PeerRefused, match="invalid_proof"):
        second.result()
    [entry] = many.logged("membership.refused")
    assert (entry.body["member"], entry.body["code"]) == (other.partner, "proof_key_bound")


def test_a_receipt_key_that_is_none_is_refused(made: World) -> None:
    private = SoftwareKey.generate("ES256").private_jwk()
    for key in ({}, {"kty": "RSA", "n": "AQAB", "e": "AQAB"}, private):
        answer = made.api("POST", "/v1/federation/join-requests", json={"receipt_key": key})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
        assert private["d"] not in answer.text


def _meanwhile(
    made: World,
    monkeypatch: pytest.MonkeyPatch,
    issued: Callable[[], Any],
    act: Callable[[], Any],
) -> tuple[Future[Any], Future[Any]]:
    """Begin an act while a credential has its place and not its row; both, when they are over.

    The first goes on when the second is seen to wait for a lock.
    """
    real, there, on = memberships.issue, threading.Event(), threading.Event()

    def wait(*of: Any, **named: Any) -> bool:  # noqa: ANN401
        if not there.is_set():
            there.set()
            assert on.wait(60)
        return real(*of, **named)

    monkeypatch.setattr(memberships, "issue", wait)

    def run(what: Callable[[], Any]) -> Any:  # noqa: ANN401
        with acting_for_all():
            return what()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(run, issued)
        try:
            assert there.wait(60)
            second = pool.submit(run, act)
            while not (second.done() or somebody_waits(made.ctx.db)):
                time.sleep(0.01)
        finally:
            on.set()
    return first, second


def _status_of(node: Node) -> tuple[str, StatusReference]:
    claims = node.wallet.credentials[0].claims()
    told = claims["status"]["status_list"]
    return claims["jti"], StatusReference(told["uri"], told["idx"])


def _bit(made: World, reference: StatusReference) -> int:
    token = made.http.get(reference.uri).text
    anchors = list(made.ctx.keys.anchors())
    found = verify_status_token(token, uri=reference.uri, anchors=anchors, now=made.time[0])
    return found.get(reference.index)
