"""Everything that a decision rests on, in one statement; and what holds it still for the write."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection

from broker.domain.access import (
    AlgorithmFacts,
    AttributeFacts,
    ConsentFacts,
    Facts,
    PartnerFacts,
    PurposeFacts,
    Question,
    stored_terms,
)
from broker.domain.consent import BindingGrade
from broker.domain.data_source import OPEN
from broker.domain.demand import Demand, DemandFacts, stored_demand
from broker.domain.guardian import stored_minor
from broker.domain.masking import stored_maskings
from broker.domain.own_attribute import stored_values
from broker.store import data_sources, demands
from broker.store.decision_statements import (
    BY_CONSENT,
    BY_CONTACT,
    HOLD_AFTER,
    HOLD_AGENT,
    HOLD_BEFORE,
    HOLD_CONSENTS,
    HOLD_REGISTERED,
    NO_CONTACT,
    OF_CONTACT,
    REGISTERED,
    USE,
)

_SHARED = (
    *("token_hash", "tenant_id", "attribute", "purpose_id"),
    *("algorithm_id", "algorithm_version", "agent_id"),
)
_PARTNER = 5
"""Where a row of `REGISTERED` has the partner's id."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, by the hash of a bearer token at the tenant of the address.

    `subject_ref_hash` is the keyed hash of the question's `subject_ref` as that of `partner_id`,
    which is who the caller says they are. `address` is the tenant's, as its own credentials of
    attributes name it.
    """

    tenant_id: str
    token_hash: str
    partner_id: str
    subject_ref_hash: str | None
    address: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The facts at one moment, and the rows that they were read from.

    `policies` is what is in force: a digest of the tenant's own set, or `BUILT_IN`. `agent` is the
    registered one that the question is for, None where it is for none.
    """

    partner_id: str
    expires_at: int
    policies: str
    facts: Facts
    contact_id: str | None
    agent: str | None
    agent_suspended: bool
    rows: list[tuple[Any, ...]]


