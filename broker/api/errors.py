"""From errors to answers: the one table from stable codes to HTTP statuses.

An endpoint of a wallet protocol answers in its protocol's own form; everything else becomes a
problem document here. What nobody expected is a 500 that says nothing of its cause: the cause may
hold personal data, and goes to the log by its type and place only.
"""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, Final

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DataError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as NoConnectionFree
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from broker.api import dpop, openapi
from broker.api.problems import problem
from broker.domain.errors import BrokerError
from credentials.errors import CredentialError
from federation.errors import FederationError
from wallet_adapters.errors import WalletProtocolError

_log = structlog.get_logger("broker.request")

# Codes that are not here are 400: the request was at fault. Codes are stable, so is this table.
STATUS: Final[dict[str, int]] = {
    "unauthorized": 401,
    "forbidden": 403,
    "unknown_partner": 403,
    "too_many_questions": 403,
    "event_signature_refused": 403,
    "not_found": 404,
    "unknown_task": 404,
    "log_tile_path_invalid": 404,
    "state_conflict": 409,
    "idempotency_conflict": 409,
    "idempotency_in_progress": 409,
    "idempotency_replayed": 409,
    "consent_not_live": 409,
    "no_sealing_key": 409,
    "too_few_members": 409,
    "member_not_admitted": 409,
    "privacy_budget_spent": 409,
    "receipt_conflict": 409,
    "salt_differs": 500,
    "gone": 410,
    "expired_denial": 410,
    "erased": 410,
    "range_not_satisfiable": 416,
    "event_source_busy": 429,
    "event_source_full": 429,
    "event_source_paused": 429,
    "envelope_damaged": 502,
    # Ours, not the caller's: stored things that do not hold together.
    "error": 500,
    "fetch_error": 500,
    "credential_error": 500,
    "federation_error": 500,
    "wallet_protocol_error": 500,
    "seal_broken": 500,
    "log_error": 500,
    "log_note_malformed": 500,
    "log_note_unverified": 500,
    "log_checkpoint_malformed": 500,
    "log_proof_malformed": 500,
    "log_proof_invalid": 500,
    "log_entry_malformed": 500,
    "log_entry_unreadable": 500,
    "log_witness_refused": 500,
    "timestamp_invalid": 500,
    # It may pass: try again.
    "status_unavailable": 503,
    "fetch_failed": 503,
    "vault_unreachable": 503,
    "transfer_stopped": 503,
    "key_device_unavailable": 503,
    "log_unavailable": 503,
    "log_conflict": 503,
    "search_not_over": 503,
    "log_rolled_back": 503,
}
RETRY_SECONDS = 5
_FIELDS_AT_MOST = 20
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
# Pydantic puts the offending value into the messages of these.
_QUOTING = frozenset({"union_tag_invalid", "value_error", "assertion_error", "json_invalid"})
_HTTP_CODES = {
    404: "not_found",
    405: "method_not_allowed",
    406: "not_acceptable",
    413: "body_too_large",
    415: "unsupported_media_type",
}


def status_of(code: str) -> int:
    """The HTTP status of an error's code."""
    return STATUS.get(code, 400)


def install(app: FastAPI) -> None:
    """Make `app` answer with problem documents, and say so in its OpenAPI document."""
    for family in (BrokerError, CredentialError, FederationError, WalletProtocolError):
        app.add_exception_handler(family, _known)
    dpop.install(app)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _refused)
    for gone in (OperationalError, InterfaceError, NoConnectionFree):
        app.add_exception_handler(gone, _no_database)
    app.add_exception_handler(DataError, _unstorable)
    app.add_exception_handler(Exception, _unexpected)
    openapi.install(app)


async def _known(request: Request, error: Exception) -> Response:
    code: str = getattr(error, "code", "error")
    status = status_of(code)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return problem(request.scope, status, "internal_error")
    headers = {}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = dpop.challenge(request)
    if status == HTTPStatus.SERVICE_UNAVAILABLE or code == "idempotency_in_progress":
        headers["Retry-After"] = str(RETRY_SECONDS)
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        headers["Retry-After"] = str(getattr(error, "retry_after", RETRY_SECONDS))
    return problem(request.scope, status, code, str(error), headers=headers)


async def _unstorable(request: Request, _error: Exception) -> Response:
    """A text with a NUL, or a number that is too large, where nobody looked before."""
    return problem(request.scope, 400, "invalid_request", "a text holds a NUL, or a number is huge")


async def _invalid(request: Request, error: Exception) -> Response:
    found = error.errors() if isinstance(error, RequestValidationError) else []
    fields = [_field(item) for item in found[:_FIELDS_AT_MOST]]
    named = ", ".join(dict.fromkeys(field["field"] for field in fields))
    detail = f"these fields are missing or not as documented: {named}" if named else None
    return problem(request.scope, 400, "invalid_request", detail, errors=fields)


def _field(error: dict[str, Any]) -> dict[str, str]:
    kind = str(error.get("type", ""))
    message = "the value is not acceptable" if kind in _QUOTING else str(error.get("msg", ""))
    if kind == "json_invalid":
        return {"field": "body", "code": kind, "detail": "the body is not JSON"}
    return {"field": _path(error.get("loc", ())), "code": kind, "detail": message}


def _path(location: Iterable[str | int]) -> str:
    # A name that a caller invented may be anybody's phone number: only what looks like a field's.
    parts = (str(part) for part in location)
    return ".".join(
        part if part.isdecimal() or _FIELD_NAME.fullmatch(part) else "(unnamed)" for part in parts
    )


async def _refused(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 400
    headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
    code = _HTTP_CODES.get(status, "invalid_request" if status < 500 else "internal_error")  # noqa: PLR2004
    return problem(request.scope, status, code, headers=headers)


async def _no_database(request: Request, error: Exception) -> Response:
    """The connection was lost, the disk is full, no connection was free: nothing has happened."""
    _log.error("database_unavailable", exc_info=error)
    headers = {"Retry-After": str(RETRY_SECONDS)}
    detail = "the database does not answer: repeat the request in a moment"
    return problem(request.scope, 503, "database_unavailable", detail, headers=headers)


async def _unexpected(request: Request, error: Exception) -> Response:
    del error  # the server's log names it, by type and place
    return problem(request.scope, 500, "internal_error")
