"""Withdraw everything that a customer has given, to whichever partners of the tenant.

A page's link is known to the partner that asked, and consents to others are none of its business.
So the customer's way has two steps: the wallet first proves whose it is, and the answer to that
leads its own browser to a page of its own; only there is the list, and the request that signs each
withdrawal. Decisions deny at once; what partners may fetch besides tells each of its own part only,
at a time of its own (decision 0080).
"""

import hashlib
import hmac
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from secrets import randbelow

import orjson
from sqlalchemy import Connection

from broker.domain.addresses import tenant_url
from broker.domain.consent import ConsentState
from broker.domain.errors import NotFound
from broker.domain.held import LONGEST_SECONDS, Held
from broker.store import consents, presentations
from broker.store.consents import ConsentRow
from broker.store.credentials import CopyRow
from broker.store.presentations import PresentationRequestRow
from broker.usecases import audit
from broker.usecases.answering import Case, Refused
from broker.usecases.asking import (
    WITHDRAWAL_SECONDS,
    ask_for_everything,
    ask_who,
)
from broker.usecases.consent_request import token_hash
from broker.usecases.context import Context
from broker.usecases.granting import Signed, withdraw_consent
from broker.usecases.person import Named, find_person
from broker.usecases.presentation_request import Asked, Document
from credentials.jcs import b64url
from credentials.verify import VerifiedPresentation

TOKEN_BYTES = 18
WITHDREW_ALL = "customer.withdrew_all"


@dataclass(frozen=True)
class Everything:
    """What a proven customer sees: all that they had given, as it stands now, and the links.

    `waiting` are the wallet's open requests: one, or several where there is much to sign or the
    wallet takes each withdrawal alone.
    """

    rows: tuple[ConsentRow, ...]
    waiting: tuple[Asked, ...]

    def revision(self) -> str:
        """A short text that changes whenever the page would show something else."""
        seen = ([(row.id, row.state) for row in self.rows], [one.id for one in self.waiting])
        return b64url(hashlib.sha256(orjson.dumps(seen)).digest()[:TOKEN_BYTES])


@dataclass(frozen=True)
class WithdrawnAll:
    """What an officer's withdrawal of everything has ended, and by when each partner sees it."""

    consents: tuple[str, ...]
    shown_by: int


def ask_who_it_is(ctx: Context, tenant_id: str, page_token: str) -> Asked:
    """From a consent's page: the wallet request that proves whose the wallet is.

    It tells nothing and changes nothing. Raises `NotFound`.
    """
    with ctx.db.transaction() as tx:
        request = consents.request_by_page(tx, tenant_id, token_hash(page_token))
        waiting = presentations.asking_who(tx, request.id)
        if (
            waiting is not None
            and waiting.state == "open"
            and waiting.expires_at > ctx.now() + WITHDRAWAL_SECONDS // 2
        ):
            return Asked.of(ctx, waiting)
        return ask_who(ctx, tx, request)


def prove(
    ctx: Context,
    tx: Connection,
    case: Case,
    copies: Sequence[CopyRow],
) -> str:
    """The wallet has proven whose it is: ask it to withdraw all that these customers have given.

    They are one person, as only the wallet knows: at each partner they are a customer of its own.
    Returns the address of their own page, for the answer to this wallet alone.
    """
    row, proven = case.row, dict.fromkeys(copy.subject_id for copy in copies)
    given = consents.granted_of_subjects(tx, row.tenant_id, list(proven))
    ask_for_everything(ctx, tx, case.request, given, proof_id=row.id)
    for subject_id in proven:
        audit.record(
            ctx,
            tx,
            tenant_id=row.tenant_id,
            type="customer.recognised",
            subject_id=subject_id,
            body={"consents": sum(one.subject_id == subject_id for one in given)},
        )
    return everything_url(ctx, row)


def withdraw_signed(
    ctx: Context,
    tx: Connection,
    case: Case,
    verified: Mapping[str, VerifiedPresentation],
    copies: Mapping[str, CopyRow],
) -> tuple[list[str], str]:
    """Withdraw what was signed of everything; the consents, and the customer's own page.

    What has ended meanwhile is passed over. Raises `Refused` for another customer's signature.
    """
    row = case.row
    found = {
        question.query: consents.consent(tx, row.tenant_id, question.consent_id)
        for question in case.document.questions
        if question.query in verified
    }
    for query, consent in found.items():
        if copies[query].subject_id != consent.subject_id:
            raise Refused(
                "not_the_signer", "the credential belongs to another customer than the consent"
            )
    questions = {question.query: question for question in case.document.questions}
    signatures = {
        consent.id: Signed(verified[query], copies[query], questions[query], case.document, row)
        for query, consent in found.items()
    }
    ended = _withdraw(ctx, tx, list(found.values()), signatures)
    _record(ctx, tx, row.tenant_id, {"by": "customer"}, ended)
    proof = presentations.find(tx, row.tenant_id, row.proof_id or "")
    return [consent.id for consent in ended], everything_url(ctx, proof)


