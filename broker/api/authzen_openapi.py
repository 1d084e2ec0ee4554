"""The AuthZEN endpoints in the OpenAPI document; their requests are read by hand."""

from typing import Any

from broker.api.authzen import MOST_EVALUATIONS, USUAL

_PROPERTIES = {"type": "object", "additionalProperties": True}
_SUBJECT = {
    "type": "object",
    "description": "The calling partner, or an agent of it with `properties.partner`.",
    "required": ["type", "id"],
    "properties": {
        "type": {"type": "string", "examples": ["partner", "agent"]},
        "id": {"type": "string", "maxLength": 1024},
        "properties": _PROPERTIES,
    },
}
_ACTION = {
    "type": "object",
    "required": ["name"],
    "properties": {
        "name": {"type": "string", "examples": ["read", "profile", "train", "share", "publish"]},
        "properties": _PROPERTIES,
    },
}
_RESOURCE = {
    "type": "object",
    "description": "An attribute of a customer, who is named by `properties.subject_ref` "
    "(your own contact) or by `properties.consent` (the id of a consent).",
    "required": ["type", "id"],
    "properties": {
        "type": {"type": "string", "examples": ["attribute"]},
        "id": {"type": "string", "maxLength": 1024},
        "properties": {
            "type": "object",
            "properties": {
                "subject_ref": {"type": "string", "maxLength": 1024},
                "consent": {"type": "string", "maxLength": 1024},
                "source": {
                    "type": "string",
                    "maxLength": 1024,
                    "description": "The outside source that the value is from, by its name in the "
                    "tenant's register; also as `source` in the context. An attribute that comes "
                    "from one source alone needs none.",
                },
            },
        },
    },
}
_CONTEXT = {
    "type": "object",
    "properties": {
        "purpose": {"type": "string", "examples": ["dpv:ServicePersonalisation#algo:churn-v3@1"]},
        "territory": {
            "type": "string",
            "description": "Where data are used (ISO 3166-1); else the partner's country.",
        },
        "own": {
            "type": "object",
            "description": "What you state of the tenant's own attributes of a request; its own "
            "policies look at them.",
            "maxProperties": 16,
        },
        "supported_obligations": {
            "type": "array",
            "items": {"type": "string"},
            "description": "What you can carry out, of those in the metadata: a permit that "
            "obliges to something else is then a denial, `obligation_unsupported`.",
        },
        "value": {
            "type": "object",
            "description": "What the use is worth to you, for the channel fee; in a batch that of "
            "each evaluation.",
            "required": ["amount", "currency"],
            "additionalProperties": False,
            "properties": {
                "amount": {"type": "string", "pattern": r"^[0-9]{1,9}(\.[0-9]{1,6})?$"},
                "currency": {"type": "string", "examples": ["CNY"]},
            },
        },
    },
}
PARTS = {"subject": _SUBJECT, "action": _ACTION, "resource": _RESOURCE, "context": _CONTEXT}
EXAMPLE: dict[str, dict[str, Any]] = {
    "subject": {"type": "partner", "id": "p-4k2vq7d3a6zjx5m2n7bt"},
    "action": {"name": "read"},
    "resource": {
        "type": "attribute",
        "id": "purchase_count_12m",
        "properties": {"subject_ref": "crm-000184"},
    },
    "context": {"purpose": "dpv:ServicePersonalisation#algo:churn-v3@1", "territory": "CN"},
}
_DECISION = {
    "type": "object",
    "required": ["decision"],
    "properties": {
        "decision": {"type": "boolean"},
        "context": {
            "type": "object",
            "description": "`id`: the entry in the audit log; `consent`: the consent that the "
            "decision rests on; `reasons`: every condition that failed; `obligations`: what the "
            "caller owes; `policies`: the version of the policies.",
            "properties": {
                "id": {"type": "string"},
                "time": {"type": "integer"},
                "consent": {"type": "string"},
                "reasons": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["code", "id", "law", "zh", "en"],
                        "properties": {
                            "code": {"type": "string"},
                            "id": {"type": "string"},
                            "law": {"type": "array", "items": {"type": "string"}},
                            "zh": {"type": "string"},
                            "en": {"type": "string"},
                        },
                    },
                },
                "obligations": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["id", "type", "properties"],
                        "properties": {
                            "id": {"type": "string"},
                            "type": {"type": "string"},
                            "properties": {"type": "object"},
                        },
                    },
                },
                "policies": {"type": "string"},
                "access_request": {
                    "type": "object",
                    "description": "Of a denial that a consent could turn: where to ask for it "
                    "(`POST /access/v1/requests`), until when, and by what. With it come "
                    "`evaluation_id`, `evaluated_at` and `reason`.",
                    "required": ["endpoint", "template", "expires_at", "binding_token"],
                    "properties": {
                        "endpoint": {"type": "string", "format": "uri"},
                        "template": {"type": "string"},
                        "expires_at": {"type": "string", "format": "date-time"},
                        "binding_token": {"type": "string"},
                    },
                },
                "fee": {
                    "type": "object",
                    "description": "What was charged for the use: `amount` is `rate_percent` of "
                    "the declared value, exact, in its currency; `id` the entry in the log.",
                    "required": ["id", "value", "rate_percent", "amount"],
                    "properties": {
                        "id": {"type": "string"},
                        "value": {"type": "object"},
                        "rate_percent": {"type": "string"},
                        "amount": {"type": "string"},
                    },
                },
            },
        },
    },
}
_DENIED = {
    "decision": False,
    "context": {
        "id": "e-7m3xk2p5qz4vt6nw8y2b",
        "time": 1795478400,
        "consent": "c-2f6jd4sn3wq5xk7mz2tp",
        "reasons": [
            {
                "code": "consent_withdrawn",
                "id": "consent.withdrawn",
                "law": ["PIPL-15", "PIPL-47", "GDPR-7", "GDPR-17"],
                "zh": "客户已撤回同意，应停止处理并删除。",
                "en": "The customer withdrew the consent: stop processing and delete.",
            }
        ],
        "obligations": [
            {
                "id": "stop_and_delete",
                "type": "urn:consent-broker:obligation:stop_and_delete",
                "properties": {"consent": "c-2f6jd4sn3wq5xk7mz2tp"},
            }
        ],
        "policies": "GkJ-1kLIDh440Hh1-ivJ8AON7QnzFvEW5MX87hW9Zc8",
    },
}


