"""Credentials of attributes, from the offer to the proof; the broker keeps no attribute of them."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.store import attribute_credentials as rows
from broker.store import tables
from broker.usecases import key_rotation
from broker.usecases.partner import set_partner_state
from broker.usecases.token import forget_expired
from credentials.errors import SealBroken
from credentials.keys import SoftwareKey
from tests.broker.flow_world import TEMPLATE, World, world
from tests.broker.proving import BORN, LI, PERSON, follow, holder, show
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.loopback import Wallet, accept_attributes
from wallet_adapters.loopback.errors import PeerRefused
from wallet_adapters.openid4vci import parse_offer_link

ATTRIBUTES = [attribute.to_json() for attribute in PERSON.attributes]
EARNS = {"type": "at_least", "credential": "id", "attribute": "income", "value": 20_000}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "home") as made:
        register(made)
        yield made


def register(made: World, caller: str | None = None, **changes: Any) -> Any:  # noqa: ANN401
    body = {"id": PERSON.id, "attributes": ATTRIBUTES, **changes}
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    who = caller or made.officer
    return made.api("POST", "/v1/attribute-types", who, json=body, headers=headers)


def offer(made: World, caller: str | None = None, **claims: Any) -> Any:  # noqa: ANN401
    body = {"type": PERSON.id, "claims": {**LI, **claims}}
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    answer = made.api("POST", "/v1/attribute-offers", caller, json=body, headers=headers)
    made.advance()
    return answer


def accept(made: World, wallet: Wallet, offered: dict[str, Any], **how: Any) -> None:  # noqa: ANN401
    code = how.pop("tx_code", offered["tx_code"])
    accept_attributes(
        wallet,
        offered["offer_by_value"],
        carry=made.carry,
        now=made.time[0],
        tx_code=code,
        **how,
    )


def trusted(made: World) -> list[dict[str, str]]:
    (kind,) = made.api("GET", "/v1/attribute-types").json()["types"]
    found: list[dict[str, str]] = kind["issuers"]
    return found


def proven(made: World, wallet: Wallet, issuers: list[dict[str, str]]) -> str:
    body = {
        "template": TEMPLATE,
        "credentials": {"id": {"schema": PERSON.id, "issuers": issuers}},
        "statements": [EARNS],
    }
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    asked = made.api("POST", "/v1/proof-requests", json=body, headers=headers).json()
    show(made, wallet, asked["wallet_link"])
    state: str = follow(made, asked)["state"]
    return state


def row(made: World, offered: dict[str, Any]) -> rows.OfferRow:
    with made.ctx.db.reading() as tx:
        found = rows.offer(tx, "demo", offered["id"])
    assert found is not None
    return found


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_from_the_offer_to_the_proof(
    tmp_path: Path, request: pytest.FixtureRequest, database: str
) -> None:
    url = request.getfixturevalue("postgres_database") if database == "postgresql" else ""
    with world(tmp_path / "home", database_url=url) as made:
        assert register(made).status_code == 201
        answer = offer(made)
        assert answer.status_code == 201, answer.text
        offered = answer.json()
        found = parse_offer_link(offered["offer_by_value"])
        assert not isinstance(found, str)
        kept = row(made, offered)
        assert kept.claims is not None
        assert found.pre_authorized_code not in str(kept)
        # Nothing that the broker holds opens it.
        with pytest.raises(SealBroken):
            made.ctx.master.open(kept.claims, f"attribute-claims:{kept.id}")
        wallet = holder(made)
        accept(made, wallet, offered, dpop_key=SoftwareKey.generate("ES256") if url else None)
        (held,) = wallet.attributes
        assert held.values == LI
        assert held.holder_secret is not None
        done = row(made, offered)
        assert (done.state, done.claims) == ("issued", None)
        assert proven(made, wallet, trusted(made)) == "proven"
        assert Wallet.from_json(wallet.to_json()).attributes == wallet.attributes
        told = [entry.body for entry in made.logged("attributes.offered", "attributes.issued")]
        assert len(told) == 2
        assert BORN not in str(told)


def test_two_issuances_share_no_secret(broker: World) -> None:
    wallet = holder(broker)
    for _ in range(2):
        accept(broker, wallet, offer(broker).json())
    one, other = wallet.attributes
    assert one.header == other.header
    assert one.holder_secret != other.holder_secret
    assert one.signature != other.signature


BAD_CLAIMS: dict[str, dict[str, Any]] = {
    "out of bounds": {"income": 65_536},
    "below": {"income": -1},
    "another type": {"income": "30000"},
    "no date": {"birth_date": "1987-02-30"},
    "no code": {"city": "Rome"},
    "one more": {"shoe_size": 42},
    "a fraction": {"income": 1.5},
    "a truth value": {"income": True},
}


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("registered")) as made:
        register(made)
        yield made


@pytest.mark.parametrize("name", BAD_CLAIMS)
def test_what_cannot_be_signed_is_refused_before_it_is_kept(registered: World, name: str) -> None:
    answer = offer(registered, **BAD_CLAIMS[name])
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")
    for value in BAD_CLAIMS[name].values():
        assert str(value) not in answer.json()["detail"]
    table = tables.metadata.tables["attribute_offer"]
    with registered.ctx.db.reading() as tx:
        assert tx.execute(table.select()).all() == []


BAD_TYPES: dict[str, dict[str, Any]] = {
    "no version": {"id": "person"},
    "status tokens": {"id": "status-token/1"},
    "an unknown type": {"attributes": [{"name": "x", "type": "float"}]},
    "no bounds": {"attributes": [{"name": "x", "type": "number"}]},
    "twice": {"attributes": ATTRIBUTES[:1] * 2},
    "nothing": {"attributes": []},
    "a name": {"attributes": [{"name": "X y", "type": "text"}]},
}


@pytest.mark.parametrize("name", BAD_TYPES)
def test_kinds_that_cannot_be_are_refused(registered: World, name: str) -> None:
    answer = register(registered, **{"id": "other/1", **BAD_TYPES[name]})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


def test_a_kind_never_changes_and_is_for_officers(registered: World) -> None:
    again = register(registered)
    assert (again.status_code, again.json()["code"]) == (409, "state_conflict")
    assert register(registered, registered.partner, id="own/1").status_code == 403
    assert register(registered, id="person/2").status_code == 201
    metadata = registered.http.get("/.well-known/openid-credential-issuer").json()
    told = metadata["credential_configurations_supported"]
    assert {"attributes:person/1", "attributes:person/2"} <= told.keys()
    assert told["attributes:person/1"]["format"] == "consent-broker-bbs+1"


def test_a_code_counts_once_and_wrong_ones_end_the_offer(broker: World) -> None:
    wallet = holder(broker)
    offered = offer(broker).json()
    accept(broker, wallet, offered)
    with pytest.raises(PeerRefused, match="invalid_grant"):
        accept(broker, wallet, offered)
    guessed = offer(broker).json()
    wrong = f"{(int(guessed['tx_code']) + 1) % 10**6:06}"
    for _ in range(5):
        with pytest.raises(PeerRefused):
            accept(broker, wallet, guessed, tx_code=wrong)
    with pytest.raises(PeerRefused, match="invalid_grant"):
        accept(broker, wallet, guessed)
    assert (row(broker, guessed).state, row(broker, guessed).claims) == ("closed", None)
    assert len(wallet.attributes) == 1


def test_a_token_is_good_for_one_credential_of_its_kind(
    broker: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another kind, a commitment for another nonce, a nonce used before; then the token ends."""
    sent: list[Any] = []
    carry = broker.carry

    def watched(message: Any) -> Any:  # noqa: ANN401
        if message.url.endswith("/openid4vci/credential"):
            body = json.loads(message.body)
            headers = dict(message.headers)
            sent.append((message.url, headers, body))
            for change, error in CHANGED:
                told = json.loads(message.body)
                change(told)
                refused = broker.http.post(message.url, headers=headers, json=told)
                assert refused.status_code == 400, refused.text
                assert refused.json()["error"] == error, refused.text
        return carry(message)

    monkeypatch.setattr(broker, "carry", watched)
    accept(broker, holder(broker), offer(broker).json())
    ((url, headers, body),) = sent
    over = broker.http.post(url, headers=headers, json=body)
    assert over.status_code == 401


