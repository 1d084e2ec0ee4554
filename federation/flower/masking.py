"""What secure aggregation is made of: keys, masks, sealed shares, numbers in fixed point.

The protocol is that of Bonawitz et al., "Practical secure aggregation for privacy-preserving
machine learning", 2017, with signed keys, on the graph of all members. Each adds to its vector a
mask that it shares with each other member (one adds what the other subtracts), and one of its own.
Shares of both secrets are with the others, `threshold` of which give one of the two: the own mask
of who is in the sum, the shared ones of who is not. Nobody ever gets both.

    keys    X25519, one pair to seal shares and one for masks (`federation.secure_keys`)
    masks   AES-256 in counter mode under HKDF-SHA256 of campaign, stage, round, the two names and
            the model that a member was sent: of who was sent unlike ones no masks cancel
    shares  Shamir's, in GF(2^128), as Flower has them; sealed by AES-256-GCM
    sum     of numbers modulo 2^64, so a vector under one mask is uniform whatever it was

Flower's own SecAgg+ is not used: its masks come from a generator of 32 bits of seed.
"""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from federation.campaign import Campaign
from federation.errors import FederationError, MaskingFailed
from federation.secure_keys import Of

FRACTION: Final = 2**24
"""Numbers are whole ones of 2^-24."""
_ROOM: Final = 2**62
_NONCE_BYTES: Final = 12


class UpdateTooLarge(FederationError):
    """A number of an update is beyond what the masked sum has room for."""

    code = "update_too_large"


class WrongShares(MaskingFailed):
    """What one member sealed for another is no shares; `sender` is the first of them."""

    code = "wrong_shares"

    def __init__(self, sender: str) -> None:
        """Name the sender."""
        self.sender = sender
        super().__init__(f"what {sender} sealed does not open, or is no shares")


def threshold_of(campaign: Campaign, members: int) -> int:
    """How many members it takes to open a sum of which so many take part.

    The campaign's least number, and more than half: with fewer, two groups could be told two
    stories of who is in the sum, and one vector be opened by what both give.
    """
    return max(campaign.minimum_members, members // 2 + 1)


def public_of(private: bytes) -> bytes:
    """The public key of a private one."""
    return X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()


def new_private() -> bytes:
    """A new private key, 32 bytes."""
    return X25519PrivateKey.generate().private_bytes_raw()


def shared(private: bytes, public: bytes, context: bytes) -> bytes:
    """The key of 32 bytes that two members share, bound to a context. Raises `MaskingFailed`."""
    try:
        secret = X25519PrivateKey.from_private_bytes(private).exchange(
            X25519PublicKey.from_public_bytes(public)
        )
    except ValueError:
        raise MaskingFailed("a public key is no point, or one of small order") from None
    return HKDF(hashes.SHA256(), 32, None, context).derive(secret)


def sealed(key: bytes, data: bytes) -> bytes:
    """Data under a key."""
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, data, None)


def unsealed(key: bytes, data: bytes) -> bytes:
    """What `sealed` was given. Raises `MaskingFailed`."""
    try:
        return AESGCM(key).decrypt(data[:_NONCE_BYTES], data[_NONCE_BYTES:], None)
    except (InvalidTag, ValueError):
        raise MaskingFailed("a sealed share was changed, or is for another") from None


def mask(key: bytes, size: int) -> Any:  # noqa: ANN401 (an array)
    """So many numbers (uint64) from a key that is used for nothing else."""
    stream = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
    return np.frombuffer(stream.update(bytes(8 * size)), "<u8")


@dataclass(frozen=True)
class Shape:
    """What the masks of one vector are made for: the round, the model begun with, its numbers.

    `begun` is the hash of the model as the member was sent it. The same mask is made only by those
    who were sent the same: a coordinator that sends one member another model, so that the others'
    updates are known to it beforehand, gets a sum of which no masks cancel.
    """

    of: Of
    begun: str
    size: int


def own_mask(seed: bytes, shape: Shape) -> Any:  # noqa: ANN401
    """The mask of one member alone."""
    return mask(HKDF(hashes.SHA256(), 32, None, shape.of.context("own")).derive(seed), shape.size)


def mask_with(private: bytes, me: str, other: str, public: bytes, shape: Shape) -> Any:  # noqa: ANN401
    """The mask that two members share, with the sign that it has for the first."""
    lower, upper = sorted((me, other))
    key = shared(private, public, shape.of.context("mask", lower, upper, shape.begun))
    found = mask(key, shape.size)
    return found if me == lower else np.zeros(shape.size, np.uint64) - found


def seal_key(private: bytes, sender: str, receiver: str, public: bytes, of: Of) -> bytes:
    """The key of what one member seals for another in a round: it seals one thing."""
    return shared(private, public, of.context("seal", sender, receiver))


def commitment(seed: bytes) -> bytes:
    """By which a seed is known again when it comes out of shares."""
    return hashlib.sha256(b"secure aggregation seed\n" + seed).digest()


def in_fixed_point(vector: Any, weight: int, members: int) -> Any:  # noqa: ANN401
    """A vector times its weight, as numbers modulo 2^64. Raises `UpdateTooLarge`."""
    largest = float(np.abs(vector).max(initial=0.0))
    if not (largest * FRACTION + 1) * weight * members < _ROOM:
        raise UpdateTooLarge(
            f"a number of the update is beyond {_ROOM / FRACTION / weight / members:g}, and the "
            "masked sum has no room for it"
        )
    return (np.rint(vector * FRACTION).astype(np.int64) * weight).astype(np.uint64)


def mean_of(total: Any, weight: int) -> Any:  # noqa: ANN401
    """The weighted mean (float64) that a sum in fixed point stands for."""
    return total.astype(np.int64).astype(np.float64) / FRACTION / weight
