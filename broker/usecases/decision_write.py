"""The one short transaction of a decision: count a use, check again, record."""

import hmac
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection

from broker.domain.access import ConsentFacts, Facts, in_sandbox, territory_of
from broker.domain.access_request import Denied as AccessDenied
from broker.domain.access_request import requestable, template_name
from broker.domain.addresses import tenant_url
from broker.domain.decision import (
    Decision,
    Denied,
    denial_obligations,
    explanation_obligations,
    masking_obligations,
    permit_obligations,
)
from broker.domain.decision_facts import OTHER, UNREGISTERED
from broker.domain.errors import IdempotencyConflict, IdempotencyKeyRequired
from broker.domain.masking import masking_for
from broker.domain.policy import Verdict
from broker.domain.terms import ACTIONS
from broker.store import decisions, idempotency, sandbox
from broker.store.decisions import Asker
from broker.store.idempotency import IdempotencyRow, KeyOf
from broker.usecases import audit, cross_border, fee
from broker.usecases.context import Context
from broker.usecases.judgement import Asking, Standing, judge
from broker.usecases.loaded_policies import Policies
from credentials.jcs import b64url

FIRST_ANSWER_SECONDS = 86_400
OK = 200
COUNTRY_LETTERS = 2


@dataclass(frozen=True, slots=True)
class Charge:
    """The caller's key for a use that is counted or charged for."""

    key: KeyOf
    request_hash: str

    @classmethod
    def of(cls, ctx: Context, asking: Asking) -> "Charge | None":
        """The charge of a question that came with a key."""
        if asking.key is None:
            return None
        # A name space of its own: the key of an evaluation never meets that of another call.
        key_hash = _keyed(ctx, "idempotency", b"evaluation key\x00" + asking.key.encode())
        asked = [asking.partner_id, asking.question]
        if asking.value is not None:
            asked.append(asking.value)
        if "envelope" in asking.data:
            # Parts of one envelope are one use. Another envelope is another, and so are data where
            # the first answer was to a question alone: its entry names no envelope.
            asked.append(asking.data["envelope"])
        if "data_request" in asking.data:
            asked.append(asking.data["data_request"])
        question = b"evaluation\x00" + orjson.dumps(asked)
        return cls(
            KeyOf(asking.tenant_id, asking.partner_id, key_hash),
            _keyed(ctx, "idempotency", question),
        )

    @property
    def context(self) -> str:
        """What the first answer is sealed for."""
        return f"idempotency:{self.key.tenant_id}:{self.key.client_id}:{self.key.key_hash}"

    def answered(self, ctx: Context, row: IdempotencyRow) -> Decision | None:
        """The first answer to this key; raises `IdempotencyConflict` where it was to another."""
        if row.request_hash != self.request_hash:
            raise IdempotencyConflict(
                "this Idempotency-Key stands for another evaluation: take a new one"
            )
        return (
            None if row.sealed is None else Decision.load(ctx.master.open(row.sealed, self.context))
        )


