"""Wire types of consent requests and consents."""

from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from broker.store.consents import ConsentRow
from broker.usecases.consent_request import Opened
from broker.usecases.presentation_request import Asked

SubjectRef = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]


class ConsentRequestIn(BaseModel):
    """What a partner asks."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {"subject_ref": "crm-000381", "template": "loyalty-churn", "language": "zh"}
            ]
        },
    )
    subject_ref: SubjectRef = Field(
        description="Your own opaque contact; never a name, phone number or address."
    )
    template: Name = Field(
        description="A consent template of the tenant: GET /v1/templates lists them."
    )
    language: Literal["zh", "en"] = Field(
        default="zh", description="The language of the notice that is signed."
    )


class ConsentState(BaseModel):
    """One consent of a request, and its state."""

    id: str
    item: str
    state: str


class BindingOut(BaseModel):
    """How surely the contact is bound to a wallet."""

    grade: str
    invitation_needed: bool = Field(
        description="No wallet is bound yet: POST /v1/invitations first."
    )


class ConsentRequestOut(BaseModel):
    """A consent request."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "cr-a2c4e6g2i4k6m2o4q6s2",
                    "state": "open",
                    "consents": [
                        {"id": "c-b3d5f7h2j4l6n3p5r7t2", "item": "base", "state": "requested"}
                    ],
                    "page_url": "https://consent.example/c/x7Yq...",
                    "wallet_link": "openid4vp://?client_id=x509_hash%3A...&request_uri=...",
                    "development_link": None,
                    "short_code": "7K2Q",
                    "expires_at": 1795478400,
                    "binding": {"grade": "code", "invitation_needed": False},
                    "signer": "customer",
                }
            ]
        }
    )
    id: str
    state: str
    consents: list[ConsentState]
    page_url: str = Field(
        description="Send your customer here; the link is a secret of this request."
    )
    wallet_link: str | None = Field(
        description="Starts a wallet at once, for all consents of the request."
    )
    development_link: str | None = Field(
        description="The same request unsigned, for wallets in development; null in production."
    )
    short_code: str = Field(
        description="Shown on the page; the customer compares it with your screen."
    )
    expires_at: int = Field(description="Unix seconds.")
    binding: BindingOut
    signer: str | None = Field(
        description="Whose wallet signs next: `customer`, or `guardian` of a minor; null when "
        "nothing waits. `binding` is that one's."
    )


class ConsentOut(BaseModel):
    """A consent: state and terms."""

    id: str
    request_id: str
    item: str
    state: str
    version: int
    grade: str | None = Field(description="What the customer's signature proves.")
    terms: dict[str, Any]
    terms_hash: str = Field(description="SHA-256 of the canonical terms, base64url.")
    valid_until: int | None
    uses_left: int | None
    withdrawal_grade: str | None


class WithdrawalOut(BaseModel):
    """A withdrawal: done, or a link with which the customer signs it."""

    id: str
    state: str
    grade: str | None = None
    wallet_link: str | None = None
    development_link: str | None = None
    expires_at: int | None = None


def request_out(opened: Opened) -> ConsentRequestOut:
    """The wire form of a consent request."""
    asked = opened.asked
    return ConsentRequestOut(
        id=opened.request.id,
        state=opened.request.state,
        consents=[
            ConsentState(id=row.id, item=row.item, state=row.state) for row in opened.consents
        ],
        page_url=opened.page_url,
        wallet_link=None if asked is None else asked.wallet_link,
        development_link=None if asked is None else asked.development_link,
        short_code=opened.request.short_code,
        expires_at=opened.request.expires_at,
        binding=BindingOut(grade=str(opened.grade), invitation_needed=opened.invitation_needed),
        signer=opened.signer,
    )


def asked_out(consent_id: str, asked: Asked) -> WithdrawalOut:
    """The wire form of a withdrawal that waits for the customer's signature."""
    return WithdrawalOut(
        id=consent_id,
        state="granted",
        wallet_link=asked.wallet_link,
        development_link=asked.development_link,
        expires_at=asked.expires_at,
    )


def consent_out(row: ConsentRow, now: int) -> ConsentOut:
    """The wire form of a consent.

    One whose validity is over reads as expired before the sweep writes it.
    """
    over = row.state == "granted" and row.valid_until is not None and row.valid_until <= now
    return ConsentOut(
        id=row.id,
        request_id=row.request_id,
        item=row.item,
        state="expired" if over else row.state,
        version=row.version,
        grade=row.grade,
        terms=orjson.loads(row.terms),
        terms_hash=row.terms_hash,
        valid_until=row.valid_until,
        uses_left=row.uses_left,
        withdrawal_grade=row.withdrawal_grade,
    )


class AutomatedDecisions(BaseModel):
    """Whether the customer refuses decisions that a program makes by itself."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"refused": True}]})
    refused: Annotated[bool, Field(strict=True)]
