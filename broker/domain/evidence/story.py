"""Step 8: what the log tells, the files and the terms are one and the same story.

1. Every entry is about this consent, of this tenant, and written before the bundle was.
2. The consent was requested once, then granted once, then ended at most once: in the log's order.
3. A minor signed after it was requested and before the guardian did, with whom it was granted.
   The grant's entry names these terms, this partner, both credentials and what was signed, and its
   time is that of the evidence. Where they were issued again, the newest issue's entry names them.
4. A withdrawal that was signed is in the bundle (in a whole copy), by the key that it says. One of
   everything at once tells its time by the minute.
5. The state in the manifest is the one that the entries lead to.
6. Each permit is of the terms (partner, attribute, purpose, action, territory), within their time
   and the manifest's period, after the grant and before the end, and there are no more than the
   terms allow. No denial tells of an end that the bundle does not hold, nor before that end.

The log's order is that of the acts: an act that saw another is in the log after it. There is one
exception: a withdrawal of everything is in the log up to a minute late (`held.py`), so a denial
that saw it may stand before it, if its own time is not earlier and no more than that later. Permits
know no exception: none stands behind the withdrawal, and none is of a later time.
"""

from collections.abc import Sequence

from broker.domain.algorithm_versions import covers_version
from broker.domain.consent import ConsentState, WithdrawalGrade
from broker.domain.errors import EvidenceInvalid
from broker.domain.evidence.opened import (
    CONSENT,
    RECEIPT,
    REISSUED_SCHEMA,
    LoggedAct,
    OpenedBundle,
    integer,
)
from broker.domain.held import LONGEST_SECONDS
from broker.domain.issued_claims import COARSE_SECONDS
from broker.domain.signed_content import Kind
from broker.domain.terms import Terms
from broker.domain.word import file_hash

SAME_ACT_SECONDS = 60
"""How far the clock readings of one act, or of two machines, may lie apart."""

REQUESTED, GRANTED, DECISION = "consent.requested", "consent.granted", "decision"
REISSUED = "consent.reissued"
SIGNED = "consent.signed"
ENDS = {
    "consent.withdrawn": ConsentState.WITHDRAWN,
    "consent.expired": ConsentState.EXPIRED,
    "consent.superseded": ConsentState.SUPERSEDED,
}


def verify_story(bundle: OpenedBundle) -> str:
    """Step 8; tells the story in a line. Raises `EvidenceInvalid`."""
    # 1.
    written_at = integer(bundle.manifest, "created_at")
    for act in bundle.acts:
        if act.entry.consent_id != bundle.terms.consent_id:
            raise EvidenceInvalid("a log entry is about another consent")
        if act.entry.tenant_id != bundle.manifest.get("tenant"):
            raise EvidenceInvalid("a log entry is of another tenant")
        if act.entry.time > written_at + SAME_ACT_SECONDS:
            raise EvidenceInvalid("a log entry is later than the bundle")
    # 2.
    requested, granted = _one(bundle, REQUESTED), _one(bundle, GRANTED)
    ends = [act for act in bundle.acts if act.entry.type in ENDS]
    if len(ends) > 1:
        raise EvidenceInvalid("the log tells of more than one end of the consent")
    end = ends[0] if ends else None
    if not requested.index < granted.index or (end is not None and end.index < granted.index):
        raise EvidenceInvalid("the log tells the acts in an order that they cannot have had")
    # 3.
    _grant(bundle, granted)
    _issue(bundle, granted)
    # 4.
    if end is not None and end.entry.type == "consent.withdrawn":
        _withdrawal(bundle, end)
    elif "withdrawal" in bundle.details:
        raise EvidenceInvalid("there is a signed withdrawal that the log does not tell of")
    # 5.
    state = ConsentState.GRANTED if end is None else ENDS[end.entry.type]
    if bundle.manifest.get("state") != state:
        raise EvidenceInvalid(f"the log leads to {state}, which is not what the manifest says")
    # 6.
    decisions = [act for act in bundle.acts if act.entry.type == DECISION]
    _decisions(bundle, decisions, granted, end)
    ended = "not withdrawn" if state is ConsentState.GRANTED else str(state)
    return f"granted, {ended}, {len(decisions)} decisions in the period"


def _one(bundle: OpenedBundle, kind: str) -> LoggedAct:
    found = [act for act in bundle.acts if act.entry.type == kind]
    if len(found) != 1:
        raise EvidenceInvalid(f"the log entries tell of no {kind}, or of more than one")
    return found[0]


