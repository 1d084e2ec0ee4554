"""The tables, for migrations and for `store/`'s statements; nothing else uses them.

Times are Unix seconds (UTC). `sealed` columns are encrypted under the master key with the row's
own context, so that a value moved to another row does not open. Hashes are base64url text.
A `version` column counts changes to a row: a decision compares it inside its transaction.
"""

from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Index, Integer, UniqueConstraint
from sqlalchemy import Text as SqlText
from sqlmodel import Field, SQLModel

metadata = SQLModel.metadata
metadata.naming_convention = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

# SQLite's fast row number is an INTEGER PRIMARY KEY; PostgreSQL needs the 64 bits said.
_SEQUENCE = BigInteger().with_variant(Integer, "sqlite")


def _time(*, nullable: bool = False) -> Any:  # noqa: ANN401 (SQLModel's Field is untyped)
    return Field(sa_type=BigInteger, nullable=nullable)


def _text() -> Any:  # noqa: ANN401
    return Field(sa_type=SqlText)


def _one_of(column: str, *values: str) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_known")


class Tenant(SQLModel, table=True):
    """A company that runs consents on this broker; `id` is part of its addresses."""

    id: str = Field(primary_key=True)
    name_zh: str
    name_en: str
    contact: str
    country: str
    kill_switch: bool = False
    policy_version: str
    sealed_log_key: bytes
    version: int = 1
    created_at: int = _time()


class SigningKey(SQLModel, table=True):
    """A private key, sealed, with its certificates (JSON list of base64 DER, leaf first)."""

    __tablename__ = "signing_key"
    __table_args__ = (
        _one_of("purpose", "root", "issuer", "request", "log"),
        _one_of("state", "active", "retired", "compromised"),
        Index("ix_signing_key_use", "tenant_id", "purpose", "state"),
    )
    id: str = Field(primary_key=True)
    tenant_id: str | None = Field(default=None, foreign_key="tenant.id")
    purpose: str
    alg: str
    public_jwk: str = _text()
    sealed: bytes
    chain: str = _text()
    state: str = "active"
    created_at: int = _time()
    retired_at: int | None = _time(nullable=True)


class Secret(SQLModel, table=True):
    """A random 32-byte secret of the broker by its label, sealed; outlives a change of master key."""

    label: str = Field(primary_key=True)
    sealed: bytes
    created_at: int = _time()


class Partner(SQLModel, table=True):
    """A brand that asks for consents; its developers call the API as `client_id`."""

    __table_args__ = (
        _one_of("state", "active", "suspended"),
        UniqueConstraint("tenant_id", "name"),
    )
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    name: str
    name_zh: str
    contact: str
    country: str
    jwk: str = _text()
    state: str = "active"
    kill_switch: bool = False
    version: int = 1
    created_at: int = _time()


class Officer(SQLModel, table=True):
    """A compliance officer of a tenant: sees full evidence, acts on a customer's call."""

    __table_args__ = (_one_of("state", "active", "suspended"), UniqueConstraint("tenant_id", "name"))
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    name: str
    jwk: str = _text()
    state: str = "active"
    version: int = 1
    created_at: int = _time()


class AccessToken(SQLModel, table=True):
    """A bearer token, by its SHA-256; `subject` is a partner, an officer, or an offer (wallets)."""

    __tablename__ = "access_token"
    __table_args__ = (_one_of("role", "partner", "officer", "wallet"),)
    token_hash: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    subject: str = Field(index=True)
    role: str
    expires_at: int = _time()


class UsedOnce(SQLModel, table=True):
    """Values that may be used once: client assertion ids, issuance nonces. Pruned after expiry.

    `used_at` is null while an issued value waits for its one use.
    """

    __tablename__ = "used_once"
    kind: str = Field(primary_key=True)
    value_hash: str = Field(primary_key=True)
    expires_at: int = Field(sa_type=BigInteger, index=True)
    used_at: int | None = _time(nullable=True)


class Idempotency(SQLModel, table=True):
    """The first answer to an `Idempotency-Key`, sealed; a hash of the request that it answered."""

    tenant_id: str = Field(primary_key=True)
    client_id: str = Field(primary_key=True)
    key_hash: str = Field(primary_key=True)
    request_hash: str
    status: int | None = None
    sealed: bytes | None = None
    expires_at: int = Field(sa_type=BigInteger, index=True)


class Purpose(SQLModel, table=True):
    """A purpose of the tenant, an identifier of the W3C Data Privacy Vocabulary."""

    tenant_id: str = Field(primary_key=True, foreign_key="tenant.id")
    id: str = Field(primary_key=True)
    label_zh: str
    label_en: str
    necessary_for_service: bool = False
    kill_switch: bool = False
    version: int = 1


