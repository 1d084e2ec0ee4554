"""What runs beside the requests: what is due ends, and changed keys are learnt of."""

import threading
from collections.abc import Callable
from functools import partial

import structlog
from sqlalchemy.exc import SQLAlchemyError

from broker.domain.errors import BrokerError
from broker.settings import SettingsError
from broker.store import registry
from broker.store.acting import acting_for, acting_for_all
from broker.usecases.closing import expire_due
from broker.usecases.context import Context
from broker.usecases.delivery import bury_old, forget_old
from broker.usecases.erasure import release_due
from broker.usecases.inbox import forget_acknowledged, forget_unfetched
from broker.usecases.retention import delete_evidence_over
from broker.usecases.token import forget_expired
from broker.usecases.unlearning import search, tenants_due
from broker.usecases.vault_upkeep import delete_due
from credentials.errors import CredentialError

SWEEP_SECONDS = 30
KEYS_SECONDS = 1

DUE: tuple[Callable[[Context], object], ...] = (
    forget_expired,
    expire_due,
    release_due,
    delete_evidence_over,
    delete_due,
    bury_old,
    forget_old,
    forget_acknowledged,
    forget_unfetched,
)
"""What a sweep does, for all tenants. What decides compares times itself and waits for none."""

_log = structlog.get_logger("broker")


def sweep_until(ctx: Context, stopping: threading.Event) -> None:
    """Sweep every 30 s until `stopping`."""
    while not stopping.wait(SWEEP_SECONDS):
        sweep(ctx)


def sweep(ctx: Context) -> list[str]:
    """Do all that is due, each part by itself: what fails is logged, and tried again next time.

    The names of what failed.
    """
    ctx.keys.forget_log_keys()
    failed = [due.__name__ for due in DUE if not _done(due.__name__, partial(_for_all, ctx, due))]
    return [*failed, *_each(ctx, all_tenants, renew), *_each(ctx, tenants_due, search)]


def _each(
    ctx: Context, of: Callable[[Context], list[str]], part: Callable[[Context, str], object]
) -> list[str]:
    """Do a part for each of some tenants by itself; the name of what failed, as often as it did."""
    tenants: list[str] = []

    def find() -> None:
        with acting_for_all():
            tenants.extend(of(ctx))

    if not _done(of.__name__, find):
        return [of.__name__]
    done = [_done(part.__name__, partial(_for_one, ctx, one, part)) for one in tenants]
    return [part.__name__ for each in done if not each]


def _for_all(ctx: Context, due: Callable[[Context], object]) -> None:
    with acting_for_all():
        due(ctx)


def _for_one(ctx: Context, tenant_id: str, part: Callable[[Context, str], object]) -> None:
    with acting_for(tenant_id):
        part(ctx, tenant_id)


def all_tenants(ctx: Context) -> list[str]:
    """The tenants whose keys may have to be renewed."""
    with ctx.db.reading() as tx:
        return registry.tenants(tx)


def renew(ctx: Context, tenant_id: str) -> None:
    """Renew what of a tenant's keys is due."""
    ctx.keys.renew(tenant_id)


def follow_keys_until(ctx: Context, stopping: threading.Event) -> None:
    """Learn of keys that were rotated, or stolen, wherever that was said."""
    while not stopping.wait(KEYS_SECONDS):
        # Each by itself: of a stolen key a worker has to learn even where the master key's file
        # cannot be read.
        _done("master key", ctx.master.refresh)
        _done("keys", ctx.keys.refresh)


def _done(name: str, work: Callable[[], object]) -> bool:
    try:
        work()
    except (SQLAlchemyError, BrokerError, CredentialError, SettingsError, OSError):
        _log.exception("upkeep_failed", part=name)
        return False
    return True
