"""Data that partners take out of customers' vaults, sealed to them: decided, counted, stopped."""

import json
from base64 import b64encode
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from broker.api import metrics
from broker.api.deps import Ctx, TenantId
from broker.api.dpop import token_of
from broker.api.errors import RETRY_SECONDS, status_of
from broker.api.problems import problem
from broker.domain.access import Question
from broker.domain.conditions import NOT_IN_VAULT, NOT_MASKED_SO, OF_THE_VAULT
from broker.domain.decision import EXPLAIN, Decision, Obligation
from broker.domain.errors import TransferStopped
from broker.domain.masking import ROLE
from broker.domain.terms import parse_purpose
from broker.usecases.transfer import Transfer, Wanted, open_transfer
from credentials.jcs import b64url_decode
from wallet_adapters.envelope import MEDIA_TYPE

DENIED = 403
PARTIAL = 206
UNAVAILABLE = 503
MISSING = {NOT_IN_VAULT.code: 404, NOT_MASKED_SO.code: 404}
LONGEST = 200

router = APIRouter(tags=["data"])

_BYTES = {"content": {MEDIA_TYPE: {"schema": {"type": "string", "format": "binary"}}}}
HEADERS = {
    name: {"description": told, "schema": {"type": "string"}}
    for name, told in {
        "Broker-Decision": "The decision's entry in the log.",
        "Broker-Obligations": "What you owe with this use, as in an AuthZEN evaluation (JSON).",
        "Broker-Masking": "The masking that the customer applied before sealing; none without one.",
        "Repr-Digest": "SHA-256 of the whole envelope (RFC 9530).",
    }.items()
}


@router.get(
    "/v1/data/{consent_id}/{attribute}",
    response_class=Response,
    openapi_extra={"security": [{"HTTPBearer": []}]},
    responses={
        200: {"description": "The envelope: a JWE to your sealing key.", "headers": HEADERS}
        | _BYTES,
        PARTIAL: {"description": "The part of it that was asked for.", "headers": HEADERS} | _BYTES,
    },
)
async def get_data(
    request: Request,
    ctx: Ctx,
    tenant_id: TenantId,
    consent_id: str,
    attribute: str,
    *,
    purpose: Annotated[
        str,
        Query(
            max_length=LONGEST,
            description="Like `dpv:ServicePersonalisation#algo:churn-v3@1` (URL-encoded).",
        ),
    ],
    action: Annotated[str, Query(min_length=1, max_length=32)] = "read",
    territory: Annotated[str | None, Query(min_length=2, max_length=2)] = None,
    role: Annotated[
        str | None,
        Query(
            pattern=ROLE.pattern,
            description=(
                "The role of who will see it: by it the attribute may have to be masked "
                "(`maskings` in `GET /v1/attributes`). Without one, what holds for everybody."
            ),
        ),
    ] = None,
    source: Annotated[
        str | None,
        Query(max_length=40, description="The outside source that supplied it, where one did."),
    ] = None,
    byte_range: Annotated[
        str | None, Header(alias="Range", max_length=LONGEST, description="One range of bytes.")
    ] = None,
    if_range: Annotated[str | None, Header(alias="If-Range", max_length=LONGEST)] = None,
    key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            max_length=LONGEST,
            description=(
                "A value of your own for this use, needed where the consent counts its uses. Parts "
                "of one transfer, and a retry, carry the same one and are one use."
            ),
        ),
    ] = None,
) -> Response:
    """Take an attribute out of the customer's vault, sealed to you, if that is permitted now.

    The decision is that of `POST /access/v1/evaluation`, recorded and counted before anything is
    sent. A denial is a problem document: its `code` is that of the first reason, `decision` holds
    all of them as an evaluation does. Where the vault is the only cause nothing was counted:
    `data_not_in_vault` and `masking_not_in_vault` (404), `envelope_damaged` (502),
    `vault_unreachable` (503). When the customer withdraws while data are sent, the connection ends
    before the announced length.
    """
    purpose_id, algorithm_id, version = parse_purpose(purpose)
    question = Question(
        action=action,
        attribute=attribute,
        purpose_id=purpose_id,
        algorithm_id=algorithm_id,
        algorithm_version=version,
        territory=territory,
        consent_id=consent_id,
        role=role,
        source=source,
    )
    token_hash = await token_of(ctx, request)
    wanted = Wanted(
        tenant_id, token_hash, question, key or None, byte_range if if_range is None else None
    )
    found = await open_transfer(ctx, wanted)
    metrics.of(request.app).decided("permit" if isinstance(found, Transfer) else "deny")
    if isinstance(found, Decision):
        return denied(request.scope, found)
    return TransferResponse(found)


