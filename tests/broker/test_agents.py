"""Agents: each acts under a partner with its own key, and on permits and consents that hold."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.domain.agent import (
    CLAIMS,
    PERMIT_SECONDS,
    SIGNED_WITHIN,
    AgentAction,
    claimed_agent,
    read_action,
    sign_action,
)
from broker.domain.errors import AgentActionInvalid, InvalidRequest, NotFound, StateConflict
from broker.domain.kill_switch import KillSwitch
from broker.store.agents import ActionRow
from broker.usecases import lineage
from broker.usecases.agent import act, actions, add_agent, set_agent_state
from broker.usecases.kill_switch import turn
from broker.usecases.person import Named
from broker.usecases.subject_export import export_subject
from broker.usecases.withdrawal import withdraw_by_officer
from credentials.jcs import b64url
from credentials.keys import SoftwareKey, sign_jws
from tests.broker.builders import PUBLIC_URL, PURPOSE, START, TENANT
from tests.broker.deciding import Desk, desk
from tests.broker.flow_world import World, world
from tests.broker.test_decide import _meddling


class Acting:
    """An agent of a desk's partner, with its key."""

    def __init__(self, at: Desk, name: str = "Coupon writer") -> None:
        self.at = at
        added = add_agent(at.broker.ctx, TENANT, at.partner_id, name=name)
        self.id = added.id
        self.key = SoftwareKey.from_private_jwk(dict(added.private_jwk))
        self.count = 0

    def permit(self, **question: Any) -> str:  # noqa: ANN401
        """The entry of a decision for this agent."""
        return self.at.decide(agent=self.id, **question).entry_id

    def act(self, *decisions: str, consents: list[str], **changes: Any) -> ActionRow:  # noqa: ANN401
        self.count += 1
        stated = AgentAction(
            self.id, f"action-{self.count:04}", self.at.broker.time[0], "read", decisions,
            tuple(consents),
        )  # fmt: skip
        token = sign_action(self.key, replace(stated, **changes), PUBLIC_URL)
        return act(self.at.broker.ctx, TENANT, self.at.partner_id, token)

    def why(self, *decisions: str, consents: list[str], **changes: Any) -> list[str]:  # noqa: ANN401
        row = self.act(*decisions, consents=consents, **changes)
        reasons: list[str] = json.loads(row.reasons)
        assert row.accepted is (not reasons)
        return reasons


@pytest.fixture
def at(tmp_path: Path) -> Iterator[Desk]:
    with desk(tmp_path) as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
