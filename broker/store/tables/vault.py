"""Sealed attributes in customers' vaults: references to them, and the keys they are sealed to."""

from sqlalchemy import Index, LargeBinary, Text
from sqlalchemy import text as sql
from sqlmodel import Field, SQLModel

from broker.store.tables.base import one_of, text, time

# Which envelopes can be had, and which have to go; queries find the indexes by these very words.
STORED = sql("state = 'stored'")
GOING = sql("state IN ('writing', 'ending')")


class SealingKey(SQLModel, table=True):
    """The public key (JWK, JSON) that wallets seal to for a partner."""

    __tablename__ = "sealing_key"
    partner_id: str = Field(primary_key=True, foreign_key="partner.id")
    tenant_id: str = Field(foreign_key="tenant.id")
    jwk: str = text()
    created_at: int = time()


class Envelope(SQLModel, table=True):
    """A sealed attribute in a vault: where, what bytes it has to have, and the wallet's word.

    `pieces` is SHA-256 of each piece; `sealed_reference` the signed reference. Both are empty once
    the envelope is deleted; what stays says that it was, and `entry_id` where the log says so.
    """

    __table_args__ = (
        one_of("state", "writing", "stored", "ending", "deleted"),
        Index(
            "ix_envelope_stored",
            *("consent_id", "attribute", "masking"),
            unique=True,
            sqlite_where=STORED,
            postgresql_where=STORED,
        ),
        Index("ix_envelope_going", "delete_from", sqlite_where=GOING, postgresql_where=GOING),
        Index("ix_envelope_consent", "consent_id"),
    )
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    partner_id: str = Field(foreign_key="partner.id")
    consent_id: str = Field(foreign_key="consent.id")
    attribute: str
    masking: str
    vault: str
    path: str
    kid: str
    digest: str
    size: int
    pieces: bytes = Field(sa_type=LargeBinary)
    sealed_reference: bytes
    state: str = "writing"
    signed_at: int = time()
    created_at: int = time()
    delete_from: int | None = time(nullable=True)
    deleted_at: int | None = time(nullable=True)
    entry_id: str | None = Field(default=None, sa_type=Text)
