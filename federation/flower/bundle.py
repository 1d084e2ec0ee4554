"""An application as Flower carries it (a FAB), and the board's signatures over it.

Members' SuperNodes run a bundle only if one of their trusted entities signed it (Ed25519, RFC
8032), over Flower's message: the time, 8 bytes big-endian, and the SHA-256 of the bundle. One is
enough there; that k of n agree is the campaign's to say, which names the bundle's hash, and the
gate's to check. On disk a bundle is two files, `NAME.fab` and `NAME.fab.signatures`, JSON:

    {"signatures": [{"key": name of the trusted entity, "signed_at": Unix s, "signature": ...}]}
"""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_private_key,
)
from flwr.cli.build import build_fab_from_disk
from flwr.supercore.primitives.asymmetric_ed25519 import create_message_to_sign

from federation.errors import Malformed
from federation.flower.places import write_private


@dataclass(frozen=True)
class Signature:
    """One entity's signature; `signed_at` is Unix seconds, `signature` base64url."""

    key: str
    signed_at: int
    signature: str

    def to_json(self) -> dict[str, Any]:
        """The signature as its JSON object."""
        return {"key": self.key, "signed_at": self.signed_at, "signature": self.signature}


@dataclass(frozen=True)
class Bundle:
    """An application's bytes and who signed them."""

    content: bytes
    signatures: tuple[Signature, ...] = ()

    @property
    def hash(self) -> str:
        """SHA-256 of the content in hex: how Flower names it."""
        return hashlib.sha256(self.content).hexdigest()

    @classmethod
    def build(cls, directory: Path) -> Self:
        """Build an application's directory, which `pyproject.toml` describes.

        Flower asks there for `license = {file = ...}`, a lower bound of `flwr` among the
        dependencies, and `flwr-version-target`. Raises `Malformed` with its reason.
        """
        try:
            return cls(build_fab_from_disk(directory))
        except ValueError as error:
            raise Malformed(f"{directory}: {error}") from None

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read a bundle and the signatures beside it, if there are any. Raises `Malformed`."""
        beside = _beside(file)
        if not beside.exists():
            return cls(file.read_bytes())
        try:
            told = json.loads(beside.read_bytes())["signatures"]
            signatures = tuple(
                Signature(str(one["key"]), int(one["signed_at"]), str(one["signature"]))
                for one in told
            )
        except (KeyError, TypeError, ValueError):
            raise Malformed(f"{beside} holds no signatures of a bundle") from None
        return cls(file.read_bytes(), signatures)

    def write(self, file: Path) -> None:
        """Write the signatures, then the bundle: whoever reads meanwhile sees none unsigned."""
        write_private(
            _beside(file),
            json.dumps({"signatures": [one.to_json() for one in self.signatures]}).encode(),
        )
        write_private(file, self.content)

    def signed_by(self, key: Ed25519PrivateKey, named: str, now: int) -> Self:
        """The bundle with one signature more, in place of an earlier one of the same name."""
        digest = hashlib.sha256(self.content).digest()
        signature = key.sign(create_message_to_sign(digest, now))
        made = Signature(named, now, base64.urlsafe_b64encode(signature).rstrip(b"=").decode())
        kept = tuple(one for one in self.signatures if one.key != named)
        return type(self)(self.content, (*kept, made))


def make_entity_key() -> tuple[bytes, bytes]:
    """A key pair for signing bundles, OpenSSH: private and public."""
    key = Ed25519PrivateKey.generate()
    return (
        key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()),
        key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
    )


def read_entity_key(data: bytes) -> Ed25519PrivateKey:
    """Read a private key for signing bundles, OpenSSH. Raises `Malformed`."""
    try:
        key = load_ssh_private_key(data, password=None)
    except ValueError as error:
        raise Malformed(f"no private key in OpenSSH's form: {error}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise Malformed("bundles are signed with Ed25519 keys: ssh-keygen -t ed25519")
    return key


def trusted_entities(keys: Sequence[tuple[str, bytes]]) -> bytes:
    """The file for `--trusted-entities`: names and their public keys, YAML (of JSON's subset)."""
    return json.dumps({name: key.decode("ascii") for name, key in keys}, indent=1).encode()


def _beside(file: Path) -> Path:
    return file.with_name(f"{file.name}.signatures")
