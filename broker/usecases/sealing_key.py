"""The key that wallets seal to for a partner, and what else a wallet needs to know for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson
from sqlalchemy import Connection

from broker.domain.addresses import tenant_url
from broker.domain.errors import NoSealingKey, NotFound, UnknownPartner
from broker.store import partners, vault
from broker.usecases import audit
from broker.usecases.context import Context
from broker.usecases.masking import maskings_of
from broker.usecases.vault_register import vault_names
from wallet_adapters.envelope import read_sealing_key


@dataclass(frozen=True)
class Place:
    """Where wallets may put envelopes for a partner, and the key to seal them to."""

    partner_id: str
    vaults: tuple[str, ...]
    key: Mapping[str, str]
    audience: str
    maskings: Mapping[str, Sequence[str]]
    """In which maskings attributes are asked for, by attribute; those that are not here: none."""


def set_sealing_key(ctx: Context, tenant_id: str, partner_id: str, jwk: object) -> dict[str, str]:
    """Register the key that wallets seal to for a partner, in place of the one before.

    Envelopes under the older key stay, and are the partner's to open by it. Raises
    `SealingKeyInvalid`, `UnknownPartner` (suspended).
    """
    key = read_sealing_key(jwk)
    with ctx.db.transaction() as tx:
        if partners.find(tx, tenant_id, partner_id, lock=True).state != "active":
            raise UnknownPartner("the partner is suspended")
        vault.set_sealing_key(tx, tenant_id, partner_id, orjson.dumps(key).decode(), ctx.now())
        audit.record(
            ctx,
            tx,
            tenant_id=tenant_id,
            type="partner.sealing_key",
            body={"partner": partner_id, "kid": key["kid"]},
        )
    return key


def place_of(ctx: Context, tenant_id: str, partner_id: str) -> Place:
    """What a wallet needs to seal something to a partner; raises `NotFound`, `NoSealingKey`."""
    with ctx.db.reading() as tx:
        try:
            partners.find(tx, tenant_id, partner_id)
        except UnknownPartner:
            raise NotFound("no such partner") from None
        key = sealing_key_of(tx, tenant_id, partner_id)
        masked = maskings_of(tx, tenant_id)
    wanted = {name: sorted(set(by_role.values())) for name, by_role in masked.items()}
    audience = tenant_url(ctx.settings.public_url, tenant_id)
    return Place(partner_id, vault_names(ctx), key, audience, wanted)


def sealing_key_of(tx: Connection, tenant_id: str, partner_id: str) -> dict[str, str]:
    """The key that wallets seal to for a partner; raises `NoSealingKey`."""
    found = vault.sealing_key(tx, tenant_id, partner_id)
    if found is None:
        raise NoSealingKey("the partner has registered no key to seal to: PUT /v1/sealing-key")
    key: dict[str, str] = orjson.loads(found)
    return key
