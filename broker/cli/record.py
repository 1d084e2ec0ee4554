"""`consent-broker record`: the record of a consent by ISO/IEC TS 27560."""

from pathlib import Path
from typing import Annotated

import orjson
import typer

from broker.cli.composed import USAGE, Json, Tenant, composed
from broker.domain.addresses import ROOT_TENANT
from broker.usecases import record as usecases


def record(
    consent_id: Annotated[str, typer.Argument(help="The consent. 同意编号。")],
    receipt: Annotated[
        bool, typer.Option("--receipt", help="A copy for the customer. 给客户的回执。")
    ] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Write it here. 输出文件。")] = None,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """A consent's record in any state (ISO/IEC TS 27560, JSON-LD). 同意记录。

    It is JSON in any case; --json puts it into one line.
    """
    with composed() as ctx:
        found = usecases.record(ctx, tenant, consent_id, partner_id=None, receipt=receipt)
    data = orjson.dumps(found, option=0 if as_json else orjson.OPT_INDENT_2)
    if out is None:
        typer.echo(data.decode())
        return
    try:
        out.touch(mode=0o600)
        out.chmod(0o600)
        out.write_bytes(data)
    except OSError as error:
        typer.echo(f"consent-broker: cannot write {out}: {error.strerror}", err=True)
        raise typer.Exit(USAGE) from None
