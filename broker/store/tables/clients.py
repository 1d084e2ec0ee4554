"""Tenants, keys, and the clients of the API."""

from sqlalchemy import BigInteger, Index, UniqueConstraint
from sqlalchemy import Text as SqlText
from sqlmodel import Field, SQLModel

from broker.store.tables.base import one_of, text, time


class Tenant(SQLModel, table=True):
    """A company that runs consents on this broker; `id` is part of its addresses.

    `fee_rate` (millionths) and `fee_currency` are its tariff, the usual one where null.
    `own_attributes` are the declarations of its own attributes (JSON).
    """

    id: str = Field(primary_key=True)
    name_zh: str
    name_en: str
    contact: str
    country: str
    kill_switch: bool = False
    policy_version: str
    sealed_log_key: bytes
    version: int = 1
    created_at: int = time()
    fee_rate: int | None = None
    fee_currency: str | None = None
    own_attributes: str | None = Field(default=None, sa_type=SqlText)


class SigningKey(SQLModel, table=True):
    """A private key, sealed, with its certificates (JSON list of base64 DER, leaf first).

    `sealed` is empty for a key in a device, which `device` names. A retired log key goes on signing
    beside the new one until `signs_until`. `log_size` bounds what a key's word is good for: a
    retired log key's largest tree, the log's size at `compromised_since` for the others.
    """

    __tablename__ = "signing_key"
    __table_args__ = (
        one_of("purpose", "root", "issuer", "request", "log", "attributes"),
        one_of("state", "active", "retired", "compromised"),
        Index("ix_signing_key_use", "tenant_id", "purpose", "state"),
    )
    id: str = Field(primary_key=True)
    tenant_id: str | None = Field(default=None, foreign_key="tenant.id")
    purpose: str
    alg: str
    public_jwk: str = text()
    sealed: bytes
    chain: str = text()
    state: str = "active"
    created_at: int = time()
    retired_at: int | None = time(nullable=True)
    compromised_since: int | None = time(nullable=True)
    signs_until: int | None = time(nullable=True)
    log_size: int | None = Field(default=None, sa_type=BigInteger)
    device: str | None = Field(default=None, sa_type=SqlText)


class KeyGeneration(SQLModel, table=True):
    """The one row (`id` 1) that counts changes of keys, for processes that hold them in memory."""

    __tablename__ = "key_generation"
    id: int = Field(primary_key=True)
    generation: int = Field(sa_type=BigInteger)


class Secret(SQLModel, table=True):
    """A random 32-byte secret of the broker by its label, sealed."""

    label: str = Field(primary_key=True)
    sealed: bytes
    created_at: int = time()


class Partner(SQLModel, table=True):
    """A brand that asks for consents; its developers call the API as `client_id`.

    `own` are the values of the tenant's own attributes (JSON), with their number.
    `admission` is `sandbox` while it is tried there, `ended` where that ended without a sign-off.
    """

    __table_args__ = (
        one_of("state", "active", "suspended"),
        UniqueConstraint("tenant_id", "name"),
    )
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    name: str
    name_zh: str
    contact: str
    country: str
    jwk: str = text()
    state: str = "active"
    kill_switch: bool = False
    version: int = 1
    created_at: int = time()
    admission: str | None = None
    own: str | None = Field(default=None, sa_type=SqlText)


class Officer(SQLModel, table=True):
    """A compliance officer of a tenant: sees full evidence, acts on a customer's call."""

    __table_args__ = (one_of("state", "active", "suspended"), UniqueConstraint("tenant_id", "name"))
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    name: str
    jwk: str = text()
    state: str = "active"
    version: int = 1
    created_at: int = time()


class Coordinator(SQLModel, table=True):
    """A program that runs a tenant's federated training, by campaigns that it reads here."""

    __table_args__ = (one_of("state", "active", "suspended"), UniqueConstraint("tenant_id", "name"))
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    name: str
    jwk: str = text()
    state: str = "active"
    version: int = 1
    created_at: int = time()


class AccessToken(SQLModel, table=True):
    """A token, by a hash; `subject` is a partner, an officer, a coordinator, or an offer (wallets).

    A token that is bound to a key has a `token_hash` that is found with that key alone, and a
    `revocation_hash`, by which its holder can end it.
    """

    __tablename__ = "access_token"
    __table_args__ = (one_of("role", "partner", "officer", "wallet", "coordinator"),)
    token_hash: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    subject: str = Field(index=True)
    role: str
    expires_at: int = time()
    revocation_hash: str | None = Field(default=None, index=True)


class Authorization(SQLModel, table=True):
    """A wallet's pushed authorization request, and the code that came of it; hashes of both."""

    __tablename__ = "wallet_authorization"  # AUTHORIZATION is a word of SQL
    __table_args__ = (one_of("state", "pushed", "agreed", "refused", "spent"),)
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    invitation_id: str = Field(foreign_key="invitation.id", index=True)
    request_uri_hash: str = Field(unique=True)
    code_hash: str | None = Field(default=None, unique=True)
    client_id: str = text()
    redirect_uri: str = text()
    wallet_state: str | None = Field(default=None, sa_type=SqlText)
    code_challenge: str
    thumbprint: str | None = None
    by_details: bool = False
    state: str = "pushed"
    expires_at: int = Field(sa_type=BigInteger, index=True)


class UsedOnce(SQLModel, table=True):
    """Values that may be used once: client assertion ids, issuance nonces. Pruned after expiry.

    `used_at` is null while an issued value waits for its one use.
    """

    __tablename__ = "used_once"
    kind: str = Field(primary_key=True)
    value_hash: str = Field(primary_key=True)
    expires_at: int = Field(sa_type=BigInteger, index=True)
    used_at: int | None = time(nullable=True)


class Idempotency(SQLModel, table=True):
    """The first answer to an `Idempotency-Key`, sealed; a hash of the request that it answered."""

    tenant_id: str = Field(primary_key=True)
    client_id: str = Field(primary_key=True)
    key_hash: str = Field(primary_key=True)
    request_hash: str
    status: int | None = None
    sealed: bytes | None = None
    expires_at: int = Field(sa_type=BigInteger, index=True)