class Algorithm(SQLModel, table=True):
    """An algorithm in one version, below its declared purpose."""

    __table_args__ = (
        _one_of("risk_tier", "minimal", "limited", "high"),
        _one_of("state", "registered", "retired"),
    )
    tenant_id: str = Field(primary_key=True, foreign_key="tenant.id")
    id: str = Field(primary_key=True)
    algorithm_version: str = Field(primary_key=True)
    purpose_id: str
    label_zh: str
    label_en: str
    explanation_zh: str = _text()
    explanation_en: str = _text()
    risk_tier: str
    automated_decision: bool = False
    state: str = "registered"
    kill_switch: bool = False
    version: int = 1


class Attribute(SQLModel, table=True):
    """A canonical attribute of the tenant's dictionary."""

    tenant_id: str = Field(primary_key=True, foreign_key="tenant.id")
    id: str = Field(primary_key=True)
    label_zh: str
    label_en: str
    category: str
    value_type: str
    sensitive: bool = False
    stored_in: str
    version: int = 1


class AttributeMapping(SQLModel, table=True):
    """A partner's own field name for a canonical attribute."""

    __tablename__ = "attribute_mapping"
    partner_id: str = Field(primary_key=True, foreign_key="partner.id")
    field: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    attribute_id: str


class Template(SQLModel, table=True):
    """A consent template: JSON by the published schema, immutable in each version."""

    tenant_id: str = Field(primary_key=True, foreign_key="tenant.id")
    id: str = Field(primary_key=True)
    version: int = Field(primary_key=True)
    document: str = _text()
    created_at: int = _time()


class Subject(SQLModel, table=True):
    """A customer of a tenant, known only by their wallet's keys and the partners' contacts."""

    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id", index=True)
    sealed_log_key: bytes | None = None
    created_at: int = _time()


class Contact(SQLModel, table=True):
    """A partner's opaque reference to a customer, and whose wallet it was bound to, how surely."""

    __table_args__ = (
        _one_of("grade", "none", "link", "code", "verified_person"),
        UniqueConstraint("partner_id", "subject_ref_hash"),
        Index("ix_contact_subject", "subject_id", "partner_id"),
    )
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    partner_id: str = Field(foreign_key="partner.id")
    subject_ref_hash: str
    sealed_subject_ref: bytes
    subject_id: str | None = Field(default=None, foreign_key="subject.id")
    grade: str = "none"
    bound_at: int | None = _time(nullable=True)
    created_at: int = _time()


class Invitation(SQLModel, table=True):
    """An offer of customer credentials to whoever a contact stands for (OpenID4VCI, pre-authorized)."""

    __table_args__ = (_one_of("state", "open", "redeemed", "expired", "locked"),)
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
    expires_at: int = _time()
    created_at: int = _time()


class CredentialCopy(SQLModel, table=True):
    """One copy of a customer credential: the id shown in it and the key it is bound to."""

    __tablename__ = "credential_copy"
    __table_args__ = (
        _one_of("state", "active", "superseded"),
        Index("ix_credential_copy_status", "status_list_id", "state"),
    )
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    subject_id: str = Field(foreign_key="subject.id", index=True)
    invitation_id: str = Field(foreign_key="invitation.id", index=True)
    holder_thumbprint: str = Field(unique=True)
    grade: str
    status_list_id: str
    status_index: int
    state: str = "active"
    issued_at: int = _time()
    expires_at: int = _time()


