"""Assemble the evidence of a consent: one zip that proves it offline."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import orjson
from sqlalchemy import Connection

from broker.domain.addresses import tenant_url
from broker.domain.bundle import MOST_FILES, pack
from broker.domain.consent import ConsentState
from broker.domain.errors import InvalidRequest, LogUnavailable, NotFound
from broker.domain.evidence import MANIFEST_TYPE, REISSUED_SCHEMA, SCHEMA, file_hash
from broker.domain.evidence.story import ENDS, REISSUED
from broker.domain.evidence.times import time_files
from broker.domain.merkle import consistency_proof, inclusion_proof
from broker.domain.tlog_proof import LogProof
from broker.store import audit as audit_store
from broker.store import checkpoint_times, consents, log_tree, presentations, registry
from broker.store.audit import LoggedEntry
from broker.store.consents import ConsentRow
from broker.store.log_tree import StoredCheckpoint
from broker.usecases import audit
from broker.usecases.context import Context
from broker.usecases.person import readable_consent
from broker.usecases.trust import trust
from credentials.jcs import b64url, canonical
from credentials.jws import sign_jws

Copy = Literal["officer", "partner", "customer"]
WAIT_SECONDS = 5.0
POLL_SECONDS = 0.05
EXPORTED = "evidence.exported"
FILES_FOR_AN_ENTRY, OTHER_FILES = 2, 100
# Of these there may be any number, and whoever causes them must not make a consent's evidence too
# large to be had: a bundle has those of its period.
MANY = frozenset(
    {
        *("decision", "agent.action", "transfer.stopped"),
        *("envelope.stored", "envelope.deleted"),
    }
)

README = """\
同意证据 / Evidence of a consent

这个文件包证明：客户亲自签了什么、何时、由哪把钥匙签，之后每一次使用的决定，以及是否撤回。
不需要服务器，也不需要网络即可核验：
    consent-broker evidence verify 本文件 --trust trust.json
信任文件请从运营方另行取得（consent-broker trust export），不要取自本包。

This bundle proves what the customer signed, when and with which key, every decision about its use
in the stated period, and whether it was withdrawn. It is checked with no server and no network:
    consent-broker evidence verify THIS_FILE --trust trust.json
Get the trust file from the operator by another way (consent-broker trust export), never from here.

