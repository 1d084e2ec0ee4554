"""Keys and certificates: does the master key open them, do they lead to the root, until when?"""

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime

from broker.domain.addresses import tenant_url
from broker.domain.finding import Finding, fine, problem, warning
from broker.settings import Settings
from broker.store import health
from broker.store import keys as rows
from broker.store.db import Database
from broker.usecases.keys import RENEWAL_DAYS, SECONDS_PER_DAY
from credentials.certificate import read_certificate
from credentials.chain import verify_chain
from credentials.errors import CredentialError, SealBroken
from credentials.sealing import MasterKey


def sealed(db: Database, master: MasterKey) -> Iterator[Finding]:
    """Whether the master key opens what is sealed."""
    with db.reading() as tx:
        values = health.sealed_values(tx)
    closed = []
    for value in values:
        try:
            master.open(value.sealed, value.context)
        except SealBroken:
            closed.append(value.name)
    if closed:
        yield problem(
            "keys", "master_key_wrong", closed=len(closed), of=len(values), name=closed[0]
        )
    else:
        yield fine("keys", "keys_fine", count=len(values))


def certificates(settings: Settings, db: Database, now: int) -> Iterator[Finding]:
    """The newest certificate of each tenant and purpose: chain, names, end."""
    anchors = own_roots(db)
    with db.reading() as tx:
        # Of several active ones the newest is in use.
        newest = {(row[0], row[1]): row[2] for row in health.certified_keys(tx)}
    for (tenant_id, purpose), chain in newest.items():
        yield _certificate(settings, tenant_id, purpose, json.loads(chain), anchors, now)


def _certificate(
    settings: Settings,
    tenant_id: str,
    purpose: str,
    x5c: list[str],
    anchors: list[bytes],
    now: int,
) -> Finding:
    named: dict[str, object] = {"tenant": tenant_id, "purpose": purpose}
    try:
        leaf = read_certificate(base64.b64decode(x5c[0]))
        named["ends"] = datetime.fromtimestamp(leaf.not_after, UTC).date().isoformat()
        if now > leaf.not_after:
            return problem("keys", "certificate_ended", **named)
        trusted = verify_chain(x5c, anchors, now)
        named["names"] = ", ".join(trusted.names)
        address = tenant_url(settings.public_url, tenant_id)
        trusted.check_issuer(address)
    except CredentialError as error:
        if error.code == "issuer_mismatch":
            return problem("keys", "certificate_elsewhere", url=settings.public_url, **named)
        return problem("keys", "chain_broken", reason=str(error), **named)
    if leaf.not_after - now < RENEWAL_DAYS * SECONDS_PER_DAY:
        return warning("keys", "certificate_ends", **named)
    return fine("keys", "certificate_fine", **named)


def own_roots(db: Database) -> list[bytes]:
    """The roots (DER) of this broker that are not compromised."""
    with db.reading() as tx:
        return [base64.b64decode(json.loads(chain)[0]) for chain in rows.roots(tx)]