def on_each(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    url = "" if request.param == "sqlite" else request.getfixturevalue("postgres_database")
    with desk(tmp_path, url) as made:
        yield made


def test_an_action_rests_on_permits_for_its_agent_and_their_consents(on_each: Desk) -> None:
    at, consent = on_each, on_each.consent()
    agent = Acting(at)
    permits = [agent.permit(), agent.permit()]
    row = agent.act(*permits, consents=[consent])
    assert (row.accepted, json.loads(row.reasons)) == (True, [])
    (entry,) = at.broker.logged("agent.action")
    assert entry.consent_id == consent
    assert entry.body == {
        "action_id": row.id,
        "agent": agent.id,
        "partner": at.partner_id,
        "action": "read",
        "decisions": permits,
    }
    graph = lineage.of_use(at.broker.ctx, TENANT, permits[0]).graph
    assert (permits[0], entry.id) in {(edge.source, edge.target) for edge in graph.edges}
    whole = lineage.of_consent(at.broker.ctx, TENANT, consent).graph
    assert {(one, entry.id) for one in permits} <= {(e.source, e.target) for e in whole.edges}
    told = export_subject(at.broker.ctx, TENANT, Named(consent_id=consent), by="o-1")
    assert entry.id in str(told["acts"])


def test_each_reason_by_itself(at: Desk) -> None:
    consent = at.consent()
    agent, other = Acting(at), Acting(at, "Another")
    mine = agent.permit()
    assert agent.why(mine, "e-" + "a" * 20, consents=[consent]) == ["decision_unknown"]
    denied = agent.permit(attribute="visit_log")
    assert agent.why(denied, consents=[consent]) == ["decision_denied"]
    assert agent.why(other.permit(), consents=[consent]) == ["decision_of_another_agent"]
    assert agent.why(at.decide().entry_id, consents=[consent]) == ["decision_of_another_agent"]
    assert agent.why(mine, consents=[consent], action="profile") == ["action_differs"]
    assert agent.why(mine, consents=["c-" + "a" * 20]) == ["consents_differ", "consent_over"]
    second = at.consent()
    assert agent.why(mine, consents=[consent, second]) == ["consents_differ"]
    at.broker.time[0] += PERMIT_SECONDS + 1
    assert agent.why(mine, consents=[consent]) == ["decision_too_old"]


def test_what_was_withdrawn_since_is_acted_on_no_more(on_each: Desk) -> None:
    at, consent = on_each, on_each.consent()
    agent = Acting(at)
    permit = agent.permit()
    withdraw_by_officer(at.broker.ctx, TENANT, "o-1", consent)
    assert agent.why(permit, consents=[consent]) == ["consent_over"]
    (entry,) = at.broker.logged("agent.action_refused")
    assert (entry.consent_id, entry.subject_id) == (None, None)
    assert entry.body["reasons"] == ["consent_over"]
    assert at.broker.logged("agent.action") == []


def test_another_partners_decisions_are_told_like_those_that_are_not_there(at: Desk) -> None:
    theirs = Desk(at.broker, at.broker.partner("Tea"), "")
    theirs.token = at.broker.token(theirs.partner_id)
    consent = theirs.consent()
    permit = theirs.decide().entry_id
    agent = Acting(at)
    nothing = agent.why("e-" + "a" * 20, consents=["c-" + "a" * 20])
    assert agent.why(permit, consents=[consent]) == nothing
    stated = AgentAction(agent.id, "stolen-name", START, "read", (permit,), (consent,))
    token = sign_action(agent.key, stated, PUBLIC_URL)
    with pytest.raises(NotFound):
        act(at.broker.ctx, TENANT, theirs.partner_id, token)


def test_a_suspended_agent_gets_no_permit_and_acts_no_more(on_each: Desk) -> None:
    at, consent = on_each, on_each.consent()
    agent = Acting(at)
    permit = agent.permit()
    set_agent_state(at.broker.ctx, TENANT, agent.id, "suspended")
    assert at.codes(agent=agent.id) == ["agent_suspended"]
    assert at.codes() == []
    assert agent.why(permit, consents=[consent]) == ["agent_suspended"]
    other = Desk(at.broker, at.broker.partner("Tea"), at.token)
    assert other.codes(agent=agent.id) == ["subject_not_caller"]
    set_agent_state(at.broker.ctx, TENANT, agent.id, "active")
    assert at.codes(agent=agent.id) == []
    with pytest.raises(NotFound):
        set_agent_state(at.broker.ctx, TENANT, "ag-none", "suspended")


def test_a_suspension_between_reading_and_writing_is_seen(at: Desk) -> None:
    at.consent()
    agent = Acting(at)

    def suspend() -> None:
        set_agent_state(at.broker.ctx, TENANT, agent.id, "suspended")

    between = _meddling(at, suspend)
    assert between.codes(agent=agent.id) == ["agent_suspended"]
    assert between.codes(agent="of no register") == []
    between.broker.ctx.db.close()


def test_a_permit_that_counted_a_use_carries_one_action(on_each: Desk) -> None:
    at, consent = on_each, on_each.consent(uses_left=3)
    agent = Acting(at)
    first, second = agent.permit(key="k1"), agent.permit(key="k2")
    assert agent.why(first, consents=[consent]) == []
    # All of an action's permits are taken, or none.
    assert agent.why(first, second, consents=[consent]) == ["permit_used"]
    assert agent.why(second, consents=[consent], jti="the-second") == []
    assert agent.why(second, consents=[consent]) == ["permit_used"]
    assert len(at.broker.logged("agent.action")) == 2


def test_permits_that_count_no_use_carry_any_number(at: Desk) -> None:
    consent = at.consent()
    agent = Acting(at)
    permit = agent.permit()
    for _ in range(3):
        assert agent.why(permit, consents=[consent]) == []
    graph = lineage.of_use(at.broker.ctx, TENANT, permit).graph
    assert sum(node.kind == "action" for node in graph.nodes) == 3
    # What agents did is told a page at a time, like decisions.
    at.broker.keep_log()
    met, after = 0, -1
    for _ in range(4):
        page = lineage.of_consent(at.broker.ctx, TENANT, consent, limit=1, after=after)
        met += sum(node.kind in {"use", "action"} for node in page.graph.nodes)
        assert page.behind is not None
        after = page.behind
    assert met == 4
    last = lineage.of_consent(at.broker.ctx, TENANT, consent, limit=1, after=after)
    assert last.behind is None


SWITCHES = [
    KillSwitch("tenant", TENANT),
    KillSwitch("partner", ""),
    KillSwitch("purpose", PURPOSE),
    KillSwitch("algorithm", "churn-v3@1"),
]


@pytest.mark.parametrize("switch", SWITCHES, ids=lambda switch: str(switch.kind))
def test_a_kill_switch_stops_what_was_permitted_before(at: Desk, switch: KillSwitch) -> None:
    consent = at.consent()
    agent = Acting(at)
    permit = agent.permit()
    meant = switch if switch.id else KillSwitch("partner", at.partner_id)
    for other in (KillSwitch("purpose", "dpv:Marketing"), KillSwitch("algorithm", "churn-v3@2")):
        turn(at.broker.ctx, TENANT, other, on=True)
    turn(at.broker.ctx, TENANT, meant, on=True)
    assert agent.why(permit, consents=[consent]) == ["kill_switch"]
    turn(at.broker.ctx, TENANT, meant, on=False)
    assert agent.why(permit, consents=[consent]) == []


def test_an_action_counts_once(at: Desk) -> None:
    consent = at.consent()
    agent = Acting(at)
    permit = agent.permit()
    assert agent.why(permit, consents=[consent], jti="the-same-one") == []
    with pytest.raises(StateConflict, match="jti"):
        agent.act(permit, consents=[consent], jti="the-same-one")
    assert len(at.broker.logged("agent.action")) == 1


def test_many_actions_at_once_are_each_kept_once(on_each: Desk) -> None:
    at, consent = on_each, on_each.consent()
    agent = Acting(at)
    permit = agent.permit()
    stated = AgentAction(agent.id, "at-once-1", START, "read", (permit,), (consent,))
    token = sign_action(agent.key, stated, PUBLIC_URL)

    def once() -> ActionRow | StateConflict:
        try:
            return act(at.broker.ctx, TENANT, at.partner_id, token)
        except StateConflict as error:
            return error

    async def everybody() -> list[ActionRow | StateConflict]:
        return await asyncio.gather(*[asyncio.to_thread(once) for _ in range(8)])

    answers = asyncio.run(everybody())
    assert sum(isinstance(one, ActionRow) for one in answers) == 1
    assert sum(isinstance(one, StateConflict) for one in answers) == 7
    assert len(at.broker.logged("agent.action")) == 1


BAD: list[tuple[str, Any]] = [
    *(("jti", value) for value in (None, 1, "short", "x" * 65, "with space")),
    *(("action", value) for value in (None, "delete", ["read"])),
    *(("decisions", value) for value in (None, [], ["e-1"], [1], ["e-" + "a" * 20] * 2)),
    (
        "decisions",
        [f"e-{'a' * 18}{n:02}".translate(str.maketrans("0189", "abcd")) for n in range(51)],
    ),
    ("consents", []),
    ("consents", "c-" + "a" * 20),
    *(("iat", value) for value in (None, START - SIGNED_WITHIN - 1, START + 61, True, 1.5)),
    ("aud", "https://elsewhere.example"),
    ("more", 1),
]


@pytest.mark.parametrize(("name", "value"), BAD, ids=repr)
def test_what_is_no_action_is_refused(name: str, value: Any) -> None:  # noqa: ANN401
    key = SoftwareKey.generate("ES256")
    claims: dict[str, Any] = {
        "iss": "ag-" + "a" * 20,
        "aud": PUBLIC_URL,
        "iat": START,
        "jti": "an-action-1",
        "action": "read",
        "decisions": ["e-" + "a" * 20],
        "consents": ["c-" + "a" * 20],
    }
    assert claims.keys() == CLAIMS
    good = sign_jws(key, {"typ": "agent-action+jwt"}, claims)
    assert read_action(good, key.public_jwk(), PUBLIC_URL, START).action == "read"
    bad = sign_jws(key, {"typ": "agent-action+jwt"}, claims | {name: value})
    with pytest.raises(AgentActionInvalid):
        read_action(bad, key.public_jwk(), PUBLIC_URL, START)


def test_another_key_and_another_type_are_refused() -> None:
    key, stranger = SoftwareKey.generate("ES256"), SoftwareKey.generate("ES256")
    named = (("e-" + "a" * 20,), ("c-" + "a" * 20,))
    stated = AgentAction("ag-" + "a" * 20, "an-action-1", START, "read", *named)
    token = sign_action(stranger, stated, PUBLIC_URL)
    with pytest.raises(AgentActionInvalid, match="registered key"):
        read_action(token, key.public_jwk(), PUBLIC_URL, START)
    assert claimed_agent(token) == stated.agent
    unsigned = b64url(b'{"alg":"none","typ":"agent-action+jwt"}') + "." + token.split(".")[1] + "."
    for bad in ("", "a.b.c", unsigned, "x" * 20_000):
        with pytest.raises(AgentActionInvalid):
            claimed_agent(bad)


def test_agents_are_registered_with_keys_of_their_own(at: Desk) -> None:
    ctx = at.broker.ctx
    own = SoftwareKey.generate("EdDSA")
    added = add_agent(ctx, TENANT, at.partner_id, name="Own key", public_jwk=own.public_jwk())
    assert added.private_jwk == {}
    with pytest.raises(StateConflict):
        add_agent(ctx, TENANT, at.partner_id, name="Own key")
    with pytest.raises(InvalidRequest, match="private"):
        add_agent(ctx, TENANT, at.partner_id, name="x", public_jwk=own.private_jwk())
    with pytest.raises(InvalidRequest):
        add_agent(ctx, TENANT, at.partner_id, name="x", public_jwk={"kty": "oct"})
    assert at.broker.logged("agent.added")[-1].body["agent"] == added.id


def test_over_http_and_page_by_page(tmp_path: Path) -> None:
    with world(tmp_path / "home") as made:
        request = made.customer("crm-1", copies=1).grant("base")
        (consent,) = (one["id"] for one in request["consents"] if one["state"] == "granted")
        agent = add_agent(made.ctx, "demo", made.partner, name="Writer")
        key = SoftwareKey.from_private_jwk(dict(agent.private_jwk))
        found = [_acted(made, agent.id, key, consent, n) for n in range(3)]
        assert [one["accepted"] for one in found] == [True] * 3
        first = made.api("GET", "/v1/agent-actions?limit=2").json()
        rest = made.api("GET", f"/v1/agent-actions?after={first['next']}", made.officer).json()
        assert [*first["actions"], *rest["actions"]] == found
        assert rest["next"] is None
        path = f"/v1/agent-actions/{found[0]['id']}"
        assert made.api("GET", path, made.officer).json() == found[0]
        other = made.second_partner()
        assert made.api("GET", path, other).status_code == 404
        assert made.api("GET", "/v1/agent-actions", other).json()["actions"] == []
        assert [one["id"] for one in made.api("GET", "/v1/agents").json()["agents"]] == [agent.id]
        assert made.api("GET", "/v1/agents", other).json()["agents"] == []
        made.evidence(consent)  # what agents did is part of the story that it tells


def _acted(made: World, agent: str, key: SoftwareKey, consent: str, number: int) -> dict[str, Any]:
    body = {
        "subject": {"type": "agent", "id": agent, "properties": {"partner": made.partner}},
        "action": {"name": "read"},
        "resource": {
            "type": "attribute",
            "id": "purchase_count_12m",
            "properties": {"consent": consent},
        },
        "context": {"purpose": "dpv:ServicePersonalisation#algo:churn-v3@1", "territory": "CN"},
    }
    decided = made.api("POST", "/access/v1/evaluation", json=body).json()
    stated = AgentAction(
        agent, f"over-http-{number}", made.time[0], "read", (decided["context"]["id"],), (consent,)
    )
    answer = made.api(
        "POST",
        "/v1/agent-actions",
        json={"action": sign_action(key, stated, PUBLIC_URL)},
        headers={"Idempotency-Key": f"action {number}"},
    )
    assert answer.status_code == 201, answer.text
    made.advance(1)
    found: dict[str, Any] = answer.json()
    return found


def test_actions_of_one_agent_are_listed(at: Desk) -> None:
    consent = at.consent()
    first, second = Acting(at), Acting(at, "Another")
    for agent in (first, second):
        agent.act(agent.permit(), consents=[consent])
    found, behind = actions(at.broker.ctx, TENANT, None, limit=10, agent_id=second.id)
    assert ([one.agent_id for one in found], behind) == ([second.id], None)