def operation(request: dict[str, Any], answer: dict[str, Any], example: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
    """An operation that takes a token and JSON, and answers with a decision unless changed."""
    return {
        "security": [{"HTTPBearer": []}],
        "parameters": [
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "Needed where the consent counts its uses, or a value is declared.",
                "schema": {"type": "string", "maxLength": 200},
            },
            {
                "name": "X-Request-ID",
                "in": "header",
                "required": False,
                "description": "Comes back with the answer.",
                "schema": {"type": "string"},
            },
        ],
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": request, "example": example}},
        },
        "responses": {
            "200": {
                "description": "The decision",
                "content": {"application/json": {"schema": answer, "example": _DENIED}},
            }
        },
    }


EVALUATION = operation(
    {"type": "object", "required": ["subject", "action", "resource"], "properties": PARTS},
    _DECISION,
    EXAMPLE,
)
_BATCH = {
    "type": "object",
    "properties": {
        **PARTS,
        "evaluations": {
            "type": "array",
            "maxItems": MOST_EVALUATIONS,
            "items": {"type": "object", "properties": PARTS},
        },
        "options": {
            "type": "object",
            "properties": {
                "evaluations_semantic": {
                    "enum": ["execute_all", "deny_on_first_deny", "permit_on_first_permit"]
                }
            },
        },
    },
}
_BATCH_ANSWER = {
    "oneOf": [
        {
            "type": "object",
            "required": ["evaluations"],
            "properties": {"evaluations": {"type": "array", "items": _DECISION}},
        },
        _DECISION,
    ]
}
EVALUATIONS = operation(
    _BATCH,
    _BATCH_ANSWER,
    {
        "subject": EXAMPLE["subject"],
        "action": EXAMPLE["action"],
        "context": EXAMPLE["context"],
        "evaluations": [{"resource": EXAMPLE["resource"]}],
        "options": {"evaluations_semantic": "execute_all"},
    },
)
_FOUND = {
    "type": "object",
    "required": ["page", "results"],
    "properties": {
        "page": {
            "type": "object",
            "required": ["next_token"],
            "properties": {
                "next_token": {"type": "string", "description": "Empty: there is no more."},
                "count": {"type": "integer"},
            },
        },
        "results": {"type": "array", "items": {"type": "object"}},
    },
}
_PAGE = {
    "type": "object",
    "properties": {
        "token": {"type": "string", "description": "`next_token` of the page before."},
        "limit": {"type": "integer", "minimum": 0, "default": USUAL},
    },
}
_WITHOUT_ID = {
    "subject": {**_SUBJECT, "required": ["type"]},
    "resource": {**_RESOURCE, "required": ["type"]},
}


def _search(kind: str) -> dict[str, Any]:
    needed = [name for name in ("subject", "resource", "action") if (name, kind) != ("action",) * 2]
    parts = {name: _WITHOUT_ID[name] if name == kind else PARTS[name] for name in needed}
    example = {name: EXAMPLE[name] for name in needed}
    if kind in example:
        example[kind] = {key: value for key, value in example[kind].items() if key != "id"}
    request = {
        "type": "object",
        "required": needed,
        "properties": {**parts, "context": _CONTEXT, "page": _PAGE},
    }
    found = {"page": {"next_token": "", "count": 1}, "results": [EXAMPLE[kind]]}
    described = operation(request, _FOUND, {**example, "context": EXAMPLE["context"]})
    described["parameters"] = described["parameters"][1:]
    answer = {"schema": _FOUND, "example": found}
    described["responses"] = {
        "200": {"description": "What was found", "content": {"application/json": answer}}
    }
    return described


SEARCH = {kind: _search(kind) for kind in ("subject", "resource", "action")}
