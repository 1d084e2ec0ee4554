"""What customers' rights leave behind: erasures, and what recipients have to delete."""

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from broker.store.tables.base import one_of, text, time


class Erasure(SQLModel, table=True):
    """That everything held about a customer was erased, or will be when the law lets go of it.

    `held_until` is when the last signed evidence may go; the contacts that it erased name it.
    `shown_from` is when its partner may see it; null once what the partner saw is emptied.
    """

    __table_args__ = (Index("ix_erasure_finished", "finished_at"),)
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id", index=True)
    subject_id: str | None = Field(default=None, foreign_key="subject.id", unique=True)
    requested_by: str
    begun_at: int = time()
    held_until: int = time()
    finished_at: int | None = time(nullable=True)
    shown_from: int | None = time(nullable=True)


class DeletionTask(SQLModel, table=True):
    """That a recipient has to delete what it got under a consent, and its receipt, sealed."""

    __tablename__ = "deletion_task"
    __table_args__ = (
        one_of("reason", "withdrawn", "erased"),
        one_of("state", "open", "done"),
        Index("ix_deletion_task_listed", "tenant_id", "created_at", "id"),
        Index("ix_deletion_task_own", "partner_id", "created_at", "id"),
        Index("ix_deletion_task_due", "state", "due_at"),
    )
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    partner_id: str = Field(foreign_key="partner.id")
    consent_id: str = Field(foreign_key="consent.id", unique=True)
    reason: str
    attributes: str = text()
    state: str = "open"
    created_at: int = time()
    due_at: int = time()
    sealed_receipt: bytes | None = None
    received_at: int | None = time(nullable=True)
