"""The web application over a context: its routes, and what runs beside them."""

import contextlib
import threading
from collections.abc import AsyncIterator, Callable

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.concurrency import run_in_threadpool

from broker.api import (
    access,
    access_requests,
    agents,
    attribute_credentials,
    attribute_status,
    campaigns,
    consents,
    cross_border,
    data,
    data_requests,
    data_sources,
    deletion_tasks,
    errors,
    events,
    evidence,
    federation_members,
    fees,
    guardians,
    health,
    invitations,
    kill_switches,
    limits,
    lineage,
    log,
    logs,
    oauth,
    openid4vci,
    openid4vp,
    own_attributes,
    policy_sets,
    proof_questions,
    proofs,
    rate_limits,
    records,
    registry,
    sandbox,
    search,
    status,
    subjects,
    tenancy,
    tracing,
    training,
    training_evidence,
    unlearning,
    vault,
    webhooks,
    wellknown,
    withdraw_all,
)
from broker.outbound.traces import exporting
from broker.upkeep import follow_keys_until, sweep_until
from broker.usecases.context import Context
from broker.usecases.delivery import Deliverer
from broker.usecases.independent_time import IndependentTime, sources
from broker.web import authorization, pages
from broker.web import withdraw_all as withdraw_all_pages

VERSION = "0.1.0"
DESCRIPTION = """
Customers sign consents with their own wallet; companies keep credentials instead of profiles.

1. `POST /oauth/token`: a partner's token (client credentials, `private_key_jwt`).
2. `POST /v1/invitations`: bind a contact to the customer's wallet, once.
3. `POST /v1/consent-requests`: ask. The customer answers on the page or in the wallet.
4. `POST /access/v1/evaluation`: may I use this attribute, for this purpose, now? (AuthZEN 1.0)
5. `GET /v1/consents/{id}/evidence`: prove it, offline, years later.
"""


def create_app(ctx: Context, starting: Callable[[Context], None] = lambda _ctx: None) -> FastAPI:
    """The web application over a context; it starts and stops the sequencer with itself.

    `starting` is called in the event loop while the server starts.
    """
    telemetry = exporting(ctx.settings.otlp_endpoint, VERSION)
    deliverer = Deliverer(ctx)
    time_of_others = IndependentTime(ctx.db, ctx.now, sources(ctx.settings))

    @contextlib.asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        starting(ctx)
        ctx.log.start()
        time_of_others.start()
        deliverer.start()
        stopping = threading.Event()
        beside = [
            threading.Thread(target=work, args=(ctx, stopping), name=name, daemon=True)
            for name, work in (("expiry", sweep_until), ("keys", follow_keys_until))
        ]
        for thread in beside:
            thread.start()
        yield
        stopping.set()
        for thread in beside:
            await run_in_threadpool(thread.join)
        await run_in_threadpool(deliverer.stop)
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
        access_requests,
        search,
        oauth,
        invitations,
        consents,
        withdraw_all,
        evidence,
        subjects,
        deletion_tasks,
        fees,
        guardians,
        lineage,
        data,
        data_requests,
        vault,
        records,
        agents,
        webhooks,
        events,
        attribute_credentials,
        attribute_status,
        openid4vci,
        openid4vp,
        proofs,
        proof_questions,
        registry,
        kill_switches,
        policy_sets,
        own_attributes,
        cross_border,
        campaigns,
        federation_members,
        training,
        data_sources,
        sandbox,
        training_evidence,
        unlearning,
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
