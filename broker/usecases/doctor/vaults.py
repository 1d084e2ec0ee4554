"""Customers' vaults at services: is each there, ours, and does it take and give back something?"""

import secrets
from collections.abc import Iterator
from typing import Final

from broker.domain.errors import EnvelopeDamaged, VaultUnreachable
from broker.domain.finding import Finding, fine, problem
from broker.outbound.vaults import Vault
from broker.settings import Settings
from broker.store import keys as rows
from broker.store.db import Database
from broker.usecases.keys import KeyRing
from broker.usecases.vault_register import MARKER_KEY, vault_of
from credentials.sealing import MasterKey

PROBE: Final = b"consent-broker doctor"


def services(settings: Settings, db: Database, master: MasterKey, now: int) -> Iterator[Finding]:
    """Of each vault that the settings name: its marker, then a probe, put, read and deleted."""
    if not settings.vaults:
        return
    with db.reading() as tx:
        has_key = rows.secret(tx, MARKER_KEY) is not None
    # The key is there, so that nothing is made by looking.
    ring = KeyRing(db, master, lambda: now, settings.public_url)
    for name in sorted(settings.vaults):
        if has_key:
            yield _service(name, vault_of(settings, ring, name))
        else:
            yield problem("home", "vault_not_ours", name=name)


def _service(name: str, vault: Vault) -> Finding:
    try:
        if not vault.is_marked():
            return problem("home", "vault_not_ours", name=name)
    except VaultUnreachable as error:
        return problem("home", "vault_unreachable", name=name, message=str(error))
    # A path like an envelope's: what is left of it where this is interrupted is a stray.
    path = f"doctor/probe/{secrets.token_hex(8)}"
    try:
        try:
            vault.put(path, PROBE)
            if vault.read(path, 0, len(PROBE)) != PROBE:
                raise EnvelopeDamaged("it gives back something else than was put there")
        finally:  # also where it cannot be read, or where putting it ended halfway
            vault.delete(path)
    except (VaultUnreachable, EnvelopeDamaged) as error:
        return problem("home", "vault_not_writable", name=name, message=str(error))
    return fine("home", "vault_fine", name=name)
