"""Rate limits: who is counted as whom, what is over is told how, and what is never refused."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, update
from sqlalchemy.exc import OperationalError

from broker.api import callers, rate_limits
from broker.api.callers import address_of
from broker.app import create_app
from broker.domain.buckets import Buckets
from broker.settings import RATES, Rate, Settings, SettingsError, read_settings
from broker.store import access_tokens
from broker.usecases.context import Context
from broker.usecases.dpop import token_row
from tests.broker import builders
from tests.broker.builders import Broker
from tests.web.page_world import page_world

FEW = Rate(0.001, 3)
ONE = Rate(0.001, 1)
MANY = Rate(1000, 100_000)


@pytest.fixture(autouse=True)
def one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No bucket fills again while a test runs, however slow the machine is."""
    monkeypatch.setattr(rate_limits, "monotonic", lambda: 0.0)


@contextmanager
def limited(home: Path, **rates: Rate) -> Iterator[tuple[Broker, TestClient]]:
    """The whole application with every limit out of reach but these."""
    with builders.broker(home, real_time=True) as made:
        every = dict.fromkeys(RATES, MANY) | rates
        settings = replace(made.ctx.settings, rate_limits=every)
        made.ctx = replace(made.ctx, settings=settings)
        app = create_app(made.ctx)
        with TestClient(app, base_url=builders.PUBLIC_URL, client=("203.0.113.7", 1)) as http:
            yield made, http


def client_of(http: TestClient, address: str) -> TestClient:
    return TestClient(http.app, base_url=builders.PUBLIC_URL, client=(address, 1))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def statuses(answers: list[Any]) -> list[int]:
    return [answer.status_code for answer in answers]


def test_an_address_that_asks_too_often_is_told_when_to_come_again(tmp_path: Path) -> None:
    with limited(tmp_path, address=Rate(0.5, 3)) as (_made, http):
        answers = [http.get("/log/checkpoint") for _ in range(4)]
        assert statuses(answers)[3] == 429
        assert 429 not in statuses(answers[:3])
        refused = answers[3]
        assert refused.headers["Content-Type"] == "application/problem+json"
        assert refused.json()["code"] == "rate_limited"
        assert refused.json()["instance"].startswith("urn:consent-broker:request:")
        assert refused.headers["Retry-After"] == "2"
        assert refused.headers["RateLimit-Policy"] == '"address";q=3;w=6'
        assert refused.headers["RateLimit"] == '"address";r=0;t=2'
        # Whoever comes near is told before; whoever is far from it is not.
        assert "RateLimit" not in answers[0].headers
        assert answers[1].headers["RateLimit"].startswith('"address";r=1;')
        # Others are not concerned.
        assert client_of(http, "203.0.113.8").get("/log/checkpoint").status_code != 429


def test_health_is_never_limited(tmp_path: Path) -> None:
    with limited(tmp_path, address=ONE) as (_made, http):
        for path in ("/healthz", "/readyz"):
            assert {http.get(path).status_code for _ in range(20)} <= {200, 503}
        assert http.get("/log/checkpoint").status_code != 429
        assert http.get("/log/checkpoint").status_code == 429
        assert http.get("/healthz").status_code == 200


def test_a_client_is_counted_by_its_id_whatever_token_and_address_it_uses(tmp_path: Path) -> None:
    with limited(tmp_path, client=FEW) as (made, http):
        partner = made.partner("Coffee")
        tokens = [made.token(partner) for _ in range(3)]
        for token in tokens:  # each is learned from its first answer
            assert http.get("/v1/purposes", headers=bearer(token)).status_code == 200
        elsewhere = client_of(http, "198.51.100.1")
        answers = [
            one.get("/v1/purposes", headers=bearer(token))
            for one, token in itertools.islice(itertools.product((http, elsewhere), tokens), 4)
        ]
        assert statuses(answers) == [200, 200, 200, 429]
        assert answers[3].headers["RateLimit-Policy"].startswith('"client"')
        other = made.token(made.partner("Tea"))
        assert http.get("/v1/purposes", headers=bearer(other)).status_code == 200
        # Decisions have a limit of their own.
        assert decision(http, tokens[0], partner) == 200


def test_decisions_have_their_own_limit(tmp_path: Path) -> None:
    with limited(tmp_path, decisions=FEW, client=ONE) as (made, http):
        partner = made.partner("Coffee")
        token = made.token(partner)
        assert [decision(http, token, partner) for _ in range(5)] == [200, 200, 200, 200, 429]


