"""Rows of agents, and of what they have done."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, insert, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from broker.domain.errors import NotFound, StateConflict
from broker.store import tables
from broker.store.consents import CONSENT

AGENT = tables.Agent.__table__  # type: ignore[attr-defined]
ACTION = tables.AgentAct.__table__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class AgentRow:
    """A program of a partner; `jwk` is its public key as JSON text."""

    id: str
    tenant_id: str
    partner_id: str
    name: str
    jwk: str
    state: str
    created_at: int


@dataclass(frozen=True)
class ActionRow:
    """An action; `reasons`, `decisions` and `consents` are JSON lists."""

    id: str
    tenant_id: str
    partner_id: str
    agent_id: str
    jti: str
    action: str
    accepted: bool
    reasons: str
    decisions: str
    consents: str
    token: str
    created_at: int


def add(tx: Connection, row: AgentRow) -> None:
    """Store a new agent; raises `StateConflict` when its partner has one of this name."""
    try:
        with tx.begin_nested():
            tx.execute(insert(AGENT).values(**vars(row)))
    except IntegrityError:
        raise StateConflict(f"this partner has an agent called {row.name} already") from None


def find(tx: Connection, tenant_id: str, agent_id: str, *, lock: bool = False) -> AgentRow:
    """An agent in any state; raises `NotFound`. With `lock` it stays as it is until the end."""
    query = select(AGENT).where(AGENT.c.id == agent_id, AGENT.c.tenant_id == tenant_id)
    row = tx.execute(query.with_for_update(read=True) if lock else query).one_or_none()
    if row is None:
        raise NotFound("no such agent is registered")
    return AgentRow(**row._mapping)  # noqa: SLF001 (SQLAlchemy's public accessor)


def of_tenant(tx: Connection, tenant_id: str, partner_id: str | None) -> list[AgentRow]:
    """The agents of a partner, or of all."""
    query = select(AGENT).where(AGENT.c.tenant_id == tenant_id)
    if partner_id is not None:
        query = query.where(AGENT.c.partner_id == partner_id)
    rows = tx.execute(query.order_by(AGENT.c.created_at, AGENT.c.id))
    return [AgentRow(**row._mapping) for row in rows]  # noqa: SLF001


def set_state(tx: Connection, tenant_id: str, agent_id: str, state: str) -> bool:
    """Suspend an agent or resume it, and say whether that is new; raises `NotFound`."""
    mine = (AGENT.c.id == agent_id, AGENT.c.tenant_id == tenant_id)
    done = tx.execute(update(AGENT).where(*mine, AGENT.c.state != state).values(state=state))
    if done.rowcount == 0:
        find(tx, tenant_id, agent_id)
    return done.rowcount == 1


def hold_consents(tx: Connection, tenant_id: str, ids: Sequence[str]) -> list[Row[Any]]:
    """State and validity of consents, which stay as they are until the end of `tx`."""
    found = (
        select(CONSENT.c.id, CONSENT.c.state, CONSENT.c.valid_from, CONSENT.c.valid_until)
        .add_columns(CONSENT.c.subject_id)
        .where(CONSENT.c.tenant_id == tenant_id, CONSENT.c.id.in_(ids))
        .order_by(CONSENT.c.id)
        .with_for_update(read=True)
    )
    return list(tx.execute(found))


def add_action(tx: Connection, row: ActionRow) -> None:
    """Store an action; raises `StateConflict` when the agent has sent one of this `jti`."""
    try:
        with tx.begin_nested():
            tx.execute(insert(ACTION).values(**vars(row)))
    except IntegrityError:
        raise StateConflict(
            "this agent has sent an action with this jti before: sign each with one of its own"
        ) from None


def action(tx: Connection, tenant_id: str, action_id: str, partner_id: str | None) -> ActionRow:
    """An action, of a partner alone where one is named; raises `NotFound`."""
    query = select(ACTION).where(ACTION.c.id == action_id, ACTION.c.tenant_id == tenant_id)
    if partner_id is not None:
        query = query.where(ACTION.c.partner_id == partner_id)
    row = tx.execute(query).one_or_none()
    if row is None:
        raise NotFound("no such action")
    return ActionRow(**row._mapping)  # noqa: SLF001


def actions(
    tx: Connection,
    tenant_id: str,
    partner_id: str | None,
    *,
    agent_id: str | None,
    after: ActionRow | None,
    limit: int,
) -> list[ActionRow]:
    """Actions, oldest first, behind `after`."""
    query = select(ACTION).where(ACTION.c.tenant_id == tenant_id)
    if partner_id is not None:
        query = query.where(ACTION.c.partner_id == partner_id)
    if agent_id is not None:
        query = query.where(ACTION.c.agent_id == agent_id)
    if after is not None:
        place = tuple_(ACTION.c.created_at, ACTION.c.id)
        query = query.where(place > (after.created_at, after.id))
    rows = tx.execute(query.order_by(ACTION.c.created_at, ACTION.c.id).limit(limit))
    return [ActionRow(**row._mapping) for row in rows]  # noqa: SLF001