@dataclass(frozen=True, slots=True)
class Write:
    """The one short transaction of a decision. It may run twice: it acts through `tx` alone."""

    ctx: Context
    policies: Policies
    asking: Asking
    asker: Asker
    standing: Standing
    verdict: Verdict
    charge: Charge | None
    judged_at: int

    def check_key(self) -> None:
        """Raise `IdempotencyKeyRequired` where a use would be counted or charged without a key."""
        consent = self.verdict.consent
        if not self.verdict.permit or self.charge is not None or consent is None:
            return
        if self.asking.value is not None:
            raise IdempotencyKeyRequired(
                "a use with a declared value is charged for: send an Idempotency-Key, a value of "
                "your own"
            )
        if consent.uses_left is not None:
            raise IdempotencyKeyRequired(
                "uses of this consent are counted: send an Idempotency-Key, a value of your own"
            )

    def run(self, tx: Connection, *, read_here: bool = False) -> Decision | None:
        """Record the verdict; None when what a permit rests on has changed.

        With `read_here` the question was read in `tx`, which nobody else writes beside.
        """
        consent = self.verdict.consent
        if not self.verdict.permit or consent is None:
            return self.deny(tx)
        counted = consent.uses_left is not None
        if not decisions.hold(tx, self.standing.snapshot, consent.id if counted else None):
            return None
        transfer = self.standing.snapshot.facts.transfer
        # After all that others may hold: whoever holds the year's count is not waited for long.
        if not self._stands(tx, consent, read_here=read_here) or not cross_border.count(
            tx, self.asking.tenant_id, transfer
        ):
            if counted:
                decisions.give_back(tx, consent.id)
            return None
        if self.asking.hand_out is not None:
            self.asking.hand_out(tx)
        decision = self._permit(tx, consent)
        if self.charge is not None and (counted or self.asking.value is not None):
            self._keep(tx, self.charge, decision)
        return decision

    def _keep(self, tx: Connection, charge: Charge, decision: Decision) -> None:
        """Keep the first answer to a key: the same call again neither counts nor is charged."""
        now = self.ctx.now()
        idempotency.take(
            tx,
            charge.key,
            request_hash=charge.request_hash,
            expires_at=now + FIRST_ANSWER_SECONDS,
            now=now,
        )
        sealed = self.ctx.master.seal(decision.dump(), charge.context)
        idempotency.keep(tx, charge.key, status=OK, sealed=sealed)

    def deny(self, tx: Connection) -> Decision:
        """Record a denial."""
        consent = self.verdict.consent
        consent_id = None if consent is None else consent.id
        covering = self._covering(tx)
        denied = Denied(
            consent_id=consent_id,
            base=tenant_url(self.ctx.settings.public_url, self.asking.tenant_id),
            demand=self.standing.snapshot.facts.demand,
            currency=None if self.standing.tariff is None else self.standing.tariff.currency,
            request=self._request(covering),
        )
        entry_id = self._record(tx, consent)
        return Decision(
            permit=False,
            entry_id=entry_id,
            consent_id=consent_id,
            reasons=self.verdict.reasons,
            obligations=denial_obligations(self.verdict.reasons, denied, self.ctx.now()),
            policies=self.policies.version,
            time=self.ctx.now(),
            access_request=self._requestable(covering, entry_id, denied.base),
        )

    @property
    def turnable(self) -> bool:
        """Whether it is a denial that a consent alone would turn.

        Not after a refusal or a withdrawal: whoever has said no is not asked by a program.
        """
        reasons = self.verdict.reasons
        return not self.verdict.permit and all(
            reason.obligation == "request_consent" for reason in reasons
        )

    def _requestable(
        self, covering: tuple[str, str] | None, entry_id: str, base: str
    ) -> dict[str, Any] | None:
        """How to ask for the consent, where nothing else stands in the way of a permit."""
        asking, question = self.asking, self.asking.question
        if covering is None or question.subject_ref is None or not self.turnable:
            return None
        return requestable(
            self.ctx.keys.hmac_key("contact"),  # the question's subject_ref was hashed by it
            AccessDenied(asking.tenant_id, asking.partner_id, question),
            entry_id,
            template_name(*covering),
            endpoint=f"{base}/access/v1/requests",
            now=self.ctx.now(),
        )

    def _covering(self, tx: Connection) -> tuple[str, str] | None:
        """The template, and its item, that would ask for what is lacking."""
        if all(reason.obligation != "request_consent" for reason in self.verdict.reasons):
            return None
        facts, question = self.standing.snapshot.facts, self.asking.question
        return self.ctx.templates.find(
            tx, self.asking.tenant_id, question, facts.attribute.name, self.ctx.now()
        )

    def _request(self, covering: tuple[str, str] | None) -> dict[str, str] | None:
        """The consent request to send, where a template covers what is lacking."""
        if covering is None:
            return None
        reference = self.asking.question.subject_ref
        named = {} if reference is None else {"subject_ref": reference}
        return {"template": covering[0], **named}

    def _permit(self, tx: Connection, consent: ConsentFacts) -> Decision:
        now = self.ctx.now()
        entry_id = self._record(tx, consent)
        question, facts = self.asking.question, self.standing.snapshot.facts
        automated = facts.algorithm.automated_decision
        if in_sandbox(facts):
            sandbox.count_use(tx, self.asking.tenant_id)
        return Decision(
            permit=True,
            entry_id=entry_id,
            consent_id=consent.id,
            reasons=(),
            obligations=(
                *permit_obligations(
                    self.policies.permit_obligations,
                    question,
                    consent,
                    entry_id,
                    now,
                    None if facts.source is None else facts.source.retention_days,
                ),
                *masking_obligations(masking_for(facts.attribute.maskings, question.role)),
                *explanation_obligations(question, consent, automated=automated),
            ),
            policies=self.policies.version,
            time=now,
            fee=self._charged(tx, entry_id),
            rests_on=self.standing.rests_on,
        )

    def _charged(self, tx: Connection, entry_id: str) -> dict[str, Any] | None:
        """The fee for the use, charged; None where the caller declared no value."""
        if self.asking.value is None or self.standing.tariff is None:
            return None
        made = fee.charge(
            self.ctx,
            tx,
            tenant_id=self.asking.tenant_id,
            decision_id=entry_id,
            partner_id=self.standing.snapshot.partner_id,
            purpose=self.asking.question.purpose_wire,
            value=self.asking.value,
            tariff=self.standing.tariff,
        )
        return made.to_json()

    def _stands(self, tx: Connection, consent: ConsentFacts, *, read_here: bool) -> bool:
        """Whether a permit still rests on what it was judged by."""
        now = self.ctx.now()
        # A second has passed while it waited: a proof, another consent or a rule of the tenant's
        # own may be over. By the same facts, which are looked at below.
        if (
            now != self.judged_at
            and not judge(self.ctx, self.policies, self.asking, self.standing).permit
        ):
            return False
        return (
            consent.live(now)
            and self.standing.snapshot.expires_at > now
            and cross_border.stands(self.standing.snapshot.facts.transfer, now)
            and self.ctx.log.permits(now)
            and (read_here or self._unchanged(tx, consent))
        )

    def _unchanged(self, tx: Connection, consent: ConsentFacts) -> bool:
        question, snapshot = self.asking.question, self.standing.snapshot
        return decisions.unchanged(tx, self.asker, question, snapshot, consent.id)

    def _record(self, tx: Connection, consent: ConsentFacts | None) -> str:
        facts = self.standing.snapshot.facts
        consent_id = None if consent is None else consent.id
        subject_id = facts.subject_id if consent is None else consent.subject_id
        return audit.record(
            self.ctx,
            tx,
            tenant_id=self.asking.tenant_id,
            type="decision",
            body=self._body(facts),
            consent_id=consent_id,
            subject_id=subject_id,
        )

    def _body(self, facts: Facts) -> dict[str, object]:
        """What the log keeps: identifiers and codes, never a text of the caller's own."""
        question, verdict = self.asking.question, self.verdict
        territory = territory_of(question, facts)
        registered = facts.purpose.registered and facts.algorithm.registered
        body: dict[str, object] = {
            "decision": verdict.permit,
            "partner": self.standing.snapshot.partner_id,
            "action": question.action if question.action in ACTIONS else OTHER,
            "attribute": facts.attribute.name if facts.attribute.registered else UNREGISTERED,
            "purpose": question.purpose_wire if registered else UNREGISTERED,
            "territory": territory if _is_country(territory) else OTHER,
            "conditions": [reason.id for reason in verdict.reasons],
            "policies": self.policies.version,
            **self.asking.data,
        }
        if verdict.facts is not None:
            body["facts"] = verdict.facts
        if facts.demand is not None and facts.demand.proven is not None:
            body["proof_request"] = facts.demand.proven.request_id
        if question.agent is not None:
            body["agent"] = agent_mark(self.ctx, self.standing.snapshot.partner_id, question.agent)
        return body


def agent_mark(ctx: Context, partner_id: str, agent: str) -> str:
    """How the log names an agent of a partner: the name itself is a text of the caller's own."""
    return _keyed(ctx, "contact", f"agent\x00{partner_id}\x00{agent}".encode())


def _is_country(text: str) -> bool:
    return len(text) == COUNTRY_LETTERS and text.isascii() and text.isalpha()


def _keyed(ctx: Context, label: str, data: bytes) -> str:
    return b64url(hmac.digest(ctx.keys.hmac_key(label), data, "sha256"))
