"""C2SP signed notes: text signed by one or more keys, and the text forms of those keys.

A note is UTF-8 text that ends in a newline, a blank line, and one line per signature:
`— <key name> base64(key ID || signature)`. A key is its name, its ID and its type: Ed25519 over
the text (type 0x01) stands here, the witness types in `cosignature.py`; a further type is one more
class with `name`, `key_id` and `verify` or `sign`. Signatures of unknown keys are ignored, so a
log may add some without harm to readers. Source: https://c2sp.org/signed-note.
"""

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from broker.domain.errors import MalformedNote, UnverifiedNote
from credentials.jcs import b64url_decode
from credentials.jws import Signer

ED25519 = 0x01
ED25519_KEY_BYTES = 32

LARGEST_NOTE = 262_144
MOST_SIGNATURES = 64  # verifiers must take 16; an ML-DSA-44 signature line is 3.3 kB

_KEY_ID_BYTES = 4
_DASH = "— "
_VERIFIER_KEY = re.compile(r"(?P<name>[^+]+)\+(?P<id>[0-9a-f]{8})\+(?P<key>[A-Za-z0-9+/]+=*)")
_SIGNER_PREFIX = "PRIVATE+KEY+"


class NoteVerifier(Protocol):
    """A key that a reader trusts."""

    @property
    def name(self) -> str:
        """The key's name, a URL without scheme by custom."""

    @property
    def key_id(self) -> int:
        """The 32-bit key ID."""

    def verify(self, text: str, signature: bytes) -> None:
        """Check `signature` over the note text; raises `UnverifiedNote`."""


class NoteSigner(Protocol):
    """A key that signs notes."""

    @property
    def name(self) -> str:
        """The key's name."""

    @property
    def key_id(self) -> int:
        """The 32-bit key ID."""

    def sign(self, text: str) -> bytes:
        """The signature over the note text, without the key ID."""


@dataclass(frozen=True)
class VerifierKey:
    """The text form of a public key: `<name>+<hex key ID>+base64(type || public key)`."""

    name: str
    type: int
    public_key: bytes

    def __post_init__(self) -> None:
        check_key_name(self.name)

    @property
    def key_id(self) -> int:
        """SHA-256(name || 0x0A || type || public key), its first 4 bytes."""
        preimage = self.name.encode() + b"\n" + bytes([self.type]) + self.public_key
        return int.from_bytes(sha256(preimage).digest()[:_KEY_ID_BYTES], "big")

    def encode(self) -> str:
        """The text form."""
        key = base64.b64encode(bytes([self.type]) + self.public_key).decode()
        return f"{self.name}+{self.key_id:08x}+{key}"

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        """Read the text form. Raises `MalformedNote`, also when the key ID is not the key's own."""
        match = _VERIFIER_KEY.fullmatch(text)
        if match is None:
            raise MalformedNote("a verifier key is <name>+<8 hex digits>+<base64>")
        material = decode_base64(match["key"])
        key = cls(match["name"], material[0], material[1:])
        if f"{key.key_id:08x}" != match["id"]:
            raise MalformedNote("the verifier key's ID does not belong to its name and key")
        return key


@dataclass(frozen=True)
class Ed25519Verifier:
    """An Ed25519 key that a reader trusts (type 0x01)."""

    key: VerifierKey

    def __post_init__(self) -> None:
        if self.key.type != ED25519 or len(self.key.public_key) != ED25519_KEY_BYTES:
            raise MalformedNote("an Ed25519 verifier key has type 1 and 32 bytes")

    @property
    def name(self) -> str:
        """The key's name."""
        return self.key.name

    @property
    def key_id(self) -> int:
        """The 32-bit key ID."""
        return self.key.key_id

    def verify(self, text: str, signature: bytes) -> None:
        """Check an Ed25519 signature (RFC 8032) over the text; raises `UnverifiedNote`."""
        verify_ed25519(self.key, signature, text.encode())


