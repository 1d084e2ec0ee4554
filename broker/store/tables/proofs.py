"""What partners ask to be proven without being shown."""

from sqlalchemy import Index, LargeBinary, Text
from sqlalchemy import text as sql
from sqlmodel import Field, SQLModel

from broker.store.tables.base import one_of, text, time

# Which rows the sweep looks through; the query finds the index by these very words.
KEPT = sql("sealed_proof IS NOT NULL")


class ProofRequest(SQLModel, table=True):
    """Statements that a partner asks a holder to prove, and whether they were proven.

    `document` is as that of a presentation request. Of the answer the proof alone is kept, sealed,
    until `kept_until`: no attribute was in it. `contact_id` is whom it is about, where the partner
    said so. `shown` (JSON) is what decisions read of it: statements, and whose credentials.
    """

    __tablename__ = "proof_request"
    __table_args__ = (
        one_of("state", "open", "proven", "refused", "closed"),
        Index("ix_proof_request_kept", "kept_until", sqlite_where=KEPT, postgresql_where=KEPT),
    )
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    partner_id: str = Field(foreign_key="partner.id")
    template_id: str
    template_version: int
    contact_id: str | None = Field(default=None, foreign_key="contact.id", index=True)
    nonce: str
    document: str = text()
    request_hash: str
    state: str = "open"
    shown: str | None = Field(default=None, sa_type=Text)
    sealed_proof: bytes | None = Field(default=None, sa_type=LargeBinary)
    entry_id: str | None = None
    rejections: int = 0
    expires_at: int = time()
    created_at: int = time()
    proven_at: int | None = time(nullable=True)
    kept_until: int | None = time(nullable=True)


class ProofQuestion(SQLModel, table=True):
    """A statement that a partner has asked to be proven of an attribute, whomever it asked.

    The hashes (SHA-256) are of the kind with the attribute, and of the statement (canonical JSON).
    """

    __tablename__ = "proof_question"
    __table_args__ = (Index("ix_proof_question_last_at", "last_at"),)
    partner_id: str = Field(primary_key=True, foreign_key="partner.id")
    attribute_hash: str = Field(primary_key=True)
    statement_hash: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    schema_id: str = text()
    attribute: str = text()
    statement: str = text()
    first_at: int = time()
    last_at: int = time()
