"""Problem documents (RFC 9457): the form of every error that no wallet protocol shapes itself."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Scope

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:consent-broker:problem:"
INSTANCE_PREFIX = "urn:consent-broker:request:"


def problem(
    scope: Scope,
    status: int,
    code: str,
    detail: str | None = None,
    *,
    errors: Sequence[Mapping[str, str]] = (),
    headers: Mapping[str, str] | None = None,
    more: Mapping[str, Any] | None = None,
) -> Response:
    """A problem document: `type` and `code` name the kind, `detail` says cause and cure.

    `instance` is the id of the request, as the log has it: never its path, which may hold a
    secret. `errors` lists fields at fault by name; nothing here repeats what was sent in them.
    `more` are members that this kind has beside these (section 3.2).
    """
    body: dict[str, Any] = {
        "type": TYPE_PREFIX + code,
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "code": code,
    }
    if detail:
        body["detail"] = detail
    request_id = scope.get("state", {}).get("request_id")
    if request_id is not None:
        body["instance"] = INSTANCE_PREFIX + request_id
    if errors:
        body["errors"] = [dict(error) for error in errors]
    body |= more or {}
    return Response(
        orjson.dumps(body),
        status_code=status,
        media_type=MEDIA_TYPE,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )
