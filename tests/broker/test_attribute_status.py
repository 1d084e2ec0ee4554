"""Revocation of credentials of attributes: tokens by the epoch, in whole shards."""

import secrets
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from broker.store import tables
from broker.usecases import key_rotation
from tests.broker.flow_world import PUBLIC_URL, TEMPLATE, World, world
from tests.broker.proving import LI, PERSON, follow, holder, show
from wallet_adapters.loopback import Wallet, accept_attributes
from wallet_adapters.loopback.errors import NothingToPresent
from wallet_adapters.loopback.status_tokens import take_status_tokens
from wallet_adapters.status_token import (
    EPOCH_SECONDS,
    PLACE_BITS,
    bits_for,
    epoch_at,
    place_of,
    places_of,
    shard_of,
)
from zkp import sign

KIND: dict[str, Any] = {
    "id": "person/3",
    "attributes": [
        *(attribute.to_json() for attribute in PERSON.attributes),
        {"name": "revocation_id", "type": "identifier"},
    ],
}
EARNS = {"type": "at_least", "credential": "id", "attribute": "income", "value": 20_000}


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path / "home") as made:
        register(made)
        yield made


def keyed() -> dict[str, str]:
    return {"Idempotency-Key": secrets.token_hex(8)}


def register(made: World) -> None:
    answer = made.api("POST", "/v1/attribute-types", made.officer, json=KIND, headers=keyed())
    assert answer.status_code == 201, answer.text


def issued(made: World, wallet: Wallet, caller: str | None = None) -> str:
    """Take a credential; the id of its offer."""
    body = {"type": KIND["id"], "claims": LI}
    answer = made.api("POST", "/v1/attribute-offers", caller, json=body, headers=keyed())
    assert answer.status_code == 201, answer.text
    offered = answer.json()
    made.advance()
    accept_attributes(
        wallet,
        offered["offer_by_value"],
        carry=made.carry,
        now=made.time[0],
        tx_code=offered["tx_code"],
    )
    return str(offered["id"])


def asked(made: World, epoch: int | None = None) -> Any:  # noqa: ANN401 (an answer)
    """Ask for an income of a credential that is not revoked in an epoch, the current one."""
    found = made.api("GET", "/v1/attribute-types").json()["types"][0]["issuers"]
    stands = {
        "type": "not_revoked",
        "credential": "id",
        "attribute": "revocation_id",
        "token": "status",
        "epoch": epoch_at(made.time[0]) if epoch is None else epoch,
    }
    body = {
        "template": TEMPLATE,
        "credentials": {
            "id": {"schema": KIND["id"], "issuers": found},
            "status": {"schema": "status-token/1", "issuers": found},
        },
        "statements": [EARNS, stands],
    }
    answer = made.api("POST", "/v1/proof-requests", json=body, headers=keyed())
    made.advance()
    return answer


def proves(made: World, wallet: Wallet) -> bool:
    opened = asked(made)
    assert opened.status_code == 201, opened.text
    try:
        show(made, wallet, opened.json()["wallet_link"])
    except NothingToPresent:
        return False
    return bool(follow(made, opened.json())["state"] == "proven")


def revoke(made: World, offer_id: str, caller: str | None = None) -> Any:  # noqa: ANN401
    path = f"/v1/attribute-offers/{offer_id}/revocation"
    answer = made.api("POST", path, caller, headers=keyed())
    made.advance()
    return answer


def take(made: World, wallet: Wallet) -> int:
    return take_status_tokens(wallet, PUBLIC_URL, carry=made.carry)


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_revoked_credential_proves_nothing_in_the_next_epoch(
    tmp_path: Path, request: pytest.FixtureRequest, database: str
) -> None:
    url = request.getfixturevalue("postgres_database") if database == "postgresql" else ""
    with world(tmp_path / "home", database_url=url) as made:
        register(made)
        li, other = holder(made), holder(made)
        offer_id = issued(made, li)
        issued(made, other)
        assert not proves(made, li)  # without a token
        assert (take(made, li), take(made, other)) == (1, 1)
        assert proves(made, li)
        done = revoke(made, offer_id)
        assert (done.status_code, done.json()) == (
            200,
            {"id": offer_id, "revoked_at": made.time[0]},
        )
        assert proves(made, li)  # its token holds until the epoch is over, and is not renewed
        made.advance(EPOCH_SECONDS)
        assert not proves(made, li)
        assert (take(made, li), take(made, other)) == (0, 1)
        assert not proves(made, li)
        assert proves(made, other)
        assert revoke(made, offer_id, made.officer).json() == done.json()
        (entry,) = made.logged("attributes.revoked")
        assert entry.body["offer"] == offer_id


def test_a_shard_is_the_same_for_everybody_and_names_nobody(broker: World) -> None:
    li, other = holder(broker), holder(broker)
    issued(broker, li)
    issued(broker, other)
    fetched: list[str] = []
    carry = broker.carry

    def watched(message: Any) -> Any:  # noqa: ANN401
        fetched.append(message.url)
        assert not message.body
        return carry(message)

    for wallet in (li, other):
        take_status_tokens(wallet, PUBLIC_URL, carry=watched)
    assert fetched[:2] == fetched[2:]
    answers = [broker.http.get(fetched[1]) for _ in range(2)]
    broker.ctx.shards._shards.clear()  # noqa: SLF001 (as another worker would)
    answers.append(broker.http.get(fetched[1]))
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].headers["cache-control"] == "public, max-age=300"
    assert len(answers[0].json()["tokens"]) == 2
    for wallet in (li, other):
        assert str(wallet.attributes[0].values["revocation_id"]) not in answers[0].text


