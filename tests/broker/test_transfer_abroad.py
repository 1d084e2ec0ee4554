"""Data that travel abroad out of a vault: the transfer ends with what the export rests on."""

import asyncio
import hashlib
import secrets
from collections.abc import Iterator

import pytest

from broker.domain.access import Question
from broker.domain.errors import TransferStopped
from broker.domain.vault import PIECE_BYTES
from broker.store import access_tokens
from broker.usecases import cross_border
from broker.usecases.transfer import Transfer, Wanted, open_transfer
from credentials.jcs import b64url
from tests.broker.flow_world import World, world
from tests.broker.vaults import ATTRIBUTE, Filled, register


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("abroad") / "home") as broker:
        yield broker


def token_hash(made: World) -> str:
    found = b64url(hashlib.sha256(secrets.token_bytes(32)).digest())
    with made.ctx.db.transaction() as tx:
        access_tokens.add(
            tx,
            token_hash=found,
            tenant_id="demo",
            subject=made.partner,
            role="partner",
            expires_at=made.time[0] + 600,
        )
    return found


@pytest.mark.parametrize("ends", ["ended", "over"])
def test_a_transfer_abroad_stops_with_what_it_rests_on(made: World, ends: str) -> None:
    at = Filled(made)
    register(made, at.key)
    at.customer = made.customer(f"crm-abroad-{ends}")
    request = made.ask(at.customer.subject_ref)
    at.customer.sign(request["wallet_link"], "consent_singapore")
    (at.consent,) = [
        one["id"] for one in made.follow(request)["consents"] if one["state"] == "granted"
    ]
    at.put("x" * (2 * PIECE_BYTES))
    filed = cross_border.register(
        made.ctx,
        "demo",
        partner_id=made.partner,
        destination="SG",
        kind="standard_contract",
        filing_number="1",
        valid_until=made.time[0] + 60,
    )
    question = Question(
        "read",
        ATTRIBUTE,
        "dpv:ServicePersonalisation",
        "sg-match",
        "1",
        "SG",
        consent_id=at.consent,
    )

    token = token_hash(made)

    async def begun_and_cut() -> int:
        transfer = await open_transfer(made.ctx, Wanted("demo", token, question, None))
        assert isinstance(transfer, Transfer), transfer
        parts = transfer.parts()
        sent = len(await anext(parts))
        if ends == "ended":
            await asyncio.to_thread(cross_border.end, made.ctx, "demo", filed.id)
        else:
            made.time[0] += 60
        with pytest.raises(TransferStopped):
            await anext(parts)
        return sent

    sent = asyncio.run(begun_and_cut())
    entry = made.logged("transfer.stopped")[-1]
    assert (entry.consent_id, entry.body["sent"]) == (at.consent, sent)
    assert entry.body["cause"] == "not_in_force"
