"""Proof requests and proofs, for partners and officers: facts without data."""

from importlib.resources import files

from fastapi import APIRouter, Request, Response

from broker.api.deps import AnyCaller, Ctx, PartnerCaller
from broker.api.errors import status_of
from broker.api.idempotency import Answer, IdempotencyKey, canonical, run
from broker.api.problems import MEDIA_TYPE, problem
from broker.api.proof_schemas import ProofIn, ProofRequestIn, ProofRequestOut, proof_request_out
from broker.api.wellknown import PUBLIC
from broker.usecases import proof, proof_request
from broker.usecases.answering import Rejected

router = APIRouter(tags=["proofs"])

OK = 200
SCHEMA = files("zkp").joinpath("schemas/proof-request-1.json").read_text(encoding="utf-8")


@router.post("/v1/proof-requests", status_code=201, response_model=ProofRequestOut)
def open_proof_request(
    ctx: Ctx, caller: PartnerCaller, body: ProofRequestIn, key: IdempotencyKey = None
) -> Response:
    """Ask a customer to prove statements about attributes that they do not show.

    Over credentials of the issuers that you trust, by name. The answer holds a link that starts a
    wallet; it is good for one proof, for 15 minutes. A statement that would show an attribute is
    refused. A retry with the same `Idempotency-Key` returns the same request.
    """

    def work() -> Answer:
        opened = proof_request.open_request(
            ctx,
            caller.tenant_id,
            caller.client_id,
            template_id=body.template,
            meta=body.meta(),
            subject_ref=body.subject_ref,
            bound=body.of_contact,
        )
        return Answer(201, proof_request_out(opened, ctx.now()).model_dump_json().encode())

    fingerprint = b"POST /v1/proof-requests\n" + canonical(body.model_dump(by_alias=True))
    answer = run(ctx, caller, fingerprint, key, work)
    return Response(answer.body, status_code=answer.status, media_type="application/json")


@router.get("/v1/proof-requests/{request_id}")
def get_proof_request(ctx: Ctx, caller: AnyCaller, request_id: str) -> ProofRequestOut:
    """Follow a proof request: what was asked, whether it was proven, and when."""
    own = caller.client_id if caller.role == "partner" else None
    opened = proof_request.find_request(ctx, caller.tenant_id, own, request_id)
    return proof_request_out(opened, ctx.now())


@router.post("/v1/proofs/verify", response_model=ProofRequestOut)
def verify_proof(
    request: Request,
    ctx: Ctx,
    caller: PartnerCaller,
    body: ProofIn,
    key: IdempotencyKey = None,
) -> Response:
    """Have a proof checked that you received for one of your own proof requests.

    200 when it shows what was asked; otherwise a problem document whose code names the cause:
    `proof_of_another_request`, `issuer_not_trusted`, `proof_invalid` and so on. 410 when the
    request was answered before or has expired: each is good for one proof.
    """

    def work() -> Answer:
        found = proof.verify_for_partner(
            ctx, caller.tenant_id, caller.client_id, body.request, body.presentation
        )
        if isinstance(found, Rejected):
            # As an answer, so that a retry with the same key is told the same.
            refused = problem(request.scope, status_of(found.code), found.code, found.message)
            return Answer(refused.status_code, bytes(refused.body))
        return Answer(OK, proof_request_out(found, ctx.now()).model_dump_json().encode())

    fingerprint = b"POST /v1/proofs/verify\n" + canonical(body.model_dump())
    answer = run(ctx, caller, fingerprint, key, work)
    media_type = "application/json" if answer.status == OK else MEDIA_TYPE
    return Response(answer.body, status_code=answer.status, media_type=media_type)


@router.get(
    "/schemas/proof-request/1.json",
    response_class=Response,
    responses={200: {"content": {"application/schema+json": {}}}},
)
async def get_proof_request_schema() -> Response:
    """The JSON Schema of proof requests: which statements there are."""
    return Response(SCHEMA, media_type="application/schema+json", headers=PUBLIC)
