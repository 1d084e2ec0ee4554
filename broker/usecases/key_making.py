"""Make keys and their certificates, and open what is sealed; the caller has the transaction."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import orjson
from sqlalchemy import Connection

from broker.domain.addresses import tenant_url
from broker.domain.ids import new_id
from broker.store import keys as store
from broker.store.keys import KeyRow
from credentials.keys import Signer, SoftwareKey
from credentials.pki import create_root, issue_leaf
from credentials.sealing import MasterKey

ROOT_YEARS = 20
LEAF_DAYS = 825
CERTIFIED = ("issuer", "request")


@dataclass(frozen=True)
class CertifiedKey:
    """A signing key with its certificates: `x5c` is base64 DER, leaf first, root left out."""

    signer: Signer
    kid: str
    x5c: tuple[str, ...]
    leaf: bytes

    @classmethod
    def of(cls, row: KeyRow, signer: Signer) -> "CertifiedKey":
        """A stored key that `signer` holds."""
        x5c = tuple(orjson.loads(row.chain))
        return cls(signer, row.id, x5c, base64.b64decode(x5c[0]))


def leaf_of(row: KeyRow) -> bytes:
    """A stored key's own certificate (DER)."""
    return base64.b64decode(orjson.loads(row.chain)[0])


class KeyMaker:
    """Makes keys of a deployment: `master` seals them, `public_url` names their tenants."""

    def __init__(self, master: MasterKey, now: Callable[[], int], public_url: str) -> None:
        self._master, self._now, self._public_url = master, now, public_url

    def open(self, row: KeyRow) -> SoftwareKey:
        """The key of a row. Raises `SealBroken`."""
        return SoftwareKey.from_sealed(self._master, row.sealed, f"signing-key:{row.id}")

    def root(self, tx: Connection) -> KeyRow:
        """A new root with its own certificate."""
        key = SoftwareKey.generate("ES256")
        der = create_root("Consent Broker Root", key, now=self._now(), years=ROOT_YEARS)
        return self._store(tx, "root", None, key, (der,))

    def log(self, tx: Connection) -> KeyRow:
        """A new log key."""
        return self._store(tx, "log", None, SoftwareKey.generate("Ed25519"), ())

    def leaf(self, tx: Connection, purpose: str, tenant_id: str, root: KeyRow) -> KeyRow:
        """A new key of a tenant, certified by the root."""
        key = SoftwareKey.generate("ES256")
        certificate = self._certificate(purpose, tenant_id, root, key)
        return self._store(tx, purpose, tenant_id, key, (certificate,))

    def in_device(self, tx: Connection, tenant_id: str, root: KeyRow, key: Signer) -> KeyRow:
        """A tenant's issuer key that a device holds, certified by the root."""
        certificate = self._certificate("issuer", tenant_id, root, key)
        return self._store(tx, "issuer", tenant_id, key, (certificate,))

    def _certificate(self, purpose: str, tenant_id: str, root: KeyRow, key: Signer) -> bytes:
        address = tenant_url(self._public_url, tenant_id)
        return issue_leaf(
            leaf_of(root),
            self.open(root),
            key.public_jwk(),
            dns=(urlsplit(address).hostname or "localhost",),
            uri=(address,),
            name=f"Consent Broker {purpose} {tenant_id}",
            now=self._now(),
            days=LEAF_DAYS,
        )

    def _store(
        self,
        tx: Connection,
        purpose: str,
        tenant_id: str | None,
        key: Signer,
        chain: tuple[bytes, ...],
    ) -> KeyRow:
        key_id = new_id("k")
        software = key if isinstance(key, SoftwareKey) else None
        row = KeyRow(
            id=key_id,
            tenant_id=tenant_id,
            purpose=purpose,
            alg=key.alg,
            public_jwk=orjson.dumps(key.public_jwk()).decode(),
            sealed=software.sealed(self._master, f"signing-key:{key_id}") if software else b"",
            chain=orjson.dumps([base64.b64encode(der).decode() for der in chain]).decode(),
            state="active",
            created_at=self._now(),
            device=None if software else "pkcs11",
        )
        store.add(tx, row)
        return row
