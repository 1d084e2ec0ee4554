"""Which vaults there are, by name."""

import hmac
from typing import Final

from broker.domain.errors import StateConflict, UnknownVault
from broker.outbound.vaults import FolderVault, Vault
from broker.store import vault
from broker.usecases.context import Context
from credentials.jcs import b64url

LOCAL: Final = "local"
FOLDER: Final = "vault"


def vault_names() -> tuple[str, ...]:
    """The names of vaults, the usual one first."""
    return (LOCAL,)


def open_vault(ctx: Context, name: str) -> Vault:
    """The vault of a name; raises `UnknownVault`."""
    if name != LOCAL:
        raise UnknownVault("there is no vault of this name: GET /v1/vaults/{partner} lists them")
    return _local(ctx)


def claim_vault(ctx: Context, *, empty: bool = False) -> None:
    """Mark the folder of the vault `local` as this broker's.

    Raises `StateConflict` where it is another's, or holds nothing of what the database knows to lie
    there, unless it is said that it is `empty`; `VaultUnreachable`.
    """
    with ctx.db.reading() as tx:
        known = vault.any_stored(tx, LOCAL)
    root = ctx.settings.vault_root or ctx.settings.home / FOLDER
    if known is not None and not empty and not (root / known).exists():
        raise StateConflict(
            f"{root} does not hold what the database knows to lie there: mount the share first; if "
            "it is lost, begin anew with --empty"
        )
    _local(ctx).claim()


def _local(ctx: Context) -> FolderVault:
    root = ctx.settings.vault_root
    mark = b64url(hmac.digest(ctx.keys.hmac_key("vault"), b"marker", "sha256"))
    return FolderVault(root or ctx.settings.home / FOLDER, mark, own=root is None)
