"""Settings: the only reader of the environment, read once by the composition root."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from broker import setting_forms as forms
from broker.setting_forms import (
    MASTER_KEY_BYTES,
    RATES,
    Rate,
    SettingsError,
    VaultPlace,
    WitnessAddress,
)

__all__ = [
    "MASTER_KEY_BYTES",
    "RATES",
    "Rate",
    "Settings",
    "SettingsError",
    "VaultPlace",
    "WitnessAddress",
    "read_settings",
    "share_metrics",
]

METRICS_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
SECRETS = ("DATABASE_URL", "BROKER_MASTER_KEY", "BROKER_MASTER_KEY_PREVIOUS", "BROKER_PKCS11_PIN")
PROFILES = ("development", "production", "strict")


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
    `vaults` are those at services, by name.
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
    vaults: Mapping[str, VaultPlace] = field(default_factory=dict)

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
    port = forms.integer(env, "PORT", 8000, 0, 65535)
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
    timestamp_url, timestamp_roots = forms.timestamps(env)
    return Settings(
        home=Path(env.get("BROKER_HOME", "var")),
        host=host,
        port=port,
        workers=forms.integer(env, "WORKERS", 1, 1, 64),
        public_url=public_url,
        database_url=env.get("DATABASE_URL", ""),
        master_key=forms.master_key("BROKER_MASTER_KEY", env.get("BROKER_MASTER_KEY", "")),
        master_key_previous=forms.previous_keys(env.get("BROKER_MASTER_KEY_PREVIOUS", "")),
        issuer_key=env.get("BROKER_ISSUER_KEY", ""),
        pkcs11_pin=env.get("BROKER_PKCS11_PIN", ""),
        development=development,
        demonstration=forms.switch(env, "BROKER_DEMONSTRATION", usual=development),
        strict=profile == "strict",
        encrypted_responses=forms.encrypted(env, strict=profile == "strict"),
        wallets=forms.wallets(env.get("BROKER_WALLETS", "")),
        max_body_bytes=forms.integer(env, "BROKER_MAX_BODY_BYTES", 1_048_576, 1024, 67_108_864),
        timestamp_url=timestamp_url,
        timestamp_roots=timestamp_roots,
        witnesses=forms.witnesses(env.get("BROKER_WITNESSES", "")),
        private_hosts=forms.private_hosts(
            env.get("BROKER_PRIVATE_HOSTS", ""), development=development
        ),
        metrics_folder=Path(env[METRICS_FOLDER]) if env.get(METRICS_FOLDER) else None,
        rate_limits=forms.rates(env.get("BROKER_RATE_LIMITS", "")),
        trusted_proxies=env.get("FORWARDED_ALLOW_IPS", "127.0.0.1"),
        deletion_days=forms.integer(env, "BROKER_DELETION_DAYS", 30, 1, 3650),
        proof_questions=forms.integer(env, "BROKER_PROOF_QUESTIONS", 8, 1, 10_000),
        drain_seconds=forms.integer(env, "BROKER_DRAIN_SECONDS", 0, 0, 600),
        otlp_endpoint=forms.collector(env.get("OTEL_EXPORTER_OTLP_ENDPOINT", "")),
        traced_hosts=forms.hosts(env.get("BROKER_TRACED_HOSTS", "")),
        vault_root=Path(env["BROKER_VAULT_ROOT"]) if env.get("BROKER_VAULT_ROOT") else None,
        vaults=forms.vaults(env.get("BROKER_VAULTS", ""), development=development),
    )


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
