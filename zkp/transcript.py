"""Fiat-Shamir: everything that a challenge depends on, each part behind its length.

    absorbed = u64(length of label) || label || u64(length of data) || data, for each part
    challenge = hash_to_scalar(absorbed, tag), and it is absorbed too

No boundary between two parts can be moved without changing the bytes that are hashed, and a
challenge depends on all that was absorbed before it, earlier challenges included.
"""

from collections.abc import Iterable

from zkp.curve import Scalar, hash_to_scalar

TAG = b"CONSENT-BROKER-ZKP-V1_BLS12381G1_XMD:SHA-256_TRANSCRIPT_"


class Transcript:
    """What prover and verifier have said so far."""

    def __init__(self, protocol: bytes) -> None:
        """Begin; `protocol` names the protocol and its version."""
        self._absorbed = bytearray()
        self.add(b"protocol", protocol)

    def add(self, label: bytes, data: bytes) -> None:
        """Absorb a part."""
        self._absorbed += len(label).to_bytes(8) + label + len(data).to_bytes(8) + data

    def add_scalars(self, label: bytes, scalars: Iterable[Scalar]) -> None:
        """Absorb scalars, 32 bytes each."""
        self.add(label, b"".join(bytes(scalar.to_be_bytes()) for scalar in scalars))

    def challenge(self, label: bytes) -> Scalar:
        """A scalar that depends on everything absorbed; it is absorbed itself."""
        self.add(label, b"")
        drawn = hash_to_scalar(bytes(self._absorbed), TAG)
        self.add_scalars(b"challenge", [drawn])
        return drawn
