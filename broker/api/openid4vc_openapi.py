"""What the OpenAPI document says of the wallets' operations: bodies, answers, forms of errors."""

from typing import Any

from broker.api.oauth_openapi import form
from broker.api.openapi import protocol_error
from broker.usecases.issuance import BATCH_SIZE
from wallet_adapters.openid4vci.credential import NOTIFICATION_EVENTS
from wallet_adapters.openid4vp.request import REQUEST_OBJECT_MEDIA_TYPE

_TEXT = {"type": "string"}
_TOKEN: list[dict[str, list[str]]] = [{"HTTPBearer": []}]
_COMPACT = "eyJ0eXAiOiJvcGVuaWQ0dmNpLXByb29mK2p3dCJ9.e30.c2ln"


def _json(
    properties: dict[str, Any], required: tuple[str, ...], example: dict[str, Any] | None = None
) -> dict[str, Any]:
    schema = {"type": "object", "required": list(required), "properties": properties}
    content = {"schema": schema} | ({"example": example} if example else {})
    return {
        "security": _TOKEN,
        "requestBody": {"required": True, "content": {"application/json": content}},
    }


def _answer(description: str, example: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": {"type": "object"}, "example": example}}
    return {"description": description, "content": content}


_ISSUED = _answer(
    "The credentials, each in an object of its own.",
    {"credentials": [{"credential": "eyJ4NWMiOl..~"}], "notification_id": "3fwe98js"},
)
_LATER = _answer(
    "It has to wait for an officer: ask again after `interval` seconds (sections 8.3 and 9.2).",
    {"transaction_id": "8xLOxBtZp8", "interval": 300},
)
_NO_TOKEN = {"description": "No such token, or its DPoP proof is refused; see `WWW-Authenticate`."}

CREDENTIAL: dict[str, Any] = {
    "openapi_extra": _json(
        {
            "credential_configuration_id": _TEXT,
            "credential_identifier": _TEXT,
            "proofs": {
                "type": "object",
                "required": ["jwt"],
                "properties": {
                    "jwt": {
                        "type": "array",
                        "items": _TEXT,
                        "minItems": 1,
                        "maxItems": BATCH_SIZE,
                    }
                },
            },
        },
        ("proofs",),
        {
            "credential_configuration_id": "customer_credential",
            "proofs": {"jwt": [_COMPACT]},
        },
    ),
    "responses": {
        200: _ISSUED,
        202: _LATER,
        400: protocol_error(
            "The request is refused (section 8.3.1.2); with `invalid_nonce` a fresh nonce helps.",
            "invalid_nonce",
            "proof_nonce_invalid",
        ),
        401: _NO_TOKEN,
    },
}

DEFERRED: dict[str, Any] = {
    "openapi_extra": _json({"transaction_id": _TEXT}, ("transaction_id",)),
    "responses": {
        200: _ISSUED,
        202: _LATER,
        400: protocol_error(
            "The request is refused (section 9.3); `credential_request_denied` is for good.",
            "invalid_transaction_id",
            "invalid_transaction_id",
        ),
        401: _NO_TOKEN,
    },
}

NOTIFICATION: dict[str, Any] = {
    "openapi_extra": _json(
        {
            "notification_id": _TEXT,
            "event": {"type": "string", "enum": list(NOTIFICATION_EVENTS)},
            "event_description": _TEXT,
        },
        ("notification_id", "event"),
    ),
    "responses": {
        204: {"description": "It is written down."},
        400: protocol_error(
            "The request is refused (section 11.3).",
            "invalid_notification_id",
            "invalid_notification_id",
        ),
        401: _NO_TOKEN,
    },
}

_NOT_FOUND = protocol_error("There is no such request.", "invalid_request", "not_found")
_GONE = protocol_error(
    "It has been answered, replaced or has expired: nothing was signed.", "invalid_request", "gone"
)
_REQUEST_OBJECT = {
    "description": "The signed request object (RFC 9101).",
    "content": {REQUEST_OBJECT_MEDIA_TYPE: {"schema": _TEXT}},
}
FETCHED: dict[str, Any] = {
    "responses": {200: _REQUEST_OBJECT, 404: _NOT_FOUND, 410: _GONE},
}
POSTED: dict[str, Any] = {
    "openapi_extra": form({"wallet_nonce": _TEXT, "wallet_metadata": _TEXT}),
    "responses": {
        200: _REQUEST_OBJECT,
        400: protocol_error(
            "The wallet cannot do what the request needs, or the form is none.",
            "vp_formats_not_supported",
            "wallet_lacks",
        ),
        404: _NOT_FOUND,
        410: _GONE,
    },
}
ANSWERED: dict[str, Any] = {
    "openapi_extra": form(
        {
            "vp_token": _TEXT,
            "state": _TEXT,
            "response": _TEXT,
            "error": _TEXT,
            "error_description": _TEXT,
        }
    ),
    "responses": {
        200: _answer(
            "It was taken; the wallet sends its customer's browser to `redirect_uri`.",
            {"redirect_uri": "https://consent.example/c/x/done?response_code=y"},
        ),
        400: protocol_error(
            "The answer does not count, and nothing has changed but the log.",
            "invalid_request",
            "nonce_mismatch",
        ),
        404: _NOT_FOUND,
        409: protocol_error(
            "A consent has changed meanwhile.", "invalid_request", "state_conflict"
        ),
        410: _GONE,
        503: protocol_error(
            "The log takes no grants at the moment; see `Retry-After`.",
            "temporarily_unavailable",
            "log_unavailable",
        ),
    },
}
