"""The broker's keys: made once, kept sealed in the database, opened into memory on first use.

What is in memory is looked after by `refresh`, which every process calls each second: a change of
keys made elsewhere is known there within it, and using a key costs no question of the database.
"""

import base64
import secrets
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

import orjson
from sqlalchemy import Connection

from broker.domain.entry import Entry, LogKey
from broker.domain.errors import BrokerError, KeyDeviceUnavailable
from broker.domain.ids import new_id
from broker.store import audit as entries
from broker.store import keys as store
from broker.store.acting import acting_for_all
from broker.store.db import Database
from broker.usecases.device_keys import Device, check_own, row_of
from broker.usecases.entry_keys import EntryKeys
from broker.usecases.key_making import CERTIFIED, CertifiedKey, KeyMaker, leaf_of
from broker.usecases.log_keys import LogKeys
from credentials.certificate import key_of, read_certificate
from credentials.keys import Signer
from credentials.sealing import MasterKey

RENEWAL_DAYS = 90
SECONDS_PER_DAY = 86_400
HMAC_LABELS = (
    *("contact", "pairwise", "token", "code"),
    *("nonce", "idempotency", "issuer_state", "event"),
)


@dataclass(frozen=True)
class _Certified:
    """What of the certified keys is in memory."""

    keys: Mapping[tuple[str, str], CertifiedKey]
    anchors: tuple[bytes, ...]
    compromised: Mapping[str, int]


_NOTHING = _Certified({}, (), {})


