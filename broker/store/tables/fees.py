"""What partners owe for uses of data."""

from sqlalchemy import BigInteger, CheckConstraint, Index
from sqlmodel import Field, SQLModel

from broker.store.tables.base import time


class FeeCharge(SQLModel, table=True):
    """One charge, a transfer between two accounts; append-only: the database refuses change.

    `id` is that of its entry in the log. Amounts are millionths of the currency's unit, `rate` is
    in millionths too.
    """

    __tablename__ = "fee_charge"
    __table_args__ = (
        CheckConstraint("value >= 0 AND rate >= 0 AND amount >= 0", name="not_negative"),
        CheckConstraint("debit <> credit", name="two_accounts"),
        Index("ix_fee_charge_month", "tenant_id", "created_at", "partner_id"),
    )
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    partner_id: str = Field(foreign_key="partner.id")
    decision_id: str = Field(unique=True)
    purpose: str
    currency: str
    value: int = Field(sa_type=BigInteger)
    rate: int
    amount: int = Field(sa_type=BigInteger)
    debit: str
    credit: str
    created_at: int = time()
