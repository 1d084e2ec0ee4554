"""A decision: permit or deny, with every reason, and with what the caller owes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import orjson

from broker.domain.access import ConsentFacts, Question
from broker.domain.access_request import moment
from broker.domain.conditions import STEP_UP, Reason
from broker.domain.consent import BindingGrade
from broker.domain.demand import DemandFacts

OBLIGATION = "urn:consent-broker:obligation:"
MASK = "mask"
EXPLAIN = "explain"
# What a person about whom an algorithm decides by itself may do.
RIGHTS = {
    "zh": "您有权要求说明该决定，并有权拒绝仅以自动化方式作出的决定；拒绝不影响其他服务。",
    "en": "You may ask for an explanation, and refuse decisions made by automated means alone.",
}
DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Obligation:
    """What the caller owes: after a permit together with the use, after a denial instead of it."""

    id: str
    type: str
    properties: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer to one question, at `time` (Unix seconds), recorded as `entry_id` in the log.

    `reasons` names every condition that failed; it is empty exactly where access is permitted.
    """

    permit: bool
    entry_id: str
    consent_id: str | None
    reasons: tuple[Reason, ...]
    obligations: tuple[Obligation, ...]
    policies: str
    time: int
    fee: dict[str, Any] | None = None
    """What was charged for the use, where the caller declared its value."""
    access_request: dict[str, Any] | None = None
    """Of a denial that a consent could turn: how to ask for it."""
    rests_on: tuple[str, ...] = ()
    """The mechanisms of a transfer abroad that were chosen for it; known where it was made."""

    def to_json(self) -> dict[str, Any]:
        """The decision as an AuthZEN 1.0 evaluation response (section 5.5)."""
        context: dict[str, Any] = {"id": self.entry_id, "time": self.time}
        if self.consent_id is not None:
            context["consent"] = self.consent_id
        if self.reasons:
            context["reasons"] = [reason.to_json() for reason in self.reasons]
        context["obligations"] = self.obligations
        context["policies"] = self.policies
        if self.fee is not None:
            context["fee"] = self.fee
        if self.access_request is not None:
            context["evaluation_id"] = self.entry_id
            context["evaluated_at"] = moment(self.time)
            context["reason"] = self.reasons[0].code
            context["access_request"] = self.access_request
        return {"decision": self.permit, "context": context}

    def dump(self) -> bytes:
        """The decision as JSON, for keeping the first answer to an `Idempotency-Key`."""
        names = [one.name for one in fields(self) if one.name != "rests_on"]
        return orjson.dumps({name: getattr(self, name) for name in names})

    @classmethod
    def load(cls, data: bytes) -> Self:
        """A decision that `dump` wrote."""
        parts = orjson.loads(data)
        parts["reasons"] = tuple(
            Reason(**{**reason, "law": tuple(reason["law"])}) for reason in parts["reasons"]
        )
        parts["obligations"] = tuple(Obligation(**one) for one in parts["obligations"])
        return cls(**parts)


def owed_names(names: Sequence[str], action: str) -> list[str]:
    """Which of a permit's obligations a use of this kind has, in order.

    What leaves the broker's sight is marked; sharing is the one use that may share.
    """
    left_out = set() if action in {"read", "share", "publish"} else {"watermark"}
    if action in {"share", "publish"}:
        left_out.add("no_onward_sharing")
    return [name for name in names if name not in left_out]


def permit_obligations(
    names: Sequence[str],
    question: Question,
    consent: ConsentFacts,
    entry_id: str,
    now: int,
    most_days: int | None = None,
) -> tuple[Obligation, ...]:
    """What a permit obliges to; `names` are those of the permit's `@obligation`, in order.

    `retention`: delete by then, of an outside source after `most_days` at the latest.
    `territory`: keep and use there only. `watermark`: mark what leaves the broker's sight, so that
    a leak leads back. `no_onward_sharing`: unless the permit is for sharing.
    """
    terms = consent.terms
    found: list[Obligation] = []
    for name in owed_names(names, question.action):
        if name == "retention":
            days = min(terms.retention_days, most_days or terms.retention_days)
            properties: dict[str, Any] = {"days": days, "delete_by": now + days * DAY_SECONDS}
        elif name == "territory":
            properties = {"use": list(terms.territories), "storage": list(terms.storage)}
        elif name == "watermark":
            properties = {"consent": consent.id, "decision": entry_id}
        elif name == "no_onward_sharing":
            properties = {"recipient": terms.partner_id}
        else:
            properties = {}
        found.append(Obligation(name, OBLIGATION + name, properties))
    return tuple(found)


def masking_obligations(masking: str | None) -> tuple[Obligation, ...]:
    """That what is used has to be masked so; nothing for None."""
    if masking is None:
        return ()
    return (Obligation(MASK, OBLIGATION + MASK, {"masking": masking}),)


def explanation_obligations(
    question: Question, consent: ConsentFacts, *, automated: bool
) -> tuple[Obligation, ...]:
    """That the person is told how an algorithm that decides by itself does so, and their rights.

    The explanation is the one that the customer signed (PIPL 24, GDPR 13 and 22).
    """
    if not automated:
        return ()
    zh, en = consent.terms.explanation
    properties = {
        "algorithm": f"{question.algorithm_id}@{question.algorithm_version}",
        "explanation": {"zh": zh, "en": en},
        "rights": RIGHTS,
        "law": ["PIPL-24", "GDPR-13", "GDPR-22"],
    }
    return (Obligation(EXPLAIN, OBLIGATION + EXPLAIN, properties),)


@dataclass(frozen=True, slots=True)
class Denied:
    """What the obligations of a denial refer to.

    `base` is the tenant's address; `request` what to send there for consent, where a template
    covers the use; `currency` is that in which the tenant charges.
    """

    consent_id: str | None
    base: str
    demand: DemandFacts | None
    currency: str | None
    request: Mapping[str, str] | None


def denial_obligations(
    reasons: Sequence[Reason], denied: Denied, now: int
) -> tuple[Obligation, ...]:
    """What a denial obliges to, each once.

    `request_consent` says where consent can be asked for and how, `request_proof` where a proof is
    and what it has to show, as a proof request says it; `step_up` where an officer binds the wallet
    more surely, and how; `declare_value` in which `currency`.
    """
    consent_id, base, demand = denied.consent_id, denied.base, denied.demand
    request, currency = denied.request, denied.currency
    found: list[Obligation] = []
    for name in dict.fromkeys(reason.obligation for reason in reasons):
        properties: dict[str, Any] = {}
        if name == "request_consent":
            properties["endpoint"] = f"{base}/v1/consent-requests"
            if request is not None:
                properties["request"] = dict(request)
        elif name == "request_proof" and demand is not None:
            properties = {
                "endpoint": f"{base}/v1/proof-requests",
                "max_age_seconds": demand.demand.max_age_seconds,
                **demand.demand.asked(demand.trusted, now),
            }
        elif name == STEP_UP:
            properties["endpoint"] = f"{base}/v1/invitations"
            properties["request"] = {"grade": BindingGrade.VERIFIED_PERSON.value, "rebind": True}
        elif name == "declare_value":
            properties["currency"] = currency
        elif consent_id is not None:
            properties["consent"] = consent_id
        found.append(Obligation(name, OBLIGATION + name, properties))
    return tuple(found)
