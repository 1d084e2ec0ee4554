"""The files of a SuperLink and of a SuperNode, in a directory of its own that nobody else reads.

superexec.secret          what the SuperExec shows to be handed tasks; made at the first start
control.token             what the coordinator shows; made at the first start of a SuperLink
loopback.pem, .key        of the port that only this machine's processes use; made at each start
members.pem, .key         of the SuperLink's port for members, where it is self-signed; kept until
                          the host changes or its last month
superlink.sqlite          registered nodes and runs
admitted.json             which nodes take part
node.key, node.pub        of a SuperNode: OpenSSH and PEM, as Flower asks for them
flower/                   what Flower keeps for itself
"""

import ipaddress
import os
import secrets
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

LOOPBACK: Final = "127.0.0.1"
SECRET_BYTES: Final = 32
EARLIER: Final = timedelta(minutes=5)
"""Clocks of members differ from this one."""
LEAST_LEFT: Final = timedelta(days=30)


@dataclass(frozen=True)
class Certificate:
    """A server certificate and its private key, PEM files; `root` is what clients trust."""

    certificate: Path
    key: Path
    root: Path


@dataclass(frozen=True)
class Places:
    """The directory of one SuperLink or SuperNode."""

    directory: Path

    @classmethod
    def open(cls, directory: Path) -> "Places":
        """Take a directory, made if it is not there, for its owner alone."""
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        return cls(directory.resolve())

    @property
    def flower(self) -> Path:
        """Where Flower keeps what it unpacks."""
        return self.directory / "flower"

    @property
    def database(self) -> Path:
        """The SuperLink's registered nodes and runs."""
        return self.directory / "superlink.sqlite"

    @property
    def admitted(self) -> Path:
        """Which nodes take part."""
        return self.directory / "admitted.json"

    @property
    def control_token(self) -> Path:
        """The file of the token of the Control API."""
        return self.directory / "control.token"

    @property
    def superexec_secret(self) -> Path:
        """The file of the secret between a SuperExec and what it works for."""
        return self.directory / "superexec.secret"

    @property
    def node_key(self) -> Path:
        """A SuperNode's private key, OpenSSH."""
        return self.directory / "node.key"

    @property
    def node_public_key(self) -> Path:
        """A SuperNode's public key, PEM: what the coordinator registers."""
        return self.directory / "node.pub"

    def make_secret(self, file: Path) -> None:
        """Write a secret as text, once: one that is there stays."""
        if not file.exists():
            write_private(file, secrets.token_urlsafe(SECRET_BYTES).encode())

    def make_node_key(self) -> None:
        """Make a SuperNode's key pair, once: P-256, as the node's registration stands on it."""
        if self.node_key.exists():
            return
        key = ec.generate_private_key(ec.SECP256R1())
        write_private(self.node_key, _private(key, serialization.PrivateFormat.OpenSSH))
        write_private(
            self.node_public_key,
            key.public_key().public_bytes(
                serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
            ),
        )

    def make_certificate(self, name: str, host: str, now: datetime, days: int) -> Certificate:
        """Make a self-signed server certificate of a host name or address, good for `days`."""
        made = Certificate(
            self.directory / f"{name}.pem",
            self.directory / f"{name}.key",
            self.directory / f"{name}.pem",
        )
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = _self_signed(key, host, now, days)
        write_private(made.key, _private(key, serialization.PrivateFormat.PKCS8))
        write_private(made.certificate, certificate.public_bytes(serialization.Encoding.PEM))
        return made

    def kept_certificate(self, name: str, host: str, now: datetime, days: int) -> Certificate:
        """The certificate that is there, while it is the host's and has a month; else one anew.

        Others were handed it as what they trust, so a restart does not replace it.
        """
        file, key = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        if file.exists() and key.exists():
            found = x509.load_pem_x509_certificate(file.read_bytes())
            private = serialization.load_pem_private_key(key.read_bytes(), password=None)
            names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            fits = list(names) == [_named(host)] and private.public_key() == found.public_key()
            if fits and found.not_valid_after_utc - now > LEAST_LEFT:
                return Certificate(file, key, file)
        return self.make_certificate(name, host, now, days)

    def loopback(self, now: datetime) -> Certificate:
        """A certificate for this machine's own processes, made anew."""
        return self.make_certificate("loopback", LOOPBACK, now, days=397)


def write_private(file: Path, data: bytes) -> None:
    """Write a file for its owner alone, whole or not at all; it is durable when this returns."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as output:
            output.write(data)
            output.flush()
            os.fsync(output.fileno())
        Path(name).replace(file)
    except OSError:
        # On a disk that is full, each try would leave another one.
        Path(name).unlink(missing_ok=True)
        raise
    sync(file.parent)


def make_private(directory: Path) -> None:
    """Make a directory for its owner alone, durably; what is above it is there."""
    if not directory.exists():
        directory.mkdir(mode=0o700, exist_ok=True)
        sync(directory.parent)


def sync(directory: Path) -> None:
    """Make the names in a directory durable: a file's own fsync does not."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _private(key: ec.EllipticCurvePrivateKey, form: serialization.PrivateFormat) -> bytes:
    return key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())


def _self_signed(
    key: ec.EllipticCurvePrivateKey, host: str, now: datetime, days: int
) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "consent-broker federation")])
    began = now.astimezone(UTC) - EARLIER
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(began)
        .not_valid_after(began + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([_named(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .sign(key, hashes.SHA256())
    )


def _named(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
