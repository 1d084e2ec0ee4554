"""Search as AuthZEN 1.0 means it: what of one's own would be permitted now? A page at a time.

1. The token is a partner's; whoever searches as somebody else finds nothing.
2. The candidates of the page: the caller itself, the ways of using data, or the attributes of the
   caller's live consents, contact by contact, from where the last page ended.
3. Each is judged as a decision is (`judgement`), over facts of its own.
4. One entry in the log says what was searched for and how much was found.

It permits nothing and counts no use: a result is worth a question. Another partner's consents are
never looked at.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import orjson
from sqlalchemy import Connection

from broker.domain.access import Question
from broker.domain.errors import Forbidden, InvalidRequest, Unauthorized
from broker.domain.fee import DeclaredValue
from broker.domain.terms import ACTIONS
from broker.store import access_tokens, consents, decisions
from broker.store.decisions import Snapshot
from broker.usecases import audit, judgement
from broker.usecases.context import Context, at_one_moment
from broker.usecases.judgement import Asking
from broker.usecases.policy_set import in_force
from credentials.errors import CredentialError
from credentials.jcs import b64url, b64url_decode

MOST_JUDGED: Final = 200
NO_CONTACT: Final = ""
Kind = Literal["subject", "resource", "action"]


@dataclass(frozen=True, slots=True)
class Searching:
    """A search as it arrived: what is looked for, as which subject, by which token (hash).

    `question` holds what was stated; what is looked for is replaced in it. `subject_type` is
    `partner` or `agent`, `partner_id` whom the caller says they are (empty in a subject search).
    `value` and `supported` are what a decision would be asked with.
    `same` is what has to be the same on each page. `limit` is how many results a page may have.
    """

    kind: Kind
    tenant_id: str
    token_hash: str
    subject_type: str
    partner_id: str
    question: Question
    of_attributes: bool
    limit: int
    token: str
    same: bytes
    value: DeclaredValue | None = None
    supported: frozenset[str] | None = None

    def asking(self, caller: str, question: Question) -> Asking:
        """A candidate's question as its caller would ask it."""
        return Asking(
            self.tenant_id,
            self.token_hash,
            caller,
            question,
            value=self.value,
            supported=self.supported,
        )


@dataclass(frozen=True, slots=True)
class Page:
    """Results of a page as AuthZEN entities; an empty token says that there are no more."""

    results: list[dict[str, Any]]
    next_token: str

    def to_json(self) -> dict[str, Any]:
        """The answer to a search (section 8.3)."""
        page = {"next_token": self.next_token, "count": len(self.results)}
        return {"page": page, "results": self.results}


@dataclass(frozen=True, slots=True)
class _Candidate:
    """What might be a result: where it stands, the question that decides, and what is told."""

    place: tuple[str, str]
    question: Question | None
    """None where a contact was looked at and that alone is to be counted."""
    entity: dict[str, Any]


def search(ctx: Context, searching: Searching) -> Page:
    """One page of what would be permitted, recorded.

    Raises `Unauthorized`, `Forbidden` (a token that is no partner's), `InvalidRequest` (a page
    token of another search).
    """
    ctx = at_one_moment(ctx)
    now = ctx.now()
    with ctx.db.reading() as tx:
        token = access_tokens.find(tx, searching.tenant_id, searching.token_hash)
    if token is None or token.expires_at <= now:
        raise Unauthorized("the access token is unknown or has expired: get a new one")
    if token.role != "partner":
        raise Forbidden("searches are for partners")
    caller = token.subject
    after = _opened(ctx, searching, caller)
    results: list[dict[str, Any]] = []
    following: tuple[str, str] | None = None
    version = ""
    if searching.kind == "subject" or searching.partner_id == caller:
        with ctx.db.reading() as tx:
            results, following, version = _page(ctx, tx, searching, caller, after)
    next_token = "" if following is None else _sealed(ctx, searching, caller, following)
    with ctx.db.transaction() as tx:
        body = {"kind": searching.kind, "partner": caller, "found": len(results)}
        if version:
            body["policies"] = version
        audit.record(ctx, tx, tenant_id=searching.tenant_id, type="search", body=body)
    return Page(results, next_token)


def _page(
    ctx: Context, tx: Connection, searching: Searching, caller: str, after: tuple[str, str] | None
) -> tuple[list[dict[str, Any]], tuple[str, str] | None, str]:
    results: list[dict[str, Any]] = []
    version, judged, last = "", 0, after
    for candidate in _candidates(ctx, tx, searching, caller, after):
        if len(results) >= searching.limit or judged >= MOST_JUDGED:
            return results, last or ("", ""), version
        judged, last = judged + 1, candidate.place
        if candidate.question is None:
            continue
        asking = searching.asking(caller, candidate.question)
        standing = judgement.read(ctx, tx, judgement.asker_of(ctx, asking), asking)
        if standing is None:
            break
        policies = in_force(ctx, tx, searching.tenant_id, standing.snapshot.policies)
        version = policies.version
        if judgement.judge(ctx, policies, asking, standing).permit:
            results.append(candidate.entity)
    return results, None, version


