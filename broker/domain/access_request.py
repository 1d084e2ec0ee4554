"""A denial that a consent could turn: how it names the request to open, and holds the two together.

AuthZEN Access Request and Approval Profile, draft 1 of 2026-06: `context.access_request`. The
caller sends the evaluation again with the members of the denial; `binding_token` is a MAC over all
of both, so that it stands for nothing but what was denied, for nobody else, and not after its time.
What is asked for then is the one item of the template that covers the denied use, with all of its
attributes and actions.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from broker.domain.access import Question
from broker.domain.errors import BrokerError
from credentials.jcs import b64url

WINDOW_SECONDS: Final = 600
_CONTEXT: Final = b"access request\x00"


class NotRequestable(BrokerError):
    """A denial that no consent request can be opened for (any more)."""

    code = "not_requestable"


class ExpiredDenial(BrokerError):
    """A denial that is too old to open a consent request by."""

    code = "expired_denial"


class InvalidDenialBinding(BrokerError):
    """An access request that is not of the denial that it names."""

    code = "invalid_denial_binding"


class UnknownTask(BrokerError):
    """No such access request of the caller."""

    code = "unknown_task"


@dataclass(frozen=True, slots=True)
class Denial:
    """What the caller has of a denial; `expires_at` is an RFC 3339 text, the rest opaque to it."""

    evaluation_id: str
    expires_at: str
    template: str
    binding_token: str


@dataclass(frozen=True, slots=True)
class Denied:
    """Who was denied what: the tenant, the partner, its question."""

    tenant_id: str
    partner_id: str
    question: Question


def template_name(template_id: str, item: str) -> str:
    """How a denial names the item of a template that covers the use."""
    return f"{template_id}/{item}"


def requestable(
    key: bytes, denied: Denied, evaluation_id: str, template: str, *, endpoint: str, now: int
) -> dict[str, Any]:
    """The member `access_request` of the denial's context, which is good until it expires."""
    expires_at = moment(now + WINDOW_SECONDS)
    return {
        "endpoint": endpoint,
        "template": template,
        "expires_at": expires_at,
        "binding_token": _token(key, denied, evaluation_id, expires_at, template),
    }


def verify_denial(key: bytes, denied: Denied, denial: Denial, now: int) -> tuple[str, str]:
    """The template and the item that a denial of just this names.

    Raises `InvalidDenialBinding`, and `ExpiredDenial` for one whose time is over.
    """
    expected = _token(key, denied, denial.evaluation_id, denial.expires_at, denial.template)
    if not hmac.compare_digest(expected.encode(), denial.binding_token.encode()):
        raise InvalidDenialBinding(
            "the denial is not one of this evaluation: send both as they were"
        )
    if moment(now) >= denial.expires_at:
        raise ExpiredDenial("the denial is too old to ask by: evaluate again")
    template, _, item = denial.template.partition("/")
    return template, item


def moment(seconds: int) -> str:
    """Unix seconds as RFC 3339 in UTC; of two such texts the later one is the larger."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _token(key: bytes, denied: Denied, evaluation_id: str, expires_at: str, template: str) -> str:
    asked = denied.question
    bound: Mapping[str, Any] = {
        "tenant": denied.tenant_id,
        "partner": denied.partner_id,
        "evaluation": evaluation_id,
        "expires_at": expires_at,
        "template": template,
        "question": asked,
    }
    return b64url(hmac.digest(key, _CONTEXT + orjson.dumps(bound), "sha256"))