def _grant(bundle: OpenedBundle, act: LoggedAct) -> None:
    body, terms = act.entry.body, bundle.terms
    if body.get("terms_hash") != terms.hash():
        raise EvidenceInvalid("the log tells of a grant of other terms")
    if body.get("partner") != terms.partner.id:
        raise EvidenceInvalid("the log tells of a grant to another partner")
    consent = bundle.issued[CONSENT]
    if body.get("evidence") != consent.claims.get("evidence"):
        raise EvidenceInvalid("the log tells of another signature of the grant")
    if body.get("signature_grade") != consent.claims.get("signature_grade"):
        raise EvidenceInvalid("the log tells of another grade of the grant's signature")
    if bundle.whole and body.get("binding_grade") != bundle.details["grant"].get("binding_grade"):
        raise EvidenceInvalid("the log tells of another grade of identity binding")
    first = _first(bundle, act)
    times = [integer(bundle.manifest, "granted_at"), *_accepted_at(bundle, "guardian")]
    times += [] if first else _accepted_at(bundle, "grant")
    if any(abs(time - act.entry.time) > SAME_ACT_SECONDS for time in times):
        raise EvidenceInvalid("the log tells of the grant at another time")


def _first(bundle: OpenedBundle, granted: LoggedAct) -> LoggedAct | None:
    """The minor's signature, which the guardian's came after; None where there is only one."""
    guardian = bundle.terms.guardian
    if guardian is None or guardian.alone:
        if any(act.entry.type == SIGNED for act in bundle.acts):
            raise EvidenceInvalid("the log tells of a minor's signature, the terms of no guardian")
        return None
    act = _one(bundle, SIGNED)
    if not _one(bundle, REQUESTED).index < act.index < granted.index:
        raise EvidenceInvalid("the minor signs after the request and before the guardian")
    evidence = granted.entry.body.get("evidence")
    by_minor = {} if not isinstance(evidence, dict) else {**evidence}
    if by_minor.pop("guardian", None) is None or act.entry.body.get("evidence") != by_minor:
        raise EvidenceInvalid("the log tells of other signatures of minor and guardian")
    accepted = _accepted_at(bundle, "grant")
    if any(abs(time - act.entry.time) > SAME_ACT_SECONDS for time in accepted):
        raise EvidenceInvalid("the log tells of the minor's signature at another time")
    return act


def newest_issue(bundle: OpenedBundle) -> LoggedAct:
    """The act that issued the credentials in the bundle: the grant, or the last issue again."""
    issues = [act for act in bundle.acts if act.entry.type in {GRANTED, REISSUED}]
    return max(issues, key=lambda act: act.index)


def _issue(bundle: OpenedBundle, granted: LoggedAct) -> None:
    again = [act for act in bundle.acts if act.entry.type == REISSUED]
    for one in again:
        if (one.entry.body.get("terms_hash"), one.entry.body.get("partner")) != (
            bundle.terms.hash(),
            bundle.terms.partner.id,
        ):
            raise EvidenceInvalid("the log tells of credentials of another consent")
        if one.index < granted.index:
            raise EvidenceInvalid("the log tells of credentials before the grant")
    if bool(again) != (bundle.manifest.get("schema") == REISSUED_SCHEMA):
        raise EvidenceInvalid("manifest and log differ on whether credentials were issued again")
    act = newest_issue(bundle)
    body = act.entry.body
    if body.get("consent_credential") != file_hash(bundle.file(CONSENT)):
        raise EvidenceInvalid("the log tells of another consent credential")
    if bundle.whole and body.get("receipt") != file_hash(bundle.file(RECEIPT)):
        raise EvidenceInvalid("the log tells of another receipt")
    issued_at = bundle.issued[CONSENT].issued_at
    if issued_at is None or abs(act.entry.time - issued_at) > COARSE_SECONDS + SAME_ACT_SECONDS:
        raise EvidenceInvalid("the consent credential was issued at another time than the grant")
    if abs(act.entry.time - bundle.issued_at) > SAME_ACT_SECONDS:
        raise EvidenceInvalid("the log tells of the credentials at another time")


def _withdrawal(bundle: OpenedBundle, act: LoggedAct) -> None:
    body = act.entry.body
    if (body.get("terms_hash"), body.get("partner")) != (
        bundle.terms.hash(),
        bundle.terms.partner.id,
    ):
        raise EvidenceInvalid("the log tells of the withdrawal of another consent")
    grain = _grain(act)
    if grain and act.entry.time % grain:
        raise EvidenceInvalid("a withdrawal of everything tells its time by the minute")
    unsigned = body.get("grade") == WithdrawalGrade.TENANT_CHANNEL
    if unsigned != ("evidence" not in body):
        raise EvidenceInvalid("the withdrawal's grade does not fit what was signed")
    if not bundle.whole:
        return
    if unsigned != ("withdrawal" not in bundle.signed):
        raise EvidenceInvalid("what the customer signed to withdraw is missing, or not in the log")
    if not unsigned:
        _signed_withdrawal(bundle, act, grain)


