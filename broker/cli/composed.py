"""A command's context: composed like the server's, released at the end, errors told in one line."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from sqlalchemy.exc import OperationalError

from broker.composition import build_context
from broker.domain.errors import BrokerError
from broker.settings import SettingsError, read_settings
from broker.store.acting import acting_for_all
from broker.usecases.context import Context
from credentials.errors import CredentialError
from credentials.json_reader import read_json_object
from federation.errors import FederationError

T = TypeVar("T")
REFUSED, USAGE = 1, 2

Tenant = Annotated[str, typer.Option("--tenant", help="The tenant's id. 租户。")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@contextmanager
def composed() -> Iterator[Context]:
    """Open the deployment that the environment names; exit 1 when refused, 2 when misconfigured.

    The operator acts for every tenant.
    """
    try:
        ctx = build_context(read_settings())
    except SettingsError as error:
        typer.echo(f"consent-broker: {error}", err=True)
        raise typer.Exit(USAGE) from None
    except (OperationalError, OSError) as error:
        # The driver's message: SQLAlchemy's own would add the statement and its parameters.
        cause = error.orig if isinstance(error, OperationalError) else error
        typer.echo(f"consent-broker: the database cannot be opened: {cause}", err=True)
        raise typer.Exit(USAGE) from None
    try:
        with acting_for_all():
            yield ctx
    except (BrokerError, FederationError) as error:
        typer.echo(f"consent-broker: {error}", err=True)
        raise typer.Exit(REFUSED) from None
    finally:
        ctx.db.close()


def some(found: Sequence[T]) -> Sequence[T]:
    """What a command lists; where that is nothing it says so, to a person and not to a pipe."""
    if not found:
        typer.echo("none 无", err=True)
    return found


def read_file(file: Path, largest: int) -> bytes:
    """The bytes of a file, one more than `largest` at most; exit 2 when it cannot be read."""
    try:
        with file.open("rb") as source:
            return source.read(largest + 1)
    except OSError as error:
        typer.echo(f"consent-broker: cannot read {file}: {error.strerror}", err=True)
    raise typer.Exit(USAGE)


def read_json_file(file: Path, largest: int) -> dict[str, Any]:
    """The JSON object in a file of at most `largest` bytes; exit 2 when there is none."""
    try:
        with file.open("rb") as source:
            return read_json_object(source.read(largest + 1), max_bytes=largest)
    except OSError as error:
        typer.echo(f"consent-broker: cannot read {file}: {error.strerror}", err=True)
    except CredentialError as error:
        typer.echo(f"consent-broker: {file}: {error}", err=True)
    raise typer.Exit(USAGE)
