"""Consent credentials as a member holds them: verified once, remembered by their hash.

A member keeps, with each row, the SHA-256 of its consent credential (`ConsentCache.key_of`). The
first round verifies every signature; later ones look it up. What changes from round to round, the
validity and the status, is looked at anew each time (`federation.gate`).
"""

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple, Self

from credentials.chain import TrustedChain
from credentials.errors import CredentialError
from credentials.model import VerifiedCredential
from credentials.status import StatusCheck
from credentials.verify import verify_credential
from federation.errors import Malformed

TRAIN: Final = "train"
_INDEX_BITS: Final = 36
MOST_INDEX: Final = 2**_INDEX_BITS - 1
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_THUMBPRINT: Final = re.compile(r"[A-Za-z0-9_-]{43}")


class Scope(NamedTuple):
    """What a consent allows, to whom and where. Few differ, so each is judged once a round.

    `territories` are those of processing; `limited` whether it allows a number of uses, which no
    round of training can be counted against.
    """

    purpose: str
    actions: frozenset[str]
    attributes: frozenset[str]
    recipients: frozenset[str]
    territories: frozenset[str] = frozenset()
    limited: bool = False


class Consent(NamedTuple):
    """What of a verified consent credential a round looks at. Times are Unix seconds.

    It holds from `valid_from` until before `valid_until`, which is no later than the certificates
    that vouch for its issuer; `scope` is a number of the cache, `status` the number of its list
    and its index there, as `place_of` puts them into one number.
    """

    id: str
    subject: str
    scope: int
    valid_from: int
    valid_until: int
    status: int


def place_of(status_list: int, index: int) -> int:
    """A place in any list as one number, so that a round looks it up at once."""
    return status_list << _INDEX_BITS | index


def index_of(place: int) -> tuple[int, int]:
    """The list and the index of a place."""
    return place >> _INDEX_BITS, place & MOST_INDEX


NOBODY: Final = Consent("", "", 0, 0, 0, 0)
"""Stands for a consent that is not known: it never holds."""


def lists_of(consents: Iterable[Consent], now: int) -> frozenset[int]:
    """The numbers of the lists in which the consents that have not expired have their places."""
    return frozenset(
        {consent.status >> _INDEX_BITS for consent in consents if now < consent.valid_until}
    )


@dataclass(frozen=True)
class ConsentIssuer:
    """Whose consents count: its certificates' anchors (DER), its `iss`, the type's `vct`.

    `refused` counts no more though a certificate vouches for it, since it was stolen: thumbprints
    of keys, and certificates by the SHA-256 (hex) of their DER.
    """

    anchors: tuple[bytes, ...]
    issuer: str
    vct: str
    refused: frozenset[str] = frozenset()

    def refuses(self, chain: TrustedChain | None) -> bool:
        """Whether what these certificates vouch for counts no more."""
        if chain is None or not self.refused:
            return False
        names = {chain.key.thumbprint(), hashlib.sha256(chain.leaf).hexdigest()}
        return not self.refused.isdisjoint(names)

    @classmethod
    def of_trust(cls, told: Mapping[str, Any], broker: str) -> Self:
        """The issuer at a broker's address, as `consent-broker trust export` tells of it.

        What it names as stolen is refused whole, earlier than the theft too: the broker issues such
        consents again. Raises `Malformed`.
        """
        try:
            roots = tuple(base64.b64decode(one, validate=True) for one in told["roots"])
            named = told.get("compromised", ())
            stolen = frozenset(one["certificate_sha256"] for one in named)
            keys = frozenset(one["key"] for one in named if "key" in one)
        except (KeyError, TypeError, ValueError, AttributeError):
            raise Malformed("it names no roots, or a stolen key unreadably") from None
        if not all(isinstance(one, str) and _SHA256.fullmatch(one) for one in stolen):
            raise Malformed("a stolen key's certificate_sha256 is 64 hexadecimal digits")
        if not all(isinstance(one, str) and _THUMBPRINT.fullmatch(one) for one in keys):
            raise Malformed("a stolen key's thumbprint is 43 characters of base64url")
        return cls(roots, broker, f"{broker}/vct/consent/1", stolen | keys)