def _signed_withdrawal(bundle: OpenedBundle, act: LoggedAct, grain: int) -> None:
    body = act.entry.body
    if bool(grain) != ("blinding" in bundle.details["withdrawal"]):
        raise EvidenceInvalid("the log tells of the withdrawal in another form than its evidence")
    if body["evidence"] != bundle.evidence_hashes("withdrawal"):
        raise EvidenceInvalid("the log tells of another signature of the withdrawal")
    if body.get("signature_grade") != bundle.details["withdrawal"].get("signature_grade"):
        raise EvidenceInvalid("the log tells of another grade of the withdrawal's signature")
    if any(
        not -SAME_ACT_SECONDS <= time - act.entry.time <= grain + SAME_ACT_SECONDS
        for time in _accepted_at(bundle, "withdrawal")
    ):
        raise EvidenceInvalid("the log tells of the withdrawal at another time")
    given, taken = bundle.signed["grant"], bundle.signed["withdrawal"]
    same = (given.holder_thumbprint, given.credential.claims["jti"]) == (
        taken.holder_thumbprint,
        taken.credential.claims["jti"],
    )
    grades = [WithdrawalGrade.SAME_KEY if same else WithdrawalGrade.BOUND_KEY]
    if not same and bundle.terms.guardian is not None:
        grades.append(WithdrawalGrade.GUARDIAN)
    if body.get("grade") not in grades:
        told = " or ".join(grades)
        raise EvidenceInvalid(f"the withdrawal was signed by the {told}, the log tells otherwise")


def _grain(act: LoggedAct) -> int:
    """How far the act may be later than its entry says: 0, or a minute where it was held back."""
    grain = act.entry.body.get("time_grain", 0)
    if not isinstance(grain, int) or grain not in {0, COARSE_SECONDS} or grain is False:
        raise EvidenceInvalid("an act tells its time in a grain that is not known")
    return grain


def _accepted_at(bundle: OpenedBundle, kind: Kind) -> list[int]:
    return [integer(bundle.details[kind], "accepted_at")] if kind in bundle.details else []


def _decisions(
    bundle: OpenedBundle, decisions: Sequence[LoggedAct], granted: LoggedAct, end: LoggedAct | None
) -> None:
    period = bundle.manifest.get("period")
    if not isinstance(period, dict):
        raise EvidenceInvalid("the manifest names no period")
    since, until = integer(period, "since"), integer(period, "until")
    permits = [act for act in decisions if act.entry.body.get("decision") is True]
    for act in decisions:
        if act.entry.body.get("partner") != bundle.terms.partner.id:
            raise EvidenceInvalid("a decision is about another partner")
        if not since <= act.entry.time < until:
            raise EvidenceInvalid("a decision lies outside of the period")
        _known_end(act, end)
    for act in permits:
        _permit(bundle, act, granted, end)
    most = bundle.terms.max_uses
    if most is not None and len(permits) > most:
        raise EvidenceInvalid(f"the log holds {len(permits)} permits, the terms allow {most}")


def _permit(
    bundle: OpenedBundle, act: LoggedAct, granted: LoggedAct, end: LoggedAct | None
) -> None:
    body, terms = act.entry.body, bundle.terms
    if act.index < granted.index:
        raise EvidenceInvalid("the log holds a permit before the grant")
    if end is not None and (
        act.index > end.index or act.entry.time > end.entry.time + _grain(end) + SAME_ACT_SECONDS
    ):
        raise EvidenceInvalid(f"the log holds a permit after {end.entry.type}")
    if not (
        terms.valid_from - SAME_ACT_SECONDS
        <= act.entry.time
        <= terms.valid_until + SAME_ACT_SECONDS
    ):
        raise EvidenceInvalid("the log holds a permit outside of the terms' validity")
    granted_by = {
        "attribute": [attribute.id for attribute in terms.attributes],
        "action": terms.actions,
        "territory": [*terms.territories.processing, *terms.territories.access],
    }
    if not _covered(terms, body.get("purpose")):
        raise EvidenceInvalid("the log holds a permit of purpose outside of the terms")
    for name, allowed in granted_by.items():
        if body.get(name) not in allowed:
            raise EvidenceInvalid(f"the log holds a permit of {name} outside of the terms")


def _covered(terms: Terms, wire: object) -> bool:
    """Whether the terms cover a purpose that a decision named.

    Which risk a minor version has the registry says, and the log where it was registered.
    """
    if not isinstance(wire, str):
        return False
    purpose, at, version = wire.rpartition("@")
    return f"{purpose}{at}" == f"{terms.purpose.id}#algo:{terms.algorithm.id}@" and covers_version(
        terms.algorithm.version, version, minor_versions=terms.minor_versions
    )


def _known_end(act: LoggedAct, end: LoggedAct | None) -> None:
    """A denial because the consent had ended needs that end to be in the bundle."""
    conditions = act.entry.body.get("conditions")
    told = conditions if isinstance(conditions, list) else []
    for kind in ENDS:
        # That the time is over needs no act.
        if kind not in told or kind == "consent.expired":
            continue
        if end is None or end.entry.type != kind:
            raise EvidenceInvalid(f"a denial tells of {kind}, which the bundle leaves out")
        late = act.entry.time - end.entry.time
        grain = _grain(end)
        held = grain and late <= grain + LONGEST_SECONDS + SAME_ACT_SECONDS
        if late < -SAME_ACT_SECONDS or (act.index < end.index and not held):
            raise EvidenceInvalid(f"a denial tells of {kind} before the log does")
