"""A recipient's signed word that it has deleted what it got under a consent.

The receipt is a compact JWS (RFC 7515) of type `deletion-receipt+jwt`, signed by the key that the
recipient is registered with. Its payload holds exactly these claims:

    iss         the recipient's client id
    aud         the broker's address for the tenant (the issuer of its tokens)
    iat         when it was signed, Unix seconds
    task        the deletion task
    consent     the consent of the task
    attributes  the canonical names that were deleted: those of the task
    deleted_at  when, Unix seconds
    method      how: one of `METHODS`

How it may evolve: a reader refuses claims that it does not know; new ones mean a new type.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from broker.domain.errors import ReceiptInvalid
from credentials.errors import CredentialError
from credentials.json_reader import read_json_object
from credentials.jws import PublicKey, Signer, parse_jws, sign_jws

RECEIPT_TYPE = "deletion-receipt+jwt"
LONGEST_RECEIPT = 8_192
CLOCK_SKEW = 60
METHODS = ("deleted", "anonymized", "key_destroyed", "never_received")
"""Erased; made anonymous for good; the only key to it destroyed; nothing had come."""
CLAIMS = frozenset({"iss", "aud", "iat", "task", "consent", "attributes", "deleted_at", "method"})


@dataclass(frozen=True)
class Asked:
    """What a receipt has to be about: a task, of whom, at which tenant's address."""

    task_id: str
    partner_id: str
    consent_id: str
    attributes: tuple[str, ...]
    audience: str
    created_at: int


@dataclass(frozen=True)
class Receipt:
    """A receipt that holds: when it was deleted (Unix seconds), and how."""

    deleted_at: int
    method: str


def sign_receipt(signer: Signer, asked: Asked, *, deleted_at: int, method: str, now: int) -> str:
    """The receipt of a recipient, signed by its registered key."""
    claims = {
        "iss": asked.partner_id,
        "aud": asked.audience,
        "iat": now,
        "task": asked.task_id,
        "consent": asked.consent_id,
        "attributes": list(asked.attributes),
        "deleted_at": deleted_at,
        "method": method,
    }
    return sign_jws(signer, {"typ": RECEIPT_TYPE}, claims)


def read_receipt(token: str, asked: Asked, key: Mapping[str, Any], now: int) -> Receipt:
    """Read a receipt strictly; raises `ReceiptInvalid` that names what is wrong.

    1. It is a compact JWS of the type and no longer than allowed, by the key's own algorithm.
    2. The signature verifies under the recipient's registered public key (`key`).
    3. The payload is a JSON object with exactly the claims of this module.
    4. Issuer, audience, task, consent and attributes are those that were asked for.
    5. It was signed after the task was there and not in the future; the deletion neither.
    """
    # 1. and 2.
    try:
        jws = parse_jws(token, typ=RECEIPT_TYPE, max_characters=LONGEST_RECEIPT)
        jws.verify(PublicKey(key))
        # 3.
        claims = read_json_object(jws.payload)
    except CredentialError as error:
        raise ReceiptInvalid(f"not a receipt by the registered key: {error}") from None
    if claims.keys() != CLAIMS:
        raise ReceiptInvalid(f"a receipt holds exactly these claims: {', '.join(sorted(CLAIMS))}")
    # 4.
    expected = {
        "iss": asked.partner_id,
        "aud": asked.audience,
        "task": asked.task_id,
        "consent": asked.consent_id,
    }
    for name, value in expected.items():
        if claims[name] != value:
            raise ReceiptInvalid(f"the receipt's {name} is not that of the task")
    _check_attributes(claims["attributes"], asked.attributes)
    # 5.
    signed_at, deleted_at = _time(claims, "iat"), _time(claims, "deleted_at")
    if not asked.created_at - CLOCK_SKEW <= signed_at <= now + CLOCK_SKEW:
        raise ReceiptInvalid("iat must lie between the creation of the task and now")
    if deleted_at > signed_at + CLOCK_SKEW:
        raise ReceiptInvalid("deleted_at lies after the signature: delete first, then sign")
    method = claims["method"]
    if method not in METHODS:
        raise ReceiptInvalid(f"method must be one of: {', '.join(METHODS)}")
    return Receipt(deleted_at, str(method))


def _check_attributes(told: object, asked: Collection[str]) -> None:
    if not isinstance(told, list) or not all(isinstance(name, str) for name in told):
        raise ReceiptInvalid("attributes must be a list of names")
    if len(set(told)) != len(told) or set(told) != set(asked):
        raise ReceiptInvalid("attributes must be those of the task, each once")


def _time(claims: Mapping[str, Any], name: str) -> int:
    value = claims[name]
    if type(value) is not int or not 0 < value <= 2**53:
        raise ReceiptInvalid(f"{name} must be a time in Unix seconds")
    return value
