"""The receipt of one round by one member: what it says it trained on, signed by its key.

It is evidence of a claim and no proof of training: a member can train on more than its receipt
covers, or on nothing. What it cannot do later is claim otherwise: an auditor asks for one consent
in one round, and gets a proof that it is among the leaves or that it is not. Leaves are its claim
too: whoever owes the truth about a customer compares them with other records.

One member gives one receipt a round: whoever receives them keeps the first for (campaign, stage,
round, member) and refuses another, since two claims about one round are none.

A compact JWS (RFC 7515) of type `training-receipt+jwt`, `kid` the thumbprint of the member's key:

    iss         the member
    iat         when it was signed, Unix seconds
    campaign    the campaign's hash
    stage       of the rollout: `pilot` and `consortium` count their rounds each
    round       from 1
    model_in    hash of the model that the round began with, base64url SHA-256
    model_out   hash of what the member gave back
    lists       the status lists that the gate used: address, hash of the token, when it was issued
    bucket      the number of consents, rounded up to a bucket (`presence.bucket_of`)
    root        root over the leaves (`federation.presence`), of `bucket` leaves and two sentinels

How it may evolve: a reader refuses claims that it does not know; new ones mean a new type.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from credentials.errors import CredentialError
from credentials.jws import PublicKey, Signer, parse_jws, sign_jws
from credentials.keys import thumbprint
from credentials.merkle import leaf_hash, root_of
from federation import reading
from federation.errors import LeavesDiffer, Malformed, ReceiptForged, ReceiptMismatch
from federation.presence import (
    LARGEST_BUCKET,
    LEAF_BYTES,
    SENTINELS,
    CampaignSalt,
    PresenceProof,
    PresenceTree,
    Shows,
    bucket_of,
    leaf_of,
    read_leaves,
)
from federation.rollout import STAGES

RECEIPT_TYPE: Final = "training-receipt+jwt"
LARGEST_RECEIPT: Final = 131_072
MOST_LISTS: Final = 256
LONGEST_ADDRESS: Final = 2_048
LATEST: Final = 2**53 - 1
CLAIMS: Final = frozenset(
    {"iss", "iat", "campaign", "stage", "round", "model_in", "model_out", "lists", "bucket", "root"}
)
_LIST: Final = frozenset({"uri", "hash", "iat"})


@dataclass(frozen=True)
class UsedList:
    """A status list as the gate used it: address, SHA-256 of its token (base64url), its `iat`."""

    uri: str
    hash: str
    issued_at: int


@dataclass(frozen=True)
class Receipt:
    """What a member says of a round. Read from its signed form by `read_receipt` alone."""

    member: str
    signed_at: int
    campaign: str
    stage: str
    round: int
    model_in: str
    model_out: str
    lists: tuple[UsedList, ...]
    bucket: int
    root: bytes

    @property
    def size(self) -> int:
        """How many leaves its tree has."""
        return self.bucket + SENTINELS

    def to_json(self) -> dict[str, Any]:
        """The claims of the module."""
        return {
            "iss": self.member,
            "iat": self.signed_at,
            "campaign": self.campaign,
            "stage": self.stage,
            "round": self.round,
            "model_in": self.model_in,
            "model_out": self.model_out,
            "lists": [
                {"uri": one.uri, "hash": one.hash, "iat": one.issued_at} for one in self.lists
            ],
            "bucket": self.bucket,
            "root": reading.encoded(self.root),
        }


@dataclass(frozen=True)
class Asked:
    """What a receipt must be of; None where the one who asks cannot know it."""

    campaign: str
    stage: str
    round: int
    member: str
    model_in: str | None = None
    model_out: str | None = None


def sign_receipt(signer: Signer, receipt: Receipt) -> str:
    """The receipt as the member sends it."""
    header = {"typ": RECEIPT_TYPE, "kid": thumbprint(signer.public_jwk())}
    return sign_jws(signer, header, receipt.to_json())


def read_receipt(token: str, key: Mapping[str, Any] | PublicKey, asked: Asked) -> Receipt:
    """Read a receipt strictly, and check whose it is and of what.

    1. It is a compact JWS of the type, within its size.
    2. `kid` is the thumbprint of the member's registered public key (`key`, a JWK or one that is
       loaded), and the signature verifies under that.
    3. The claims are exactly those of the module, each of its form.
    4. They are of the campaign, stage, round, member and models asked about.

    Raises `ReceiptForged`, `Malformed`, `TooLarge`, `ReceiptMismatch`.
    """
    # 1. and 2.
    try:
        jws = parse_jws(token, typ=RECEIPT_TYPE, max_characters=LARGEST_RECEIPT)
        registered = key if isinstance(key, PublicKey) else PublicKey(key)
        if jws.header.get("kid") != registered.thumbprint():
            raise ReceiptForged("the receipt names another key than the member's registered one")
        jws.verify(registered)
    except CredentialError as error:
        raise ReceiptForged(f"not a receipt by the member's registered key: {error}") from None
    # 3.
    receipt = _receipt(reading.json_object(jws.payload, largest=LARGEST_RECEIPT))
    # 4.
    for what, given, wanted in (
        ("campaign", receipt.campaign, asked.campaign),
        ("stage", receipt.stage, asked.stage),
        ("round", receipt.round, asked.round),
        ("member", receipt.member, asked.member),
        ("model_in", receipt.model_in, asked.model_in),
        ("model_out", receipt.model_out, asked.model_out),
    ):
        if wanted is not None and given != wanted:
            raise ReceiptMismatch(f"the receipt is of another {what}")
    return receipt


def check_leaves(receipt: Receipt, data: bytes) -> PresenceTree:
    """Check that leaves, as bytes one after the other, are those that a receipt's root covers.

    Raises what `read_leaves` raises, and `LeavesDiffer`.
    """
    # Before anything is built of them: 24 bytes of claims must not cost 2^24 leaves of memory.
    if len(data) != receipt.size * LEAF_BYTES:
        raise LeavesDiffer(
            f"the receipt covers {receipt.size} leaves of {LEAF_BYTES} bytes; these are "
            f"{len(data)} bytes"
        )
    tree = PresenceTree(read_leaves(data))
    if tree.root() != receipt.root:
        raise LeavesDiffer("the leaves do not lead to the receipt's root")
    return tree


def leaf_in(receipt: Receipt, salt: CampaignSalt, consent_id: str) -> bytes:
    """The leaf that a consent has in a receipt's round. Raises `ReceiptMismatch`."""
    if receipt.campaign != salt.signed.campaign_hash:
        raise ReceiptMismatch("the receipt is of another campaign than the salt")
    return leaf_of(salt.key(receipt.stage, receipt.round, receipt.member), consent_id)