@dataclass(frozen=True)
class Ed25519Signer:
    """A log's signing key: its public half, and whatever signs with the private one (type 0x01)."""

    name: str
    public_key: bytes
    sign_bytes: Callable[[bytes], bytes]

    @classmethod
    def from_seed(cls, name: str, seed: bytes) -> "Ed25519Signer":
        """The key with this 32-byte private seed."""
        if len(seed) != ED25519_KEY_BYTES:
            raise MalformedNote("an Ed25519 seed has 32 bytes")
        private = Ed25519PrivateKey.from_private_bytes(seed)
        return cls(name, private.public_key().public_bytes_raw(), private.sign)

    @classmethod
    def from_key(cls, name: str, key: Signer) -> "Ed25519Signer":
        """A key of the broker's own under a note's name. Raises `MalformedNote` unless Ed25519."""
        jwk = key.public_jwk()
        if key.alg != "Ed25519" or jwk.get("crv") != "Ed25519":
            raise MalformedNote("a log's key is an Ed25519 key")
        return cls(name, b64url_decode(jwk["x"]), key.sign)

    @property
    def verifier_key(self) -> VerifierKey:
        """What readers are to trust."""
        return VerifierKey(self.name, ED25519, self.public_key)

    @property
    def key_id(self) -> int:
        """The 32-bit key ID."""
        return self.verifier_key.key_id

    def sign(self, text: str) -> bytes:
        """The Ed25519 signature (RFC 8032) over the text."""
        return self.sign_bytes(text.encode())


def encode_signer_key(name: str, seed: bytes) -> str:
    """The private key as Go's sumdb/note writes it: `PRIVATE+KEY+<name>+<hex ID>+<base64>`."""
    signer = Ed25519Signer.from_seed(name, seed)
    key = base64.b64encode(bytes([ED25519]) + seed).decode()
    return f"{_SIGNER_PREFIX}{name}+{signer.key_id:08x}+{key}"


def parse_signer_key(text: str) -> Ed25519Signer:
    """Read `encode_signer_key`'s form. Raises `MalformedNote`, whose message has no secret."""
    match = _VERIFIER_KEY.fullmatch(text.removeprefix(_SIGNER_PREFIX))
    if match is None or not text.startswith(_SIGNER_PREFIX):
        raise MalformedNote("a signer key is PRIVATE+KEY+<name>+<8 hex digits>+<base64>")
    material = decode_base64(match["key"])
    if material[0] != ED25519:
        raise MalformedNote("only Ed25519 signer keys (type 1) are known")
    signer = Ed25519Signer.from_seed(match["name"], material[1:])
    if f"{signer.key_id:08x}" != match["id"]:
        raise MalformedNote("the signer key's ID does not belong to its name and key")
    return signer


@dataclass(frozen=True)
class NoteSignature:
    """One signature line: whose it says that it is, and the bytes after the key ID."""

    name: str
    key_id: int
    signature: bytes

    def encode(self) -> str:
        """The line, with its newline."""
        blob = self.key_id.to_bytes(_KEY_ID_BYTES, "big") + self.signature
        return f"{_DASH}{self.name} {base64.b64encode(blob).decode()}\n"


@dataclass(frozen=True)
class Note:
    """A note as read: nothing in it may be believed before `verify_note`."""

    text: str
    signatures: tuple[NoteSignature, ...]

    def encode(self) -> str:
        """The whole note."""
        return self.text + "\n" + "".join(line.encode() for line in self.signatures)


def parse_note(data: bytes | str) -> Note:
    """Read a note. Raises `MalformedNote`."""
    if len(data) > LARGEST_NOTE:
        raise MalformedNote(f"a note has at most {LARGEST_NOTE} bytes")
    try:
        text = data.decode() if isinstance(data, bytes) else data
        text.encode()
    except UnicodeError:
        raise MalformedNote("a note is UTF-8 text") from None
    if any(character < " " and character != "\n" for character in text):
        raise MalformedNote("a note holds no control characters but newlines")
    # The last blank line separates: the text itself may hold blank lines.
    body, blank, tail = text.rpartition("\n\n")
    if not blank or not tail.endswith("\n"):
        raise MalformedNote("a note is text, a blank line, and signature lines")
    lines = tail[:-1].split("\n")
    if len(lines) > MOST_SIGNATURES:
        raise MalformedNote(f"a note has at most {MOST_SIGNATURES} signatures")
    return Note(body + "\n", tuple(_parse_signature(line) for line in lines))


