"""Settings: the only reader of the environment, read once by the composition root."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from credentials.errors import CredentialError
from credentials.jcs import b64url_decode

MASTER_KEY_BYTES = 32
MOST_DIGITS = 20
RESPONSE_MODES = ("direct_post", "direct_post.jwt")
METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_RATE = re.compile(
    r"(?P<name>[a-z]+)=(?P<rate>[0-9]{1,6}(\.[0-9]{1,3})?)/(?P<burst>[1-9][0-9]{0,6})"
)
SECRETS = ("DATABASE_URL", "BROKER_MASTER_KEY", "BROKER_MASTER_KEY_PREVIOUS", "BROKER_PKCS11_PIN")
PROFILES = ("development", "production", "strict")


class SettingsError(Exception):
    """A setting is missing or malformed; the message names the variable and the cure."""


@dataclass(frozen=True)
class WitnessAddress:
    """A partner that cosigns the log: its verifier key (C2SP) and its submission prefix."""

    key: str
    url: str


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
}


@dataclass(frozen=True)
class Settings:
    """Everything that a deployment chooses.

    `home` holds what must outlive the process besides the database: the master key (unless it is
    given), the last signed log head, and, by default, the SQLite database. `master_key_previous`
    opens what older master keys sealed; `issuer_key` is a PKCS#11 URI (RFC 7512), empty for keys in
    the database, and `pkcs11_pin` its PIN unless the URI tells it. `development` takes what wallets
    in development need; `strict` demands what the high-assurance profile demands: DPoP-bound tokens
    and encrypted responses. `wallets` are the clients of the authorization code, each with a
    redirect address; development takes any. `workers` is how many processes serve; `metrics_folder`
    is where those of one machine put their figures together. `rate_limits` are each worker's;
    `trusted_proxies` are the addresses (uvicorn's form) whose word on the caller's address is
    taken. `deletion_days` is how long a recipient may take at most to delete what it must.
    `proof_questions` is how many different statements a partner may ask of an attribute in a year.
    `drain_seconds` is how long a broker that was told to stop says so before it does.
    `otlp_endpoint` is the collector that gets traces, none when empty; requests to `traced_hosts`
    carry the trace on. `demonstration`: a start makes it. `vault_root`: the vault `local`'s folder.
    """

    home: Path
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 1
    public_url: str = "http://127.0.0.1:8000"
    database_url: str = ""
    master_key: bytes | None = field(default=None, repr=False)
    master_key_previous: tuple[bytes, ...] = field(default=(), repr=False)
    issuer_key: str = field(default="", repr=False)
    pkcs11_pin: str = field(default="", repr=False)
    development: bool = True
    demonstration: bool = True
    strict: bool = False
    encrypted_responses: bool = False
    wallets: frozenset[tuple[str, str]] = frozenset()
    max_body_bytes: int = 1_048_576
    max_json_depth: int = 64
    log_json: bool = True
    timestamp_url: str = ""
    timestamp_roots: tuple[bytes, ...] = ()
    witnesses: tuple[WitnessAddress, ...] = ()
    private_hosts: frozenset[str] = frozenset()
    metrics_folder: Path | None = None
    rate_limits: Mapping[str, Rate] = field(default_factory=lambda: RATES)
    trusted_proxies: str = "127.0.0.1"
    deletion_days: int = 30
    proof_questions: int = 8
    drain_seconds: int = 0
    otlp_endpoint: str = ""
    traced_hosts: frozenset[str] = frozenset()
    vault_root: Path | None = None

    def __post_init__(self) -> None:
        """Raise `SettingsError` for what cannot be had together."""
        if self.workers > 1 and self.sqlalchemy_url.startswith("sqlite"):
            raise SettingsError(
                f"WORKERS={self.workers} needs PostgreSQL: SQLite serves one process. Set "
                "DATABASE_URL=postgresql://..., or serve with one worker"
            )

    @property
    def sqlalchemy_url(self) -> str:
        """The database address in SQLAlchemy's form; SQLite below `home` when none is set."""
        if not self.database_url:
            return f"sqlite:///{self.home / 'broker.db'}"
        for prefix in ("postgresql://", "postgres://"):
            if self.database_url.startswith(prefix):
                return "postgresql+psycopg://" + self.database_url.removeprefix(prefix)
        return self.database_url

    @property
    def secure(self) -> bool:
        """Whether people reach the broker over TLS (cookies and links depend on it)."""
        return self.public_url.startswith("https://")


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from `environ` (the process's environment when None).

    Raises `SettingsError` that names the variable at fault.
    """
    env = _with_files(os.environ if environ is None else environ)
    host = env.get("HOST", "127.0.0.1")
    port = _integer(env, "PORT", 8000, 0, 65535)
    public_url = env.get("PUBLIC_URL", f"http://{host}:{port}").rstrip("/")
    try:
        parts = urlsplit(public_url)
        plain = bool(parts.hostname) and not (parts.query or parts.fragment)
        _ = parts.port  # raises where it is no number
    except ValueError:
        parts, plain = urlsplit(""), False
    if parts.scheme not in {"http", "https"} or not plain:
        message = "PUBLIC_URL must be an http or https address without query, as in https://consent.example"
        raise SettingsError(message)
    # Behind TLS others reach the broker: what eases development must then be asked for.
    profile = env.get("BROKER_PROFILE", "production" if parts.scheme == "https" else "development")
    if profile not in PROFILES:
        raise SettingsError(f"BROKER_PROFILE must be one of: {', '.join(PROFILES)}")
    development = profile == "development"
    timestamp_url, timestamp_roots = _timestamps(env)
    return Settings(
        home=Path(env.get("BROKER_HOME", "var")),
        host=host,
        port=port,
        workers=_integer(env, "WORKERS", 1, 1, 64),
        public_url=public_url,
        database_url=env.get("DATABASE_URL", ""),
        master_key=_master_key("BROKER_MASTER_KEY", env.get("BROKER_MASTER_KEY", "")),
        master_key_previous=_previous_keys(env.get("BROKER_MASTER_KEY_PREVIOUS", "")),
        issuer_key=env.get("BROKER_ISSUER_KEY", ""),
        pkcs11_pin=env.get("BROKER_PKCS11_PIN", ""),
        development=development,
        demonstration=_switch(env, "BROKER_DEMONSTRATION", usual=development),
        strict=profile == "strict",
        encrypted_responses=_encrypted(env, strict=profile == "strict"),
        wallets=_wallets(env.get("BROKER_WALLETS", "")),
        max_body_bytes=_integer(env, "BROKER_MAX_BODY_BYTES", 1_048_576, 1024, 67_108_864),
        timestamp_url=timestamp_url,
        timestamp_roots=timestamp_roots,
        witnesses=_witnesses(env.get("BROKER_WITNESSES", "")),
        private_hosts=_private_hosts(env.get("BROKER_PRIVATE_HOSTS", ""), development=development),
        metrics_folder=Path(env[METRICS_FOLDER]) if env.get(METRICS_FOLDER) else None,
        rate_limits=_rates(env.get("BROKER_RATE_LIMITS", "")),
        trusted_proxies=env.get("FORWARDED_ALLOW_IPS", "127.0.0.1"),
        deletion_days=_integer(env, "BROKER_DELETION_DAYS", 30, 1, 3650),
        proof_questions=_integer(env, "BROKER_PROOF_QUESTIONS", 8, 1, 10_000),
        drain_seconds=_integer(env, "BROKER_DRAIN_SECONDS", 0, 0, 600),
        otlp_endpoint=_collector(env.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")),
        traced_hosts=_hosts(env.get("BROKER_TRACED_HOSTS", "")),
        vault_root=Path(env["BROKER_VAULT_ROOT"]) if env.get("BROKER_VAULT_ROOT") else None,
    )


def _switch(env: Mapping[str, str], name: str, *, usual: bool) -> bool:
    if (told := env.get(name, "on" if usual else "off")) not in {"on", "off"}:
        raise SettingsError(f"{name} must be on or off")
    return told == "on"


def share_metrics(folder: Path) -> None:
    """Have the worker processes that this one starts keep their figures in `folder`.

    The Prometheus client takes it from the environment while it is imported.
    """
    os.environ[METRICS_FOLDER] = str(folder)


def _with_files(env: Mapping[str, str]) -> Mapping[str, str]:
    """The environment, with the secrets that it names a file of: containers mount them so."""
    found = dict(env)
    for name in SECRETS:
        path = env.get(f"{name}_FILE", "")
        if not path:
            continue
        if env.get(name):
            raise SettingsError(f"set {name} or {name}_FILE, not both")
        try:
            found[name] = Path(path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not text"
            message = f"{name}_FILE names {path}, which cannot be read: {reason}"
            raise SettingsError(message) from error
        if not found[name]:
            raise SettingsError(f"{name}_FILE names {path}, which is empty")
    return found


def _integer(env: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
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


def _master_key(name: str, text: str) -> bytes | None:
    if not text:
        return None
    try:
        key = b64url_decode(text)
    except CredentialError as error:
        raise SettingsError(f"{name} must be 32 bytes in base64url without padding") from error
    if len(key) != MASTER_KEY_BYTES:
        raise SettingsError(f"{name} must be 32 bytes in base64url without padding")
    return key


def _previous_keys(text: str) -> tuple[bytes, ...]:
    """Keys separated by commas."""
    found = (
        _master_key("each of BROKER_MASTER_KEY_PREVIOUS", part.strip()) for part in text.split(",")
    )
    return tuple(key for key in found if key is not None)


def _encrypted(env: Mapping[str, str], *, strict: bool) -> bool:
    """Whether wallets encrypt their answers; the strict profile takes no others."""
    mode = env.get("BROKER_RESPONSE_MODE", RESPONSE_MODES[-1] if strict else RESPONSE_MODES[0])
    if mode not in RESPONSE_MODES[strict:]:
        raise SettingsError(f"BROKER_RESPONSE_MODE must be {' or '.join(RESPONSE_MODES[strict:])}")
    return mode == RESPONSE_MODES[-1]


def _wallets(text: str) -> frozenset[tuple[str, str]]:
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


def _timestamps(env: Mapping[str, str]) -> tuple[str, tuple[bytes, ...]]:
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


def _witnesses(text: str) -> tuple[WitnessAddress, ...]:
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


def _rates(text: str) -> Mapping[str, Rate]:
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


def _collector(text: str) -> str:
    """The base address of an OTLP collector over HTTP."""
    if text and not text.startswith(("http://", "https://")):
        message = (
            "OTEL_EXPORTER_OTLP_ENDPOINT must be the http or https address of a collector that "
            "takes OTLP over HTTP, as in http://127.0.0.1:4318"
        )
        raise SettingsError(message)
    return text


def _hosts(text: str) -> frozenset[str]:
    """Host names in lower case, separated by commas."""
    return frozenset(filter(None, (host.strip().lower() for host in text.split(","))))


def _private_hosts(text: str, *, development: bool) -> frozenset[str]:
    if (hosts := _hosts(text)) and not development:
        raise SettingsError("BROKER_PRIVATE_HOSTS is for BROKER_PROFILE=development alone")
    return hosts
