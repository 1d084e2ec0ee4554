"""Issuer keys in a PKCS#11 device: which setting names which tenant's, and which row is whose."""

import threading
from collections.abc import Callable
from typing import Protocol

import orjson
from sqlalchemy import Connection

from broker.domain.errors import KeyDeviceUnavailable
from broker.settings import Settings, SettingsError
from broker.store import keys as store
from credentials.jws import Signer

TENANT = "{tenant}"
"""In the object's name of BROKER_ISSUER_KEY: the tenant's id."""


class DeviceKey(Signer, Protocol):
    """A key in a device."""

    def close(self) -> None:
        """Leave the device."""


class Device:
    """The issuer keys in a device, each opened once: devices have few sessions to give.

    Safe from several threads.
    """

    def __init__(self, open_key: Callable[[str], DeviceKey]) -> None:
        self._open = open_key
        self._lock = threading.Lock()
        self._opened: dict[str, DeviceKey] = {}

    def __call__(self, tenant_id: str) -> Signer:
        """A tenant's key; raises `KeyDeviceUnavailable`."""
        with self._lock:
            if tenant_id not in self._opened:
                self._opened[tenant_id] = self._open(tenant_id)
            return self._opened[tenant_id]

    def close(self) -> None:
        """Leave the device."""
        with self._lock:
            for key in self._opened.values():
                key.close()
            self._opened.clear()


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

    def open_key(tenant_id: str) -> DeviceKey:
        address = KeyAddress.parse(uri.replace(TENANT, tenant_id), pin=settings.pkcs11_pin)
        key = Pkcs11Key(address)
        if key.alg != "ES256":
            key.close()
            raise KeyDeviceUnavailable(
                f"the issuer key of {tenant_id} in the device is for {key.alg}: it has to be a "
                "P-256 key (ES256)"
            )
        return key

    return Device(open_key)


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
