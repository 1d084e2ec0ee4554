"""What the OpenAPI document says of the authorization server's operations: forms and answers."""

from typing import Any

from broker.api.openapi import protocol_error
from wallet_adapters.openid4vci.client_assertion import CLIENT_ASSERTION_TYPE
from wallet_adapters.openid4vci.token import (
    AUTHORIZATION_CODE_GRANT,
    CLIENT_CREDENTIALS_GRANT,
    PRE_AUTHORIZED_CODE_GRANT,
)

FORM = "application/x-www-form-urlencoded"
_TEXT = {"type": "string"}
_ASSERTION = {"client_assertion_type": _TEXT, "client_assertion": _TEXT}
_UNAUTHENTICATED = protocol_error(
    "The client is not authenticated.", "invalid_client", "client_assertion_invalid"
)


def form(
    properties: dict[str, Any],
    required: tuple[str, ...] = (),
    examples: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A form as the body of a request."""
    schema = {"type": "object", "properties": properties}
    if required:
        schema["required"] = list(required)
    content = {"schema": schema} | ({"examples": examples} if examples else {})
    return {"requestBody": {"required": True, "content": {FORM: content}}}


def _json(example: dict[str, Any]) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": {"type": "object"}, "example": example}}}


TOKEN: dict[str, Any] = {
    "openapi_extra": form(
        {
            "grant_type": {
                "type": "string",
                "enum": [
                    CLIENT_CREDENTIALS_GRANT,
                    PRE_AUTHORIZED_CODE_GRANT,
                    AUTHORIZATION_CODE_GRANT,
                ],
            },
            **_ASSERTION,
            "pre-authorized_code": _TEXT,
            "tx_code": _TEXT,
            "authorization_details": _TEXT,
            "code": _TEXT,
            "redirect_uri": _TEXT,
            "client_id": _TEXT,
            "code_verifier": _TEXT,
        },
        ("grant_type",),
        {
            "partner": {
                "value": {
                    "grant_type": CLIENT_CREDENTIALS_GRANT,
                    "client_assertion_type": CLIENT_ASSERTION_TYPE,
                    "client_assertion": "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJwLWI0cCJ9.c2ln",
                }
            },
            "wallet": {
                "value": {
                    "grant_type": PRE_AUTHORIZED_CODE_GRANT,
                    "pre-authorized_code": "oaKazRN8I0IbtZ0C7JuMn5",
                    "tx_code": "493536",
                }
            },
        },
    ),
    "responses": {
        200: _json({"access_token": "J3q7...", "token_type": "Bearer", "expires_in": 3600}),
        400: protocol_error(
            "The request, its grant (RFC 6749, section 5.2) or its DPoP proof (RFC 9449, section "
            "5) is refused; `use_dpop_nonce` comes with the header `DPoP-Nonce`.",
            "invalid_grant",
            "invalid_grant",
        ),
        401: _UNAUTHENTICATED,
    },
}

PUSH: dict[str, Any] = {
    "openapi_extra": form(
        {
            "response_type": {"type": "string", "enum": ["code"]},
            "client_id": _TEXT,
            "redirect_uri": _TEXT,
            "scope": _TEXT,
            "authorization_details": _TEXT,
            "state": _TEXT,
            "issuer_state": _TEXT,
            "code_challenge": _TEXT,
            "code_challenge_method": {"type": "string", "enum": ["S256"]},
            "dpop_jkt": _TEXT,
        },
        (
            *("response_type", "client_id", "redirect_uri", "issuer_state"),
            *("code_challenge", "code_challenge_method"),
        ),
    ),
    "responses": {
        201: _json(
            {
                "request_uri": "urn:ietf:params:oauth:request_uri:6esc_11ACC5bwc014ltc14eY22c",
                "expires_in": 300,
            }
        ),
        400: protocol_error(
            "The request is refused (RFC 9126, section 2.3).", "invalid_request", "pkce_required"
        ),
    },
}

REVOKE: dict[str, Any] = {
    "openapi_extra": form(
        {"token": _TEXT, "token_type_hint": _TEXT, "client_id": _TEXT, **_ASSERTION}, ("token",)
    ),
    "responses": {
        200: {"description": "The token is good for nothing, if it ever was."},
        400: protocol_error(
            "The request is refused (RFC 7009, section 2.2.1).",
            "unauthorized_client",
            "token_of_another_client",
        ),
        401: _UNAUTHENTICATED,
    },
}
