"""Invitations: how a partner's contact gets bound to the customer's wallet."""

from typing import Annotated

import orjson
from fastapi import APIRouter, Header, Response

from broker.api.deps import AnyCaller, Caller, Ctx, OfficerCaller
from broker.api.idempotency import Answer, run
from broker.api.invitation_schemas import ApprovalIn, ApprovalOut, InvitationIn, InvitationOut
from broker.domain.consent import BindingGrade
from broker.domain.errors import Forbidden, InvalidRequest
from broker.usecases.deferral import decide_approval
from broker.usecases.invitation import open_invitation

router = APIRouter(tags=["invitations"])

Key = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]


@router.post("/v1/invitations", status_code=201, response_model=InvitationOut)
def post_invitation(ctx: Ctx, caller: AnyCaller, body: InvitationIn, key: Key = None) -> Response:
    """Invite the customer behind `subject_ref` to take a customer credential into their wallet.

    Whoever redeems the offer is bound to the contact, so send it to that customer alone; with
    grade `code` also send them `tx_code`, by another way. Each contact is bound once; another
    wallet is for officers who have recognised the customer. With the grade `verified_person` a
    partner's invitation waits: the wallet gets its credentials when an officer has approved.
    The answer is not kept: a retry with the same `Idempotency-Key` is a 409, open a new one.
    """
    partner_id = _partner(caller, body)

    def work() -> Answer:
        opened = open_invitation(
            ctx,
            caller.tenant_id,
            partner_id,
            body.subject_ref,
            BindingGrade(body.grade),
            rebind=body.rebind,
            opened_by=caller.client_id,
            needs_approval=_needs_approval(caller, body),
        )
        out = InvitationOut(
            id=opened.invitation_id,
            grade=opened.grade.value,
            offer_uri=opened.offer_uri,
            offer_by_value=opened.offer_by_value,
            tx_code=opened.tx_code,
            expires_at=opened.expires_at,
            approval="waiting" if _needs_approval(caller, body) else "none",
        )
        return Answer(201, orjson.dumps(out.model_dump()))

    fingerprint = b"POST /v1/invitations\n" + body.model_dump_json().encode()
    answer = run(ctx, caller, fingerprint, key, work, store=False)
    return Response(
        answer.body,
        status_code=answer.status,
        media_type="application/json",
        headers={"Cache-Control": "no-store"},
    )


@router.post("/v1/invitations/{invitation_id}/approval", response_model=ApprovalOut)
def post_approval(
    ctx: Ctx, officer: OfficerCaller, invitation_id: str, body: ApprovalIn, key: Key = None
) -> Response:
    """Approve, as an officer, the credentials of an invitation that waits for it; or refuse them.

    Whoever approves has recognised the customer: the consents that they sign then count as those
    of a verified person.
    """

    def work() -> Answer:
        approval = decide_approval(
            ctx, officer.tenant_id, invitation_id, officer.client_id, approve=body.approve
        )
        out = ApprovalOut(id=invitation_id, approval=approval)
        return Answer(200, orjson.dumps(out.model_dump()))

    fingerprint = f"POST /v1/invitations/{invitation_id}/approval\n".encode()
    answer = run(ctx, officer, fingerprint + body.model_dump_json().encode(), key, work)
    return Response(answer.body, status_code=answer.status, media_type="application/json")


def _partner(caller: Caller, body: InvitationIn) -> str:
    if caller.role == "officer":
        if body.partner is None:
            raise InvalidRequest("name the partner whose contact this is")
        return body.partner
    if body.partner not in {None, caller.client_id}:
        raise Forbidden("a partner invites its own contacts only")
    if body.rebind:
        raise Forbidden("rebind is for officers, who recognise the customer themselves")
    return caller.client_id


def _needs_approval(caller: Caller, body: InvitationIn) -> bool:
    # An officer who invites has recognised the customer; for a partner's word one still has to.
    verified = BindingGrade(body.grade) is BindingGrade.VERIFIED_PERSON
    return verified and caller.role != "officer"
