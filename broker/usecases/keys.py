"""The broker's keys: made once, kept sealed in the database, opened into memory on first use."""

import base64
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson
from sqlalchemy import Connection

from broker.domain.addresses import tenant_url
from broker.domain.entry import LogKey
from broker.domain.ids import new_id
from broker.store import keys as store
from broker.store.acting import acting_for_all
from broker.store.db import Database
from broker.usecases.entry_keys import EntryKeys
from credentials.certificate import read_certificate
from credentials.keys import Signer, SoftwareKey
from credentials.pki import create_root, issue_leaf
from credentials.sealing import MasterKey

ROOT_YEARS = 20
LEAF_DAYS = 825
RENEWAL_DAYS = 90
SECONDS_PER_DAY = 86_400
HMAC_LABELS = (
    *("contact", "pairwise", "token", "code"),
    *("nonce", "idempotency", "issuer_state"),
)


@dataclass(frozen=True)
class CertifiedKey:
    """A signing key with its certificates: `x5c` is base64 DER, leaf first, root left out."""

    signer: Signer
    kid: str
    x5c: tuple[str, ...]
    leaf: bytes


class KeyRing:
    """Every key of the broker. Safe from several threads; private keys never leave it unsealed."""

    def __init__(
        self, db: Database, master: MasterKey, now: Callable[[], int], public_url: str
    ) -> None:
        self._db, self._master, self._now, self._public_url = db, master, now, public_url
        self._lock = threading.RLock()
        self._certified: dict[tuple[str, str], CertifiedKey] = {}
        self._secrets: dict[str, bytes] = {}
        self._entry_keys = EntryKeys(master)
        self._log: Signer | None = None
        self._anchors: tuple[bytes, ...] = ()

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

    def renew(self, tenant_id: str) -> None:
        """Make new keys in place of those whose certificates end soon; outside any transaction.

        What the older keys have signed stays valid: each credential carries its own certificate.
        """
        for purpose in ("issuer", "request"):
            older = self._leaf(purpose, tenant_id)
            left = read_certificate(older.leaf).not_after - self._now()
            if left > RENEWAL_DAYS * SECONDS_PER_DAY:
                continue
            with self._lock:
                certify = self._certificate_for(purpose, tenant_id, self._root())
                with self._db.transaction() as tx:
                    store.hold_creation(tx)
                    newest = store.active(tx, purpose, tenant_id)
                    if newest is None or newest.id == older.kid:
                        self._create(tx, purpose, tenant_id, "ES256", certify)
                self._certified.pop((purpose, tenant_id), None)

    def issuer(self, tenant_id: str) -> CertifiedKey:
        """The ES256 key that signs a tenant's credentials and status lists."""
        return self._leaf("issuer", tenant_id)

    def request(self, tenant_id: str) -> CertifiedKey:
        """The ES256 key that signs a tenant's request objects (`x509_hash`)."""
        return self._leaf("request", tenant_id)

    def log_signer(self) -> Signer:
        """The Ed25519 key that signs checkpoints."""
        with self._lock:
            if self._log is None:
                row = self._read("log", None)
                if row is None:
                    with acting_for_all(), self._db.transaction() as tx:
                        store.hold_creation(tx)
                        row = store.active(tx, "log", None) or self._create(
                            tx, "log", None, "Ed25519", ()
                        )
                self._log = self._open(row)
            return self._log

    def anchors(self) -> tuple[bytes, ...]:
        """The root certificates (DER) that verification of our own credentials rests on."""
        with self._lock:
            if not self._anchors:
                self._root()
                with self._db.reading() as tx:
                    self._anchors = tuple(
                        base64.b64decode(orjson.loads(chain)[0]) for chain in store.roots(tx)
                    )
            return self._anchors

    def root_der(self) -> bytes:
        """The certificate (DER) of the active root."""
        with self._lock:
            return base64.b64decode(orjson.loads(self._root().chain)[0])

    def hmac_key(self, label: str) -> bytes:
        """A 32-byte secret for each use: pairwise identifiers, hashed contacts, codes."""
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

    def subject_log_key(self, tx: Connection, subject_id: str) -> bytes:
        """The key under which a customer's log entries are salted and encrypted.

        Raises `NotFound` when it has been destroyed (erasure).
        """
        return self._entry_keys.of_subject(tx, subject_id)[0]

    def tenant_log_key(self, tx: Connection, tenant_id: str) -> bytes:
        """The key of log entries that concern no customer."""
        return self._entry_keys.of_tenant(tx, tenant_id)[0]

    def log_key(self, tx: Connection, tenant_id: str, subject_id: str | None) -> LogKey:
        """What seals and opens the entries of a customer, or (None) those that concern none.

        Raises `NotFound` when it has been destroyed.
        """
        if subject_id is None:
            return self._entry_keys.of_tenant(tx, tenant_id)[1]
        return self._entry_keys.of_subject(tx, subject_id)[1]

    def new_log_key(self, owner: str) -> bytes:
        """A fresh sealed log key for `owner` (`subject:<id>` or `tenant:<id>`)."""
        return self._entry_keys.make(owner)

    def forget_log_keys(self, subject_id: str | None = None) -> None:
        """Drop a customer's log key from memory, or (None) all that were read too long ago."""
        self._entry_keys.forget(subject_id)

    def _leaf(self, purpose: str, tenant_id: str) -> CertifiedKey:
        found = self._certified.get((purpose, tenant_id))
        if found is not None:
            return found
        with self._lock:
            row = self._read(purpose, tenant_id)
            if row is None:
                root = self._root()
                with self._db.transaction() as tx:
                    store.hold_creation(tx)
                    row = store.active(tx, purpose, tenant_id) or self._create(
                        tx,
                        purpose,
                        tenant_id,
                        "ES256",
                        self._certificate_for(purpose, tenant_id, root),
                    )
            x5c = tuple(orjson.loads(row.chain))
            key = CertifiedKey(self._open(row), row.id, x5c, base64.b64decode(x5c[0]))
            self._certified[purpose, tenant_id] = key
            return key

    def _read(self, purpose: str, tenant_id: str | None) -> store.KeyRow | None:
        with self._db.reading() as tx:
            return store.active(tx, purpose, tenant_id)

    def _root(self) -> store.KeyRow:
        row = self._read("root", None)
        if row is not None:
            return row
        with acting_for_all(), self._db.transaction() as tx:
            store.hold_creation(tx)
            row = store.active(tx, "root", None)
            if row is not None:
                return row
            key = SoftwareKey.generate("ES256")
            der = create_root("Consent Broker Root", key, now=self._now(), years=ROOT_YEARS)
            return self._store(tx, "root", None, key, (base64.b64encode(der).decode(),))

    def _certificate_for(
        self, purpose: str, tenant_id: str, root: store.KeyRow
    ) -> Callable[[SoftwareKey], tuple[str, ...]]:
        address = tenant_url(self._public_url, tenant_id)

        def certify(key: SoftwareKey) -> tuple[str, ...]:
            leaf = issue_leaf(
                base64.b64decode(orjson.loads(root.chain)[0]),
                self._open(root),
                key.public_jwk(),
                dns=(urlsplit(address).hostname or "localhost",),
                uri=(address,),
                name=f"Consent Broker {purpose} {tenant_id}",
                now=self._now(),
                days=LEAF_DAYS,
            )
            return (base64.b64encode(leaf).decode(),)

        return certify

    def _create(
        self,
        tx: Connection,
        purpose: str,
        tenant_id: str | None,
        alg: str,
        chain: tuple[str, ...] | Callable[[SoftwareKey], tuple[str, ...]],
    ) -> store.KeyRow:
        key = SoftwareKey.generate(alg)
        return self._store(tx, purpose, tenant_id, key, chain(key) if callable(chain) else chain)

    def _store(
        self,
        tx: Connection,
        purpose: str,
        tenant_id: str | None,
        key: SoftwareKey,
        chain: tuple[str, ...],
    ) -> store.KeyRow:
        key_id = new_id("k")
        row = store.KeyRow(
            id=key_id,
            tenant_id=tenant_id,
            purpose=purpose,
            alg=key.alg,
            public_jwk=orjson.dumps(key.public_jwk()).decode(),
            sealed=key.sealed(self._master, f"signing-key:{key_id}"),
            chain=orjson.dumps(list(chain)).decode(),
            state="active",
            created_at=self._now(),
        )
        store.add(tx, row)
        return row

    def _open(self, row: store.KeyRow) -> SoftwareKey:
        return SoftwareKey.from_sealed(self._master, row.sealed, f"signing-key:{row.id}")
