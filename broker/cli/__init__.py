"""`consent-broker`: serve, register, check evidence, and see the whole way."""

import typer

from broker.cli import (
    agent,
    backup,
    cross_border,
    data_source,
    federation,
    fee,
    guardian,
    keys,
    lineage,
    log,
    own_attribute,
    registry,
    sandbox,
    serve,
    source,
    subject,
    vault,
    webhook,
)
from broker.cli.demo import demo
from broker.cli.doctor import doctor
from broker.cli.record import record

app = typer.Typer(
    help="Customers sign consents; companies keep credentials, not profiles. 同意经纪。",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
serve.register(app)
registry.register(app)
app.add_typer(keys.keys, name="keys")
app.add_typer(log.log, name="log")
app.add_typer(subject.subject, name="subject")
app.add_typer(fee.fee, name="fee")
app.add_typer(cross_border.transfer, name="transfer")
app.add_typer(agent.agent, name="agent")
app.add_typer(guardian.guardian, name="guardian")
app.add_typer(lineage.lineage, name="lineage")
app.add_typer(vault.vault, name="vault")
app.add_typer(webhook.webhook, name="webhook")
app.add_typer(source.source, name="source")
app.add_typer(federation.federation, name="federation")
app.add_typer(data_source.data_source, name="data-source")
app.add_typer(own_attribute.own_attribute, name="own-attribute")
app.add_typer(sandbox.sandbox, name="sandbox")
backup.register(app)
app.add_typer(doctor, name="doctor")
app.command()(demo)
app.command()(record)


def main() -> None:
    """Run the command line."""
    app()
