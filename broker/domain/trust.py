"""The trust file: by which roots and log keys evidence is judged. Never from a bundle.

How it evolves: `schema` counts up, and a file says the lowest schema that can say what it holds,
so that older verifiers read it for as long as they can judge by it.

1. `roots`, `logs`, `timestamps`.
2. `retired_logs`: log keys that were rotated out, each with the largest tree it signed.
   `compromised`: certificates whose key somebody else may hold, each with since when, and how many
   entries the log had then: what is in the log below that was there before.
"""

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from broker.domain.checkpoint import Checkpoint
from broker.domain.errors import InvalidTrust, MalformedNote, UnverifiedNote
from broker.domain.note import Ed25519Verifier, NoteVerifier, VerifierKey
from credentials.certificate import key_of, read_certificate
from credentials.errors import CredentialError
from credentials.json_reader import read_json_object

SCHEMA = "urn:consent-broker:trust:1"
ROTATED_SCHEMA = "urn:consent-broker:trust:2"
LARGEST = 1_048_576

_SHA256 = re.compile(r"[0-9a-f]{64}")
_THUMBPRINT = re.compile(r"[A-Za-z0-9_-]{43}")
_LARGEST_NUMBER = 2**63 - 1


@dataclass(frozen=True)
class RetiredLogKey:
    """A log key that was rotated out: its word counts for trees of at most `until_size` leaves."""

    key: VerifierKey
    until_size: int


@dataclass(frozen=True)
class CompromisedKey:
    """A certificate (SHA-256 of its DER, hex) whose key (RFC 7638) somebody else may hold.

    Since `since` (Unix seconds), when the log had `log_size` entries.
    """

    certificate: str
    since: int
    log_size: int
    key: str | None = None

    def is_of(self, leaf: bytes) -> bool:
        """Whether a certificate (DER) that was read before is this one, or another of its key."""
        if self.certificate == hashlib.sha256(leaf).hexdigest():
            return True
        return self.key is not None and self.key == key_of(leaf)


@dataclass(frozen=True)
class RetiredVerifier:
    """Verifies what a retired log key signed while it was the log's."""

    retired: RetiredLogKey

    @property
    def name(self) -> str:
        """The key's name."""
        return self.retired.key.name

    @property
    def key_id(self) -> int:
        """The 32-bit key ID."""
        return self.retired.key.key_id

    def verify(self, text: str, signature: bytes) -> None:
        """Check a checkpoint's signature and size. Raises `UnverifiedNote`, `LogError`."""
        Ed25519Verifier(self.retired.key).verify(text, signature)
        size = Checkpoint.parse(text).size
        if size > self.retired.until_size:
            raise UnverifiedNote(
                f"signed by a key of {self.name} that was retired at {self.retired.until_size} "
                f"entries, over {size}"
            )