class KeyRing:
    """Every key of the broker. Safe from several threads; private keys never leave it unsealed."""

    def __init__(
        self,
        db: Database,
        master: MasterKey,
        now: Callable[[], int],
        public_url: str,
        device: Device | None = None,
    ) -> None:
        """`device` holds the issuer keys; without one they are sealed in the database."""
        self._db, self._master, self._now, self._device = db, master, now, device
        self.maker = KeyMaker(master, now, public_url)
        self.log = LogKeys(db, self.maker)
        self._lock = threading.RLock()
        self._held = _NOTHING
        self._generation: int | None = None
        self._secrets: dict[str, bytes] = {}
        self._entry_keys = EntryKeys(master)

    def prepare(self, tenant_id: str) -> None:
        """Make sure that every key of a tenant exists; call it outside of any transaction.

        Afterwards no use of a key needs to write, so keys may be used inside transactions.
        """
        self.anchors()
        self.log_signer()
        self.issuer(tenant_id)
        self.request(tenant_id)
        for label in HMAC_LABELS:
            self.hmac_key(label)

    def close(self) -> None:
        """Leave the device, if there is one."""
        if self._device is not None:
            self._device.close()

    def refresh(self) -> None:
        """Learn of changes that were made elsewhere; costs one small question when there are none.

        Keys in use stay in memory until the newer ones are, so that nobody waits for the database
        in the middle of a transaction.
        """
        with acting_for_all(), self._db.reading() as tx:
            generation = store.generation(tx)
        if generation == self._generation:
            return
        # For all: what is in memory is of whichever tenant was asked for.
        with acting_for_all(), self._lock:
            older, fresh = self._held, {}
            anchors, compromised = self._read_trust()
            for purpose, tenant_id in older.keys:
                # A device that fails now is asked again when the key is needed.
                with suppress(BrokerError):
                    fresh[purpose, tenant_id] = self._load(purpose, tenant_id)
            self._held = _Certified(fresh, anchors, compromised)
            self._generation = generation

    def renew(self, tenant_id: str) -> None:
        """Make new keys in place of those whose certificates end soon; outside any transaction.

        What the older keys have signed stays valid: each credential carries its own certificate.
        """
        for purpose in CERTIFIED:
            older = self._leaf(purpose, tenant_id)
            left = read_certificate(older.leaf).not_after - self._now()
            if left > RENEWAL_DAYS * SECONDS_PER_DAY:
                continue
            held = self.device_key(purpose, tenant_id)
            with self._db.transaction() as tx:
                store.hold_creation(tx)
                # Of a device's key the row that is newest, retired or not: it is what signs here.
                newest = (
                    store.active(tx, purpose, tenant_id)
                    if held is None
                    else row_of(tx, tenant_id, held)
                )
                if newest is None or (newest.id == older.kid and newest.state != "compromised"):
                    self._replace_unasked(tx, purpose, tenant_id, held)
            self.refresh()

    def device_key(self, purpose: str, tenant_id: str) -> Signer | None:
        """What the device holds for a tenant now, None for a key of the broker's own.

        Raises `KeyDeviceUnavailable`.
        """
        if purpose != "issuer" or self._device is None:
            return None
        return self._device(tenant_id)

    def replace(
        self, tx: Connection, purpose: str, tenant_id: str, held: Signer | None
    ) -> store.KeyRow:
        """A new issuer or request key that takes over from the active one; `refresh` afterwards.

        `held` is the device's key (`device_key`), which then gets a new certificate.
        """
        store.hold_creation(tx)
        root = store.active(tx, "root", None) or self.maker.root(tx)
        made = (
            self.maker.leaf(tx, purpose, tenant_id, root)
            if held is None
            else self.maker.in_device(tx, tenant_id, root, held)
        )
        store.retire_others(tx, made, self._now())
        store.count_change(tx)
        return made

    def _replace_unasked(
        self, tx: Connection, purpose: str, tenant_id: str, held: Signer | None
    ) -> store.KeyRow:
        """Replace a key with nobody's word for it: the log tells of it too."""
        made = self.replace(tx, purpose, tenant_id, held)
        entry = Entry(
            id=new_id("e"),
            tenant_id=tenant_id,
            type="key.rotated",
            time=self._now(),
            body={"purpose": purpose, "key": made.id, "automatic": True},
            subject_id=None,
            consent_id=None,
        )
        entries.append(tx, self.log_key(tx, tenant_id, None).seal(entry))
        return made

    def issuer(self, tenant_id: str) -> CertifiedKey:
        """The ES256 key that signs a tenant's credentials and status lists."""
        return self._leaf("issuer", tenant_id)

    def request(self, tenant_id: str) -> CertifiedKey:
        """The ES256 key that signs a tenant's request objects (`x509_hash`)."""
        return self._leaf("request", tenant_id)

    def request_of(self, tenant_id: str, is_named: Callable[[bytes], bool]) -> CertifiedKey | None:
        """The request key, active or retired, whose certificate (DER) a request names.

        None when there is none, or somebody else may hold it.
        """
        current = self.request(tenant_id)
        if is_named(current.leaf):
            return current
        with self._db.reading() as tx:
            rows = store.of(tx, "request", tenant_id, "active", "retired")
        for row in rows:
            if is_named(leaf_of(row)):
                return CertifiedKey.of(row, self.maker.open(row))
        return None

    def issuers(self, tenant_id: str) -> list[store.KeyRow]:
        """The issuer keys whose signatures stand: all but compromised ones, newest first."""
        self.issuer(tenant_id)
        with self._db.reading() as tx:
            return store.of(tx, "issuer", tenant_id, "active", "retired")

    def log_signer(self) -> Signer:
        """The Ed25519 key that signs checkpoints."""
        return self.log.current()

    def anchors(self) -> tuple[bytes, ...]:
        """The root certificates (DER) that verification of our own credentials rests on."""
        if not self._held.anchors:
            with self._lock:
                self._root()
                anchors, compromised = self._read_trust()
                self._held = _Certified(self._held.keys, anchors, compromised)
        return self._held.anchors

    def root_der(self) -> bytes:
        """The certificate (DER) of the active root."""
        return leaf_of(self._root())

    def compromised_since(self, leaf: bytes) -> int | None:
        """Since when somebody else may sign with a certificate's key; None when nobody else may."""
        self.anchors()
        compromised = self._held.compromised
        return compromised.get(key_of(leaf) or "") if compromised else None

    def hmac_key(self, label: str) -> bytes:
        """A 32-byte secret for each use: pairwise identifiers, hashed contacts, codes."""
        # Without the lock: who refreshes holds it while asking the database, and would wait for
        # transactions that wait here.
        found = self._secrets.get(label)
        if found is not None:
            return found
        with self._lock:
            if label not in self._secrets:
                with self._db.reading() as tx:
                    sealed = store.secret(tx, label)
                if sealed is None:
                    with self._db.transaction() as tx:
                        fresh = self._master.seal(secrets.token_bytes(32), f"secret:{label}")
                        store.add_secret(tx, label, fresh, self._now())
                        sealed = store.secret(tx, label) or fresh
                self._secrets[label] = self._master.open(sealed, f"secret:{label}")
            return self._secrets[label]

    def log_key(self, tx: Connection, tenant_id: str, subject_id: str | None) -> LogKey:
        """What seals and opens the entries of a customer, or (None) those that concern none.

        Raises `NotFound` when it has been destroyed (erasure).
        """
        if subject_id is None:
            return self._entry_keys.of_tenant(tx, tenant_id)
        return self._entry_keys.of_subject(tx, subject_id)

    def new_log_key(self, owner: str) -> bytes:
        """A fresh sealed log key for `owner` (`subject:<id>` or `tenant:<id>`)."""
        return self._entry_keys.make(owner)

    def forget_log_keys(self, subject_id: str | None = None) -> None:
        """Drop a customer's log key from memory, or (None) all that were read too long ago."""
        self._entry_keys.forget(subject_id)

    def _leaf(self, purpose: str, tenant_id: str) -> CertifiedKey:
        found = self._held.keys.get((purpose, tenant_id))
        if found is not None:
            return found
        with self._lock:
            key = self._load(purpose, tenant_id)
            held = self._held
            self._held = _Certified(
                {**held.keys, (purpose, tenant_id): key}, held.anchors, held.compromised
            )
            return key

    def _load(self, purpose: str, tenant_id: str) -> CertifiedKey:
        if purpose == "issuer" and self._device is not None:
            return self._in_device(tenant_id, self._device(tenant_id))
        row = self._read(purpose, tenant_id) or self._make(purpose, tenant_id)
        if row.device is not None:
            raise KeyDeviceUnavailable(
                f"the issuer key of {tenant_id} is in a device: set BROKER_ISSUER_KEY, or run "
                "consent-broker keys rotate issuer to go on with a key of the broker's own"
            )
        return CertifiedKey.of(row, self.maker.open(row))

    def _in_device(self, tenant_id: str, key: Signer) -> CertifiedKey:
        """The device's key under its certificate; one that is new there takes over."""
        with self._db.reading() as tx:
            row = row_of(tx, tenant_id, key)
        if row is None:
            self._root()
            with acting_for_all(), self._db.transaction() as tx:
                store.hold_creation(tx)
                row = row_of(tx, tenant_id, key)
                if row is None:
                    check_own(tx, tenant_id, key)
                    is_first = not store.of(tx, "issuer", tenant_id)
                    take_over = self.replace if is_first else self._replace_unasked
                    row = take_over(tx, "issuer", tenant_id, key)
        if row.state == "compromised":
            raise KeyDeviceUnavailable(
                f"the key in the device ({row.id}) is marked as compromised: make a new one there "
                "and let BROKER_ISSUER_KEY name it"
            )
        return CertifiedKey.of(row, key)

    def _make(self, purpose: str, tenant_id: str) -> store.KeyRow:
        root = self._root()
        with self._db.transaction() as tx:
            store.hold_creation(tx)
            return store.active(tx, purpose, tenant_id) or self.maker.leaf(
                tx, purpose, tenant_id, root
            )

    def _read(self, purpose: str, tenant_id: str | None) -> store.KeyRow | None:
        with self._db.reading() as tx:
            return store.active(tx, purpose, tenant_id)

    def _root(self) -> store.KeyRow:
        row = self._read("root", None)
        if row is not None:
            return row
        with acting_for_all(), self._db.transaction() as tx:
            store.hold_creation(tx)
            return store.active(tx, "root", None) or self.maker.root(tx)

    def _read_trust(self) -> tuple[tuple[bytes, ...], dict[str, int]]:
        """The roots, and every tenant's stolen keys by their thumbprints, with their time."""
        with acting_for_all(), self._db.reading() as tx:
            anchors = tuple(base64.b64decode(orjson.loads(chain)[0]) for chain in store.roots(tx))
            compromised = {
                key_of(leaf_of(row)) or "": row.compromised_since or 0
                for row in store.compromised(tx)
                if row.purpose in CERTIFIED
            }
        return anchors, compromised
