"""Transfers abroad, for officers: mechanisms, the year's counts, the regulator's export."""

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from broker.api.deps import Ctx, OfficerCaller
from broker.api.idempotency import Answer, IdempotencyKey, canonical, run
from broker.domain.cross_border import FILED, GROUNDS, Kind, day
from broker.usecases import cross_border, cross_border_export

router = APIRouter(tags=["transfers"])

NO_STORE = {"Cache-Control": "no-store"}
SIGNATURE = "Broker-Signature"
MEDIA_TYPES = {"json": "application/json", "csv": "text/csv"}
_DAY = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
Year = Annotated[
    int | None, Query(ge=2020, le=2999, description="The calendar year in Beijing; else this one.")
]
_EXAMPLE: dict[str, Any] = {
    "partner": "p-4k2vq7r3w5x6y2z4a3b5",
    "destination": "SG",
    "kind": "standard_contract",
    "filing_number": "京标备2026000184",
    "valid_from": "2026-03-01",
    "valid_until": "2029-02-28",
}


class MechanismIn(BaseModel):
    """A mechanism to register."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})
    partner: str = Field(min_length=1, max_length=64, description="The recipient's client id.")
    destination: str = Field(
        min_length=2,
        max_length=2,
        description="Where the data go or are looked at from: an ISO 3166-1 code, like SG.",
    )
    kind: Kind
    ground: str | None = Field(
        default=None,
        max_length=40,
        description="Of an exemption or a derogation: "
        + "; ".join(f"`{kind}`: {', '.join(grounds)}" for kind, grounds in GROUNDS.items())
        + ".",
    )
    purpose: str | None = Field(
        default=None, max_length=200, description="The one purpose of an exemption or derogation."
    )
    filing_number: str | None = Field(
        default=None, max_length=100, description=f"Required for {', '.join(sorted(FILED))}."
    )
    valid_from: str | None = Field(
        default=None, pattern=_DAY, description="A day in Beijing; else from now on."
    )
    valid_until: str | None = Field(
        default=None, pattern=_DAY, description="The first day on which it counts no more."
    )
    exporter: str | None = Field(
        default=None,
        max_length=64,
        description="The exporting handler, where it is a partner that terms name as controller.",
    )


class MechanismOut(BaseModel):
    """A registered mechanism; times are Unix seconds."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "tm-4k2vq7r3w5x6y2z4a3b5",
                    "exporter": "demo",
                    "partner": "p-4k2vq7r3w5x6y2z4a3b5",
                    "destination": "SG",
                    "kind": "standard_contract",
                    "law": "PIPL",
                    "ground": None,
                    "article": None,
                    "purpose": None,
                    "filing_number": "京标备2026000184",
                    "valid_from": 1772294400,
                    "valid_until": 1866988800,
                    "ended_at": None,
                    "registered_by": "o-4k2vq7r3w5x6y2z4a3b5",
                    "created_at": 1772294400,
                    "in_force": True,
                }
            ]
        }
    )
    id: str
    exporter: str
    partner: str
    destination: str
    kind: str
    law: str = Field(description="`PIPL` or `GDPR`: of which data it is.")
    ground: str | None
    article: str | None = Field(description="The article of the ground.")
    purpose: str | None
    filing_number: str | None
    valid_from: int
    valid_until: int | None
    ended_at: int | None
    registered_by: str
    created_at: int
    in_force: bool


class MechanismsOut(BaseModel):
    """The mechanisms, oldest first, those that are over too."""

    mechanisms: list[MechanismOut]


class EndOut(BaseModel):
    """Whether it was ended by this call."""

    ended: bool = Field(description="False where it was ended before.")


class BandsOut(BaseModel):
    """From how many subjects on what is required."""

    contract: int
    assessment: int
    sensitive_assessment: int


class CountOut(BaseModel):
    """The distinct subjects of one exporting handler since 1 January, over all its recipients."""

    exporter: str
    year: int
    subjects: int = Field(
        description="Of data that are not sensitive, and not exempt. Contacts of partners: "
        "who is known to two of them counts twice, so there are never more persons than this."
    )
    sensitive_subjects: int
    exempt: dict[str, int] = Field(description="By ground; counted for no band.")
    required: str = Field(description="`nothing`, `contract` or `assessment`.")
    bands: BandsOut
    first_counted_in_month: dict[str, list[int]] = Field(
        description="Twelve numbers for each category: `general`, `sensitive`, `exempt:<ground>`."
    )


