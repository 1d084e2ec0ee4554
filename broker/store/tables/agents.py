"""Agents of partners, and what they have done."""

from sqlalchemy import Index, UniqueConstraint
from sqlmodel import Field, SQLModel

from broker.store.tables.base import one_of, text, time


class Agent(SQLModel, table=True):
    """A program of a partner that acts by itself; `jwk` is its public key as JSON text."""

    __table_args__ = (
        one_of("state", "active", "suspended"),
        UniqueConstraint("partner_id", "name"),
    )
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id", index=True)
    partner_id: str = Field(foreign_key="partner.id")
    name: str
    jwk: str = text()
    state: str = "active"
    created_at: int = time()


class AgentAct(SQLModel, table=True):
    """An action as an agent signed it, and whether it rests on what it names.

    `decisions`, `consents` and `reasons` are JSON lists; `token` is what was signed.
    """

    __tablename__ = "agent_action"
    __table_args__ = (
        UniqueConstraint("agent_id", "jti"),
        Index("ix_agent_action_listed", "tenant_id", "created_at", "id"),
        Index("ix_agent_action_own", "partner_id", "created_at", "id"),
    )
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    partner_id: str = Field(foreign_key="partner.id")
    agent_id: str = Field(foreign_key="agent.id")
    jti: str
    action: str
    accepted: bool
    reasons: str = text()
    decisions: str = text()
    consents: str = text()
    token: str = text()
    created_at: int = time()