def _another_kind(told: dict[str, Any]) -> None:
    told["credential_configuration_id"] = "customer_credential"


def _another_nonce(told: dict[str, Any]) -> None:
    told["proofs"]["holder_commitment"][0]["nonce"] = "A" * 75


def _another_commitment(told: dict[str, Any]) -> None:
    one = told["proofs"]["holder_commitment"][0]
    one["commitment"] = one["commitment"][:-4] + "AAAA"


def _both(told: dict[str, Any]) -> None:
    told["credential_identifier"] = told["credential_configuration_id"]


CHANGED = (
    (_another_kind, "unknown_credential_configuration"),
    (_another_nonce, "invalid_nonce"),
    (_another_commitment, "invalid_proof"),
    (_both, "invalid_credential_request"),
    (lambda told: told.pop("proofs"), "invalid_proof"),
)


def test_keys_are_rotated_and_stolen_ones_are_trusted_no_more(broker: World) -> None:
    wallet, newer = holder(broker), holder(broker)
    accept(broker, wallet, offer(broker).json())
    (old,) = trusted(broker)
    made = key_rotation.rotate(broker.ctx, "attributes", "demo")
    accept(broker, newer, offer(broker).json())
    keys = trusted(broker)
    assert [one["key"] for one in keys[1:]] == [old["key"]]
    assert newer.attributes[0].key == keys[0]["key"]
    assert proven(broker, wallet, keys) == proven(broker, newer, keys) == "proven"
    listed = {one["id"]: one for one in key_rotation.every_key(broker.ctx)}
    assert (listed[made.id]["purpose"], listed[made.id]["state"]) == ("attributes", "active")
    headers = {"Idempotency-Key": "before the theft"}
    body = {
        "template": TEMPLATE,
        "credentials": {"id": {"schema": PERSON.id, "issuers": keys}},
        "statements": [EARNS],
    }
    asked = broker.api("POST", "/v1/proof-requests", json=body, headers=headers).json()
    done = key_rotation.compromise(broker.ctx, made.id, broker.time[0])
    assert done.replaced_by is not None
    after = [one["key"] for one in trusted(broker)]
    assert keys[0]["key"] not in after
    assert old["key"] in after
    with pytest.raises(PeerRefused):
        show(broker, newer, asked["wallet_link"])
    assert broker.logged("proof.rejected")[-1].body["code"] == "issuer_key_compromised"
    show(broker, wallet, asked["wallet_link"])
    assert follow(broker, asked)["state"] == "proven"


def test_what_nobody_takes_is_over_after_ten_minutes_and_with_its_partner(broker: World) -> None:
    late, ended = offer(broker).json(), offer(broker, broker.second_partner())
    assert ended.status_code == 201
    wallet = holder(broker)
    suspended = row(broker, ended.json()).offered_by
    set_partner_state(broker.ctx, "demo", suspended, "suspended")
    broker.advance(600)
    for offered in (late, ended.json()):
        with pytest.raises(WalletProtocolError):
            accept(broker, wallet, offered)
    forget_expired(broker.ctx)
    for offered in (late, ended.json()):
        assert (row(broker, offered).state, row(broker, offered).claims) == ("closed", None)
