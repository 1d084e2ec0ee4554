"""An audit entry: what is kept of an act, and the salted hash of it that the public log holds.

    leaf data   = SHA-256(salt || canonical entry)       served to everybody, tells nobody anything
    Merkle leaf = SHA-256(0x00 || leaf data)
    salt        = HMAC-SHA-256(salt key, entry id)        32 bytes
    body key    = HMAC-SHA-256(body key of the log key, entry id)

The salt key and the body key are derived (HKDF-Expand, RFC 5869) from one log key: the customer's,
or the tenant's where an entry concerns no customer. Whoever holds the log key, or is given one
entry with its salt, can check the entry against the log; once the log key is destroyed the leaf
is noise, and only copies that were handed out before still verify.

The customer's identifier is not in the canonical entry: partners are handed entries of their own
consents, and two of them would match their customers by it. Which customer an entry is about is
told by the key that opens it; the sealed form is bound to the identifier all the same.

How the format evolves: `v` in the entry and the first byte of the sealed form count up together;
a field that is absent is left out of the canonical form, so an optional one more keeps old hashes.
"""

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from broker.domain.errors import MalformedEntry, UnreadableEntry
from credentials.errors import CredentialError
from credentials.jcs import canonical

KEY_BYTES = 32
SALT_BYTES = 32
LEAF_DATA_BYTES = 32

_VERSION = 1
_SEAL_VERSION = b"\x01"
_NONCE_BYTES = 12
_SALT_INFO = b"consent-broker/audit/salt/1"
_BODY_INFO = b"consent-broker/audit/body/1"
_AAD = b"consent-broker/audit/entry/1:"


@dataclass(frozen=True)
class Entry:
    """One act: what happened, when (Unix seconds, UTC), about whose consent.

    `body` is JSON without floats; whoever may see the entry reads it, the consent's partner
    included. `subject_id` says whose log key hides the entry (None: the tenant's) and is not part
    of what is hashed; `consent_id` finds it again.
    """

    id: str
    tenant_id: str
    type: str
    time: int
    body: Mapping[str, Any]
    subject_id: str | None = None
    consent_id: str | None = None

    def canonical(self) -> bytes:
        """The bytes that are hashed (RFC 8785). Raises `MalformedEntry`."""
        value: dict[str, Any] = {
            "v": _VERSION,
            "id": self.id,
            "tenant": self.tenant_id,
            "type": self.type,
            "time": self.time,
            "body": self.body,
        }
        if self.consent_id is not None:
            value["consent"] = self.consent_id
        try:
            return canonical(value)
        except CredentialError as error:
            raise MalformedEntry(f"an audit entry must be canonical JSON: {error}") from None

    @classmethod
    def parse(cls, data: bytes) -> "Entry":
        """Read the canonical form, and nothing but it; it names no customer.

        Raises `MalformedEntry`.
        """
        try:
            value = orjson.loads(data)
        except orjson.JSONDecodeError:
            raise MalformedEntry("an audit entry is JSON") from None
        if not isinstance(value, dict) or value.get("v") != _VERSION:
            raise MalformedEntry("an audit entry is a JSON object of version 1")
        time, body = value.get("time"), value.get("body")
        if type(time) is not int or not isinstance(body, dict):
            raise MalformedEntry("an audit entry has a time in seconds and a body")
        entry = cls(
            id=_text(value.get("id")),
            tenant_id=_text(value.get("tenant")),
            type=_text(value.get("type")),
            time=time,
            body=body,
            consent_id=_text(value["consent"]) if "consent" in value else None,
        )
        if entry.canonical() != data:
            raise MalformedEntry("an audit entry is in canonical form, without unknown fields")
        return entry


@dataclass(frozen=True)
class SealedEntry:
    """An entry as it is stored: readable with its log key only, but for what finds it again."""

    id: str
    tenant_id: str
    type: str
    time: int
    subject_id: str | None
    consent_id: str | None
    leaf_data: bytes
    sealed_body: bytes


class LogKey:
    """A customer's or a tenant's log key, made ready to salt, seal and open entries."""

    def __init__(self, key: bytes) -> None:
        """`key` is 32 uniformly random bytes. Raises `MalformedEntry` for another length."""
        if len(key) != KEY_BYTES:
            raise MalformedEntry("a log key has 32 bytes")
        # HKDF-Expand to one block (RFC 5869 section 2.3); a uniform key needs no extraction (3.3).
        self._salt_key = hmac.digest(key, _SALT_INFO + b"\x01", "sha256")
        self._body_key = hmac.digest(key, _BODY_INFO + b"\x01", "sha256")

    def salt(self, entry_id: str) -> bytes:
        """The 32-byte salt of one entry; with it and the entry anybody can check the leaf."""
        return hmac.digest(self._salt_key, entry_id.encode(), "sha256")

    def seal(self, entry: Entry) -> SealedEntry:
        """Hash and encrypt an entry. Raises `MalformedEntry`."""
        data = entry.canonical()
        # A key of its own for each entry: random nonces then never meet under one key.
        nonce = secrets.token_bytes(_NONCE_BYTES)
        bound_to = _bound_to(entry.id, entry.subject_id)
        sealed = self._cipher(entry.id).encrypt(nonce, data, bound_to)
        return SealedEntry(
            id=entry.id,
            tenant_id=entry.tenant_id,
            type=entry.type,
            time=entry.time,
            subject_id=entry.subject_id,
            consent_id=entry.consent_id,
            leaf_data=leaf_data(self.salt(entry.id), data),
            sealed_body=_SEAL_VERSION + nonce + sealed,
        )

    def open(self, sealed: SealedEntry) -> Entry:
        """The entry inside, if it is the one whose hash is in the log.

        Raises `UnreadableEntry`: another key, changed bytes, or columns that tell another story.
        """
        blob = sealed.sealed_body
        if blob[:1] != _SEAL_VERSION:
            raise UnreadableEntry(f"audit entry {sealed.id} is sealed in an unknown version")
        nonce, ciphertext = blob[1 : 1 + _NONCE_BYTES], blob[1 + _NONCE_BYTES :]
        try:
            bound_to = _bound_to(sealed.id, sealed.subject_id)
            data = self._cipher(sealed.id).decrypt(nonce, ciphertext, bound_to)
        except (InvalidTag, ValueError):
            raise UnreadableEntry(f"this log key does not open audit entry {sealed.id}") from None
        entry = Entry.parse(data)
        if leaf_data(self.salt(sealed.id), data) != sealed.leaf_data:
            raise UnreadableEntry(f"audit entry {sealed.id} is not what the log holds")
        told = (sealed.id, sealed.tenant_id, sealed.type, sealed.time, sealed.consent_id)
        if told != (entry.id, entry.tenant_id, entry.type, entry.time, entry.consent_id):
            raise UnreadableEntry(f"the columns of audit entry {sealed.id} contradict its body")
        return replace(entry, subject_id=sealed.subject_id)

    def _cipher(self, entry_id: str) -> AESGCM:
        return AESGCM(hmac.digest(self._body_key, entry_id.encode(), "sha256"))


def _bound_to(entry_id: str, subject_id: str | None) -> bytes:
    """What a sealed entry is authenticated with: its id and, if it has one, its customer's."""
    return b"\x00".join((_AAD + entry_id.encode(), (subject_id or "").encode()))


def leaf_data(salt: bytes, canonical_entry: bytes) -> bytes:
    """SHA-256(salt || canonical entry): what the public log holds of an entry."""
    return sha256(salt + canonical_entry).digest()


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise MalformedEntry("an audit entry's names are text")
    return value
