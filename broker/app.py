"""The composition root: settings become a context, a context becomes the web application."""

import contextlib
import threading
import time
from collections.abc import AsyncIterator, Callable

import structlog
from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from broker.api import (
    access,
    attribute_credentials,
    attribute_status,
    consents,
    deletion_tasks,
    errors,
    evidence,
    health,
    invitations,
    kill_switches,
    limits,
    log,
    logs,
    oauth,
    openid4vci,
    openid4vp,
    proofs,
    rate_limits,
    registry,
    status,
    subjects,
    tenancy,
    tracing,
    wellknown,
    withdraw_all,
)
from broker.domain.errors import BrokerError, KeyDeviceUnavailable
from broker.outbound.traces import exporting
from broker.settings import Settings, SettingsError
from broker.store import registry as registry_rows
from broker.store import row_security
from broker.store.acting import acting_for, acting_for_all
from broker.store.db import Database
from broker.store.master_key_file import FILE_NAME as MASTER_KEY_FILE_NAME
from broker.store.master_key_file import MasterKeyFile
from broker.store.migrate import migrate
from broker.usecases.bootstrap import ensure_demo_tenant, ensure_root_tenant
from broker.usecases.closing import expire_due
from broker.usecases.context import Context
from broker.usecases.device_keys import device_of
from broker.usecases.erasure import release_due
from broker.usecases.independent_time import IndependentTime, sources
from broker.usecases.keys import KeyRing
from broker.usecases.retention import delete_evidence_over
from broker.usecases.sequencer import Sequencer
from broker.usecases.token import forget_expired
from broker.web import authorization, pages
from broker.web import withdraw_all as withdraw_all_pages
from credentials.errors import CredentialError, SealBroken
from credentials.sealing import Keys, MasterKey

VERSION = "0.1.0"
SWEEP_SECONDS = 30
KEYS_SECONDS = 1
DESCRIPTION = """
Customers sign consents with their own wallet; companies keep credentials instead of profiles.

1. `POST /oauth/token`: a partner's token (client credentials, `private_key_jwt`).
2. `POST /v1/invitations`: bind a contact to the customer's wallet, once.
3. `POST /v1/consent-requests`: ask. The customer answers on the page or in the wallet.
4. `POST /access/v1/evaluation`: may I use this attribute, for this purpose, now? (AuthZEN 1.0)
5. `GET /v1/consents/{id}/evidence`: prove it, offline, years later.
"""

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


def create_app(ctx: Context, starting: Callable[[Context], None] = lambda _ctx: None) -> FastAPI:
    """The web application over a context; it starts and stops the sequencer with itself.

    `starting` is called in the event loop while the server starts.
    """
    telemetry = exporting(ctx.settings.otlp_endpoint, VERSION)
    time_of_others = IndependentTime(ctx.db, ctx.now, sources(ctx.settings))

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        starting(ctx)
        ctx.log.start()
        time_of_others.start()
        stopping = threading.Event()
        beside = [
            threading.Thread(target=work, args=(ctx, stopping), name=name, daemon=True)
            for name, work in (("expiry", _sweep), ("keys", _follow_keys))
        ]
        for thread in beside:
            thread.start()
        yield
        stopping.set()
        for thread in beside:
            await run_in_threadpool(thread.join)
        await run_in_threadpool(time_of_others.stop)
        await run_in_threadpool(ctx.log.stop)
        ctx.keys.close()
        ctx.db.close()
        if telemetry is not None:
            await run_in_threadpool(telemetry.stop)

    app = FastAPIOffline(
        redoc_url=None,
        title="Consent broker",
        version=VERSION,
        description=DESCRIPTION,
        lifespan=lifespan,
    )
    app.state.context = ctx
    app.state.telemetry = telemetry
    errors.install(app)
    for module in (
        access,  # first: routes are tried in this order, and decisions are asked for most
        oauth,
        invitations,
        consents,
        withdraw_all,
        evidence,
        subjects,
        deletion_tasks,
        attribute_credentials,
        attribute_status,
        openid4vci,
        openid4vp,
        proofs,
        registry,
        kill_switches,
        status,
        wellknown,
        log,
        health,
        authorization,
        pages,
        withdraw_all_pages,
    ):
        app.include_router(module.router)
    pages.mount_static(app)
    # Added last runs first: logs see every answer, limits act before anything is read or parsed.
    limits.install(
        app, max_bytes=ctx.settings.max_body_bytes, max_depth=ctx.settings.max_json_depth
    )
    status.install(app, ctx)
    rate_limits.install(app, ctx, pages.busy)
    tenancy.install(app)
    tracing.install(app, telemetry)
    logs.install(app)
    return app


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


def _follow_keys(ctx: Context, stopping: threading.Event) -> None:
    """Learn of keys that were rotated, or stolen, wherever that was said."""
    while not stopping.wait(KEYS_SECONDS):
        # Each by itself: of a stolen key a worker has to learn even where the master key's file
        # cannot be read.
        for refresh in (ctx.master.refresh, ctx.keys.refresh):
            try:
                refresh()
            except (SQLAlchemyError, BrokerError, CredentialError, SettingsError, OSError):
                _log.exception("keys_not_read")


def _sweep(ctx: Context, stopping: threading.Event) -> None:
    while not stopping.wait(SWEEP_SECONDS):
        ctx.keys.forget_log_keys()
        try:
            with acting_for_all():
                expire_due(ctx)
                release_due(ctx)
                delete_evidence_over(ctx)
                forget_expired(ctx)
                with ctx.db.reading() as tx:
                    tenants = registry_rows.tenants(tx)
            for tenant_id in tenants:
                with acting_for(tenant_id):
                    ctx.keys.renew(tenant_id)
        except (SQLAlchemyError, BrokerError):  # it tries again; decisions compare times themselves
            _log.exception("expiry_sweep_failed")


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