class ConsentRequest(SQLModel, table=True):
    """What a partner asked of one contact: one page, one or more consents."""

    __tablename__ = "consent_request"
    __table_args__ = (
        _one_of("state", "open", "answered", "refused", "expired"),
        Index("ix_consent_request_contact", "contact_id"),
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
    expires_at: int = _time()
    created_at: int = _time()


class Consent(SQLModel, table=True):
    """One consent: its terms (canonical JSON) and its state.

    The columns beside `terms` are what a decision and a search read; they are derived from it.
    """

    __table_args__ = (
        _one_of("state", "requested", "granted", "refused", "withdrawn", "expired", "superseded"),
        Index("ix_consent_decision", "partner_id", "contact_id", "state"),
        Index("ix_consent_expiry", "state", "valid_until"),
        Index("ix_consent_subject", "subject_id"),
        Index("ix_consent_status", "status_list_id", "state"),
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
    terms: str = _text()
    terms_hash: str
    grade: str | None = None
    signed_copy_id: str | None = Field(default=None, foreign_key="credential_copy.id")
    valid_from: int | None = _time(nullable=True)
    valid_until: int | None = _time(nullable=True)
    uses_left: int | None = None
    status_list_id: str | None = None
    status_index: int | None = None
    withdrawal_grade: str | None = None
    created_at: int = _time()
    decided_at: int | None = _time(nullable=True)
    ended_at: int | None = _time(nullable=True)


class PresentationRequest(SQLModel, table=True):
    """An OpenID4VP request: what a wallet is asked to sign, and whether it has answered."""

    __tablename__ = "presentation_request"
    __table_args__ = (
        _one_of("kind", "consent", "withdrawal"),
        _one_of("state", "open", "answered", "refused", "replaced"),
    )
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    kind: str
    consent_request_id: str = Field(foreign_key="consent_request.id", index=True)
    consent_id: str | None = Field(default=None, foreign_key="consent.id")
    nonce: str
    document: str = _text()
    state: str = "open"
    response_code_hash: str | None = None
    session_hash: str | None = None
    expires_at: int = _time()
    created_at: int = _time()
    answered_at: int | None = _time(nullable=True)


class ServedRequest(SQLModel, table=True):
    """Each request object that was served, as it was served: evidence of what the wallet saw."""

    __tablename__ = "served_request"
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    presentation_request_id: str = Field(foreign_key="presentation_request.id", index=True)
    method: str
    sealed: bytes
    served_at: int = _time()


class Evidence(SQLModel, table=True):
    """What was signed for a consent (presentation, request objects, hashes), sealed."""

    __table_args__ = (_one_of("kind", "grant", "withdrawal"),)
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    consent_id: str = Field(foreign_key="consent.id", index=True)
    kind: str
    sealed: bytes
    kept_until: int = _time()
    created_at: int = _time()


class IssuedCredential(SQLModel, table=True):
    """A credential that the broker issued about a consent, sealed."""

    __tablename__ = "issued_credential"
    __table_args__ = (_one_of("kind", "consent", "receipt"), UniqueConstraint("consent_id", "kind"))
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    consent_id: str = Field(foreign_key="consent.id")
    kind: str
    sealed: bytes
    issued_at: int = _time()


class StatusListRow(SQLModel, table=True):
    """A status list of one partner (or of the tenant's customer credentials): allocation, cached token.

    Which entries are set is derived from consents and copies; the token is a cache.
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
    published_at: int | None = _time(nullable=True)


class AuditPending(SQLModel, table=True):
    """An act that has happened and waits for its place in the log.

    `seq` only orders what waits; an entry is pending because it is here, whatever its number.
    """

    __tablename__ = "audit_pending"
    seq: int = Field(sa_type=_SEQUENCE, primary_key=True)
    id: str = Field(unique=True)
    tenant_id: str
    type: str
    consent_id: str | None = None
    subject_id: str | None = None
    leaf_data: bytes
    sealed_body: bytes
    created_at: int = _time()


class AuditEntry(SQLModel, table=True):
    """An entry of the log, at its index. Append-only: the database refuses change.

    No foreign keys: the log outlives what it tells of.
    """

    __tablename__ = "audit_entry"
    __table_args__ = (
        Index("ix_audit_entry_consent", "consent_id", "log_index"),
        Index("ix_audit_entry_subject", "subject_id", "log_index"),
    )
    log_index: int = Field(sa_type=_SEQUENCE, primary_key=True, sa_column_kwargs={"autoincrement": False})
    id: str = Field(unique=True)
    tenant_id: str
    type: str
    consent_id: str | None = None
    subject_id: str | None = None
    leaf_data: bytes
    sealed_body: bytes
    created_at: int = _time()


class LogHead(SQLModel, table=True):
    """The one row (`id` 1) that two sequencers cannot both advance."""

    __tablename__ = "log_head"
    id: int = Field(primary_key=True)
    origin: str
    size: int = Field(sa_type=BigInteger)
    root: bytes


class LogTile(SQLModel, table=True):
    """A full tile of the Merkle tree: 256 hashes, the 254 nodes above them, their root; append-only.

    The root stands first: behind 16 kB of blobs SQLite would read all of them to reach it.
    """

    __tablename__ = "log_tile"
    level: int = Field(primary_key=True)
    position: int = Field(sa_type=BigInteger, primary_key=True)
    root: bytes
    hashes: bytes
    nodes: bytes


class CheckpointRow(SQLModel, table=True):
    """A signed checkpoint, unique by size; append-only.

    `frontier` is the hashes of the tree's perfect subtrees, largest first: the right side of every
    proof below this checkpoint, which would take reading up to 255 rows a level otherwise.
    """

    __tablename__ = "checkpoint"
    size: int = Field(sa_type=_SEQUENCE, primary_key=True, sa_column_kwargs={"autoincrement": False})
    frontier: bytes
    note: str = _text()
    signed_at: int = _time()
