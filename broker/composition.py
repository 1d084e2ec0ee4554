"""The composition root: settings become a context, by which commands and the server act."""

import time

import structlog

from broker.domain.errors import KeyDeviceUnavailable
from broker.settings import Settings, SettingsError
from broker.store import row_security
from broker.store.acting import acting_for_all
from broker.store.db import Database
from broker.store.master_key_file import FILE_NAME as MASTER_KEY_FILE_NAME
from broker.store.master_key_file import MasterKeyFile
from broker.store.migrate import migrate
from broker.usecases.bootstrap import ensure_demo_tenant, ensure_root_tenant
from broker.usecases.context import Context
from broker.usecases.device_keys import device_of
from broker.usecases.independent_time import sources
from broker.usecases.keys import KeyRing
from broker.usecases.sequencer import Sequencer
from credentials.errors import SealBroken
from credentials.sealing import Keys, MasterKey

_log = structlog.get_logger("broker")


def clock() -> int:
    """The time, in Unix seconds (UTC): the one clock of the program."""
    return int(time.time())


def build_context(settings: Settings) -> Context:
    """Open the database (migrated), the keys and the log of a deployment.

    Raises `SettingsError` for what a deployment must cure.
    """
    settings.home.mkdir(parents=True, exist_ok=True, mode=0o700)
    master = _master_key(settings)
    db = Database(settings.sqlalchemy_url)
    migrate(db)
    keys = KeyRing(db, master, clock, settings.public_url, device_of(settings))
    with acting_for_all():
        keys.log_signer()
        log = Sequencer(db, keys.log, settings, clock)
    return Context(settings=settings, db=db, master=master, keys=keys, log=log, now=clock)


def present_master_key(settings: Settings) -> MasterKey:
    """The master key of a deployment that exists; none is made. Raises `SettingsError`."""
    path = settings.home / MASTER_KEY_FILE_NAME
    if settings.master_key is None and not path.exists():
        message = (
            f"there is no {path}: put it back from where you keep it, or set BROKER_MASTER_KEY"
        )
        raise SettingsError(message)
    return _master_key(settings)


def prepare(ctx: Context) -> None:
    """Create what a fresh deployment lacks: keys, the tenant at the root, the demonstration.

    Raises `SettingsError` when a witness's key is none, when the device of the keys does not sign,
    or when the database would not keep tenants apart (in development this is a warning).
    """
    sources(ctx.settings)
    with acting_for_all():
        _keep_tenants_apart(ctx)
        try:
            if ctx.settings.demonstration:
                ensure_demo_tenant(ctx)
            else:
                ensure_root_tenant(ctx)
            ctx.keys.refresh()
        except KeyDeviceUnavailable as error:
            message = f"BROKER_ISSUER_KEY: {error}"
            raise SettingsError(message) from error


def _keep_tenants_apart(ctx: Context) -> None:
    with ctx.db.reading() as tx:
        weakness = row_security.weakness(tx)
    if weakness is None:
        return
    if not ctx.settings.development:
        raise SettingsError(weakness)
    _log.warning("tenants_not_kept_apart_by_the_database", reason=weakness)


def _master_key(settings: Settings) -> MasterKey:
    """The master key of the settings, or of the files below the home folder."""
    if settings.master_key is not None:
        return MasterKey.from_bytes(settings.master_key, previous=settings.master_key_previous)
    files = MasterKeyFile(settings.home, settings.master_key_previous)

    def reload() -> Keys:
        try:
            return files.read()
        except (OSError, SettingsError) as error:
            raise SealBroken("the files of the master key cannot be read") from error

    current, previous = files.read()
    return MasterKey(current, previous=previous, reload=reload)