@dataclass(frozen=True)
class Trust:
    """Whom to trust.

    `roots` are DER certificates, `logs` C2SP verifier keys that may sign checkpoints, `timestamps`
    the DER roots of timestamping authorities (may be none: timestamps are then not judged).
    """

    roots: tuple[bytes, ...]
    logs: tuple[VerifierKey, ...]
    timestamps: tuple[bytes, ...] = ()
    retired_logs: tuple[RetiredLogKey, ...] = ()
    compromised: tuple[CompromisedKey, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The trust file as a JSON object."""
        value: dict[str, Any] = {
            "schema": SCHEMA,
            "roots": [base64.b64encode(root).decode() for root in self.roots],
            "logs": [key.encode() for key in self.logs],
            "timestamps": [base64.b64encode(root).decode() for root in self.timestamps],
        }
        if self.retired_logs or self.compromised:
            value |= {
                "schema": ROTATED_SCHEMA,
                "retired_logs": [
                    {"key": retired.key.encode(), "until_size": retired.until_size}
                    for retired in self.retired_logs
                ],
                "compromised": [
                    {
                        "certificate_sha256": key.certificate,
                        "since": key.since,
                        "log_size": key.log_size,
                        **({} if key.key is None else {"key": key.key}),
                    }
                    for key in self.compromised
                ],
            }
        return value

    def verifiers(self) -> Sequence[NoteVerifier]:
        """The log keys, ready to verify: those that sign now before the retired ones."""
        return [
            *(Ed25519Verifier(key) for key in self.logs),
            *(RetiredVerifier(retired) for retired in self.retired_logs),
        ]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read a trust file's object; raises `InvalidTrust`. At least one root and one log key."""
        schema = value.get("schema")
        # In a tuple: whatever stands there can be compared, not all of it be looked up in a set.
        if schema not in (SCHEMA, ROTATED_SCHEMA):
            raise InvalidTrust(
                "this is not a trust file of consent-broker trust export, or one of a newer "
                "version: this one reads urn:consent-broker:trust:1 and 2"
            )
        if schema == SCHEMA and value.keys() & {"retired_logs", "compromised"}:
            raise InvalidTrust(
                "retired and stolen keys stand in a trust file of urn:consent-broker:trust:2; this "
                "one says that it is an older one and would be read without them"
            )
        try:
            ders = _certificates(value.get("roots"))
            authorities = _certificates(value.get("timestamps", []))
            keys = tuple(VerifierKey.parse(key) for key in _list(value.get("logs")))
            for key in keys:
                Ed25519Verifier(key)
            retired: tuple[RetiredLogKey, ...] = ()
            compromised: tuple[CompromisedKey, ...] = ()
            if schema == ROTATED_SCHEMA:
                retired = tuple(_retired(one) for one in _list(value.get("retired_logs")))
                compromised = tuple(_compromised(one) for one in _list(value.get("compromised")))
        except (
            TypeError,
            ValueError,
            AttributeError,
            KeyError,
            CredentialError,
            MalformedNote,
        ) as error:
            raise InvalidTrust(
                f"the trust file holds something that is no certificate or key: {error}"
            ) from None
        if not ders or not keys:
            raise InvalidTrust("a trust file names at least one root certificate and one log key")
        return cls(ders, keys, authorities, retired, compromised)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a trust file; raises `InvalidTrust`."""
        try:
            return cls.from_json(read_json_object(data, max_bytes=LARGEST))
        except CredentialError as error:
            raise InvalidTrust(f"the trust file is not JSON: {error}") from None


def _list(value: Any) -> list[Any]:  # noqa: ANN401 (untrusted JSON)
    if not isinstance(value, list):
        raise TypeError("a list is missing")
    return value


def _certificates(value: Any) -> tuple[bytes, ...]:  # noqa: ANN401 (untrusted JSON)
    ders = tuple(base64.b64decode(encoded, validate=True) for encoded in _list(value))
    for der in ders:
        read_certificate(der)
    return ders


def _retired(value: Any) -> RetiredLogKey:  # noqa: ANN401 (untrusted JSON)
    key = VerifierKey.parse(value["key"])
    Ed25519Verifier(key)
    return RetiredLogKey(key, _number(value["until_size"]))


def _compromised(value: Any) -> CompromisedKey:  # noqa: ANN401 (untrusted JSON)
    certificate = value["certificate_sha256"]
    if not isinstance(certificate, str) or not _SHA256.fullmatch(certificate):
        raise ValueError("a SHA-256 is 64 hexadecimal digits")
    key = value.get("key")
    if key is not None and not (isinstance(key, str) and _THUMBPRINT.fullmatch(key)):
        raise ValueError("a key's thumbprint is 43 characters of base64url")
    return CompromisedKey(certificate, _number(value["since"]), _number(value["log_size"]), key)


def _number(value: Any) -> int:  # noqa: ANN401 (untrusted JSON)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _LARGEST_NUMBER:
        raise ValueError("a time or size is a whole number")
    return value
