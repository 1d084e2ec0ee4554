"""What partners ask a customer's wallet to show, for them alone and once."""

from sqlalchemy import Index, Text
from sqlmodel import Field, SQLModel

from broker.store.tables.base import one_of, text, time


class DataRequest(SQLModel, table=True):
    """Attributes that a partner asks a wallet for, under a consent.

    `document` is as that of a presentation request, `question` (JSON) what is decided about each
    attribute when it is collected.
    """

    __tablename__ = "data_request"
    __table_args__ = (
        one_of("state", "open", "answered", "refused", "closed"),
        Index("ix_data_request_expires_at", "expires_at"),
        Index("ix_data_request_consent_id", "consent_id"),
    )
    id: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    partner_id: str = Field(foreign_key="partner.id")
    consent_id: str = Field(foreign_key="consent.id")
    question: str = text()
    nonce: str
    document: str = text()
    request_hash: str
    state: str = "open"
    rejections: int = 0
    expires_at: int = time()
    created_at: int = time()
    answered_at: int | None = time(nullable=True)


class DataAnswer(SQLModel, table=True):
    """An attribute that was shown, sealed to the partner (a JWE) and to nobody else.

    It is deleted when it is collected, when its consent ends, or after minutes.
    """

    __tablename__ = "data_answer"
    __table_args__ = (
        Index("ix_data_answer_expires_at", "expires_at"),
        Index("ix_data_answer_consent_id", "consent_id"),
    )
    request_id: str = Field(primary_key=True, foreign_key="data_request.id")
    attribute: str = Field(primary_key=True)
    tenant_id: str = Field(foreign_key="tenant.id")
    consent_id: str = Field(foreign_key="consent.id")
    masking: str
    envelope: str = Field(sa_type=Text)
    expires_at: int = time()
