"""The log: does it extend what was signed last, does it keep up, do others still vouch for it?"""

from collections.abc import Iterator

from broker.domain.addresses import tenant_url
from broker.domain.checkpoint import open_checkpoint_of
from broker.domain.errors import BrokerError, LogError, LogRolledBack
from broker.domain.finding import Finding, fine, problem, warning
from broker.settings import Settings, SettingsError
from broker.store import audit, checkpoint_times, health, log_tree
from broker.store import keys as rows
from broker.store.db import Database
from broker.store.head_file import FILE_NAME, HeadFile
from broker.usecases.doctor.keys import own_roots
from broker.usecases.independent_time import Timestamps, sources
from broker.usecases.keys import KeyRing
from broker.usecases.sequencer import LONGEST_WAIT, Sequencer
from credentials.errors import CredentialError
from credentials.sealing import MasterKey
from credentials.status import verify_status_token

STALE_SECONDS = 3600


def standing(settings: Settings, db: Database, master: MasterKey, now: int) -> Iterator[Finding]:
    """Whether anything may be granted, as far as the log goes."""
    with db.reading() as tx:
        head, latest = log_tree.head(tx), log_tree.latest_checkpoint(tx)
        oldest, has_key = audit.oldest_pending(tx, now), rows.active(tx, "log", None) is not None
    if not has_key or head is None:
        yield warning("log", "log_not_begun")
        return
    # Key and head are there, so that nothing is made by looking.
    ring = KeyRing(db, master, lambda: now, settings.public_url)
    sequencer = Sequencer(db, ring.log, settings, lambda: now)
    try:
        if latest is not None:
            open_checkpoint_of(latest.note, sequencer.verifiers())
        sequencer.check()
    except LogRolledBack as error:
        missing = HeadFile(settings.home / FILE_NAME).path.exists()
        code = "log_rolled_back" if missing else "log_head_missing"
        yield problem("log", code, reason=str(error), home=settings.home)
    except LogError as error:
        yield problem("log", "checkpoint_invalid", reason=str(error))
    else:
        yield fine("log", "log_fine", size=head.size, origin=head.origin)
    if oldest is not None and now - oldest > LONGEST_WAIT:
        yield problem("log", "log_pending_old", seconds=now - oldest)
    if latest is not None:
        yield from _others(settings, db, latest, now)


def lists(settings: Settings, db: Database) -> Iterator[Finding]:
    """Whether the status lists as published verify under the broker's own roots."""
    with db.reading() as tx:
        published = health.published_lists(tx)
    anchors = own_roots(db)
    for tenant_id, list_id, token, signed_at in published:
        issuer = tenant_url(settings.public_url, tenant_id)
        uri = f"{issuer}/status/{list_id}"
        try:
            verify_status_token(token, uri=uri, issuer=issuer, anchors=anchors, now=signed_at)
        except CredentialError as error:
            yield problem("lists", "list_invalid", list=list_id, reason=str(error))
    yield fine("lists", "lists_looked_at", count=len(published))


def _others(
    settings: Settings, db: Database, latest: log_tree.StoredCheckpoint, now: int
) -> Iterator[Finding]:
    """Whoever is asked for their word on the log has to have given it lately."""
    try:
        asked = sources(settings)
    except (SettingsError, BrokerError) as error:
        yield problem("log", "witness_setting", message=str(error))
        return
    for source in asked:
        kind: checkpoint_times.Kind = "rfc3161" if isinstance(source, Timestamps) else "witness"
        with db.reading() as tx:
            size = checkpoint_times.largest_size(tx, kind, source.name)
        if size < latest.size and now - latest.signed_at > STALE_SECONDS:
            behind = latest.size - size
            yield warning("log", "time_stale", source=source.name, behind=behind)
        else:
            yield fine("log", "time_fine", source=source.name, size=size)
