"""Data requests that come to nothing: denied, refused, ended, collected by two; and their keys."""

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import select

from broker.store.consents import CONSENT
from broker.store.data_requests import REQUEST
from broker.usecases import data_request
from broker.usecases.decide import decide as real_decide
from broker.usecases.decide import refuse_now as real_refuse_now
from broker.usecases.masking import set_maskings
from broker.usecases.partner import set_partner_state
from broker.usecases.person import Named
from broker.usecases.subject_export import export_subject
from broker.usecases.token import forget_expired
from tests.broker.data_requests import Asked, consenting, register_kind, rejected, waiting
from tests.broker.flow_world import World, world
from tests.broker.proving import show
from tests.broker.vaults import ATTRIBUTE, codes
from wallet_adapters.loopback import Message, Wallet, answer_request
from wallet_adapters.loopback.errors import NothingToPresent, PeerRefused


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("data-request-ends") / "home") as broker:
        register_kind(broker)
        yield broker


@pytest.fixture
def asked(made: World) -> Asked:
    return consenting(made)


def count_uses(asked: Asked, uses: int) -> None:
    with asked.made.ctx.db.transaction() as tx:
        tx.execute(CONSENT.update().where(CONSENT.c.id == asked.at.consent).values(uses_left=uses))


def uses_left(asked: Asked) -> int:
    with asked.made.ctx.db.reading() as tx:
        chosen = select(CONSENT.c.uses_left).where(CONSENT.c.id == asked.at.consent)
        return int(tx.execute(chosen).scalar_one())


def decisions(asked: Asked) -> list[bool]:
    """The permits and denials of a consent, as the log has them."""
    entries = asked.made.logged("decision")
    return [one.body["decision"] for one in entries if one.consent_id == asked.at.consent]


def has_key(made: World, opened: dict[str, Any]) -> bool:
    """Whether the key is there that the answer is encrypted to."""
    with made.ctx.db.reading() as tx:
        chosen = select(REQUEST.c.document).where(REQUEST.c.id == opened["id"])
        return orjson.loads(tx.execute(chosen).scalar_one())["response_key"] is not None


def between(made: World, act: Callable[[], object]) -> Callable[[Message], Any]:
    """Carries messages, and does something between the wallet's look and its answer."""

    def carry(message: Message) -> Any:  # noqa: ANN401 (an answer)
        if message.method == "POST" and "/response/" in message.url:
            act()
        return made.carry(message)

    return carry


def collected_at_once(asked: Asked, opened: dict[str, Any]) -> list[int]:
    """The statuses of four who collect the same."""
    path = f"/v1/data-requests/{opened['id']}/data/{ATTRIBUTE}"

    def collect() -> int:
        return int(asked.made.api("POST", path, json={}).status_code)

    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(copy_context().run, collect) for _ in range(4)]
        return sorted(call.result() for call in calls)


def test_what_would_be_denied_is_not_asked_for(made: World, asked: Asked) -> None:
    before = decisions(asked)
    denied = asked.open(territory="SG")
    assert (denied.status_code, denied.json()["code"]) == (403, "territory_outside_terms")
    assert decisions(asked) == [*before, False]
    count_uses(asked, 0)
    spent = asked.open()
    assert (spent.status_code, codes(spent)) == (403, ["uses_exhausted"])
    count_uses(asked, 1)
    opened = asked.opened()
    assert uses_left(asked) == 1
    assert decisions(asked) == [*before, False, False]
    show(made, asked.wallet, opened["wallet_link"])
    assert asked.collect(opened).status_code == 200
    with made.ctx.db.reading() as tx:
        of_this = REQUEST.c.consent_id == asked.at.consent
        assert len(tx.execute(select(REQUEST.c.id).where(of_this)).all()) == 1


def test_a_denial_is_the_answer_to_its_key(made: World, asked: Asked) -> None:
    body = {
        "consent": asked.at.consent,
        "schema": "purchases/1",
        "attributes": [ATTRIBUTE],
        "purpose": "dpv:ServicePersonalisation#algo:churn-v3@1",
        "territory": "SG",
    }
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    first, again = (
        made.api("POST", "/v1/data-requests", json=body, headers=headers) for _ in range(2)
    )
    assert (first.status_code, first.headers["content-type"]) == (403, "application/problem+json")
    assert again.content == first.content
    assert again.headers["content-type"] == "application/problem+json"


def test_of_many_who_collect_at_once_one_use_is_counted(asked: Asked) -> None:
    count_uses(asked, 2)
    opened = asked.shown()
    before = decisions(asked)
    statuses = collected_at_once(asked, opened)
    assert statuses[0] == 200
    assert set(statuses[1:]) <= {409, 410}  # under way, or gone
    assert uses_left(asked) == 1
    assert decisions(asked) == [*before, True]