class CountsOut(BaseModel):
    """The counts by handler, the tenant's own first."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "counts": [
                        {
                            "exporter": "demo",
                            "year": 2026,
                            "subjects": 2,
                            "sensitive_subjects": 1,
                            "exempt": {"contract": 1},
                            "required": "contract",
                            "bands": {
                                "contract": 100000,
                                "assessment": 1000000,
                                "sensitive_assessment": 10000,
                            },
                            "first_counted_in_month": {
                                "general": [2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
                            },
                        }
                    ]
                }
            ]
        }
    )
    counts: list[CountOut]


@router.get("/v1/transfer-mechanisms")
def get_transfer_mechanisms(ctx: Ctx, caller: OfficerCaller) -> MechanismsOut:
    """What transfers abroad rest on. Officers only."""
    found = cross_border.listed(ctx, caller.tenant_id)
    told = [MechanismOut(**cross_border.told(one, ctx.now())) for one in found]
    return MechanismsOut(mechanisms=told)


@router.post("/v1/transfer-mechanisms", status_code=201, response_model=MechanismOut)
def post_transfer_mechanism(
    ctx: Ctx, caller: OfficerCaller, body: MechanismIn, key: IdempotencyKey = None
) -> Response:
    """Register what transfers to a partner in a country rest on. Officers only; it is in the log.

    From the next decision on it counts. Nothing here says that it was filed: the number does.
    """

    def work() -> Answer:
        given: dict[str, Any] = body.model_dump(exclude={"partner", "valid_from", "valid_until"})
        made = cross_border.register(
            ctx,
            caller.tenant_id,
            partner_id=body.partner,
            valid_from=None if body.valid_from is None else day(body.valid_from, "valid_from"),
            valid_until=None if body.valid_until is None else day(body.valid_until, "valid_until"),
            by=caller.client_id,
            **given,
        )
        return Answer(201, orjson.dumps(cross_border.told(made, ctx.now())))

    fingerprint = b"POST /v1/transfer-mechanisms\n" + canonical(body.model_dump())
    answer = run(ctx, caller, fingerprint, key, work)
    return Response(answer.body, status_code=answer.status, media_type="application/json")


@router.delete("/v1/transfer-mechanisms/{mechanism_id}")
def delete_transfer_mechanism(ctx: Ctx, caller: OfficerCaller, mechanism_id: str) -> EndOut:
    """End a mechanism at once; it stays in the register. Officers only."""
    ended = cross_border.end(ctx, caller.tenant_id, mechanism_id, by=caller.client_id)
    return EndOut(ended=ended)


@router.get("/v1/transfers/count")
def get_transfer_count(ctx: Ctx, caller: OfficerCaller, year: Year = None) -> CountsOut:
    """How many distinct subjects' data were exported, against the bands. Officers only."""
    found = cross_border.counts(ctx, caller.tenant_id, year)
    return CountsOut(counts=[CountOut(**one.to_json()) for one in found])


@router.get(
    "/v1/transfers/export",
    response_class=Response,
    responses={
        200: {
            "content": {
                "application/json": {"schema": {"type": "object"}},
                "text/csv": {"schema": {"type": "string"}},
            },
            "headers": {
                SIGNATURE: {
                    "description": "The broker's word on these very bytes: a compact JWS for "
                    "`consent-broker transfer verify`.",
                    "schema": {"type": "string"},
                }
            },
        }
    },
)
def get_transfer_export(
    ctx: Ctx,
    caller: OfficerCaller,
    year: Year = None,
    form: Annotated[Literal["json", "csv"], Query(alias="format")] = "json",
) -> Response:
    """The register for the regulator, signed over its bytes. Officers only; it is in the log."""
    found = cross_border_export.read(ctx, caller.tenant_id, year)
    content = found.as_csv() if form == "csv" else found.as_json()
    token = cross_border_export.signed(ctx, found, content, form, by=caller.client_id)
    return Response(content, media_type=MEDIA_TYPES[form], headers={SIGNATURE: token, **NO_STORE})
