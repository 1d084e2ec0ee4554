"""Agents that act under a partner: registered, stopped, and checked in what they do.

1. The action's agent is found by its claim, and its signature verified, with no transaction open.
2. One transaction holds the agent and the named consents, opens the named decisions from the log,
   and judges: each is a permit of this partner for this agent and this action, lately, its
   consent is live still, no kill switch stops it, and one that was a counted use carried no
   action before.
3. It is kept either way. An accepted one is in the log under each of its consents, a refused one
   under the tenant's key: what it named may be somebody else's.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from broker.domain.addresses import tenant_url
from broker.domain.agent import (
    PERMIT_SECONDS,
    AgentAction,
    Permitted,
    claimed_agent,
    judge,
    read_action,
)
from broker.domain.errors import InvalidRequest, NotFound
from broker.domain.ids import new_id
from broker.store import agents, kill_switches, partners, used_once
from broker.store import audit as audit_store
from broker.store.agents import ActionRow, AgentRow
from broker.usecases import audit
from broker.usecases.context import Context
from broker.usecases.decision_write import agent_mark
from broker.usecases.event import tell
from broker.usecases.tenant import require_text
from credentials.errors import CredentialError
from credentials.jws import PublicKey
from credentials.keys import SoftwareKey, thumbprint

AGENT, ACTION = "ag", "aa"
ACTED, REFUSED = "agent.action", "agent.action_refused"
DECISION = "decision"
ACTED_ON = "permit acted on"


@dataclass(frozen=True)
class NewAgent:
    """An agent that was just registered; the private key is empty where the partner keeps it."""

    id: str
    private_jwk: Mapping[str, Any]


def add_agent(
    ctx: Context,
    tenant_id: str,
    partner_id: str,
    *,
    name: str,
    public_jwk: Mapping[str, Any] | None = None,
) -> NewAgent:
    """Register an agent of a partner under `public_jwk`, or a fresh key that is shown once.

    Raises `InvalidRequest`, `UnknownPartner`, `StateConflict` (the name is taken).
    """
    require_text(name)
    private, public = _keys(public_jwk)
    row = AgentRow(
        id=new_id(AGENT),
        tenant_id=tenant_id,
        partner_id=partner_id,
        name=name,
        jwk=json.dumps(public),
        state="active",
        created_at=ctx.now(),
    )
    with ctx.db.transaction() as tx:
        partners.find(tx, tenant_id, partner_id)
        agents.add(tx, row)
        body = {"agent": row.id, "partner": partner_id, "key": thumbprint(public)}
        audit.record(ctx, tx, tenant_id=tenant_id, type="agent.added", body=body)
    return NewAgent(row.id, private)


def set_agent_state(ctx: Context, tenant_id: str, agent_id: str, state: str) -> None:
    """Suspend an agent or resume it; raises `NotFound`.

    Once this returns, decisions for a suspended agent are denials and its actions are refused.
    """
    with ctx.db.transaction() as tx:
        changed = agents.set_state(tx, tenant_id, agent_id, state)
        kind = "agent.suspended" if state == "suspended" else "agent.resumed"
        told = {"agent": agent_id}
        audit.record(ctx, tx, tenant_id=tenant_id, type=kind, body=told)
        if changed:
            tell(
                ctx,
                tx,
                tenant_id=tenant_id,
                partner_id=agents.find(tx, tenant_id, agent_id).partner_id,
                type=kind,
                subject=agent_id,
                data=told,
                each=True,
            )


def act(ctx: Context, tenant_id: str, partner_id: str, token: str) -> ActionRow:
    """Take an agent's signed action and say whether it rests on what it names; both are kept.

    Raises `AgentActionInvalid`, `NotFound` (no such agent of this partner), `StateConflict` (its
    `jti` came before).
    """
    agent_id = claimed_agent(token)
    with ctx.db.reading() as tx:
        agent = _own(agents.find(tx, tenant_id, agent_id), partner_id)
    audience = tenant_url(ctx.settings.public_url, tenant_id)
    stated = read_action(token, json.loads(agent.jwk), audience, ctx.now())
    with ctx.db.transaction() as tx:
        agent = agents.find(tx, tenant_id, agent_id, lock=True)
        subjects, found = _named(ctx, tx, tenant_id, stated)
        mark = agent_mark(ctx, partner_id, agent_id)
        reasons = judge(
            stated,
            found,
            partner=partner_id,
            mark=mark,
            switches=kill_switches.turned_on(tx, tenant_id),
            now=ctx.now(),
        )
        if agent.state != "active":
            reasons = ("agent_suspended", *reasons)
        if not reasons and not _spend(tx, found, ctx.now()):
            reasons = ("permit_used",)
        row = ActionRow(
            id=new_id(ACTION),
            tenant_id=tenant_id,
            partner_id=partner_id,
            agent_id=agent_id,
            jti=stated.jti,
            action=stated.action,
            accepted=not reasons,
            reasons=json.dumps(reasons),
            decisions=json.dumps(stated.decisions),
            consents=json.dumps(stated.consents),
            token=token,
            created_at=ctx.now(),
        )
        agents.add_action(tx, row)
        _record(ctx, tx, row, reasons, found, subjects)
    return row


def action(ctx: Context, tenant_id: str, partner_id: str | None, action_id: str) -> ActionRow:
    """An action, for its partner or (None) an officer; raises `NotFound`."""
    with ctx.db.reading() as tx:
        return agents.action(tx, tenant_id, action_id, partner_id)


def actions(
    ctx: Context,
    tenant_id: str,
    partner_id: str | None,
    *,
    limit: int,
    agent_id: str | None = None,
    after: str | None = None,
) -> tuple[list[ActionRow], str | None]:
    """Actions, oldest first, and the last of them where there are more; raises `NotFound`."""
    with ctx.db.reading() as tx:
        behind = None if after is None else agents.action(tx, tenant_id, after, partner_id)
        found = agents.actions(
            tx, tenant_id, partner_id, agent_id=agent_id, after=behind, limit=limit + 1
        )
    return found[:limit], found[limit - 1].id if len(found) > limit else None


def _own(agent: AgentRow, partner_id: str) -> AgentRow:
    if agent.partner_id != partner_id:
        raise NotFound("no such agent is registered")
    return agent


def _spend(tx: Connection, found: Sequence[Permitted], now: int) -> bool:
    """Take the counted permits for this action, all or none; False where one was taken before."""
    permits = sorted((one.id, one.time) for one in found if one.counted)
    with tx.begin_nested() as step:
        for permit_id, time in permits:
            over = time + PERMIT_SECONDS
            if not used_once.spend(tx, ACTED_ON, permit_id, expires_at=over, now=now):
                step.rollback()
                return False
    return True


def _named(
    ctx: Context, tx: Connection, tenant_id: str, stated: AgentAction
) -> tuple[dict[str, str | None], list[Permitted]]:
    """The customers of the named consents, and the named decisions as far as the log has them."""
    now = ctx.now()
    held = agents.hold_consents(tx, tenant_id, stated.consents)
    live = {
        row.id for row in held if row.state == "granted" and row.valid_from <= now < row.valid_until
    }
    found = []
    for entry_id in stated.decisions:
        logged = audit_store.find_entry(tx, tenant_id, entry_id)
        if logged is None or logged.sealed.type != DECISION:
            continue
        sealed = logged.sealed
        try:
            entry = ctx.keys.log_key(tx, tenant_id, sealed.subject_id).open(sealed)
        except NotFound:
            continue  # its customer was erased
        body = entry.body
        found.append(
            Permitted(
                id=entry.id,
                permit=body.get("decision") is True,
                partner=str(body.get("partner")),
                agent=body.get("agent"),
                action=str(body.get("action")),
                consent=entry.consent_id,
                purpose=str(body.get("purpose")),
                time=entry.time,
                consent_live=entry.consent_id in live,
                counted="uses_left" in body.get("facts", {}).get("consent", {}),
            )
        )
    return {row.id: row.subject_id for row in held}, found


def _record(
    ctx: Context,
    tx: Connection,
    row: ActionRow,
    reasons: Sequence[str],
    found: Sequence[Permitted],
    subjects: Mapping[str, str | None],
) -> None:
    told = {"action_id": row.id, "agent": row.agent_id, "partner": row.partner_id}
    if reasons:
        body = {**told, "reasons": list(reasons)}
        audit.record(ctx, tx, tenant_id=row.tenant_id, type=REFUSED, body=body)
        return
    for consent_id in sorted({one.consent for one in found if one.consent is not None}):
        decisions = [one.id for one in found if one.consent == consent_id]
        audit.record(
            ctx,
            tx,
            tenant_id=row.tenant_id,
            type=ACTED,
            body={**told, "action": row.action, "decisions": decisions},
            consent_id=consent_id,
            subject_id=subjects[consent_id],
        )


def _keys(public_jwk: Mapping[str, Any] | None) -> tuple[Mapping[str, Any], Mapping[str, str]]:
    if public_jwk is None:
        key = SoftwareKey.generate("ES256")
        return key.private_jwk(), key.public_jwk()
    if "d" in public_jwk:
        raise InvalidRequest("that is a private key: hand in its public members alone")
    try:
        return {}, PublicKey(public_jwk).jwk
    except CredentialError as problem:
        raise InvalidRequest(f"the key is no public JWK for ES256 or Ed25519: {problem}") from None
