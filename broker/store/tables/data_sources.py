"""Outside sources of data, and what is or was tried in the sandbox."""

from sqlalchemy import CheckConstraint, Index, Text, UniqueConstraint
from sqlalchemy import text as sql
from sqlmodel import Field, SQLModel

from broker.store.tables.base import one_of, text, time

# One trial of a tenant at a time: whoever inserts a second one finds this taken.
RUNNING = sql("ended_at IS NULL")


class DataSource(SQLModel, table=True):
    """A supplier outside of the tenant; `checklist` is JSON (`domain/data_source.py`)."""

    __tablename__ = "data_source"
    __table_args__ = (
        one_of("state", "draft", "sandbox", "open", "closed"),
        UniqueConstraint("tenant_id", "name"),
    )
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    name: str
    title: str
    partner_id: str | None = Field(default=None, foreign_key="partner.id")
    state: str
    checklist: str = text()
    signed_by: str
    created_at: int = time()
    version: int = 1


class Trial(SQLModel, table=True):
    """A source or a partner in the sandbox, from its start to its sign-off or its end."""

    __table_args__ = (
        one_of("outcome", "signed_off", "ended"),
        CheckConstraint("(source_id IS NULL) <> (partner_id IS NULL)", name="of_one"),
        Index(
            "uq_trial_running",
            "tenant_id",
            unique=True,
            sqlite_where=RUNNING,
            postgresql_where=RUNNING,
        ),
    )
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    source_id: str | None = Field(default=None, foreign_key="data_source.id")
    partner_id: str | None = Field(default=None, foreign_key="partner.id")
    opened_by: str
    opened_at: int = time()
    uses: int = 0
    ended_at: int | None = time(nullable=True)
    ended_by: str | None = None
    outcome: str | None = None
    quality: int | None = None
    value: int | None = None
    report: str | None = Field(default=None, sa_type=Text)