def _candidates(
    ctx: Context, tx: Connection, searching: Searching, caller: str, after: tuple[str, str] | None
) -> Iterator[_Candidate]:
    asked = searching.question
    done = after or (NO_CONTACT, "")
    if searching.kind == "subject":
        # Agents are the partner's own and not registered: there is none to find.
        if searching.subject_type == "partner" and done < (NO_CONTACT, caller):
            yield _Candidate((NO_CONTACT, caller), asked, {"type": "partner", "id": caller})
        return
    if searching.kind == "action":
        for name in sorted(ACTIONS):
            if done < (NO_CONTACT, name):
                yield _Candidate((NO_CONTACT, name), replace(asked, action=name), {"name": name})
        return
    if searching.of_attributes:
        yield from _attributes(ctx, tx, searching, caller, done)


def _attributes(
    ctx: Context, tx: Connection, searching: Searching, caller: str, done: tuple[str, str]
) -> Iterator[_Candidate]:
    asked = searching.question
    if asked.subject_ref is not None or asked.consent_id is not None:
        named = {"subject_ref": asked.subject_ref, "consent": asked.consent_id}
        properties = {name: value for name, value in named.items() if value is not None}
        snapshot = _read(ctx, tx, searching, caller, asked)
        for name in _granted(snapshot, asked, ctx.now()):
            if done < (NO_CONTACT, name):
                yield _found((NO_CONTACT, name), replace(asked, attribute=name), properties)
        return
    contact_id, attribute = done
    # The contact at which the last page ended has to be looked at again: it may have more.
    for contact, consent_id in consents.granted_contacts(tx, caller, contact_id, MOST_JUDGED + 2):
        if contact != contact_id:
            yield _Candidate((contact, ""), None, {})
        one = replace(asked, consent_id=consent_id)
        snapshot = _read(ctx, tx, searching, caller, one)
        if snapshot is None:
            continue
        for name in _granted(snapshot, asked, ctx.now()):
            if (contact_id, attribute) < (contact, name):
                best = _consent_of(snapshot, asked, name, ctx.now())
                of_consent = replace(asked, consent_id=best, attribute=name)
                yield _found((contact, name), of_consent, {"consent": best})


def _found(place: tuple[str, str], question: Question, properties: dict[str, str]) -> _Candidate:
    entity = {"type": "attribute", "id": question.attribute, "properties": properties}
    return _Candidate(place, question, entity)


def _granted(snapshot: Snapshot | None, asked: Question, now: int) -> list[str]:
    """The attributes of the contact's live consents for the purpose, in order."""
    consents_read = () if snapshot is None else snapshot.facts.consents
    live = [one.terms for one in consents_read if one.live(now)]
    of_purpose = [terms for terms in live if terms.purpose_id == asked.purpose_id]
    return sorted({name for terms in of_purpose for name in terms.attributes})


def _consent_of(snapshot: Snapshot, asked: Question, attribute: str, now: int) -> str:
    """The consent to ask about: one that is live, for this purpose, algorithm and attribute."""
    of_purpose = [
        one
        for one in snapshot.facts.consents
        if one.live(now)
        and one.terms.purpose_id == asked.purpose_id
        and attribute in one.terms.attributes
    ]
    return max(
        of_purpose,
        key=lambda one: (
            one.terms.covers(snapshot.facts.algorithm),
            asked.action in one.terms.actions,
            not one.exhausted,
        ),
    ).id


def _read(
    ctx: Context, tx: Connection, searching: Searching, caller: str, question: Question
) -> Snapshot | None:
    asking = searching.asking(caller, question)
    return decisions.read(tx, judgement.asker_of(ctx, asking), question)


def _sealed(ctx: Context, searching: Searching, caller: str, place: tuple[str, str]) -> str:
    """The token of the next page: nobody but this broker reads or makes it, for this search."""
    return b64url(ctx.master.seal(orjson.dumps(place), _context(searching, caller)))


def _opened(ctx: Context, searching: Searching, caller: str) -> tuple[str, str] | None:
    if not searching.token:
        return None
    try:
        sealed = b64url_decode(searching.token)
        contact, name = orjson.loads(ctx.master.open(sealed, _context(searching, caller)))
    except CredentialError:
        raise InvalidRequest(
            "page.token is not one of this very search: everything else has to be as it was"
        ) from None
    return contact, name


def _context(searching: Searching, caller: str) -> str:
    return f"search:{searching.tenant_id}:{caller}:{searching.kind}:{b64url(searching.same)}"
