"""Data that a wallet shows when a partner asks: sealed to the partner, decided, handed on once."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from broker.api import metrics
from broker.api.callers import TOKEN_HASH
from broker.api.consent_schemas import Name
from broker.api.data import HEADERS, LONGEST, denied, obligations_header
from broker.api.deps import Ctx, PartnerCaller, TenantId
from broker.api.dpop import token_of
from broker.api.idempotency import Answer, IdempotencyKey, canonical, run
from broker.api.problems import MEDIA_TYPE as PROBLEM
from broker.domain.access import Question
from broker.domain.decision import Decision
from broker.domain.masking import ROLE
from broker.domain.terms import parse_purpose
from broker.usecases import data_answer, data_request
from broker.usecases.data_request import OpenedDataRequest
from wallet_adapters.envelope import MEDIA_TYPE

CREATED = 201

router = APIRouter(tags=["data"])

_EXAMPLE: dict[str, Any] = {
    "consent": "c-aaaaaaaaaaaaaaaaaaaa",
    "schema": "person/4",
    "attributes": ["purchase_count_12m"],
    "purpose": "dpv:ServicePersonalisation#algo:churn-v3@1",
    "territory": "CN",
}


class DataRequestIn(BaseModel):
    """What a partner asks a wallet to show, and for what."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})
    consent: str = Field(min_length=1, max_length=64)
    schema_id: str = Field(
        alias="schema",
        min_length=1,
        max_length=2048,
        description="The kind of credential that has them, issued for this contact.",
    )
    attributes: list[Name] = Field(
        min_length=1, max_length=16, description="Canonical names, as the credential has them."
    )
    purpose: str = Field(min_length=1, max_length=LONGEST)
    action: str = Field(default="read", min_length=1, max_length=32)
    territory: str | None = Field(default=None, min_length=2, max_length=2)
    role: str | None = Field(
        default=None, pattern=ROLE.pattern, description="The role of who will see it."
    )


class DataRequestOut(BaseModel):
    """A data request as it is now."""

    id: str
    consent: str
    attributes: list[str]
    state: str = Field(
        description="`open`, `answered`, `refused` (by the customer), `expired` or `closed` "
        "(its consent has ended, or you were suspended)."
    )
    waiting: list[str] = Field(description="What can be collected now, once each.")
    collect_until: int | None = Field(description="Unix seconds; None where nothing waits.")
    wallet_link: str | None = Field(description="Starts the wallet; None once it is over.")
    development_link: str | None
    expires_at: int


class CollectIn(BaseModel):
    """What the partner can carry out."""

    model_config = ConfigDict(extra="forbid")
    supported_obligations: list[Annotated[str, Field(max_length=LONGEST)]] | None = Field(
        default=None,
        max_length=64,
        description="Types of obligations that you can carry out: a permit that obliges to "
        "something else is then a denial, `obligation_unsupported`.",
    )


@router.post("/v1/data-requests", status_code=201, response_model=DataRequestOut)
def open_data_request(
    request: Request,
    ctx: Ctx,
    caller: PartnerCaller,
    body: DataRequestIn,
    key: IdempotencyKey = None,
) -> Response:
    """Ask a customer's wallet for attributes under a consent that is in force.

    The wallet shows them from a credential that this broker's tenant, or an issuer that it trusts,
    issued for this contact. Register a key first (`PUT /v1/sealing-key`): what is shown is sealed
    to it, and waits five minutes for you. The request is open for 15 minutes. Where collecting
    would be denied as it is now, so is this, like `GET /v1/data/...`: the customer is not asked in
    vain.
    """
    purpose_id, algorithm_id, version = parse_purpose(body.purpose)
    question = Question(
        action=body.action,
        attribute="",
        purpose_id=purpose_id,
        algorithm_id=algorithm_id,
        algorithm_version=version,
        territory=body.territory,
        consent_id=body.consent,
        role=body.role,
    )

    def work() -> Answer:
        opened = data_request.open_request(
            ctx,
            caller.tenant_id,
            caller.client_id,
            schema=body.schema_id,
            attributes=tuple(dict.fromkeys(body.attributes)),
            question=question,
            token_hash=request.scope["state"][TOKEN_HASH],
        )
        if isinstance(opened, Decision):
            metrics.of(request.app).decided("deny")
            told = denied(request.scope, opened)
            return Answer(told.status_code, bytes(told.body))
        return Answer(CREATED, orjson.dumps(_out(opened, ctx.now()).model_dump()))

    fingerprint = b"POST /v1/data-requests\n" + canonical(body.model_dump(by_alias=True))
    answer = run(ctx, caller, fingerprint, key, work)
    media_type = "application/json" if answer.status == CREATED else PROBLEM
    return Response(answer.body, status_code=answer.status, media_type=media_type)


@router.get("/v1/data-requests/{request_id}")
def get_data_request(ctx: Ctx, caller: PartnerCaller, request_id: str) -> DataRequestOut:
    """Follow a data request: whether the wallet has answered, and what waits for you."""
    opened = data_request.find_request(ctx, caller.tenant_id, caller.client_id, request_id)
    return _out(opened, ctx.now())


@router.post(
    "/v1/data-requests/{request_id}/data/{attribute}",
    response_class=Response,
    openapi_extra={"security": [{"HTTPBearer": []}]},
    responses={
        200: {
            "description": "A JWE to your sealing key.",
            "headers": {name: told for name, told in HEADERS.items() if name != "Repr-Digest"},
            "content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}},
        }
    },
)
async def collect_data(
    request: Request,
    ctx: Ctx,
    tenant_id: TenantId,
    request_id: str,
    attribute: Annotated[str, Path(max_length=200)],
    body: CollectIn,
) -> Response:
    """Take an attribute that the wallet has shown, sealed to you, if that is permitted now: once.

    The decision is that of `POST /access/v1/evaluation`, recorded and counted, one use for each
    attribute of a request. A denial is a problem document like that of `GET /v1/data/...`. 409
    while the wallet has not answered; 410 when it was collected, has waited too long, or its
    consent has ended. What is lost on its way cannot be repeated: ask the wallet again.
    """
    found = await data_answer.collect(
        ctx,
        tenant_id,
        await token_of(ctx, request),
        request_id,
        attribute,
        supported=None
        if body.supported_obligations is None
        else frozenset(body.supported_obligations),
    )
    metrics.of(request.app).decided("deny" if isinstance(found, Decision) else "permit")
    if isinstance(found, Decision):
        return denied(request.scope, found)
    headers = {
        "Cache-Control": "no-store",
        "Broker-Decision": found.decision.entry_id,
        "Broker-Obligations": obligations_header(found.decision),
        "Broker-Masking": found.answer.masking,
        "X-Content-Type-Options": "nosniff",
    }
    return Response(found.answer.envelope, media_type=MEDIA_TYPE, headers=headers)


def _out(opened: OpenedDataRequest, now: int) -> DataRequestOut:
    row, asked = opened.row, opened.asked
    return DataRequestOut(
        id=row.id,
        consent=row.consent_id,
        attributes=list(opened.attributes),
        state=row.state_at(now),
        waiting=[one.attribute for one in opened.waiting],
        collect_until=min((one.expires_at for one in opened.waiting), default=None),
        wallet_link=None if asked is None else asked.wallet_link,
        development_link=None if asked is None else asked.development_link,
        expires_at=row.expires_at,
    )
