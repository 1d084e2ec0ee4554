"""Which vaults there are, by name: a folder, and those at services that the settings name."""

import hmac
from typing import Final

from broker.domain.errors import StateConflict, UnknownVault, VaultUnreachable
from broker.outbound.object_vaults import ObjectVault
from broker.outbound.vaults import FolderVault, Vault
from broker.settings import Settings
from broker.store import vault
from broker.store.acting import acting_for_all
from broker.usecases.context import Context
from broker.usecases.keys import KeyRing
from credentials.jcs import b64url

LOCAL: Final = "local"
FOLDER: Final = "vault"
MARKER_KEY: Final = "vault"
"""The label of the secret that markers are made with."""


def vault_names(ctx: Context) -> tuple[str, ...]:
    """The names of vaults, the usual one first."""
    return (LOCAL, *sorted(ctx.settings.vaults))


def open_vault(ctx: Context, name: str) -> Vault:
    """The vault of a name; raises `UnknownVault`."""
    return vault_of(ctx.settings, ctx.keys, name)


def vault_of(settings: Settings, keys: KeyRing, name: str) -> Vault:
    """The same for whoever has no context."""
    mark = b64url(hmac.digest(keys.hmac_key(MARKER_KEY), b"marker", "sha256"))
    if name == LOCAL:
        return FolderVault(settings.vault_root or settings.home / FOLDER, mark)
    place = settings.vaults.get(name)
    if place is None:
        raise UnknownVault("there is no vault of this name: GET /v1/vaults/{partner} lists them")
    return ObjectVault(name, place, mark)


def open_to_change(ctx: Context, name: str) -> Vault:
    """The vault of a name, to put something there or delete it; raises `UnknownVault`.

    The folder below BROKER_HOME is made and marked here when it is needed, unless the database
    knows of something to lie there that does not: that is `VaultUnreachable`, since a home folder
    whose share has dropped is no new vault.
    """
    place = open_vault(ctx, name)
    if name == LOCAL and ctx.settings.vault_root is None and not place.is_marked():
        try:
            claim_vault(ctx, name)
        except StateConflict as conflict:
            raise VaultUnreachable(str(conflict)) from conflict
    return place


def claim_vault(ctx: Context, name: str = LOCAL, *, empty: bool = False) -> None:
    """Mark a vault as this broker's.

    Raises `UnknownVault`, `StateConflict` where it is another's, or holds nothing of what the
    database knows to lie there, unless it is said that it is `empty`; `VaultUnreachable`.
    """
    place = open_vault(ctx, name)
    # A vault is all tenants': what another has there counts too.
    with acting_for_all(), ctx.db.reading() as tx:
        known = vault.any_lying(tx, name)
    if known is not None and not empty and not place.has(known):
        raise StateConflict(
            f"{name} does not hold what the database knows to lie there: is the share mounted, the "
            "address right? If it is lost, begin anew with --empty"
        )
    place.claim()
