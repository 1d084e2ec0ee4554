"""Which vaults there are, by name."""

from typing import Final

from broker.domain.errors import UnknownVault
from broker.outbound.vaults import FolderVault, Vault
from broker.usecases.context import Context

LOCAL: Final = "local"
FOLDER: Final = "vault"


def vault_names() -> tuple[str, ...]:
    """The names of vaults, the usual one first."""
    return (LOCAL,)


def open_vault(ctx: Context, name: str) -> Vault:
    """The vault of a name; raises `UnknownVault`."""
    if name != LOCAL:
        raise UnknownVault("there is no vault of this name: GET /v1/vaults/{partner} lists them")
    return FolderVault(ctx.settings.vault_root or ctx.settings.home / FOLDER)
