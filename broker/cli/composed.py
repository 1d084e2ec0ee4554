"""A command's context: composed like the server's, released at the end, errors told in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from sqlalchemy.exc import OperationalError

from broker.app import build_context
from broker.domain.errors import BrokerError
from broker.settings import SettingsError, read_settings
from broker.usecases.context import Context

REFUSED, USAGE = 1, 2

Tenant = Annotated[str, typer.Option("--tenant", help="The tenant's id. 租户。")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]


@contextmanager
def composed() -> Iterator[Context]:
    """Open the deployment that the environment names; exit 1 when refused, 2 when misconfigured."""
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
        yield ctx
    except BrokerError as error:
        typer.echo(f"consent-broker: {error}", err=True)
        raise typer.Exit(REFUSED) from None
    finally:
        ctx.db.close()
