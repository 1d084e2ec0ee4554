"""The consent policies: loaded once, validated, and asked about one request at a time.

Cedar skips a `forbid` whose condition errs, which would fail open. Four things answer that: the
permit itself requires what a consent is made of; policies are validated against their schema when
they are loaded; every request is validated against the schema too; and an error in the diagnostics,
no decision, or a denial that no condition explains is a denial with the code `policy_error`.
"""

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import orjson
from cedarpy import (
    Decision,
    Entities,
    PolicySet,
    Schema,
    is_authorized_batch,
    validate_policies,
)

from broker.domain.access import (
    ConsentFacts,
    Facts,
    Question,
    best_consent,
    separate_consents,
)
from broker.domain.conditions import (
    OWN_UNFIT,
    POLICY_ERROR,
    STEP_UP,
    UNJUDGED,
    Reason,
    read_conditions,
)
from broker.domain.decision_facts import kept
from broker.domain.errors import InvalidPolicies
from broker.domain.own_attribute import Declared, chosen, schema_with, split, unfit
from broker.domain.policies import CONSENT_POLICIES, CONSENT_SCHEMA
from broker.domain.policy_measures import only_compares
from broker.domain.policy_request import Asked, Slice, asked_of, entities_of, request_of
from broker.domain.policy_set import check_size, read_own_conditions
from credentials.jcs import b64url

SLICES_CACHED = 2048
ANSWERS_KEPT, OWN_ANSWERS_KEPT = 8_192, 1_024


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policies say about one question: `reasons` is empty exactly where it permits."""

    permit: bool
    reasons: tuple[Reason, ...]
    consent: ConsentFacts | None
    facts: Mapping[str, Any] | None = None
    """What it rested on, as the log keeps it; None where nothing was judged."""


class ConsentPolicies:
    """A validated set of policies. Safe from several threads.

    `version` is a hash of the texts and goes into every decision; `conditions` are its legal
    conditions by their `@id`. `own` is a tenant's text, which only forbids (`policy_set`).
    """

    def __init__(self, policies: str, schema: str, own: str = "") -> None:
        """Load the texts; raises `InvalidPolicies`, which says what is wrong with them."""
        self._declared: tuple[Declared, ...] = ()
        if own:
            check_size(own)
            self._declared, own = split(own)
            schema = schema_with(schema, self._declared)
        try:
            self._schema = _schema(schema)
            self.conditions, permits = read_conditions(policies)
            if own:
                # By itself first: what is wrong with it is told by its own places.
                added = read_own_conditions(own, self.conditions)
                _validate(own, self._schema)
                self.conditions = {**self.conditions, **added}
                policies = f"{policies}\n{own}"
            self._policies = PolicySet.from_str(policies)
            _validate(policies, self._schema)
        except ValueError as error:
            raise InvalidPolicies(f"the policies or their schema do not parse: {error}") from error
        if len(permits) != 1 or not self.conditions:
            raise InvalidPolicies("there must be one permit, and conditions")
        self.permit_obligations = permits[0]
        self.version = _version(policies, schema)
        self._only_compares = only_compares(policies)
        self._only_bands = not own
        # With the set, so that it goes when the set does; a tenant's own has fewer.
        ask = functools.partial(_ask, self._policies, self._schema, self.conditions)
        most = OWN_ANSWERS_KEPT if own else ANSWERS_KEPT
        self._answer = functools.lru_cache(maxsize=most)(ask) if self._only_compares else ask

    @property
    def obligations(self) -> list[str]:
        """Every obligation that a decision under these policies can have."""
        denials = [reason.obligation for reason in self.conditions.values()]
        denials += [reason.obligation for reason in (POLICY_ERROR, *UNJUDGED)]
        return sorted({*self.permit_obligations, *denials, STEP_UP})

    def judge(self, question: Question, facts: Facts, now: int) -> Verdict:
        """Permit, or deny and name every condition that failed, at `now` (Unix seconds)."""
        misfit = unfit(question.own, self._declared)
        question, facts = _declared_only(question, facts, self._declared)
        consent = best_consent(question, facts, now)
        separate = separate_consents(question, facts, consent, now)
        rested_on = kept(question, facts, consent, separate, now)
        asked = asked_of(question, facts, consent, separate, now)
        if self._only_compares:
            asked = asked._replace(measures=asked.measures.compared())
        if self._only_bands and asked.transfer is not None:
            asked = asked._replace(transfer=asked.transfer.banded())
        try:
            allowed, reasons = self._answer(asked)
        except (ValueError, TypeError, KeyError):
            return _deny((POLICY_ERROR,), consent, rested_on)
        if misfit:
            return _deny((*reasons, OWN_UNFIT), consent, rested_on)
        if allowed and consent is not None:
            return Verdict(permit=True, reasons=(), consent=consent, facts=rested_on)
        return _deny(reasons or (POLICY_ERROR,), consent, rested_on)

    def ask(self, asked: Asked) -> tuple[bool, tuple[Reason, ...]]:
        """What the engine says: whether it allows, and why not. Raises what the engine does."""
        return _ask(self._policies, self._schema, self.conditions, asked)


def _ask(
    policies: PolicySet, schema: Schema, conditions: Mapping[str, Reason], asked: Asked
) -> tuple[bool, tuple[Reason, ...]]:
    """What the engine says. Remembered by all that the answer depends on, it is never out of date.

    What is read anew for each decision is a part of what is asked.
    """
    (result,) = is_authorized_batch(
        [request_of(asked)], policies, _slice(schema, asked.slice), schema
    )
    diagnostics = result.diagnostics
    if result.decision is Decision.Allow and not diagnostics.errors:
        return True, ()
    named = set(diagnostics.id_annotations_by_reason.values())
    reasons = [reason for name, reason in conditions.items() if name in named]  # in order
    if diagnostics.errors or not reasons:
        reasons.append(POLICY_ERROR)
    return False, tuple(reasons)


@functools.lru_cache(maxsize=SLICES_CACHED)
def _slice(schema: Schema, about: Slice) -> Entities:
    """`entities_of`, parsed; raises `ValueError` where the schema refuses it.

    Keyed by its whole content, so that a cached slice is never out of date. Customers who signed
    the same template share one, and so do all sets of policies.
    """
    return Entities.from_json_str(orjson.dumps(entities_of(about)).decode(), schema)


@functools.lru_cache(maxsize=4)
def _schema(text: str) -> Schema:
    return Schema.from_str(text)


@dataclass(frozen=True, slots=True)
class UnusablePolicies:
    """A set that does not load (any more): every question is denied, and `problem` says why."""

    version: str
    problem: str
    permit_obligations: tuple[str, ...] = ()

    def judge(self, question: Question, facts: Facts, now: int) -> Verdict:
        """Deny with the code `policy_error`."""
        question, facts = _declared_only(question, facts, ())
        consent = best_consent(question, facts, now)
        separate = separate_consents(question, facts, consent, now)
        rested_on = kept(question, facts, consent, separate, now)
        return _deny((POLICY_ERROR,), consent, rested_on)


@functools.cache
def consent_policies() -> ConsentPolicies:
    """The broker's own policies, loaded on first use."""
    return ConsentPolicies(CONSENT_POLICIES, CONSENT_SCHEMA)