class TransferResponse(Response):
    """An answer whose connection is closed where the transfer is stopped on its way."""

    def __init__(self, transfer: Transfer) -> None:
        super().__init__(
            status_code=200 if transfer.whole else PARTIAL,
            media_type=MEDIA_TYPE,
            headers=_headers(transfer),
        )
        self._transfer = transfer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, piece by piece."""
        del scope, receive
        parts = self._transfer.parts()
        # Before the head: what ended meanwhile is a problem document yet.
        part: bytes | None = await anext(parts)
        start = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        await send(start)
        sent = 0
        while part is not None:
            sent += len(part)
            more = sent < self._transfer.span.length
            await send({"type": "http.response.body", "body": part, "more_body": more})
            # The server waits here for the partner to read what was sent, and not after the next
            # piece was looked at: else a withdrawal would let that one go too.
            if more:
                await send({"type": "http.response.body", "body": b"", "more_body": True})
            try:
                part = await anext(parts, None)
            except TransferStopped:
                return  # an answer that is not whole: the server closes the connection


def _brief(obligation: Obligation) -> Mapping[str, Any]:
    """An obligation's properties without texts for people: a header holds little, and no Chinese.

    They stand in an evaluation, and in the terms that the customer signed.
    """
    texts = {"explanation", "rights"} if obligation.id == EXPLAIN else set[str]()
    return {name: told for name, told in obligation.properties.items() if name not in texts}


def _headers(transfer: Transfer) -> dict[str, str]:
    row, span = transfer.row, transfer.span
    digest = _base64(row.digest)
    found = {
        "Cache-Control": "no-store",
        "Content-Length": str(span.length),
        "Accept-Ranges": "bytes",
        "Repr-Digest": f"sha-256=:{digest}:",
        "Broker-Decision": transfer.decision.entry_id,
        "Broker-Obligations": obligations_header(transfer.decision),
        "Broker-Masking": row.masking,
        "X-Content-Type-Options": "nosniff",
    }
    if not transfer.whole:
        found["Content-Range"] = f"bytes {span.first}-{span.past - 1}/{row.size}"
    return found


def obligations_header(decision: Decision) -> str:
    """What a permit obliges to, as the value of a header (JSON)."""
    obligations = [
        {"id": one.id, "type": one.type, "properties": _brief(one)} for one in decision.obligations
    ]
    return json.dumps(obligations, separators=(",", ":"))


def _base64(digest: str) -> str:
    return b64encode(b64url_decode(digest)).decode("ascii")


def denied(scope: Scope, decision: Decision) -> Response:
    """A denial of data: a problem document with the whole decision."""
    codes = [reason.code for reason in decision.reasons]
    of_the_vault = OF_THE_VAULT.issuperset(decision.reasons)
    status = MISSING.get(codes[0]) or status_of(codes[0]) if of_the_vault else DENIED
    told: dict[str, Any] = {"decision": decision.to_json()}
    headers = {"Retry-After": str(RETRY_SECONDS)} if status == UNAVAILABLE else {}
    detail = " ".join(reason.en for reason in decision.reasons)
    return problem(scope, status, codes[0], detail, headers=headers, more=told)