def test_tokens_that_do_not_exist_are_their_address(tmp_path: Path) -> None:
    with limited(tmp_path, address=FEW) as (made, http):
        answers = [http.get("/v1/purposes", headers=bearer(f"made-up-{n}")) for n in range(4)]
        assert statuses(answers) == [401, 401, 401, 429]
        # A client that was met is not shut out by whoever shares its address.
        token = made.token(made.partner("Coffee"))
        elsewhere = client_of(http, "198.51.100.1")
        assert elsewhere.get("/v1/purposes", headers=bearer(token)).status_code == 200
        assert http.get("/v1/purposes", headers=bearer(token)).status_code == 200


def test_an_officer_can_withdraw_when_everything_else_is_used_up(tmp_path: Path) -> None:
    with limited(tmp_path, client=ONE) as (made, http):
        consent_id = made.consent(made.partner("Coffee"), "crm-1")
        officer = bearer(made.token(made.officer(), "officer"))
        got = [http.get(f"/v1/consents/{consent_id}", headers=officer) for _ in range(3)]
        assert statuses(got) == [200, 200, 429]
        done = http.post(f"/v1/consents/{consent_id}/withdrawal", json={}, headers=officer)
        assert done.status_code == 200, done.text


def test_a_wallet_can_withdraw_when_everything_else_is_used_up(tmp_path: Path) -> None:
    with limited(tmp_path, address=ONE) as (_made, http):
        assert statuses([http.get("/log/checkpoint") for _ in range(2)])[1] == 429
        # It gets the request, in either way, and posts its answer.
        assert http.get("/openid4vp/request/pr-x").status_code == 404
        assert http.post("/openid4vp/request/pr-x", data={}).status_code != 429
        assert http.post("/openid4vp/response/pr-x", data={"state": "x"}).status_code != 429
        assert http.get("/log/checkpoint").status_code == 429


@pytest.mark.parametrize("how", ["revoked", "expired"])
def test_a_token_that_has_ended_takes_nothing_of_its_client_s(tmp_path: Path, how: str) -> None:
    with limited(tmp_path, client=FEW) as (made, http):
        partner = made.partner("Coffee")
        ended, good = (bearer(made.token(partner)) for _ in range(2))
        elsewhere = client_of(http, "198.51.100.1")
        assert elsewhere.get("/v1/purposes", headers=ended).status_code == 200
        assert http.get("/v1/purposes", headers=good).status_code == 200
        end(made, ended, how)
        # The first refusal still counts as the client's, all later ones as their address's.
        assert {elsewhere.get("/v1/purposes", headers=ended).status_code for _ in range(9)} == {401}
        assert statuses([http.get("/v1/purposes", headers=good) for _ in range(3)]) == [200] * 2 + [
            429
        ]


def test_nor_does_one_that_only_visits_what_is_open_to_everybody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(callers, "LOOK_AGAIN_SECONDS", 0)
    with limited(tmp_path, client=FEW) as (made, http):
        partner = made.partner("Coffee")
        ended = bearer(made.token(partner))
        assert http.get("/v1/purposes", headers=ended).status_code == 200
        end(made, ended, "revoked")
        assert 429 not in statuses([http.get("/log/checkpoint", headers=ended) for _ in range(9)])


def end(made: Broker, headers: dict[str, str], how: str) -> None:
    row = token_row(headers["Authorization"].removeprefix("Bearer "), None)
    token = access_tokens.TOKEN
    with made.ctx.db.transaction() as tx:
        if how == "revoked":
            tx.execute(delete(token).where(token.c.token_hash == row))
        else:
            tx.execute(update(token).where(token.c.token_hash == row).values(expires_at=1))


def test_what_cannot_be_learned_spoils_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with limited(tmp_path) as (made, http):
        headers = bearer(made.token(made.partner("Coffee")))
        real, asked = access_tokens.find, []

        def find(tx: Connection, tenant_id: str, token_hash: str) -> access_tokens.TokenRow | None:
            asked.append(token_hash)
            if len(asked) > 1:  # the first is the request's own
                raise OperationalError("SELECT", {}, Exception("the database went away"))
            return real(tx, tenant_id, token_hash)

        monkeypatch.setattr(access_tokens, "find", find)
        assert http.get("/v1/purposes", headers=headers).status_code == 200
        assert len(asked) == 2


def test_a_customer_s_page_has_room_of_its_own(tmp_path: Path) -> None:
    with limited(tmp_path, address=FEW, withdrawal=FEW, page=FEW) as (_made, http):
        english = {"Accept-Language": "en"}
        answers = [http.get(f"/c/{'x' * 32}", headers=english) for _ in range(7)]
        assert statuses(answers) == [404] * 6 + [429]
        page = answers[6]
        assert page.headers["Content-Type"].startswith("text/html")
        assert "Too many visitors at once" in page.text
        assert page.headers["Retry-After"]
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        # Of other things the address is not given more.
        assert http.get("/log/checkpoint").status_code == 429