def test_nothing_is_counted_where_nothing_is_taken(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    count_uses(asked, 2)
    opened = asked.shown()
    before = decisions(asked)
    monkeypatch.setattr("broker.store.data_requests.take", lambda *_: None)
    lost = asked.collect(opened)
    assert (lost.status_code, lost.json()["code"]) == (410, "gone")
    assert (uses_left(asked), decisions(asked)) == (2, before)
    monkeypatch.undo()
    assert asked.collect(opened).status_code == 200
    assert (uses_left(asked), decisions(asked)) == (1, [*before, True])


def test_nothing_is_counted_where_the_masking_has_changed(
    made: World, asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    count_uses(asked, 1)
    opened = asked.shown()

    async def decide(ctx: Any, asking: Any) -> Any:  # noqa: ANN401 (as it is)
        set_maskings(made.ctx, "demo", ATTRIBUTE, {"*": "round_100"})
        return await real_decide(ctx, asking)

    monkeypatch.setattr("broker.usecases.data_answer.decide", decide)
    try:
        changed = asked.collect(opened)
        assert (changed.status_code, changed.json()["code"]) == (409, "state_conflict")
        assert uses_left(asked) == 1
    finally:
        set_maskings(made.ctx, "demo", ATTRIBUTE, {})
    monkeypatch.undo()
    assert asked.collect(opened).status_code == 200


def test_a_withdrawal_closes_what_is_asked(made: World, asked: Asked) -> None:
    seen, unseen = asked.opened(), asked.opened()
    carry = between(made, lambda: made.withdrawal(asked.at.consent, made.officer))
    with pytest.raises(PeerRefused) as refused:
        answer_request(asked.wallet, seen["wallet_link"], carry=carry, now=made.time[0])
    assert refused.value.status == 410
    assert rejected(made, seen) == ["gone"]
    with pytest.raises(PeerRefused):
        show(made, asked.wallet, unseen["wallet_link"])
    for opened in (seen, unseen):
        told = asked.follow(opened)
        assert (told["state"], told["wallet_link"]) == ("closed", None)
        assert not has_key(made, opened)
    assert waiting(made, asked.at.consent) == 0


@pytest.mark.parametrize("ends", ["consent", "partner"])
def test_what_ends_while_a_request_is_opened_opens_none(
    made: World, asked: Asked, monkeypatch: pytest.MonkeyPatch, ends: str
) -> None:

    def refuse_now(ctx: Any, asking: Any) -> Any:  # noqa: ANN401 (as it is)
        judged = real_refuse_now(ctx, asking)
        if ends == "consent":
            assert made.withdrawal(asked.at.consent, made.officer).status_code == 200
        else:
            set_partner_state(made.ctx, "demo", made.partner, "suspended")
        return judged

    monkeypatch.setattr(data_request, "refuse_now", refuse_now)
    refused = asked.open()
    if ends == "partner":
        set_partner_state(made.ctx, "demo", made.partner, "active")
    code = {"consent": "consent_not_live", "partner": "unknown_partner"}[ends]
    assert refused.json()["code"] == code
    with made.ctx.db.reading() as tx:
        of_this = REQUEST.c.consent_id == asked.at.consent
        assert tx.execute(select(REQUEST.c.id).where(of_this)).all() == []


def test_a_suspended_partner_s_requests_are_closed(made: World, asked: Asked) -> None:
    unanswered, waits = asked.opened(), asked.shown()
    assert waiting(made, asked.at.consent) == 1
    set_partner_state(made.ctx, "demo", made.partner, "suspended")
    set_partner_state(made.ctx, "demo", made.partner, "active")
    assert made.logged("partner.suspended")[-1].body["data_requests_closed"] >= 1
    assert waiting(made, asked.at.consent) == 0
    with pytest.raises(PeerRefused) as refused:
        show(made, asked.wallet, unanswered["wallet_link"])
    assert refused.value.status == 410
    assert not has_key(made, unanswered)
    assert not has_key(made, waits)


def test_what_was_refused_is_the_customer_s_own(made: World, asked: Asked) -> None:
    """It is in their export, under their own log key, which an erasure destroys."""
    refused, answered = asked.opened(), asked.opened()
    empty = Wallet(anchors=list(made.ctx.keys.anchors()))
    with pytest.raises(NothingToPresent):
        show(made, empty, refused["wallet_link"])
    show(made, asked.wallet, answered["wallet_link"])
    clear = {"vp_token": "{}", "state": answered["id"]}
    address = f"{made.ctx.settings.public_url}/openid4vp/response/{answered['id']}"
    assert made.carry(Message.post_form(address, clear)).status == 410
    for kind, opened in (("data.refused", refused), ("data.rejected", answered)):
        (entry,) = [one for one in made.logged(kind) if one.body["data_request"] == opened["id"]]
        assert entry.subject_id is not None
        assert entry.consent_id == asked.at.consent
        named = Named(made.partner, asked.at.customer.subject_ref)
        told = export_subject(made.ctx, "demo", named, by="operator")
        assert entry.id in {one["entry"]["id"] for one in told["acts"]}


def test_a_key_is_kept_while_it_can_be_used(made: World, asked: Asked) -> None:
    refused, shown, late = (asked.opened() for _ in range(3))
    assert all(has_key(made, one) for one in (refused, shown, late))
    with pytest.raises(NothingToPresent):
        show(made, Wallet(anchors=list(made.ctx.keys.anchors())), refused["wallet_link"])
    show(made, asked.wallet, shown["wallet_link"])
    assert [has_key(made, one) for one in (refused, shown, late)] == [False, False, True]
    forget_expired(made.ctx)
    assert has_key(made, late)
    made.advance(901)
    forget_expired(made.ctx)
    assert not has_key(made, late)
    assert asked.follow(late)["state"] == "expired"


def test_on_postgresql(tmp_path: Path, postgres_database: str) -> None:
    with world(tmp_path / "home", database_url=postgres_database) as broker:
        register_kind(broker)
        asked = consenting(broker)
        assert asked.open(territory="SG").status_code == 403
        count_uses(asked, 2)
        opened, unanswered = asked.shown(), asked.opened()
        statuses = collected_at_once(asked, opened)
        assert statuses[0] == 200
        assert set(statuses[1:]) <= {409, 410}
        assert uses_left(asked) == 1
        assert broker.withdrawal(asked.at.consent, broker.officer).status_code == 200
        assert asked.follow(unanswered)["state"] == "closed"
        assert not has_key(broker, unanswered)