def test_a_credential_more_is_a_signature_more(
    broker: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    signed: list[int] = []

    def counted(*parts: Any) -> Any:  # noqa: ANN401
        signed.append(1)
        return sign(*parts)

    monkeypatch.setattr("broker.usecases.attribute_status.sign", counted)
    wallet = holder(broker)
    issued(broker, wallet)
    for _ in range(2):
        assert take(broker, wallet) == 1
    assert len(signed) == 1
    issued(broker, wallet)
    assert take(broker, wallet) == 2
    assert len(signed) == 2
    broker.advance(EPOCH_SECONDS)
    assert take(broker, wallet) == 2
    assert len(signed) == 4


def test_an_epoch_is_kept_once_and_few_wait_for_it(broker: World) -> None:
    wallet, shards = holder(broker), broker.ctx.shards
    issued(broker, wallet)
    for _ in range(2):
        assert take(broker, wallet) == 1
        assert len(shards._shards) == 1  # noqa: SLF001
        broker.advance(EPOCH_SECONDS)
    key, epoch = (
        broker.http.get("/attribute-status").json()["keys"][0]["id"],
        epoch_at(broker.time[0]),
    )
    path = f"/attribute-status/{epoch}/{key}/0/0"
    for _ in range(shards.WAITING):
        assert shards._places.acquire(blocking=False)  # noqa: SLF001 (as many as may wait)
    busy = broker.http.get(path)
    assert (busy.status_code, busy.json()["code"]) == (503, "status_unavailable")
    assert busy.headers["retry-after"] == "5"
    for _ in range(shards.WAITING):
        shards._places.release()  # noqa: SLF001
    assert broker.http.get(path).status_code == 200


def test_shards_of_others_epochs_keys_and_sizes_are_not_there(broker: World) -> None:
    issued(broker, holder(broker))
    index = broker.http.get("/attribute-status").json()
    (key,) = index["keys"]
    now = index["epoch"]
    assert broker.http.get(f"/attribute-status/{now}/{key['id']}/0/0").status_code == 200
    for path in (
        f"{now + 1}/{key['id']}/0/0",
        f"{now - 1}/{key['id']}/0/0",
        f"{now}/k-other/0/0",
        f"{now}/{key['id']}/1/0",
        f"{now}/{key['id']}/0/1",
        f"{now}/{key['id']}/0/-1",
        f"{now}/{key['id']}/{10**30}/{10**30}",
    ):
        assert broker.http.get(f"/attribute-status/{path}").status_code == 404, path


def test_older_keys_sign_tokens_until_they_are_stolen(broker: World) -> None:
    old, new = holder(broker), holder(broker)
    issued(broker, old)
    key_rotation.rotate(broker.ctx, "attributes", "demo")
    issued(broker, new)
    assert (take(broker, old), take(broker, new)) == (1, 1)
    assert proves(broker, old)
    rows = key_rotation.every_key(broker.ctx)
    (stolen,) = (
        one["id"] for one in rows if (one["purpose"], one["state"]) == ("attributes", "retired")
    )
    key_rotation.compromise(broker.ctx, stolen, broker.time[0])
    assert (take(broker, old), take(broker, new)) == (0, 1)


def test_who_may_revoke_what(broker: World) -> None:
    theirs = issued(broker, holder(broker), broker.second_partner())
    refused = revoke(broker, theirs, broker.partner)
    assert (refused.status_code, refused.json()["code"]) == (404, "not_found")
    assert revoke(broker, "ao-none").status_code == 404
    body = {"type": KIND["id"], "claims": LI}
    waiting = broker.api("POST", "/v1/attribute-offers", json=body, headers=keyed()).json()
    early = revoke(broker, waiting["id"])
    assert (early.status_code, early.json()["code"]) == (409, "state_conflict")
    assert revoke(broker, theirs, broker.officer).status_code == 200


def test_an_identifier_is_drawn_and_no_other_epoch_is_asked_for(broker: World) -> None:
    body = {"type": KIND["id"], "claims": {**LI, "revocation_id": "1"}}
    refused = broker.api("POST", "/v1/attribute-offers", json=body, headers=keyed())
    assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")
    now = epoch_at(broker.time[0])
    for epoch in (now - 1, now + 1):
        answer = asked(broker, epoch)
        assert (answer.status_code, answer.json()["code"]) == (400, "epoch_not_current")
    wallets = [holder(broker), holder(broker)]
    for wallet in wallets:
        issued(broker, wallet)
    one, other = (int(wallet.attributes[0].values["revocation_id"]) for wallet in wallets)
    assert one != other
    assert max(one, other) > 2**100
    table = tables.metadata.tables["attribute_offer"]
    with broker.ctx.db.reading() as tx:
        assert all(row.claims is None for row in tx.execute(table.select()))


def test_shards_hold_enough_to_hide_in() -> None:
    assert [bits_for(count) for count in (0, 1, 1_024, 1_025, 2_048, 2_049, 10**6)] == [
        *(0, 0, 0, 1, 1, 2, 10)
    ]
    for bits in (0, 1, 7, 20):
        ranges = [places_of(shard, bits) for shard in range(1 << min(bits, 8))]
        assert ranges[0][0] == 0
        assert all(after[0] == before[1] for before, after in pairwise(ranges))
        for number in range(20):
            place = place_of(str(number))
            first, past = places_of(shard_of(place, bits), bits)
            assert first <= place < past <= 1 << PLACE_BITS
