"""Credentials of attributes that a tenant issues: their kinds, and offers that wait."""

from sqlalchemy import Index, LargeBinary
from sqlalchemy import text as sql
from sqlmodel import Field, SQLModel

from broker.store.tables.base import one_of, text, time

# Which rows the sweep looks through; the query finds the index by these very words.
CLAIMS_KEPT = sql("claims IS NOT NULL")


class AttributeType(SQLModel, table=True):
    """A kind of credential: its typed attributes (JSON), immutable under its id."""

    __tablename__ = "attribute_type"
    tenant_id: str = Field(primary_key=True, foreign_key="tenant.id")
    id: str = Field(primary_key=True)
    document: str = text()
    created_at: int = time()


class AttributeOffer(SQLModel, table=True):
    """An offer of a credential of attributes.

    `claims` are encrypted under a key that follows from the code of the offer, and once that is
    redeemed from the wallet's token; of both the broker keeps hashes alone. They go when the
    credential is issued, or the offer is over. Of a credential that can be revoked its random
    identifier stays, which no proof shows, with the key that signed it and the identifier's place
    among all (32 bits of its hash).
    """

    __tablename__ = "attribute_offer"
    __table_args__ = (
        one_of("state", "open", "redeemed", "issued", "closed"),
        Index(
            "ix_attribute_offer_kept",
            "expires_at",
            sqlite_where=CLAIMS_KEPT,
            postgresql_where=CLAIMS_KEPT,
        ),
        Index("ix_attribute_offer_status", "key_id", "revocation_place"),
    )
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    offered_by: str
    type_id: str
    code_hash: str = Field(unique=True)
    tx_code_hash: str
    refusals: int = 0
    claims: bytes | None = Field(default=None, sa_type=LargeBinary)
    state: str = "open"
    key_id: str | None = None
    revocation_id: str | None = None
    revocation_place: int | None = time(nullable=True)
    revoked_at: int | None = time(nullable=True)
    expires_at: int = time()
    created_at: int = time()


class TrustedIssuer(SQLModel, table=True):
    """A key (96 bytes, base64url) whose word a tenant takes for a kind of credential.

    Beside its own: what is proven by credentials of others is carried into no decision.
    `epoch_seconds` is the length of its epochs; where it is missing, nobody counts as unrevoked.
    """

    __tablename__ = "trusted_issuer"
    tenant_id: str = Field(primary_key=True, foreign_key="tenant.id")
    schema_id: str = Field(primary_key=True)
    issuer: str = Field(primary_key=True)
    key: str = Field(primary_key=True)
    created_at: int = time()
    epoch_seconds: int | None = None
