"""The forms that a setting's text takes; each reader names the variable at fault."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from credentials.errors import CredentialError
from credentials.jcs import b64url_decode

MASTER_KEY_BYTES = 32
MOST_DIGITS = 20
RESPONSE_MODES = ("direct_post", "direct_post.jwt")
_VAULT = re.compile(r"[a-z][a-z0-9-]{0,31}")
_RATE = re.compile(
    r"(?P<name>[a-z]+)=(?P<rate>[0-9]{1,6}(\.[0-9]{1,3})?)/(?P<burst>[1-9][0-9]{0,6})"
)


class SettingsError(Exception):
    """A setting is missing or malformed; the message names the variable and the cure."""


@dataclass(frozen=True)
class WitnessAddress:
    """A partner that cosigns the log: its verifier key (C2SP) and its submission prefix."""

    key: str
    url: str


@dataclass(frozen=True)
class VaultPlace:
    """A vault at a service: `kind` is s3 or webdav, `address` that of the service or the folder.

    `user` and `secret` are the access key of S3, or name and password; `bucket` is S3's.
    """

    kind: str
    address: str
    user: str = ""
    secret: str = field(default="", repr=False)
    bucket: str = ""
    region: str = "us-east-1"


@dataclass(frozen=True)
class Rate:
    """So many requests a second for ever, and so many at once."""

    per_second: float
    burst: int


# For each worker. A decision point's load is far below; a whole network may share one address.
RATES: Mapping[str, Rate] = {
    "decisions": Rate(5000, 20_000),
    "client": Rate(100, 1000),
    "address": Rate(50, 1000),
    "withdrawal": Rate(20, 200),
    "page": Rate(1, 20),
    "events": Rate(2000, 20_000),
}


def switch(env: Mapping[str, str], name: str, *, usual: bool) -> bool:
    """On or off."""
    if (told := env.get(name, "on" if usual else "off")) not in {"on", "off"}:
        raise SettingsError(f"{name} must be on or off")
    return told == "on"


def integer(env: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    """A whole number in decimal digits, from `low` to `high`."""
    text = env.get(name, "")
    if not text:
        return default
    if (
        not text.isascii()
        or not text.isdigit()
        or len(text) > MOST_DIGITS
        or not low <= int(text) <= high
    ):
        raise SettingsError(f"{name} must be a whole number from {low} to {high}")
    return int(text)


def master_key(name: str, text: str) -> bytes | None:
    """32 bytes in base64url without padding; None where there is no text."""
    if not text:
        return None
    try:
        key = b64url_decode(text)
    except CredentialError as error:
        raise SettingsError(f"{name} must be 32 bytes in base64url without padding") from error
    if len(key) != MASTER_KEY_BYTES:
        raise SettingsError(f"{name} must be 32 bytes in base64url without padding")
    return key


def previous_keys(text: str) -> tuple[bytes, ...]:
    """Keys separated by commas."""
    found = (
        master_key("each of BROKER_MASTER_KEY_PREVIOUS", part.strip()) for part in text.split(",")
    )
    return tuple(key for key in found if key is not None)


def encrypted(env: Mapping[str, str], *, strict: bool) -> bool:
    """Whether wallets encrypt their answers; the strict profile takes no others."""
    mode = env.get("BROKER_RESPONSE_MODE", RESPONSE_MODES[-1] if strict else RESPONSE_MODES[0])
    if mode not in RESPONSE_MODES[strict:]:
        raise SettingsError(f"BROKER_RESPONSE_MODE must be {' or '.join(RESPONSE_MODES[strict:])}")
    return mode == RESPONSE_MODES[-1]


def wallets(text: str) -> frozenset[tuple[str, str]]:
    """Entries "<client id> <redirect address>", separated by commas."""
    found = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        client_id, _, address = entry.partition(" ")
        if ":" not in address.strip():
            message = (
                'BROKER_WALLETS must be "<client id> <redirect address>", several separated by '
                "commas"
            )
            raise SettingsError(message)
        found.append((client_id, address.strip()))
    return frozenset(found)


def timestamps(env: Mapping[str, str]) -> tuple[str, tuple[bytes, ...]]:
    """The authority's address, and its roots from the PEM file that is named."""
    url, path = env.get("BROKER_TIMESTAMP_URL", ""), env.get("BROKER_TIMESTAMP_ROOTS", "")
    if bool(url) != bool(path):
        message = (
            "BROKER_TIMESTAMP_URL and BROKER_TIMESTAMP_ROOTS (a PEM file with the authority's root "
            "certificates) go together"
        )
        raise SettingsError(message)
    if not url:
        return "", ()
    try:
        found = x509.load_pem_x509_certificates(Path(path).read_bytes())
    except (OSError, ValueError) as error:
        message = f"BROKER_TIMESTAMP_ROOTS must name a PEM file of certificates: {error}"
        raise SettingsError(message) from error
    return url, tuple(certificate.public_bytes(Encoding.DER) for certificate in found)