def check_presence(receipt: Receipt, salt: CampaignSalt, consent_id: str, proof: bytes) -> Shows:
    """Check a proof about one consent in one round, offline: "included" or "absent".

    Raises `Malformed`, `TooLarge`, `ReceiptMismatch`, `ProofFails`.
    """
    read = PresenceProof.parse(proof)
    return read.check(leaf_in(receipt, salt, consent_id), receipt.size, receipt.root)


def receipts_root(tokens: Mapping[str, str]) -> bytes:
    """The root over a round's receipts, one a member: `tokens` that `read_receipt` took, by member.

    RFC 9162 over the SHA-256 of each signing input, ascending: an ECDSA signature has a second
    spelling, and what it signs has none.
    """
    signed = [token.rpartition(".")[0] for token in tokens.values()]
    hashes = sorted(hashlib.sha256(one.encode()).digest() for one in signed)
    return root_of([leaf_hash(one) for one in hashes])


def _receipt(claims: Mapping[str, Any]) -> Receipt:
    reading.members(claims, "a receipt", CLAIMS)
    bucket = reading.whole(claims, "bucket", 0, LARGEST_BUCKET)
    if bucket_of(bucket) != bucket:
        raise Malformed("bucket is no bucket: 0, or a power of two from 64")
    lists = tuple(_list(one) for one in reading.items(claims, "lists", MOST_LISTS))
    if [one.uri for one in lists] != sorted({one.uri for one in lists}):
        raise Malformed("lists names each address once, in ascending order")
    return Receipt(
        member=reading.name(claims, "iss"),
        signed_at=reading.whole(claims, "iat", 0, LATEST),
        campaign=reading.digest(claims, "campaign"),
        stage=reading.choice(claims, "stage", STAGES),
        round=reading.whole(claims, "round", 1, LATEST),
        model_in=reading.digest(claims, "model_in"),
        model_out=reading.digest(claims, "model_out"),
        lists=lists,
        bucket=bucket,
        root=reading.hash_bytes(claims["root"], "root"),
    )


def _list(value: object) -> UsedList:
    source = reading.members(value, "a list", _LIST)
    uri = source["uri"]
    if not isinstance(uri, str) or not 0 < len(uri) <= LONGEST_ADDRESS or not uri.isascii():
        raise Malformed(f"uri is 1 to {LONGEST_ADDRESS} ASCII characters")
    return UsedList(uri, reading.digest(source, "hash"), reading.whole(source, "iat", 0, LATEST))
