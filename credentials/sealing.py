"""Encryption at rest under a master key.

    sealed = version (1 byte, 0x01) || key id (8) || nonce (12) || AES-256-GCM ciphertext and tag
    key    = HKDF-SHA256(master, info = "consent-broker seal v1:" || context class)
    AAD    = version || key id || context

The context class is the context up to its first colon: keys, evidence and stored answers are
encrypted under keys of their own. The whole context is authenticated, so a sealed value that is
moved to another row does not open. Version and key id come first so that a rotated master key can
open what older ones sealed (`MasterKey.from_bytes(..., previous=...)`); a new layout takes the
next version byte. Nonces are random, 96 bits: one context class under one master key is good for
2**32 values (NIST SP 800-38D, section 8.3).
"""

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple, Self

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from credentials.errors import KeyInvalid, SealBroken

_VERSION = b"\x01"
_KEY_BYTES = 32
_KEY_ID_BYTES = 8
_NONCE_BYTES = 12
_TAG_BYTES = 16
_HEADER_BYTES = len(_VERSION) + _KEY_ID_BYTES


Keys = tuple[bytes, Sequence[bytes]]
"""The current master key and the rotated-out ones, 32 bytes each."""


class _Loaded(NamedTuple):
    """The current key's id, and every key by its id."""

    key_id: bytes
    masters: Mapping[bytes, bytes]


class MasterKey:
    """Seals and opens byte strings. Safe from several threads.

    What is sealed starts with the byte 0x01 and the `key_id` of its key: see `header`.
    """

    def __init__(
        self,
        key: bytes,
        *,
        previous: Sequence[bytes] = (),
        reload: Callable[[], Keys] | None = None,
    ) -> None:
        """Take the current key and the rotated-out ones. Raises `KeyInvalid`.

        `reload` reads them again where they are kept: a value under a key that is not known makes
        `open` call it, so that a process goes on through a rotation that another has made.
        """
        self._reload = reload
        self._loaded = _load(key, previous)
        self._ciphers: dict[tuple[bytes, str], AESGCM] = {}

    @property
    def key_id(self) -> bytes:
        """Which key seals now: 8 bytes that say nothing else of it."""
        return self._loaded.key_id

    @property
    def header(self) -> bytes:
        """The 9 bytes that everything sealed under the current key starts with."""
        return _VERSION + self.key_id

    @property
    def key_ids(self) -> Collection[bytes]:
        """Of every key that opens."""
        return self._loaded.masters.keys()

    def refresh(self) -> None:
        """Read the keys again where they are kept. Raises what `reload` raises, `KeyInvalid`."""
        if self._reload is not None:
            self._loaded = _load(*self._reload())

    @classmethod
    def generate(cls) -> Self:
        """Make a new random master key."""
        return cls(secrets.token_bytes(_KEY_BYTES))

    @classmethod
    def from_bytes(cls, key: bytes, *, previous: Sequence[bytes] = ()) -> Self:
        """Load 32 bytes; `previous` keys still open what they sealed. Raises `KeyInvalid`."""
        return cls(key, previous=previous)

    def to_bytes(self) -> bytes:
        """Give the current key itself, for the one place that stores it."""
        loaded = self._loaded
        return loaded.masters[loaded.key_id]

    def seal(self, plaintext: bytes, context: str) -> bytes:
        """Encrypt for `context` ("class:what"), with the current key."""
        loaded = self._loaded
        header = _VERSION + loaded.key_id
        nonce = secrets.token_bytes(_NONCE_BYTES)
        cipher = self._cipher(loaded, loaded.key_id, context)
        return header + nonce + cipher.encrypt(nonce, plaintext, header + context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """Decrypt what `seal` gave for the same context. Raises `SealBroken`."""
        if len(sealed) < _HEADER_BYTES + _NONCE_BYTES + _TAG_BYTES or sealed[:1] != _VERSION:
            raise SealBroken("not sealed bytes of a known version")
        header = sealed[:_HEADER_BYTES]
        key_id = header[len(_VERSION) :]
        if key_id not in self._loaded.masters:
            self.refresh()
        loaded = self._loaded
        if key_id not in loaded.masters:
            raise SealBroken(
                f"sealed under master key {key_id.hex()}, which is not loaded; "
                "add it to the previous keys"
            )
        nonce = sealed[_HEADER_BYTES : _HEADER_BYTES + _NONCE_BYTES]
        try:
            return self._cipher(loaded, key_id, context).decrypt(
                nonce, sealed[_HEADER_BYTES + _NONCE_BYTES :], header + context.encode()
            )
        except InvalidTag:
            raise SealBroken("sealed bytes were changed or belong to another context") from None

    def __repr__(self) -> str:
        """Name the key by its id alone."""
        return f"MasterKey({self.key_id.hex()})"

    def _cipher(self, loaded: _Loaded, key_id: bytes, context: str) -> AESGCM:
        context_class = context.partition(":")[0]
        cipher = self._ciphers.get((key_id, context_class))
        if cipher is None:
            info = b"consent-broker seal v1:" + context_class.encode()
            cipher = AESGCM(_derive(loaded.masters[key_id], info, _KEY_BYTES))
            self._ciphers[key_id, context_class] = cipher
        return cipher


def key_id_of(key: bytes) -> bytes:
    """The id of a master key. Raises `KeyInvalid`."""
    return _load(key, ()).key_id


def _load(key: bytes, previous: Sequence[bytes]) -> _Loaded:
    if any(len(candidate) != _KEY_BYTES for candidate in (key, *previous)):
        raise KeyInvalid(f"a master key is exactly {_KEY_BYTES} random bytes")
    info = b"consent-broker key id v1"
    masters = {_derive(one, info, _KEY_ID_BYTES): one for one in (*previous, key)}
    return _Loaded(_derive(key, info, _KEY_ID_BYTES), masters)


def _derive(key: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=None, info=info).derive(key)
