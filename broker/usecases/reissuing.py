"""Issue again what a stolen issuer key signed about consents, under the key that signs now."""

import base64
from collections.abc import Callable
from dataclasses import dataclass

import orjson
from sqlalchemy import Connection

from broker.domain.errors import StateConflict
from broker.domain.evidence.story import REISSUED
from broker.domain.terms import Terms
from broker.store import consents, partners, presentations
from broker.store import keys as store
from broker.store import reissuing as rows
from broker.store.presentations import IssuedRow
from broker.usecases import audit
from broker.usecases.consent_credential import issue_consent_credential, issue_receipt
from broker.usecases.context import Context
from broker.usecases.granting import sha256
from broker.usecases.status import Allocated, list_uri
from credentials.issue import CREDENTIAL_TYPE
from credentials.jws import parse_jws
from credentials.sdjwt import parse

BATCH = 100
BEFORE_SECONDS = 3600
"""How far before the theft a consent may be to be looked at: the log is behind the clock."""


@dataclass(frozen=True)
class Reissue:
    """What a run came to."""

    looked_at: int
    reissued: int


def waiting(ctx: Context, tenant_id: str | None) -> int:
    """How many consents a run looks at."""
    live = _live(ctx, tenant_id)
    if live is None:
        return 0
    with ctx.db.reading() as tx:
        return rows.count(tx, live)


def reissue(
    ctx: Context,
    tenant_id: str | None,
    on_progress: Callable[[int], None] = lambda _seen: None,
) -> Reissue:
    """Issue again every consent credential and receipt that a stolen key signed.

    Of consents that are live, and of those that were granted since the theft: what the thief could
    have dated. Each in a transaction of its own with its entry, so that it can be stopped and
    started again. The place in the status list stays. What is over by now stays as it is.
    """
    live = _live(ctx, tenant_id)
    after, seen, done = "", 0, 0
    while live is not None:
        with ctx.db.reading() as tx:
            found = rows.batch(tx, live, after, BATCH)
        if not found:
            break
        for row in found:
            if _is_stolen(ctx, row):
                with ctx.db.transaction() as tx:
                    done += _again(ctx, tx, row)
            seen += 1
            on_progress(seen)
        after = found[-1].consent_id
    return Reissue(seen, done)


def _live(ctx: Context, tenant_id: str | None) -> rows.Live | None:
    with ctx.db.reading() as tx:
        since = [
            row.compromised_since or 0
            for row in store.compromised(tx)
            if row.purpose == "issuer" and tenant_id in {None, row.tenant_id}
        ]
    if not since:
        return None
    return rows.Live(tenant_id, ctx.now(), min(since) - BEFORE_SECONDS)


def _is_stolen(ctx: Context, row: IssuedRow) -> bool:
    credential = ctx.master.open(row.sealed, f"issued:{row.consent_id}:{row.kind}").decode()
    header = parse_jws(parse(credential).issuer_jwt, typ=CREDENTIAL_TYPE).header
    return ctx.keys.compromised_since(base64.b64decode(header["x5c"][0])) is not None


def _again(ctx: Context, tx: Connection, row: IssuedRow) -> bool:
    """Both credentials of a consent with the log's entry; False when somebody else was faster."""
    now = ctx.now()
    consent = consents.consent(tx, row.tenant_id, row.consent_id)
    # Erased meanwhile, or never granted: there is nothing to issue.
    if not consent.terms or consent.status_list_id is None or consent.status_index is None:
        return False
    older = ctx.master.open(row.sealed, f"issued:{row.consent_id}:consent").decode()
    # Our own words, as they are sealed here: what the customer signed does not change.
    said = parse(older).payload()
    terms = Terms.from_json(orjson.loads(consent.terms))
    partner = partners.find(tx, row.tenant_id, consent.partner_id)
    uri = list_uri(ctx, row.tenant_id, consent.status_list_id)
    made = {
        "consent": issue_consent_credential(
            ctx,
            tenant_id=row.tenant_id,
            terms=terms,
            partner_jwk=orjson.loads(partner.jwk),
            pairwise=said["sub"],
            status=Allocated(consent.status_list_id, uri, consent.status_index),
            evidence_hashes=said["evidence"],
            grade=said["signature_grade"],
            now=now,
        ),
        "receipt": issue_receipt(
            ctx, tenant_id=row.tenant_id, terms=terms, evidence_hashes=said["evidence"], now=now
        ),
    }
    for kind, credential in made.items():
        stored = presentations.issued(tx, row.tenant_id, row.consent_id, kind)
        sealed = ctx.master.seal(credential.encode(), f"issued:{row.consent_id}:{kind}")
        if stored.issued_at != row.issued_at or not rows.replace(
            tx, stored, sealed=sealed, now=max(now, stored.issued_at + 1)
        ):
            if kind != "consent":  # never one without the other: undo the first
                raise StateConflict("the credentials of this consent do not belong together")
            return False
    audit.record(
        ctx,
        tx,
        tenant_id=row.tenant_id,
        type=REISSUED,
        consent_id=row.consent_id,
        subject_id=consent.subject_id,
        body={
            "partner": consent.partner_id,
            "terms_hash": consent.terms_hash,
            "consent_credential": sha256(made["consent"]),
            "receipt": sha256(made["receipt"]),
            "instead_of": sha256(older),
        },
    )
    return True
