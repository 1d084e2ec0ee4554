"""Consent requests, consents, what was asked and what was signed."""

from sqlalchemy import Index, UniqueConstraint
from sqlalchemy import text as sql
from sqlmodel import Field, SQLModel

from broker.store.tables.base import PLACES, one_of, text, time

# Which consents a status list shows; a query finds the index by these very words.
ENDED = sql("state IN ('withdrawn', 'superseded')")
# Which of them a list does not show yet, or did not for a while, likewise.
HELD = sql("shown_from IS NOT NULL")
# Which rows a sweep looks through, likewise.
GRANTED = sql("state = 'granted'")
OPEN = sql("state = 'open'")
GUARDED = sql("guardian_id IS NOT NULL")


class ConsentRequest(SQLModel, table=True):
    """What a partner asked of one contact: one page, one or more consents."""

    __tablename__ = "consent_request"
    __table_args__ = (
        one_of("state", "open", "answered", "refused", "expired"),
        Index("ix_consent_request_contact", "contact_id"),
        Index("ix_consent_request_open", "expires_at", sqlite_where=OPEN, postgresql_where=OPEN),
    )
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    partner_id: str = Field(foreign_key="partner.id")
    contact_id: str = Field(foreign_key="contact.id")
    template_id: str
    template_version: int
    language: str
    page_token_hash: str = Field(unique=True)
    short_code: str
    state: str = "open"
    expires_at: int = time()
    created_at: int = time()


class Consent(SQLModel, table=True):
    """One consent: its terms (canonical JSON) and its state.

    The columns beside `terms` are what a decision and a search read; they are derived from it.
    `shown_from` is when its partner may see that it was withdrawn; at once where it is null.
    `guardian_id` is the guardian who signed it for a minor. One that is requested still and has a
    `signed_copy_id` was signed by the minor, and waits for the guardian.
    """

    __table_args__ = (
        one_of("state", "requested", "granted", "refused", "withdrawn", "expired", "superseded"),
        Index("ix_consent_decision", "partner_id", "contact_id", "state"),
        Index("ix_consent_expiry", "valid_until", sqlite_where=GRANTED, postgresql_where=GRANTED),
        Index("ix_consent_subject", "subject_id"),
        # Partial: asking and granting, which happen often, need not touch it.
        Index("ix_consent_ended", *PLACES, sqlite_where=ENDED, postgresql_where=ENDED),
        Index(
            "ix_consent_held",
            *("status_list_id", "shown_from", "status_index", "tenant_id"),
            sqlite_where=HELD,
            postgresql_where=HELD,
        ),
        Index("ix_consent_guardian", "guardian_id", sqlite_where=GUARDED, postgresql_where=GUARDED),
    )
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    partner_id: str = Field(foreign_key="partner.id")
    contact_id: str = Field(foreign_key="contact.id")
    request_id: str = Field(foreign_key="consent_request.id", index=True)
    item: str
    subject_id: str | None = Field(default=None, foreign_key="subject.id")
    state: str = "requested"
    version: int = 1
    terms: str = text()
    terms_hash: str
    grade: str | None = None
    signed_copy_id: str | None = Field(default=None, foreign_key="credential_copy.id")
    valid_from: int | None = time(nullable=True)
    valid_until: int | None = time(nullable=True)
    uses_left: int | None = None
    refuses_automated_decisions: bool = False
    status_list_id: str | None = None
    status_index: int | None = None
    withdrawal_grade: str | None = None
    created_at: int = time()
    decided_at: int | None = time(nullable=True)
    ended_at: int | None = time(nullable=True)
    shown_from: int | None = time(nullable=True)
    guardian_id: str | None = None


class PresentationRequest(SQLModel, table=True):
    """An OpenID4VP request: what a wallet is asked to sign, and whether it has answered.

    A withdrawal of everything has a first one, in which a wallet proves whose it is, and others
    after it for all that was given (`proof_id` is the first's).
    """

    __tablename__ = "presentation_request"
    __table_args__ = (
        one_of("kind", "consent", "withdrawal"),
        one_of("state", "open", "answered", "refused", "replaced"),
    )
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    kind: str
    consent_request_id: str = Field(foreign_key="consent_request.id", index=True)
    consent_id: str | None = Field(default=None, foreign_key="consent.id")
    nonce: str
    document: str = text()
    state: str = "open"
    response_code_hash: str | None = None
    rejections: int = 0
    session_hash: str | None = None
    expires_at: int = time()
    created_at: int = time()
    answered_at: int | None = time(nullable=True)
    proof_id: str | None = None


class ServedRequest(SQLModel, table=True):
    """Each request object that was served, as it was served: evidence of what the wallet saw."""

    __tablename__ = "served_request"
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    presentation_request_id: str = Field(foreign_key="presentation_request.id", index=True)
    method: str
    sealed: bytes
    served_at: int = time()


class Evidence(SQLModel, table=True):
    """What was signed for a consent (presentation, request objects, hashes), sealed."""

    __table_args__ = (
        one_of("kind", "grant", "guardian", "withdrawal"),
        Index("ix_evidence_kept_until", "kept_until"),
    )
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    consent_id: str = Field(foreign_key="consent.id", index=True)
    kind: str
    sealed: bytes
    kept_until: int = time()
    created_at: int = time()


class IssuedCredential(SQLModel, table=True):
    """A credential that the broker issued about a consent, sealed."""

    __tablename__ = "issued_credential"
    __table_args__ = (one_of("kind", "consent", "receipt"), UniqueConstraint("consent_id", "kind"))
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    consent_id: str = Field(foreign_key="consent.id")
    kind: str
    sealed: bytes
    issued_at: int = time()
