"""C2SP tlog-cosignature: witnesses' signatures on a checkpoint, with the time they saw it.

Type 0x04 is Ed25519 over a time line and the note text; type 0x06 is ML-DSA-44 over a structure
that also names the witness and stays safe against quantum computers. A log may sign its own
checkpoints with either beside its Ed25519 signature. Source: https://c2sp.org/tlog-cosignature.
"""

from collections.abc import Callable
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey

from broker.domain.checkpoint import Checkpoint
from broker.domain.errors import MalformedNote, UnverifiedNote
from broker.domain.note import (
    ED25519,
    ED25519_KEY_BYTES,
    Ed25519Verifier,
    NoteVerifier,
    VerifierKey,
    verify_ed25519,
)

ED25519_COSIGNATURE = 0x04
ML_DSA_44_COSIGNATURE = 0x06
ML_DSA_44_KEY_BYTES = 1312

_TIME_BYTES = 8
_LATEST_TIME = 2**63 - 1
_LONGEST_NAME = 255


def verifier(text: str) -> NoteVerifier:
    """The verifier that a verifier key's text form stands for, of any type that is known here.

    Raises `MalformedNote`.
    """
    key = VerifierKey.parse(text)
    if key.type == ED25519:
        return Ed25519Verifier(key)
    return Cosigner(key)


@dataclass(frozen=True)
class Cosigner:
    """A witness that a reader trusts (type 0x04 or 0x06)."""

    key: VerifierKey

    def __post_init__(self) -> None:
        lengths = {
            ED25519_COSIGNATURE: ED25519_KEY_BYTES,
            ML_DSA_44_COSIGNATURE: ML_DSA_44_KEY_BYTES,
        }
        if lengths.get(self.key.type) != len(self.key.public_key):
            raise MalformedNote("a witness key has type 4 and 32 bytes, or type 6 and 1312 bytes")

    @property
    def name(self) -> str:
        """The witness's name."""
        return self.key.name

    @property
    def key_id(self) -> int:
        """The 32-bit key ID."""
        return self.key.key_id

    def verify(self, text: str, signature: bytes) -> None:
        """Check a timestamped signature over a checkpoint's text; raises `UnverifiedNote`."""
        time = cosigned_at(signature)
        message = cosigned_message(self.key, text, time)
        if self.key.type == ED25519_COSIGNATURE:
            verify_ed25519(self.key, signature[_TIME_BYTES:], message)
            return
        try:
            MLDSA44PublicKey.from_public_bytes(self.key.public_key).verify(
                signature[_TIME_BYTES:], message
            )
        except (InvalidSignature, ValueError):
            raise UnverifiedNote(f"the cosignature of {self.name} is not of this text") from None


@dataclass(frozen=True)
class CosignatureSigner:
    """A witness's key at one moment: `time` is when it saw the checkpoint, in Unix seconds."""

    key: VerifierKey
    sign_bytes: Callable[[bytes], bytes]
    time: int

    @property
    def name(self) -> str:
        """The witness's name."""
        return self.key.name

    @property
    def key_id(self) -> int:
        """The 32-bit key ID."""
        return self.key.key_id

    def sign(self, text: str) -> bytes:
        """The timestamped signature over the checkpoint's text."""
        message = cosigned_message(self.key, text, self.time)
        return self.time.to_bytes(_TIME_BYTES, "big") + self.sign_bytes(message)


def cosigned_at(signature: bytes) -> int:
    """When a cosignature says that it was made, in Unix seconds. Raises `UnverifiedNote`."""
    time = int.from_bytes(signature[:_TIME_BYTES], "big")
    if len(signature) <= _TIME_BYTES or time > _LATEST_TIME:
        raise UnverifiedNote("a cosignature is a time before 2^63 and a signature")
    return time


def cosigned_message(key: VerifierKey, text: str, time: int) -> bytes:
    """The bytes that a witness signs: `cosignature/v1` for Ed25519, `subtree/v1` for ML-DSA-44.

    Raises `MalformedCheckpoint` when `text` is not a checkpoint's.
    """
    checkpoint = Checkpoint.parse(text)
    if key.type == ED25519_COSIGNATURE:
        return f"cosignature/v1\ntime {time}\n{text}".encode()
    name, origin = key.name.encode(), checkpoint.origin.encode()
    if max(len(name), len(origin)) > _LONGEST_NAME:
        raise MalformedNote("a cosigned name or origin has at most 255 bytes")
    # struct cosigned_message: the whole tree is the subtree from 0 to its size.
    return b"".join(
        (
            b"subtree/v1\n\x00",
            bytes([len(name)]) + name,
            time.to_bytes(8, "big"),
            bytes([len(origin)]) + origin,
            (0).to_bytes(8, "big"),
            checkpoint.size.to_bytes(8, "big"),
            checkpoint.root,
        )
    )