def withdraw_all_by_officer(
    ctx: Context, tenant_id: str, subject_ids: Collection[str], *, officer_id: str | None
) -> WithdrawnAll:
    """Everything, for a person who was recognised through the tenant's own channel.

    `officer_id` is None on the operator's command line. The officer's name stands in an entry of
    its own: in those of the consents it would tell partners whom the same officer has served.
    """
    with ctx.db.transaction() as tx:
        given = consents.granted_of_subjects(tx, tenant_id, subject_ids)
        ended = _withdraw(ctx, tx, given, {})
        by = {"by": "operator"} if officer_id is None else {"by": "officer", "officer": officer_id}
        _record(ctx, tx, tenant_id, by, ended)
    return WithdrawnAll(tuple(row.id for row in ended), ctx.now() + LONGEST_SECONDS)


def customer_of(ctx: Context, tenant_id: str, named: Named) -> str:
    """Whom an officer means; raises `NotFound`, also where no wallet has been bound."""
    with ctx.db.reading() as tx:
        subject_id = find_person(ctx, tx, tenant_id, named).subject_id
    if subject_id is None:
        raise NotFound("no wallet is bound to this contact: it has given nothing")
    return subject_id


def everything(ctx: Context, tenant_id: str, token: str) -> Everything:
    """What the page of a proven customer shows; raises `NotFound` for a wrong or old address."""
    now = ctx.now()
    proof_id, _, secret = token.partition(".")
    with ctx.db.reading() as tx:
        proof = presentations.find(tx, tenant_id, proof_id)
        if (
            not hmac.compare_digest(secret.encode(), _secret(ctx, proof.id).encode())
            or not proof.asks_who
            or proof.state != "answered"
            or now >= (proof.answered_at or 0) + WITHDRAWAL_SECONDS
        ):
            raise NotFound("no such page")
        opened = presentations.after_proof(tx, proof)
        ids = {
            question.consent_id: None
            for row in opened
            for question in Document.load(row.document).questions
        }
        found = (consents.consent(tx, tenant_id, consent_id) for consent_id in ids)
        # An erasure leaves a row without its terms.
        rows = tuple(row for row in found if row.terms)
    return Everything(
        rows=rows,
        waiting=tuple(
            Asked.of(ctx, row) for row in opened if row.state == "open" and row.expires_at > now
        ),
    )


def everything_url(ctx: Context, proof: PresentationRequestRow) -> str:
    """The address of a proven customer's own page; its secret part is derived and kept nowhere."""
    base = tenant_url(ctx.settings.public_url, proof.tenant_id)
    return f"{base}/mine/{proof.id}.{_secret(ctx, proof.id)}"


def _secret(ctx: Context, proof_id: str) -> str:
    whole = hmac.digest(ctx.keys.hmac_key("token"), f"mine:{proof_id}".encode(), "sha256")
    return b64url(whole[:TOKEN_BYTES])


def _withdraw(
    ctx: Context,
    tx: Connection,
    rows: Sequence[ConsentRow],
    signatures: Mapping[str, Signed],
) -> list[ConsentRow]:
    """End those that are granted: in a fixed order, each partner's held by a draw of its own."""
    given = sorted(
        (row for row in rows if row.state == ConsentState.GRANTED), key=lambda row: row.id
    )
    partner_ids = dict.fromkeys(row.partner_id for row in given)
    held = {partner_id: Held.at(ctx.now(), randbelow) for partner_id in partner_ids}
    for row in given:
        withdraw_consent(ctx, tx, row, signatures.get(row.id), held=held[row.partner_id])
    return given


def _record(
    ctx: Context,
    tx: Connection,
    tenant_id: str,
    by: Mapping[str, str],
    ended: Sequence[ConsentRow],
) -> None:
    """By whom it was done: of no consent, so that no partner gets it.

    An entry for each customer, under the key of each: what was one act is not one entry, from
    which a leaked key would tell that they are one person.
    """
    for subject_id in dict.fromkeys(row.subject_id for row in ended):
        audit.record(
            ctx,
            tx,
            tenant_id=tenant_id,
            type=WITHDREW_ALL,
            subject_id=subject_id,
            body={**by, "consents": [row.id for row in ended if row.subject_id == subject_id]},
        )