def policies_with(own: str) -> ConsentPolicies:
    """The broker's policies and a tenant's; raises `InvalidPolicies`."""
    return ConsentPolicies(CONSENT_POLICIES, CONSENT_SCHEMA, own) if own else consent_policies()


def version_with(own: str) -> str:
    """The version of the broker's policies and a tenant's, without loading them."""
    declared, own = split(own)
    schema = schema_with(CONSENT_SCHEMA, declared)
    return _version(f"{CONSENT_POLICIES}\n{own}" if own else CONSENT_POLICIES, schema)


def _declared_only(
    question: Question, facts: Facts, declared: tuple[Declared, ...]
) -> tuple[Question, Facts]:
    """Both with what the policies know of the tenant's own attributes, and without the rest."""
    partner, attribute = facts.partner, facts.attribute
    if question.own:
        question = replace(question, own=chosen(question.own, declared, "request"))
    if partner.own is not None:
        known = chosen(partner.own.values, declared, "partner")
        partner = replace(partner, own=partner.own._replace(values=known))
    if attribute.own is not None:
        known = chosen(attribute.own.values, declared, "attribute")
        attribute = replace(attribute, own=attribute.own._replace(values=known))
    if partner is not facts.partner or attribute is not facts.attribute:
        facts = replace(facts, partner=partner, attribute=attribute)
    return question, facts


def _deny(
    reasons: tuple[Reason, ...], consent: ConsentFacts | None, facts: Mapping[str, Any]
) -> Verdict:
    return Verdict(permit=False, reasons=reasons, consent=consent, facts=facts)


def _validate(policies: str, schema: Schema) -> None:
    result = validate_policies(policies, schema)
    if result.validation_passed and not result.errors:
        return
    what = str(result.errors[0]) if result.errors else "the engine does not say why"
    names = result.id_annotations_by_policy_id
    for policy_id in sorted(names, key=len, reverse=True):
        what = what.replace(policy_id, names[policy_id])
    raise InvalidPolicies(f"the policies do not fit their schema: {what}")


def _version(policies: str, schema: str) -> str:
    digest = hashlib.sha256()
    for text in (schema.encode(), policies.encode()):
        digest.update(len(text).to_bytes(8, "big"))
        digest.update(text)
    return b64url(digest.digest())
