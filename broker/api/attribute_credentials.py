"""Credentials of attributes: their kinds, and offers to customers; facts for later proofs."""

from typing import Annotated, Any

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from broker.api.consent_schemas import SubjectRef
from broker.api.deps import AnyCaller, Ctx, OfficerCaller
from broker.api.idempotency import Answer, IdempotencyKey, canonical, run
from broker.usecases.attribute_keys import published_keys
from broker.usecases.attribute_offer import offer_attributes
from broker.usecases.attribute_type import AttributeType, add_type, attribute_types
from broker.usecases.context import Context
from credentials.jcs import b64url

router = APIRouter(tags=["attributes"])

TypeId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,39}/[1-9][0-9]{0,3}$")]
Value = Annotated[str, StringConstraints(max_length=4096)] | Annotated[int, Field(strict=True)]

_ATTRIBUTES: list[Any] = [
    {"name": "birth_date", "type": "date"},
    {"name": "city", "type": "code", "codes": ["Beijing", "Shanghai"]},
    {"name": "income", "type": "number", "low": 0, "high": 1_000_000, "unit": "CNY"},
]


class AttributeTypeIn(BaseModel):
    """A kind of credential."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"examples": [{"id": "person/1", "attributes": _ATTRIBUTES}]},
    )
    id: TypeId = Field(description="A name and a version; what it means never changes.")
    attributes: list[dict[str, Any]] = Field(
        min_length=1,
        max_length=32,
        description="Each with name and type: date, number (low, high, unit), code (codes), "
        "identifier, text. Statements about ranges need bounds.",
    )


class TrustedOut(BaseModel):
    """An issuer as a proof request names it."""

    issuer: str
    key: str


class AttributeTypeOut(BaseModel):
    """A kind of credential, and whom to trust for it in proof requests."""

    id: str
    attributes: list[dict[str, Any]]
    header: str = Field(description="What is signed beside the attributes, base64url.")
    issuers: list[TrustedOut] = Field(description="Every key whose signatures stand, newest first.")


class AttributeTypesOut(BaseModel):
    """The tenant's kinds of credentials."""

    types: list[AttributeTypeOut]


class AttributeOfferIn(BaseModel):
    """Attributes of one customer; they are kept under a key that only the offer's code gives."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "type": "person/1",
                    "claims": {"birth_date": "1996-05-17", "city": "Beijing", "income": 90_000},
                }
            ]
        },
    )
    type: TypeId
    claims: dict[str, Value] = Field(
        max_length=32,
        description="Exactly the attributes of the kind, within their bounds; without "
        "revocation_id and contact_id, which the broker sets.",
    )
    subject_ref: SubjectRef | None = Field(
        default=None, description="Your own opaque contact, for kinds with contact_id alone."
    )


class AttributeOfferOut(BaseModel):
    """An offer. The link is all there is of it: keep it from everybody but the customer."""

    id: str
    offer_by_value: str = Field(description="Starts a wallet, or shown as a QR code.")
    tx_code: str = Field(description="Send it to the customer by another way.")
    expires_at: int = Field(description="Unix seconds.")


@router.get("/v1/attribute-types")
def get_attribute_types(ctx: Ctx, caller: AnyCaller) -> AttributeTypesOut:
    """The kinds of credentials of attributes, and the keys to trust in proof requests."""
    kinds = attribute_types(ctx, caller.tenant_id)
    return AttributeTypesOut(types=[_type_out(ctx, caller.tenant_id, kind) for kind in kinds])


@router.post("/v1/attribute-types", status_code=201, response_model=AttributeTypeOut)
def post_attribute_type(
    ctx: Ctx, caller: OfficerCaller, body: AttributeTypeIn, key: IdempotencyKey = None
) -> Response:
    """Store a kind of credential: typed attributes within bounds. Officers only; it never changes.

    Every holder's credential has the same header: what differs between holders belongs into
    attributes, or it would link what they prove.
    """
    document = body.model_dump()

    def work() -> Answer:
        kind = add_type(ctx, caller.tenant_id, document)
        out = _type_out(ctx, caller.tenant_id, kind)
        return Answer(201, out.model_dump_json().encode())

    fingerprint = b"POST /v1/attribute-types\n" + canonical(document)
    answer = run(ctx, caller, fingerprint, key, work)
    return Response(answer.body, status_code=answer.status, media_type="application/json")


@router.post("/v1/attribute-offers", status_code=201, response_model=AttributeOfferOut)
def post_attribute_offer(
    ctx: Ctx, caller: AnyCaller, body: AttributeOfferIn, key: IdempotencyKey = None
) -> Response:
    """Offer a customer a credential of attributes that you attest, for their wallet.

    The broker keeps the attributes for ten minutes at most, encrypted under a key that follows from
    the offer's code, which it does not keep: so the offer is in this answer and nowhere else, and a
    retry with the same `Idempotency-Key` is a 409. Values out of their bounds are refused.
    """

    def work() -> Answer:
        made = offer_attributes(
            ctx,
            caller.tenant_id,
            caller.client_id,
            role=caller.role,
            type_id=body.type,
            claims=body.claims,
            subject_ref=body.subject_ref,
        )
        out = AttributeOfferOut(
            id=made.offer_id,
            offer_by_value=made.offer_by_value,
            tx_code=made.tx_code,
            expires_at=made.expires_at,
        )
        return Answer(201, out.model_dump_json().encode())

    fingerprint = b"POST /v1/attribute-offers\n" + canonical(body.model_dump())
    answer = run(ctx, caller, fingerprint, key, work, store=False)
    return Response(
        answer.body,
        status_code=answer.status,
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


def _type_out(ctx: Context, tenant_id: str, kind: AttributeType) -> AttributeTypeOut:
    keys = published_keys(ctx, tenant_id)
    return AttributeTypeOut(
        id=kind.schema.id,
        attributes=[attribute.to_json() for attribute in kind.schema.attributes],
        header=b64url(kind.header),
        issuers=[TrustedOut(issuer=kind.issuer, key=b64url(one)) for one in keys],
    )