def witnesses(text: str) -> tuple[WitnessAddress, ...]:
    """Entries "<verifier key> <address>", separated by commas."""
    found = []
    for entry in filter(None, (part.strip() for part in text.split(","))):
        key, _, url = entry.partition(" ")
        if not url.strip().startswith(("https://", "http://")):
            message = (
                'BROKER_WITNESSES must be "<verifier key> <address>", several separated by commas'
            )
            raise SettingsError(message)
        found.append(WitnessAddress(key, url.strip()))
    return tuple(found)


def rates(text: str) -> Mapping[str, Rate]:
    """Entries "<name>=<a second>/<at once>" in place of the usual ones, or "off"."""
    if text.strip() == "off":
        return {}
    found = dict(RATES)
    for entry in filter(None, (part.strip() for part in text.split(","))):
        named = _RATE.fullmatch(entry)
        if named is None or named["name"] not in RATES or not float(named["rate"]):
            message = (
                "BROKER_RATE_LIMITS must be off, or entries like client=100/1000 (so many a "
                f"second, so many at once) of {', '.join(RATES)}, separated by commas"
            )
            raise SettingsError(message)
        found[named["name"]] = Rate(float(named["rate"]), int(named["burst"]))
    return found


def collector(text: str) -> str:
    """The base address of an OTLP collector over HTTP."""
    if text and not text.startswith(("http://", "https://")):
        message = (
            "OTEL_EXPORTER_OTLP_ENDPOINT must be the http or https address of a collector that "
            "takes OTLP over HTTP, as in http://127.0.0.1:4318"
        )
        raise SettingsError(message)
    return text


def hosts(text: str) -> frozenset[str]:
    """Host names in lower case, separated by commas."""
    return frozenset(filter(None, (host.strip().lower() for host in text.split(","))))


def private_hosts(text: str, *, development: bool) -> frozenset[str]:
    """Hosts that a request may reach although their addresses are private."""
    if (found := hosts(text)) and not development:
        raise SettingsError("BROKER_PRIVATE_HOSTS is for BROKER_PROFILE=development alone")
    return found


def vaults(path: str, *, development: bool) -> Mapping[str, VaultPlace]:
    """Vaults at services, from a JSON file: name to what `VaultPlace` says; none without a file.

    It holds secrets, so it is its owner's alone; a plain http address is for development.
    """
    if not path:
        return {}
    try:
        file = Path(path)
        if file.stat().st_mode & 0o077:
            raise SettingsError(f"BROKER_VAULTS names {path}, which others can read: chmod 600")
        told = json.loads(file.read_bytes())
    except OSError as error:
        message = f"BROKER_VAULTS names {path}, which cannot be read: {error.strerror}"
        raise SettingsError(message) from error
    except ValueError:
        raise SettingsError(f"BROKER_VAULTS names {path}, which is no JSON") from None
    if not isinstance(told, dict) or not all(isinstance(one, dict) for one in told.values()):
        raise SettingsError("BROKER_VAULTS holds a JSON object: name to what the vault is")
    return {name: _vault(name, one, development=development) for name, one in told.items()}


def _vault(name: str, told: Mapping[str, object], *, development: bool) -> VaultPlace:
    if _VAULT.fullmatch(name) is None or name == "local":
        raise SettingsError("BROKER_VAULTS: a vault is named like archive-1, and not local")
    known = {one.name for one in fields(VaultPlace)}
    texts = {key: value for key, value in told.items() if isinstance(value, str)}
    if texts.keys() != told.keys() or not texts.keys() <= known:
        raise SettingsError(f"BROKER_VAULTS: {name} has texts, of: {', '.join(sorted(known))}")
    needed = {"s3": {"bucket", "user", "secret"}, "webdav": set[str]()}.get(texts.get("kind", ""))
    if needed is None or not {"address", *needed} <= texts.keys():
        raise SettingsError(
            f"BROKER_VAULTS: {name} is of kind s3 (address, bucket, user, secret) or webdav "
            "(address, and user and secret if it wants them)"
        )
    try:
        parts = urlsplit(texts["address"])
        host = parts.hostname
    except ValueError:
        parts, host = urlsplit(""), None
    plain = parts.scheme == "http" and (development or host in {"127.0.0.1", "::1", "localhost"})
    more = "@" in parts.netloc or parts.query or parts.fragment
    if not host or more or not (parts.scheme == "https" or plain):
        raise SettingsError(f"BROKER_VAULTS: the address of {name} is https://..., without a user")
    return VaultPlace(**texts)
