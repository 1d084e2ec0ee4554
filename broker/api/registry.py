"""What a tenant has registered, for its partners and officers to read; templates and mappings."""

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Query, Response

from broker.api.deps import AnyCaller, Caller, Ctx, OfficerCaller
from broker.api.idempotency import Answer, IdempotencyKey, canonical, run
from broker.api.registry_schemas import (
    TEMPLATE_EXAMPLE,
    AlgorithmsOut,
    AttributesOut,
    MappingBody,
    PurposesOut,
    TemplateOut,
    TemplatesOut,
    algorithm_out,
    attribute_out,
    purpose_out,
    template_out,
)
from broker.domain.errors import Forbidden
from broker.domain.schemas import CONSENT_TEMPLATE
from broker.domain.template import Registry
from broker.store import demands, registry
from broker.usecases.context import Context
from broker.usecases.mapping import mapping, set_mapping
from broker.usecases.masking import maskings_of
from broker.usecases.tenant import add_template

router = APIRouter(tags=["registry"])

PUBLIC = {"Cache-Control": "public, max-age=86400", "Access-Control-Allow-Origin": "*"}

TemplateBody = Annotated[
    dict[str, Any],
    Body(
        description="A consent template by the schema /schemas/consent-template/1.json.",
        examples=[TEMPLATE_EXAMPLE],
    ),
]


@router.get("/v1/purposes")
def get_purposes(ctx: Ctx, caller: AnyCaller) -> PurposesOut:
    """The purposes for which consent can be asked, and what has to be proven for them."""
    with ctx.db.reading() as tx:
        known = registry.registry(tx, caller.tenant_id).purposes.values()
        demanded = demands.demands(tx, caller.tenant_id)
    return PurposesOut(purposes=[purpose_out(one, demanded.get(one.id)) for one in known])


@router.get("/v1/algorithms")
def get_algorithms(ctx: Ctx, caller: AnyCaller) -> AlgorithmsOut:
    """The algorithms in each version; a new version needs a new consent."""
    known = _registry(ctx, caller)
    return AlgorithmsOut(
        algorithms=[algorithm_out(purpose, one) for purpose, one in known.algorithms.values()]
    )


@router.get("/v1/attributes")
def get_attributes(ctx: Ctx, caller: AnyCaller) -> AttributesOut:
    """The attribute dictionary: the canonical names, and which are sensitive."""
    known = _registry(ctx, caller)
    with ctx.db.reading() as tx:
        masked = maskings_of(tx, caller.tenant_id)
    return AttributesOut(
        attributes=[
            attribute_out(one, masked.get(one.id, {}), public_place=one.id in known.public_places)
            for one in known.attributes.values()
        ]
    )


@router.get("/v1/templates")
def get_templates(ctx: Ctx, caller: AnyCaller) -> TemplatesOut:
    """The consent templates, each in its newest version."""
    with ctx.db.reading() as tx:
        found = registry.templates(tx, caller.tenant_id)
    return TemplatesOut(templates=[template_out(template) for template in found])


@router.get("/v1/templates/{template_id}")
def get_template(
    ctx: Ctx,
    caller: AnyCaller,
    template_id: str,
    version: Annotated[int | None, Query(ge=1, le=2**31 - 1)] = None,
) -> TemplateOut:
    """A consent template, in its newest or a named version; each version stays as it is."""
    with ctx.db.reading() as tx:
        return template_out(registry.template(tx, caller.tenant_id, template_id, version))


@router.post("/v1/templates", status_code=201, response_model=TemplateOut)
def post_template(
    ctx: Ctx, caller: OfficerCaller, body: TemplateBody, key: IdempotencyKey = None
) -> Response:
    """Store a consent template as its next version. Officers only.

    Consents that were asked for under an earlier version keep their own terms.
    """

    def work() -> Answer:
        stored = add_template(ctx, caller.tenant_id, body)
        return Answer(201, orjson.dumps(template_out(stored).model_dump()))

    fingerprint = b"POST /v1/templates\n" + canonical(body)
    answer = run(ctx, caller, fingerprint, key, work)
    return Response(answer.body, status_code=answer.status, media_type="application/json")


@router.get("/v1/partners/{partner_id}/attribute-mapping")
def get_mapping(ctx: Ctx, caller: AnyCaller, partner_id: str) -> MappingBody:
    """A partner's own field names and the canonical attributes that they stand for."""
    _own(caller, partner_id)
    return MappingBody(fields=mapping(ctx, caller.tenant_id, partner_id))


@router.put("/v1/partners/{partner_id}/attribute-mapping")
def put_mapping(ctx: Ctx, caller: AnyCaller, partner_id: str, body: MappingBody) -> MappingBody:
    """Put your field names in place of the earlier ones; decisions may then be asked by them."""
    _own(caller, partner_id)
    set_mapping(ctx, caller.tenant_id, partner_id, body.fields)
    return body


@router.get(
    "/schemas/consent-template/1.json",
    response_class=Response,
    responses={200: {"content": {"application/schema+json": {}}}},
)
async def get_template_schema() -> Response:
    """The JSON Schema of consent templates."""
    return Response(CONSENT_TEMPLATE, media_type="application/schema+json", headers=PUBLIC)


def _registry(ctx: Context, caller: Caller) -> Registry:
    with ctx.db.reading() as tx:
        return registry.registry(tx, caller.tenant_id)


def _own(caller: Caller, partner_id: str) -> None:
    if caller.role == "partner" and caller.client_id != partner_id:
        raise Forbidden("a partner sees and sets its own mapping only")
