"""Customers: contacts, invitations, copies of their credential, status lists."""

from sqlalchemy import BigInteger, Index, UniqueConstraint
from sqlalchemy import Text as SqlText
from sqlalchemy import text as sql
from sqlmodel import Field, SQLModel

from broker.store.tables.base import PLACES, one_of, time

# Which copies a status list shows; a query finds the index by these very words.
SUPERSEDED = sql("state = 'superseded'")
NAMES_GUARDIAN = sql("guardian_contact_id IS NOT NULL")


class Subject(SQLModel, table=True):
    """A customer of a tenant, known only by their wallet's keys and the partners' contacts."""

    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id", index=True)
    sealed_log_key: bytes | None = None
    created_at: int = time()


class Contact(SQLModel, table=True):
    """A partner's opaque reference to a customer, and whose wallet it was bound to, how surely.

    One that was erased has no reference any more and names its erasure. `minor` is what the
    partner has said of a customer who is a minor (`domain/guardian.py`), as JSON, and
    `guardian_contact_id` the contact that it names, to be found by. A `test_subject` is one that
    new sources and partners may be tried on.
    """

    __table_args__ = (
        one_of("grade", "none", "link", "code", "verified_person"),
        UniqueConstraint("partner_id", "subject_ref_hash"),
        Index("ix_contact_subject", "subject_id", "partner_id"),
        Index(
            "ix_contact_guardian",
            "guardian_contact_id",
            sqlite_where=NAMES_GUARDIAN,
            postgresql_where=NAMES_GUARDIAN,
        ),
    )
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    partner_id: str = Field(foreign_key="partner.id")
    subject_ref_hash: str
    sealed_subject_ref: bytes
    subject_id: str | None = Field(default=None, foreign_key="subject.id")
    grade: str = "none"
    bound_at: int | None = time(nullable=True)
    created_at: int = time()
    erasure_id: str | None = Field(default=None, index=True)
    minor: str | None = Field(default=None, sa_type=SqlText)
    test_subject: bool | None = None
    guardian_contact_id: str | None = None


class Invitation(SQLModel, table=True):
    """An offer of customer credentials to a contact (OpenID4VCI, pre-authorized code)."""

    __table_args__ = (
        one_of("state", "open", "redeemed", "expired", "locked"),
        one_of("approval", "none", "waiting", "given", "refused"),
    )
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    contact_id: str = Field(foreign_key="contact.id", index=True)
    grade: str
    code_hash: str = Field(unique=True)
    sealed_code: bytes | None = None
    tx_code_hash: str | None = None
    tx_code_failures: int = 0
    state: str = "open"
    subject_id: str | None = Field(default=None, foreign_key="subject.id")
    rebinding: bool = False
    expires_at: int = time()
    created_at: int = time()
    approval: str = "none"


class DeferredIssuance(SQLModel, table=True):
    """A credential request that waits for an officer: the proven keys; by its id's SHA-256."""

    __tablename__ = "deferred_issuance"
    transaction_hash: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    invitation_id: str = Field(foreign_key="invitation.id", index=True)
    holder_keys: str = Field(sa_type=SqlText)
    expires_at: int = Field(sa_type=BigInteger, index=True)


class CredentialCopy(SQLModel, table=True):
    """One copy of a customer credential: the id shown in it and the key it is bound to."""

    __tablename__ = "credential_copy"
    __table_args__ = (
        one_of("state", "active", "superseded"),
        # Partial: issuing a copy, which happens often, need not touch it.
        Index(
            "ix_credential_copy_ended",
            *PLACES,
            sqlite_where=SUPERSEDED,
            postgresql_where=SUPERSEDED,
        ),
    )
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    subject_id: str = Field(foreign_key="subject.id", index=True)
    invitation_id: str = Field(foreign_key="invitation.id")
    holder_thumbprint: str = Field(unique=True)
    grade: str
    status_list_id: str
    status_index: int
    state: str = "active"
    issued_at: int = time()
    expires_at: int = time()


class StatusListRow(SQLModel, table=True):
    """A status list of a partner, or of a tenant's customer credentials, and its cached token.

    Which entries are set is derived from consents and copies; the token is a cache. From `renew_at`
    on one that was signed before is served no more.
    """

    __tablename__ = "status_list"
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    partner_id: str | None = Field(default=None, foreign_key="partner.id", index=True)
    size: int
    allocated: int = 0
    sealed_key: bytes
    revision: int = 0
    published_revision: int = -1
    token: str | None = Field(default=None, sa_type=SqlText)
    published_at: int | None = time(nullable=True)
    renew_at: int | None = time(nullable=True)
