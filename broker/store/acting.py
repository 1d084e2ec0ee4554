"""For which tenant the broker acts: each transaction is of one tenant, or says that it is of all.

PostgreSQL is told with each `BEGIN` and then shows and takes rows of that tenant alone
(`row_security`). SQLite, which serves one process, has no such thing, but the same error comes
where nobody said it, so that it is found wherever the code runs first.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from broker.domain.addresses import TENANT_ID

EVERYBODY = "*"

_acting: ContextVar[str | None] = ContextVar("acting", default=None)


class NobodyActing(RuntimeError):
    """A transaction was to begin, and nobody had said for which tenant."""


@contextmanager
def acting_for(tenant_id: str) -> Iterator[None]:
    """Within the block, transactions that begin are of this tenant alone, whether it exists or not.

    It holds for this thread or task and what it hands to `run_in_threadpool`; a thread that is
    started says it again. Raises `ValueError` for what is no tenant's id.
    """
    if TENANT_ID.fullmatch(tenant_id) is None:
        message = f"{tenant_id!r} is no tenant's id"
        raise ValueError(message)
    with _acting_for(tenant_id):
        yield


@contextmanager
def acting_for_all() -> Iterator[None]:
    """Within the block, transactions that begin see and write the rows of every tenant.

    For what belongs to no tenant: the sequencer, sweeps, migrations, the operator's commands.
    """
    with _acting_for(EVERYBODY):
        yield


def acting() -> str:
    """The tenant, or `EVERYBODY`; raises `NobodyActing`."""
    found = _acting.get()
    if found is None:
        message = "say for whom this transaction is: acting_for(tenant_id) or acting_for_all()"
        raise NobodyActing(message)
    return found


def is_acting() -> bool:
    """Whether somebody has said for whom."""
    return _acting.get() is not None


@contextmanager
def _acting_for(whom: str) -> Iterator[None]:
    token = _acting.set(whom)
    try:
        yield
    finally:
        _acting.reset(token)
