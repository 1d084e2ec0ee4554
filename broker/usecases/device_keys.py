"""Issuer keys in a PKCS#11 device: which setting names which tenant's, and which row is whose."""

from collections.abc import Callable

import orjson
from sqlalchemy import Connection

from broker.domain.errors import KeyDeviceUnavailable
from broker.settings import Settings, SettingsError
from broker.store import keys as store
from credentials.jws import Signer

TENANT = "{tenant}"
"""In the object's name of BROKER_ISSUER_KEY: the tenant's id."""

Device = Callable[[str], Signer]
"""Gives a tenant's issuer key in a device; raises `KeyDeviceUnavailable`."""


def device_of(settings: Settings) -> Device | None:
    """The device that BROKER_ISSUER_KEY names, None when it names none.

    Raises `SettingsError` for an address that is none, or without the extra `hsm`.
    """
    uri = settings.issuer_key
    if not uri:
        return None
    try:
        # python-pkcs11 is in the extra `hsm`: who has no device does not need it.
        from broker.outbound.pkcs11 import KeyAddress, Pkcs11Key  # noqa: PLC0415
    except ImportError:
        message = "BROKER_ISSUER_KEY needs python-pkcs11: install consent-broker with the extra hsm"
        raise SettingsError(message) from None
    KeyAddress.parse(uri.replace(TENANT, "tenant"), pin=settings.pkcs11_pin)

    def open_key(tenant_id: str) -> Signer:
        address = KeyAddress.parse(uri.replace(TENANT, tenant_id), pin=settings.pkcs11_pin)
        key = Pkcs11Key(address)
        if key.alg != "ES256":
            raise KeyDeviceUnavailable(
                f"the issuer key of {tenant_id} in the device is for {key.alg}: it has to be a "
                "P-256 key (ES256)"
            )
        return key

    return open_key


def row_of(tx: Connection, tenant_id: str, key: Signer) -> store.KeyRow | None:
    """The newest row of a tenant's issuer key with this public key."""
    public = orjson.dumps(key.public_jwk()).decode()
    rows = [row for row in store.of(tx, "issuer", tenant_id) if row.public_jwk == public]
    spoilt = [row for row in rows if row.state == "compromised"]
    found = spoilt or rows
    return found[0] if found else None


def check_own(tx: Connection, tenant_id: str, key: Signer) -> None:
    """Raise `KeyDeviceUnavailable` for a device's key that may not become this tenant's."""
    public = orjson.dumps(key.public_jwk()).decode()
    for row in store.every(tx):
        if row.purpose != "issuer" or row.public_jwk != public:
            continue
        if row.tenant_id != tenant_id:
            raise KeyDeviceUnavailable(
                f"the key in the device is that of {row.tenant_id} already: with several tenants "
                "BROKER_ISSUER_KEY has {tenant} in its object's name, and a key for each"
            )
        if row.state != "retired":
            raise KeyDeviceUnavailable(
                f"the device holds the same key as before ({row.id}, {row.state}): make a new one "
                "there and let BROKER_ISSUER_KEY name it, then rotate again"
            )
