"""The trust file: by which roots and log keys evidence is judged. Never from a bundle."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from broker.domain.errors import InvalidTrust, MalformedNote
from broker.domain.note import Ed25519Verifier, VerifierKey
from credentials.certificate import read_certificate
from credentials.errors import CredentialError
from credentials.json_reader import read_json_object

SCHEMA = "urn:consent-broker:trust:1"
LARGEST = 1_048_576


@dataclass(frozen=True)
class Trust:
    """Whom to trust.

    `roots` are DER certificates, `logs` C2SP verifier keys that may sign checkpoints, `timestamps`
    the DER roots of timestamping authorities (may be none: timestamps are then not judged).
    """

    roots: tuple[bytes, ...]
    logs: tuple[VerifierKey, ...]
    timestamps: tuple[bytes, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The trust file as a JSON object."""
        return {
            "schema": SCHEMA,
            "roots": [base64.b64encode(root).decode() for root in self.roots],
            "logs": [key.encode() for key in self.logs],
            "timestamps": [base64.b64encode(root).decode() for root in self.timestamps],
        }

    def verifiers(self) -> Sequence[Ed25519Verifier]:
        """The log keys, ready to verify."""
        return [Ed25519Verifier(key) for key in self.logs]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read a trust file's object; raises `InvalidTrust`. At least one root and one log key."""
        roots, logs = value.get("roots"), value.get("logs")
        timestamps = value.get("timestamps", [])
        if (
            value.get("schema") != SCHEMA
            or not isinstance(roots, list)
            or not isinstance(logs, list)
            or not isinstance(timestamps, list)
        ):
            raise InvalidTrust("this is not a trust file of consent-broker trust export")
        try:
            ders = tuple(base64.b64decode(root, validate=True) for root in roots)
            authorities = tuple(base64.b64decode(root, validate=True) for root in timestamps)
            for der in (*ders, *authorities):
                read_certificate(der)
            keys = tuple(VerifierKey.parse(key) for key in logs)
        except (TypeError, ValueError, AttributeError, CredentialError, MalformedNote) as error:
            raise InvalidTrust(
                f"the trust file holds something that is no certificate or key: {error}"
            ) from None
        if not ders or not keys:
            raise InvalidTrust("a trust file names at least one root certificate and one log key")
        return cls(ders, keys, authorities)

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Read a trust file; raises `InvalidTrust`."""
        try:
            return cls.from_json(read_json_object(data, max_bytes=LARGEST))
        except CredentialError as error:
            raise InvalidTrust(f"the trust file is not JSON: {error}") from None