class ConsentCache:
    """Verified consents by the hash of their credential.

    Belongs to one member and one issuer; not safe for changes from several threads. What it
    refuses it does not remember: a credential that is not yet valid may be so in a later round.
    """

    def __init__(self, issuer: ConsentIssuer) -> None:
        self.issuer = issuer
        self.consents: dict[bytes, Consent] = {}
        self.scopes: dict[Scope, int] = {}
        self.lists: dict[str, int] = {}
        self.highest_index = -1

    @staticmethod
    def key_of(credential: str) -> bytes:
        """The SHA-256 of a credential: what a row keeps to name its consent."""
        return hashlib.sha256(credential.encode("utf-8", "surrogatepass")).digest()

    def learn(
        self, credentials: Iterable[str], now: int, keys: Sequence[bytes] | None = None
    ) -> Counter[str]:
        """Verify the credentials that are new, remember those that hold.

        `keys` are theirs (`key_of`), where they are known: hashing is most of it for those that are
        not new.

        Gives the reasons of those that do not, counted by code: those of `credentials.errors`, and
        `key_refused` for a stolen key's, and `claims_unusable` for a credential that verifies and
        is no consent with a status. `now` is Unix seconds. The status is left to each round.
        """
        refused: Counter[str] = Counter()
        listed = list(credentials)
        known = map(self.key_of, listed) if keys is None else keys
        for credential, key in zip(listed, known, strict=True):
            if key in self.consents:
                continue
            try:
                verified = verify_credential(
                    credential,
                    anchors=self.issuer.anchors,
                    issuer=self.issuer.issuer,
                    vct=self.issuer.vct,
                    status=StatusCheck.BY_CALLER,
                    now=now,
                )
            except CredentialError as error:
                refused[error.code] += 1
                continue
            consent = self._read(verified)
            if self.issuer.refuses(verified.issuer_chain):
                refused["key_refused"] += 1
            elif consent is None:
                refused["claims_unusable"] += 1
            else:
                self.consents[key] = consent
                self.highest_index = max(self.highest_index, index_of(consent.status)[1])
        return refused

    def needed(self, rows: Iterable[bytes], now: int) -> tuple[str, ...]:
        """The addresses of the lists that a round over these rows pins, ascending."""
        found = (self.consents.get(key, NOBODY) for key in rows)
        uris = tuple(self.lists)
        return tuple(sorted(uris[number] for number in lists_of(found, now)))

    def forget(self, refused: Collection[str] = ()) -> None:
        """Forget every consent, so that each is verified anew: an issuer's key was stolen.

        `refused` are the stolen keys' thumbprints: what they signed, consents and status lists,
        counts no more, while their certificates still lead to the anchors.
        """
        self.issuer = replace(self.issuer, refused=self.issuer.refused.union(refused))
        self.consents.clear()

    def _read(self, verified: VerifiedCredential) -> Consent | None:
        claims, status = verified.claims, verified.status
        consent_id, subject, purpose = (
            claims.get(name) for name in ("consent_id", "sub", "purpose")
        )
        lists = [_texts(claims, name) for name in ("actions", "attributes", "recipients")]
        if (
            status is None
            or verified.expires_at is None
            or not isinstance(consent_id, str)
            or not isinstance(subject, str)
            or not isinstance(purpose, str)
            or not consent_id
            or not subject
            or any(one is None for one in lists)
            or status.index > MOST_INDEX
        ):
            return None
        actions, attributes, recipients = (one or frozenset() for one in lists)
        places = claims.get("territories")
        processing = _texts(places, "processing") if isinstance(places, dict) else None
        scope = Scope(
            purpose,
            actions,
            attributes,
            recipients,
            processing or frozenset(),
            limited=claims.get("max_uses") is not None,
        )
        not_before = claims.get("nbf")
        ends = [end for _, _, end in _validity(verified)]
        return Consent(
            consent_id,
            subject,
            self.scopes.setdefault(scope, len(self.scopes)),
            int(not_before) if isinstance(not_before, int | float) else 0,
            min([verified.expires_at, *ends]),
            place_of(self.lists.setdefault(status.uri, len(self.lists)), status.index),
        )


def _validity(verified: VerifiedCredential) -> Sequence[tuple[str, int, int]]:
    return () if verified.issuer_chain is None else verified.issuer_chain.validity


def _texts(claims: Mapping[str, Any], name: str) -> frozenset[str] | None:
    value = claims.get(name)
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        return None
    return frozenset(value)
