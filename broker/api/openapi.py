"""The OpenAPI document: what every operation shares, said once.

FastAPI documents its own 422 for invalid requests; here they are 400 problem documents, and so is
every other refusal of an operation that follows no wallet protocol. Operations that do say by
`protocol_error` what they refuse; theirs is the problem document where the fault is not theirs.
"""

from typing import Any

from fastapi import FastAPI

from broker.api.problems import INSTANCE_PREFIX, MEDIA_TYPE, TYPE_PREFIX

_EXAMPLE = {
    "type": f"{TYPE_PREFIX}not_found",
    "title": "Not found",
    "status": 404,
    "code": "not_found",
    "detail": "no such consent",
    "instance": f"{INSTANCE_PREFIX}5f3c1b7e9a2d4c68b0f1e2d3c4b5a697",
}
_PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "A problem document (RFC 9457); `code` is stable.",
    "required": ["type", "title", "status", "code"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "code": {"type": "string", "pattern": "^[a-z0-9_]+$"},
        "detail": {"type": "string"},
        "instance": {"type": "string", "format": "uri"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "code", "detail"],
                "properties": {
                    "field": {"type": "string"},
                    "code": {"type": "string"},
                    "detail": {"type": "string"},
                },
            },
        },
    },
    "examples": [_EXAMPLE],
}
_AS_PROBLEM = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
_REFUSED: dict[str, Any] = {
    "description": "Refused: a problem document with a stable `code`.",
    "content": _AS_PROBLEM,
}


_PROTOCOL_ERROR: dict[str, Any] = {
    "type": "object",
    "description": (
        "An error in the form of the wallet protocols (RFC 6749, section 5.2): `error` is the "
        "protocol's own value, `code` this broker's stable one, and finer."
    ),
    "required": ["error", "code"],
    "properties": {
        "error": {"type": "string"},
        "error_description": {"type": "string"},
        "code": {"type": "string", "pattern": "^[a-z0-9_]+$"},
    },
}


_AS_PROTOCOL_ERROR = {"$ref": "#/components/schemas/ProtocolError"}
_REFUSED_BY_PROTOCOL: dict[str, Any] = {
    "description": "Refused: the protocol's own error, or a problem document.",
    "content": {"application/json": {"schema": _AS_PROTOCOL_ERROR}} | _AS_PROBLEM,
}


def protocol_error(description: str, error: str, code: str) -> dict[str, Any]:
    """A refusal in the form of the wallet protocols, with an example of its two values."""
    example = {"error": error, "error_description": "what is wrong, and the cure", "code": code}
    return {
        "description": description,
        "content": {"application/json": {"schema": _AS_PROTOCOL_ERROR, "example": example}},
    }


def install(app: FastAPI) -> None:
    """Let `app` describe its errors as they are."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = with_problems(generate())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way to extend it


def with_problems(document: dict[str, Any]) -> dict[str, Any]:
    """The same document, with problem documents in place of FastAPI's own errors."""
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas |= {"Problem": _PROBLEM, "ProtocolError": _PROTOCOL_ERROR}
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for operations in document.get("paths", {}).values():
        for operation in operations.values():
            if isinstance(operation, dict) and "responses" in operation:
                _describe_refusals(operation["responses"])
    return document


def _describe_refusals(responses: dict[str, Any]) -> None:
    responses.pop("422", None)
    by_protocol = [one for one in responses.values() if _is_protocol_error(one)]
    # What is refused before the protocol's own reader sees it, such as a body over the limits or
    # a token that is not known, is a problem document there too.
    for refused in by_protocol:
        refused["content"] = refused["content"] | _AS_PROBLEM
    responses.setdefault("default", _REFUSED_BY_PROTOCOL if by_protocol else _REFUSED)


def _is_protocol_error(response: dict[str, Any]) -> bool:
    content = response.get("content", {}).get("application/json", {})
    return bool(content.get("schema") == _AS_PROTOCOL_ERROR)