class Shared:
    """What the questions of a batch have in common, read once within one transaction.

    It is of that transaction alone: whoever begins another begins another of these.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[Any, ...], list[tuple[Any, ...]]] = {}

    def registered(self, tx: Connection, values: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        """The row of token, partner and registered things; none where there is no such token."""
        key = tuple([values[name] for name in _SHARED])
        found = self._found.get(key)
        if found is None:
            found = self._found[key] = REGISTERED.rows(tx, values)
        return found


def read(
    tx: Connection, asker: Asker, question: Question, shared: Shared | None = None
) -> Snapshot | None:
    """Token, partner, registered facts and every consent of the contact; None: no such token.

    What was proven of the contact is read for a purpose alone that demands it.
    The consent that `question.consent_id` names is found only where it is the partner's own.
    """
    rows = _rows(tx, asker, question, shared)
    return _snapshot(tx, asker, rows, question) if rows else None


def unchanged(
    tx: Connection,
    asker: Asker,
    question: Question,
    snapshot: Snapshot,
    used: str,
) -> bool:
    """Whether the same question finds the same rows still.

    How many uses are left may be another, but not whether there are any: a permit may rest on a
    further consent besides the one that is `used`, whose use is counted by now.
    """
    rows = _rows(tx, asker, question, None)
    if [_kept(row, used) for row in rows] != [_kept(row, used) for row in snapshot.rows]:
        return False
    was = snapshot.facts.demand
    return was is None or was == _demand(
        tx, asker, was.demand, snapshot.partner_id, snapshot.contact_id
    )


def _kept(row: tuple[Any, ...], used: str) -> tuple[Any, ...]:
    consent_id, left = row[-10], row[-1]
    return (*row[:-1], consent_id != used and left is not None and left <= 0)


def hold(tx: Connection, snapshot: Snapshot, used: str | None = None) -> bool:
    """Keep what a permit rests on from changing until the end of `tx`; count a use of `used`.

    False when none is left or it is granted no more; None: uses are not counted.

    PostgreSQL: shared locks, on granted consents by their ids, on the registered rows in a fixed
    order, on the agent. The use is counted in its place among the consents and without a shared
    lock on it: of decisions that count uses of several consents of a customer, one waits for
    another, and two that upgraded a shared lock would block each other for ever. SQLite needs no
    lock: a write transaction is the only one.
    """
    if tx.dialect.name == "sqlite":
        return used is None or _use(tx, used, 1)
    facts = snapshot.facts
    of = {"partner_id": snapshot.partner_id, "contact_id": snapshot.contact_id}
    if used is None:
        HOLD_CONSENTS.rows(tx, of)
    else:
        HOLD_BEFORE.rows(tx, {**of, "used": used})
        if not _use(tx, used, 1):
            return False
        HOLD_AFTER.rows(tx, {**of, "used": used})
    HOLD_REGISTERED.rows(
        tx,
        {
            "tenant_id": facts.tenant_id,
            "partner_id": snapshot.partner_id,
            "attribute": facts.attribute.name,
            "purpose_id": facts.purpose.id,
            "algorithm_id": facts.algorithm.id,
            "algorithm_version": facts.algorithm.version,
        },
    )
    if snapshot.agent is not None:
        HOLD_AGENT.rows(tx, {"agent_id": snapshot.agent, "partner_id": snapshot.partner_id})
    return True


def give_back(tx: Connection, consent_id: str) -> None:
    """Undo the use that `hold` counted within the same transaction."""
    _use(tx, consent_id, -1)


def _use(tx: Connection, consent_id: str, uses: int) -> bool:
    return USE.changed(tx, {"consent_id": consent_id, "uses": uses}) == 1


def _rows(
    tx: Connection, asker: Asker, question: Question, shared: Shared | None
) -> list[tuple[Any, ...]]:
    values = {
        "token_hash": asker.token_hash,
        "tenant_id": asker.tenant_id,
        "attribute": question.attribute,
        "purpose_id": question.purpose_id,
        "algorithm_id": question.algorithm_id,
        "algorithm_version": question.algorithm_version,
        "subject_ref_hash": asker.subject_ref_hash,
        "consent_id": question.consent_id,
        "agent_id": question.agent,
    }
    if question.consent_id is not None:
        return BY_CONSENT.rows(tx, values)
    if shared is None:
        return BY_CONTACT.rows(tx, values)
    registered = shared.registered(tx, values)
    if not registered:
        return []
    values["partner_id"] = registered[0][_PARTNER]
    return [registered[0] + own for own in OF_CONTACT.rows(tx, values) or [NO_CONTACT]]


def _snapshot(
    tx: Connection, asker: Asker, rows: list[tuple[Any, ...]], question: Question
) -> Snapshot:
    (
        expires_at, tenant_id, tenant_stopped, policies, _tenant_version,
        partner_id, country, partner_state, partner_stopped, admission, of_partner,
        _partner_version,
        attribute, category, sensitive, stored_in, public_place, maskings, sole_source,
        of_attribute, _attribute_version,
        purpose, purpose_stopped, demand, _purpose_version,
        declared_purpose, state, risk_tier, automated, algorithm_stopped, _algorithm_version,
        agent_state, contact_id, subject_id, minor, test_subject, binding,
        *_first_consent,
    ) = rows[0]  # fmt: skip
    facts = Facts(
        tenant_id=tenant_id,
        kill_switch=bool(tenant_stopped),
        partner=PartnerFacts(
            partner_id,
            country,
            partner_state == "suspended",
            bool(partner_stopped),
            admission or OPEN,
            stored_values(of_partner),
        ),
        purpose=PurposeFacts(question.purpose_id, purpose is not None, bool(purpose_stopped)),
        algorithm=AlgorithmFacts(
            id=question.algorithm_id,
            version=question.algorithm_version,
            purpose_id=declared_purpose or "",
            registered=state == "registered",
            risk_tier=risk_tier or "",
            automated_decision=bool(automated),
            kill_switch=bool(algorithm_stopped),
        ),
        attribute=AttributeFacts(
            name=question.attribute if attribute is None else attribute,
            registered=attribute is not None,
            category=category or "",
            sensitive=attribute is None or bool(sensitive),
            stored_in=stored_in or "",
            public_place=bool(public_place),
            maskings=stored_maskings(maskings),
            own=stored_values(of_attribute),
        ),
        consents=tuple([_consent(row[-10:]) for row in rows if row[-10] is not None]),
        subject_id=subject_id,
        demand=None
        if demand is None
        else _demand(tx, asker, stored_demand(demand), partner_id, contact_id),
        minor=stored_minor(minor),
        source=data_sources.facts(tx, tenant_id, question.source, sole_source),
        test_subject=bool(test_subject),
        binding=binding or BindingGrade.NONE.value,
        agent_registered=agent_state is not None,
    )
    return Snapshot(
        partner_id,
        expires_at,
        policies,
        facts,
        contact_id,
        None if agent_state is None else question.agent,
        agent_state == "suspended",
        rows,
    )


def _demand(
    tx: Connection, asker: Asker, demand: Demand, partner_id: str, contact_id: str | None
) -> DemandFacts:
    return demands.facts(
        tx,
        demand,
        tenant_id=asker.tenant_id,
        own_address=asker.address,
        partner_id=partner_id,
        contact_id=contact_id,
    )


def _consent(row: tuple[Any, ...]) -> ConsentFacts:
    (consent_id, state, _version, subject_id, valid_from, valid_until, *signed, terms, uses) = row
    refuses, guardian_id = signed
    return ConsentFacts(
        id=consent_id,
        state=state,
        subject_id=subject_id,
        valid_from=valid_from or 0,
        valid_until=valid_until or 0,
        uses_left=uses,
        refuses_automated_decisions=bool(refuses),
        terms=stored_terms(terms),
        guardian_signed=guardian_id is not None,
    )
