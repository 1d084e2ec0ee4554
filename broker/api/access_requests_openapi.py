"""Access requests in the OpenAPI document; the requests are read by hand."""

from typing import Any

from broker.api.authzen_openapi import EXAMPLE, PARTS, operation

_DENIAL = {
    "type": "object",
    "description": "Of the answer to the evaluation, as it was.",
    "required": ["evaluation_id", "expires_at", "template", "binding_token"],
    "properties": {
        name: {"type": "string", "maxLength": 1024}
        for name in ("evaluation_id", "expires_at", "template", "binding_token")
    },
}
_HANDLE = {
    "type": "object",
    "required": ["task"],
    "properties": {
        "task": {
            "type": "object",
            "required": ["id", "status", "status_endpoint"],
            "properties": {
                "id": {"type": "string"},
                "status": {"enum": ["pending", "approved", "denied", "expired"]},
                "status_endpoint": {"type": "string", "format": "uri"},
                "expires_at": {"type": "string", "format": "date-time"},
                "links": {
                    "type": "object",
                    "description": "`ticket`: the customer's page, a secret of this request.",
                    "properties": {"ticket": {"type": "string", "format": "uri"}},
                },
            },
        },
        "result": {
            "type": "object",
            "description": "Where it is approved: evaluate again, until then at the latest.",
            "properties": {
                "mode": {"const": "reevaluate"},
                "approval": {
                    "type": "object",
                    "required": ["id", "approved_until"],
                    "properties": {
                        "id": {"type": "string"},
                        "approved_until": {"type": "string", "format": "date-time"},
                    },
                },
            },
        },
    },
}


def _access_request() -> dict[str, Any]:
    request = {
        "type": "object",
        "required": ["subject", "action", "resource", "denial"],
        "properties": {
            **PARTS,
            "denial": _DENIAL,
            "requested_access": {
                "type": "object",
                "properties": {
                    "language": {
                        "enum": ["zh", "en"],
                        "description": "The language of the notice that is signed; zh unless said.",
                    }
                },
            },
        },
    }
    denial = {
        "evaluation_id": "e-7m3xk2p5qz4vt6nw8y2b",
        "expires_at": "2026-11-24T00:10:00Z",
        "template": "loyalty-churn/base",
        "binding_token": "pX0bq0y7...",
    }
    described = operation(request, _HANDLE, {**EXAMPLE, "denial": denial})
    described["responses"] = {"202": _handle("pending", expires_at="2026-11-24T00:15:00Z")}
    return {name: value for name, value in described.items() if name != "parameters"}


def _handle(status: str, **more: str) -> dict[str, Any]:
    address = "https://consent.example"
    task = {
        "id": "c-b3d5f7h2j4l6n3p5r7t2",
        "status": status,
        "status_endpoint": f"{address}/access/v1/requests/c-b3d5f7h2j4l6n3p5r7t2",
        "links": {"ticket": f"{address}/c/x7Yq..."},
        **more,
    }
    content = {"schema": _HANDLE, "example": {"task": task}}
    return {"description": "The task", "content": {"application/json": content}}


ACCESS_REQUEST = _access_request()
TASK = {"responses": {"200": _handle("pending", expires_at="2026-11-24T00:15:00Z")}}