def test_a_page_that_was_there_stays_open_when_its_address_is_shut_out(tmp_path: Path) -> None:
    with page_world(tmp_path) as world:
        page = world.ask()
        every = dict.fromkeys(RATES, MANY) | {"address": FEW, "withdrawal": FEW, "page": FEW}
        settings = replace(world.ctx.settings, rate_limits=every)
        app = create_app(replace(world.ctx, settings=settings))
        http = TestClient(app, base_url=builders.PUBLIC_URL)  # without its threads
        assert http.get(page).status_code == 200
        unknown = [http.get(f"/c/{'x' * 32}").status_code for _ in range(6)]
        assert unknown == [404] * 5 + [429]
        assert [http.get(page).status_code for _ in range(4)] == [200] * 3 + [429]


@pytest.mark.parametrize(
    "path", ["/oauth/token", "/openid4vci/nonce", "/openid4vp/response/pr-x", "/t/acme/oauth/token"]
)
def test_wallet_protocols_are_answered_in_their_own_form(tmp_path: Path, path: str) -> None:
    with limited(tmp_path, address=ONE, withdrawal=ONE) as (_made, http):
        reserved = path.startswith("/openid4vp/")
        for _ in range(2 if reserved else 1):
            assert http.post(path, data={"a": "b"}).status_code != 429
        refused = http.post(path, data={"a": "b"})
        assert refused.status_code == 429
        assert refused.json()["error"] == "temporarily_unavailable"
        assert refused.json()["code"] == "rate_limited"
        assert refused.headers["Cache-Control"] == "no-store"
        assert refused.headers["Retry-After"] == "1000"


def test_nothing_is_limited_when_it_is_off(tmp_path: Path) -> None:
    with builders.broker(tmp_path, real_time=True) as made:
        ctx: Context = replace(made.ctx, settings=replace(made.ctx.settings, rate_limits={}))
        with TestClient(create_app(ctx)) as http:
            assert {http.get("/log/checkpoint").status_code for _ in range(50)} <= {200, 404, 503}


@pytest.mark.parametrize(
    ("host", "counted"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("fe80::1%eth0", "fe80::/64"),
        ("testclient", "testclient"),
        ("no:address", "no:address"),
    ],
)
def test_addresses(host: str, counted: str) -> None:
    assert address_of({"client": (host, 1)}) == counted
    assert address_of({"client": None}) == ""


def test_who_cycles_through_addresses_does_not_fill_the_memory() -> None:
    buckets = Buckets(1, 2, keys=100)
    for number in range(10_000):
        assert buckets.take(number, 0.0).admitted
    assert len(buckets) == 100
    # The one that keeps asking keeps its bucket.
    for number in range(1000):
        admitted = buckets.take("busy", 0.0).admitted
        assert admitted is (number < 2)
        buckets.take(("other", number), 0.0)


@given(st.lists(st.floats(0, 3), max_size=60), st.integers(1, 5))
def test_never_more_than_the_burst_and_what_time_has_added(pauses: list[float], burst: int) -> None:
    buckets, now, admitted = Buckets(2, burst), 0.0, []
    for pause in pauses:
        now += pause
        taken = buckets.take("k", now)
        if taken.admitted:
            admitted.append(now)
        else:
            assert buckets.take("k", now + taken.reset).admitted
            admitted.append(now + taken.reset)
            now += taken.reset
    for first, start in enumerate(admitted):
        for last, end in enumerate(admitted[first:], start=first):
            assert last - first + 1 <= burst + 2 * (end - start) + 1e-6


def test_the_setting(tmp_path: Path) -> None:
    assert Settings(home=tmp_path).rate_limits == RATES
    read = read_settings({"BROKER_RATE_LIMITS": "client=5.5/10, address=1/1"}).rate_limits
    assert read == dict(RATES) | {"client": Rate(5.5, 10), "address": Rate(1, 1)}
    assert read_settings({"BROKER_RATE_LIMITS": "off"}).rate_limits == {}
    for wrong in ("client", "client=0/5", "client=1/0", "weather=1/1", "client=1e9/5"):
        with pytest.raises(SettingsError, match="client=100/1000"):
            read_settings({"BROKER_RATE_LIMITS": wrong})
    assert read_settings({}).trusted_proxies == "127.0.0.1"
    assert read_settings({"FORWARDED_ALLOW_IPS": "10.0.0.1"}).trusted_proxies == "10.0.0.1"


def decision(http: TestClient, token: str, partner: str) -> int:
    body = {
        "subject": {"type": "partner", "id": partner},
        "action": {"name": "read"},
        "resource": {"type": "attribute", "id": "x", "properties": {"subject_ref": "crm-1"}},
        "context": {"purpose": builders.WIRE, "territory": "CN"},
    }
    return http.post("/access/v1/evaluation", json=body, headers=bearer(token)).status_code
