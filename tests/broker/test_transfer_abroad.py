"""Data that travel abroad out of a vault: the transfer ends with what the export rests on."""

import asyncio
import hashlib
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from broker.domain.access import Question
from broker.domain.cross_border import CONTRACT_BAND, year_and_month
from broker.domain.decision import Decision
from broker.domain.errors import TransferStopped
from broker.domain.vault import PIECE_BYTES
from broker.store import access_tokens
from broker.store.cross_border import COUNT
from broker.usecases import cross_border
from broker.usecases.context import Context
from broker.usecases.decide import Asking, decide
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


def exported(made: World, subjects: int) -> None:
    """So many were counted this year, none of them sensitive."""
    year, _ = year_and_month(made.time[0])
    with made.ctx.db.transaction() as tx:
        tx.execute(COUNT.delete())
        counted = {"exporter": "demo", "year": year, "general": subjects, "sensitive": 0}
        tx.execute(COUNT.insert().values(tenant_id="demo", **counted))


def filed(made: World, number: str, seconds: int = 60) -> str:
    return cross_border.register(
        made.ctx,
        "demo",
        partner_id=made.partner,
        destination="SG",
        kind="standard_contract",
        filing_number=number,
        valid_until=made.time[0] + seconds,
    ).id


def in_the_vault(made: World) -> Wanted:
    """Two pieces of a customer who has agreed to Singapore, and the question for them."""
    at = Filled(made)
    register(made, at.key)
    at.customer = made.customer(f"crm-{secrets.token_hex(4)}")
    request = made.ask(at.customer.subject_ref)
    at.customer.sign(request["wallet_link"], "consent_singapore")
    (at.consent,) = [
        one["id"] for one in made.follow(request)["consents"] if one["state"] == "granted"
    ]
    at.put("x" * (2 * PIECE_BYTES))
    use = ("read", ATTRIBUTE, "dpv:ServicePersonalisation", "sg-match", "1", "SG")
    return Wanted("demo", token_hash(made), Question(*use, consent_id=at.consent), None)


def sent(made: World, wanted: Wanted, meanwhile: Callable[[], object]) -> list[int]:
    """The lengths of the pieces that come, when that happens after the first."""

    async def run() -> list[int]:
        transfer = await open_transfer(made.ctx, wanted)
        assert isinstance(transfer, Transfer), transfer
        found = list[int]()
        try:
            async for part in transfer.parts():
                if not found:
                    await asyncio.to_thread(meanwhile)
                found.append(len(part))
        except TransferStopped:
            return found
        assert sum(found) == transfer.row.size
        return found

    return asyncio.run(run())


@pytest.mark.parametrize("ends", ["ended", "over", "filed late"])
def test_a_transfer_abroad_stops_with_what_it_rests_on(
    made: World, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:
    exported(made, CONTRACT_BAND)
    wanted = in_the_vault(made)
    filings = list[str]()
    if ends == "filed late":  # after the envelope was found, before the decision

        async def decide_late(ctx: Context, asking: Asking) -> Decision:
            filings.append(await asyncio.to_thread(filed, made, "1"))
            return await decide(ctx, asking)

        monkeypatch.setattr("broker.usecases.transfer.decide", decide_late)
    else:
        filings.append(filed(made, "1"))

    def end() -> None:
        if ends == "over":
            made.time[0] += 60
        else:
            cross_border.end(made.ctx, "demo", filings[0])

    lengths = sent(made, wanted, end)
    assert len(lengths) == 1
    entry = made.logged("transfer.stopped")[-1]
    assert (entry.consent_id, entry.body["sent"]) == (wanted.question.consent_id, lengths[0])
    assert entry.body["cause"] == "not_in_force"


@pytest.mark.parametrize("rests_on", ["another filing", "the band"])
def test_a_transfer_abroad_goes_on_where_it_is_permitted_without(
    made: World, rests_on: str
) -> None:
    exported(made, CONTRACT_BAND if rests_on == "another filing" else 0)
    wanted = in_the_vault(made)
    filings = [filed(made, "1")]
    if rests_on == "another filing":
        filings.append(filed(made, "2"))
    lengths = sent(made, wanted, lambda: cross_border.end(made.ctx, "demo", filings[0]))
    assert len(lengths) > 1
    for one in filings:
        cross_border.end(made.ctx, "demo", one)


def test_a_transfer_abroad_is_judged_again_on_postgresql(
    tmp_path: Path, postgres_database: str
) -> None:
    with world(tmp_path, database_url=postgres_database) as made:
        test_a_transfer_abroad_goes_on_where_it_is_permitted_without(made, "another filing")