def sign_note(text: str, signers: Sequence[NoteSigner]) -> str:
    """The note over `text` (which ends in a newline), signed by each signer in order.

    Raises `MalformedNote` for a text that cannot be a note's, or when nobody signs.
    """
    if not signers:
        raise MalformedNote("a note needs a signer")
    lines = (NoteSignature(key.name, key.key_id, key.sign(text)) for key in signers)
    note = Note(text, tuple(lines)).encode()
    if parse_note(note).text != text:
        raise MalformedNote("a note's text ends in one newline")
    return note


def verify_note(note: Note, verifiers: Sequence[NoteVerifier]) -> tuple[NoteSignature, ...]:
    """The signatures of trusted keys, all of them checked; at least one.

    Raises `UnverifiedNote` when a trusted key's signature is wrong, or none is there.
    """
    trusted = {(key.name, key.key_id): key for key in verifiers}
    verified: list[NoteSignature] = []
    for line in note.signatures:
        key = trusted.get((line.name, line.key_id))
        if key is not None:
            key.verify(note.text, line.signature)
            verified.append(line)
    if not verified:
        raise _of_no_trusted_key(note, verifiers)
    return tuple(verified)


def signer_of(note: Note, verifiers: Sequence[NoteVerifier]) -> NoteVerifier:
    """The first of `verifiers` that a signature line names; its signature is not checked yet.

    Raises `UnverifiedNote` when no line names one of them.
    """
    lines = {(line.name, line.key_id) for line in note.signatures}
    for key in verifiers:
        if (key.name, key.key_id) in lines:
            return key
    raise _of_no_trusted_key(note, verifiers)


def _of_no_trusted_key(note: Note, verifiers: Sequence[NoteVerifier]) -> UnverifiedNote:
    names = {key.name for key in verifiers}
    others = [f"{line.name} ({line.key_id:08x})" for line in note.signatures if line.name in names]
    if others:
        return UnverifiedNote(
            f"signed by {', '.join(others)}, a key of this log that is not trusted here: the log's "
            "key was rotated, or this is not its key; get the operator's newest trust file"
        )
    return UnverifiedNote("no trusted key has signed the note: is this the right log's key?")


def check_key_name(name: str) -> None:
    """Raise `MalformedNote` unless `name` may stand in a signature line."""
    if not name or "+" in name or any(sign.isspace() or sign < " " for sign in name):
        raise MalformedNote("a key name is not empty and has no spaces and no plus sign")
    if any("\ud800" <= sign <= "\udfff" for sign in name):
        raise MalformedNote("a key name is UTF-8")


def verify_ed25519(key: VerifierKey, signature: bytes, message: bytes) -> None:
    """Check an Ed25519 signature of `key` over `message`; raises `UnverifiedNote`."""
    try:
        Ed25519PublicKey.from_public_bytes(key.public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise UnverifiedNote(f"the signature of {key.name} is not of this text") from None


def decode_base64(text: str) -> bytes:
    """Standard base64 with padding, in its one canonical spelling; at least one byte.

    Raises `MalformedNote`.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise MalformedNote("this is not base64") from None
    if not data or base64.b64encode(data).decode() != text:
        raise MalformedNote("this is not base64 in its canonical form")
    return data


def _parse_signature(line: str) -> NoteSignature:
    name, space, blob = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space:
        raise MalformedNote("a signature line is an em dash, the key's name and base64")
    check_key_name(name)
    data = decode_base64(blob)
    if len(data) <= _KEY_ID_BYTES:
        raise MalformedNote("a signature has 4 bytes of key ID and at least one of its own")
    return NoteSignature(name, int.from_bytes(data[:_KEY_ID_BYTES], "big"), data[_KEY_ID_BYTES:])