Standard tools read its parts: presentation.txt and credential/*.txt are SD-JWT VC (RFC 9901),
*.jwt and manifest.jws are JWS (RFC 7515), *.tlog-proof and checkpoint.txt are C2SP tlog-proof and
signed notes over an RFC 9162 Merkle tree.

Whoever reads it: a bundle shows that each act in it is in the log. It covers the period in the
manifest; acts outside of it are not in it. Copies handed out stay verifiable after an erasure.
"""


@dataclass(frozen=True)
class Period:
    """Unix seconds: from (inclusive) to (exclusive). Decisions outside of it are left out."""

    since: int
    until: int


def assemble(
    ctx: Context,
    tenant_id: str,
    consent_id: str,
    *,
    copy: Copy,
    partner_id: str | None,
    since: int | None,
    until: int | None,
) -> bytes:
    """The evidence bundle of a consent: the canonical zip of `broker.domain.evidence`.

    A partner's copy names the customer's signatures by their hashes only, and leaves out who has
    looked at the evidence. It waits for the log to hold every act (seconds at most). A withdrawal
    that is held back from the partner is not in its copy yet; others wait for it. Raises
    `NotFound` (unknown, another partner's, never granted), `Erased`, `InvalidRequest` (a period
    that is empty, or holds too many decisions for one bundle), `LogUnavailable`.
    """
    now = ctx.now()
    with ctx.db.reading() as tx:
        row = readable_consent(tx, tenant_id, consent_id, partner_id, now)
    if row.decided_at is None or row.subject_id is None:
        raise NotFound("there is no evidence: this consent was never granted")
    period = Period(
        since if since is not None else row.created_at, until if until is not None else now + 1
    )
    if period.since >= period.until:
        raise InvalidRequest("since must lie before until")
    published = row.as_published(now)
    if published is not row and copy != "partner":
        raise LogUnavailable(
            "the customer has withdrawn everything; the log holds this part within a minute"
        )
    _wait_for_log(ctx, consent_id)
    origin = orjson.dumps(trust(ctx).to_json())
    with ctx.db.reading() as tx:
        told = _told(tx, row, period, copy)
        if published is not row:
            told = [entry for entry in told if not _tells_of_an_end(ctx, tx, entry)]
        files = {
            "README.txt": README.encode(),
            "terms.json": row.terms.encode(),
            "notice.json": _notice(tx, row),
            "origin.json": origin,
            "credential/consent.txt": _issued(ctx, tx, row, "consent"),
            **_log_files(ctx, tx, told),
        }
        issued_at = presentations.issued(tx, tenant_id, row.id, "consent").issued_at
        again = [entry.sealed.time for entry in told if entry.sealed.type == REISSUED]
        if abs(max(again, default=row.decided_at) - issued_at) > 1:
            raise LogUnavailable("the consent's credentials are being issued again; try again soon")
        if copy != "partner":
            files["credential/receipt.txt"] = _issued(ctx, tx, row, "receipt")
            files |= _signature_files(ctx, tx, row)
    manifest = {
        "schema": REISSUED_SCHEMA if again else SCHEMA,
        "issuer": tenant_url(ctx.settings.public_url, tenant_id),
        "consent_id": row.id,
        "tenant": tenant_id,
        "copy": copy,
        "state": _state(told),
        "period": {"since": period.since, "until": period.until},
        "granted_at": row.decided_at,
        "created_at": now,
        **({"issued_at": issued_at} if again else {}),
        "files": {name: file_hash(data) for name, data in sorted(files.items())},
    }
    key = ctx.keys.issuer(tenant_id)
    files["manifest.jws"] = sign_jws(
        key.signer, {"typ": MANIFEST_TYPE, "x5c": list(key.x5c)}, canonical(manifest)
    ).encode()
    with ctx.db.transaction() as tx:
        audit.record(
            ctx,
            tx,
            tenant_id=tenant_id,
            type=EXPORTED,
            consent_id=row.id,
            subject_id=row.subject_id,
            body={"copy": copy, "since": period.since, "until": period.until},
        )
    return pack(files)


def _wait_for_log(ctx: Context, consent_id: str) -> None:
    """Until every act about the consent so far has its place below a signed checkpoint.

    Acts that come meanwhile are not waited for: a consent in steady use has evidence too.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    with ctx.db.reading() as tx:
        last = audit_store.last_waiting_of_consent(tx, consent_id, ctx.now())
    while True:
        ctx.log.wake()
        with ctx.db.reading() as tx:
            waiting = last is not None and audit_store.waits(tx, consent_id, last, ctx.now())
            latest = log_tree.latest_checkpoint(tx)
            head = log_tree.head(tx)
        if not waiting and latest is not None and head is not None:
            break
        pause(deadline)
    # What has its index by now is below the head of now.
    while latest is None or latest.size < head.size:
        pause(deadline)
        ctx.log.wake()
        with ctx.db.reading() as tx:
            latest = log_tree.latest_checkpoint(tx)


def pause(deadline: float) -> None:
    """Wait a moment for the log; raises `LogUnavailable` behind `deadline` (monotonic)."""
    if time.monotonic() > deadline:
        raise LogUnavailable(
            "the log does not hold every act that this is about yet; try again soon"
        )
    time.sleep(POLL_SECONDS)


def _told(tx: Connection, row: ConsentRow, period: Period, copy: Copy) -> list[LoggedEntry]:
    """The consent's entries below the checkpoint: all acts on it, its uses in the period."""
    checkpoint = _checkpoint(tx)
    told = [
        entry
        for entry in audit_store.entries_of_consent(tx, row.id)
        if entry.index < checkpoint.size
        and (entry.sealed.type not in MANY or period.since <= entry.sealed.time < period.until)
        and (entry.sealed.type != EXPORTED or copy != "partner")
    ]
    if FILES_FOR_AN_ENTRY * len(told) > MOST_FILES - OTHER_FILES:
        raise InvalidRequest(
            "there are too many decisions for one bundle: ask for shorter periods, by since and "
            "until, one after the other"
        )
    return told


def _tells_of_an_end(ctx: Context, tx: Connection, logged: LoggedEntry) -> bool:
    """Whether a denial says that the consent has ended: its partner knows, from the answer."""
    if logged.sealed.type != "decision":
        return False
    entry = orjson.loads(opened(ctx, tx, logged))["entry"]
    return not ENDS.keys().isdisjoint(entry["body"].get("conditions") or ())


def _state(told: Sequence[LoggedEntry]) -> str:
    """The state of the consent as the entries of the bundle leave it."""
    ends = [ENDS[entry.sealed.type] for entry in told if entry.sealed.type in ENDS]
    return str(ends[-1] if ends else ConsentState.GRANTED)


def _notice(tx: Connection, row: ConsentRow) -> bytes:
    """The template that the customer was shown, whose hash is in the terms."""
    request = consents.request(tx, row.tenant_id, row.request_id)
    template = registry.template(tx, row.tenant_id, request.template_id, request.template_version)
    return canonical(dict(template.document))


def _checkpoint(tx: Connection) -> StoredCheckpoint:
    checkpoint = log_tree.latest_checkpoint(tx)
    if checkpoint is None:
        raise LogUnavailable("the log has no checkpoint yet; try again soon")
    return checkpoint


def _log_files(ctx: Context, tx: Connection, told: Sequence[LoggedEntry]) -> dict[str, bytes]:
    """The entries with their proofs below the newest checkpoint."""
    checkpoint = _checkpoint(tx)
    tree = log_tree.TileReader(tx, checkpoint.size)
    files = {"log/checkpoint.txt": checkpoint.note.encode()}
    for entry in told:
        name = f"log/{entry.index:012d}"
        files[f"{name}.json"] = opened(ctx, tx, entry)
        files[f"{name}.tlog-proof"] = _proof(tree, entry, checkpoint)
    return files | _time_files(tx, tree, told, checkpoint)


def _time_files(
    tx: Connection,
    tree: log_tree.TileReader,
    told: Sequence[LoggedEntry],
    checkpoint: StoredCheckpoint,
) -> dict[str, bytes]:
    """The first timestamp above each act that is not a decision, as far as there are any."""
    files: dict[str, bytes] = {}
    for entry in told:
        if entry.sealed.type == "decision":
            continue
        stamp = checkpoint_times.first_covering(tx, entry.index, "rfc3161")
        earlier = None if stamp is None else log_tree.checkpoint_covering(tx, stamp.size - 1)
        if stamp is None or earlier is None or not stamp.size == earlier.size <= checkpoint.size:
            continue
        proof = consistency_proof(earlier.size, checkpoint.size, tree)
        files |= time_files(earlier.size, stamp.token, earlier.note, proof)
    return files


def opened(ctx: Context, tx: Connection, logged: LoggedEntry) -> bytes:
    """An entry as evidence holds it: canonical JSON of `entry`, `index` and `salt`."""
    sealed = logged.sealed
    key = ctx.keys.log_key(tx, sealed.tenant_id, sealed.subject_id)
    entry = orjson.loads(key.open(sealed).canonical())
    return canonical({"entry": entry, "index": logged.index, "salt": b64url(key.salt(sealed.id))})


def _proof(tree: log_tree.TileReader, logged: LoggedEntry, checkpoint: StoredCheckpoint) -> bytes:
    path = inclusion_proof(logged.index, checkpoint.size, tree)
    return (
        LogProof(index=logged.index, path=tuple(path), checkpoint=checkpoint.note).encode().encode()
    )


def _issued(ctx: Context, tx: Connection, row: ConsentRow, kind: str) -> bytes:
    issued = presentations.issued(tx, row.tenant_id, row.id, kind)
    return ctx.master.open(issued.sealed, f"issued:{row.id}:{kind}")


def _signature_files(ctx: Context, tx: Connection, row: ConsentRow) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for kept in presentations.evidence(tx, row.id):
        content = orjson.loads(ctx.master.open(kept.sealed, f"evidence:{kept.id}"))
        files[f"{kept.kind}/presentation.txt"] = content.pop("presentation").encode()
        for number, served in enumerate(content.pop("request_objects"), start=1):
            files[f"{kept.kind}/request-object-{number:02d}.jwt"] = served.encode()
        files[f"{kept.kind}/details.json"] = canonical(
            {name: value for name, value in content.items() if name != "terms"}
        )
    return files
