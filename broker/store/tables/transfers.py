"""Transfers abroad: the mechanisms that handlers have filed, and whose data were exported."""

from sqlalchemy import BigInteger, CheckConstraint, Index
from sqlmodel import Field, SQLModel

from broker.store.tables.base import one_of, time


class TransferMechanism(SQLModel, table=True):
    """What a handler (`exporter`) rests its transfers to a partner in a country on."""

    __tablename__ = "transfer_mechanism"
    __table_args__ = (
        one_of(
            "kind",
            "standard_contract",
            "certification",
            "security_assessment",
            "exemption",
            "adequacy",
            "standard_clauses",
            "binding_rules",
            "derogation",
        ),
        Index("ix_transfer_mechanism_use", "tenant_id", "partner_id", "destination"),
    )
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    exporter: str
    partner_id: str = Field(foreign_key="partner.id")
    destination: str
    kind: str
    ground: str | None = None
    purpose: str | None = None
    filing_number: str | None = None
    valid_from: int = time()
    valid_until: int | None = time(nullable=True)
    ended_at: int | None = time(nullable=True)
    registered_by: str
    created_at: int = time()


class TransferSubject(SQLModel, table=True):
    """A subject whose data a handler exported in a year, by a keyed hash: one row for each.

    `category` is `general`, `sensitive` or `exempt:<ground>`; `month` is when it was first counted.
    """

    __tablename__ = "transfer_subject"
    tenant_id: str = Field(primary_key=True, foreign_key="tenant.id")
    exporter: str = Field(primary_key=True)
    year: int = Field(primary_key=True)
    category: str = Field(primary_key=True)
    subject_key: str = Field(primary_key=True)
    month: int


class TransferCount(SQLModel, table=True):
    """How many subjects of a handler and year are counted: the rows that are not exempt."""

    __tablename__ = "transfer_count"
    __table_args__ = (CheckConstraint("general >= 0 AND sensitive >= 0", name="not_negative"),)
    tenant_id: str = Field(primary_key=True, foreign_key="tenant.id")
    exporter: str = Field(primary_key=True)
    year: int = Field(primary_key=True)
    general: int = Field(sa_type=BigInteger)
    sensitive: int = Field(sa_type=BigInteger)
