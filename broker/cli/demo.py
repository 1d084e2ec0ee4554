"""`consent-broker demo`: drive the whole way against a running broker and show each step."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import httpx2
import typer
from rich.console import Console
from rich.markup import escape

from broker.cli.journey import Journey, Step, Unexpected
from broker.composition import build_context
from broker.outbound.client import ApiError, Client
from broker.settings import read_settings
from broker.store.acting import acting_for_all
from broker.usecases.bootstrap import demo_clients
from broker.usecases.trust import trust as trust_of
from wallet_adapters.errors import WalletProtocolError

FAILED, UNREACHABLE = 1, 2


def demo(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document for machines.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Keep the transcript, the credentials, evidence.zip and trust.json in this folder."
        ),
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="The broker's address; PUBLIC_URL's by default.")
    ] = None,
) -> None:
    """Drive the whole way over HTTP with the built-in wallet. 全流程演示。

    Consent requested, signed in part, decided, withdrawn and proven. Needs a running broker
    (`make run`) and its BROKER_HOME, where the demonstration clients' keys are.
    """
    settings = read_settings()
    base = url or settings.public_url
    ctx = build_context(settings)
    with acting_for_all():
        trust = trust_of(ctx)
    ctx.db.close()
    try:
        partner_jwk, officer_jwk = demo_clients(ctx)
    except FileNotFoundError:
        typer.echo(
            f"consent-broker: there is no demonstration in {settings.home}: start the broker with "
            "BROKER_DEMONSTRATION=on, or with a PUBLIC_URL that is not https",
            err=True,
        )
        raise typer.Exit(UNREACHABLE) from None
    partner = Client(base, partner_jwk["client_id"], partner_jwk["private_jwk"])
    officer = Client(base, officer_jwk["client_id"], officer_jwk["private_jwk"])
    journey = Journey(partner, partner_jwk["client_id"], officer, trust)
    console = Console(highlight=False)
    steps: list[Step] = []
    try:
        for step in journey.steps():
            steps.append(step)
            if not as_json:
                _show(console, len(steps), step)
    except httpx2.TransportError:
        typer.echo(
            f"no broker answers at {base}: start one with make run, or name it with --url", err=True
        )
        raise typer.Exit(UNREACHABLE) from None
    except (ApiError, WalletProtocolError, Unexpected) as error:
        typer.echo(f"step {len(steps) + 1} failed: {error}", err=True)
        raise typer.Exit(FAILED) from None
    finally:
        for part in (journey, partner, officer):
            part.close()
    transcript = {"broker": base, "steps": [asdict(step) for step in steps]}
    if out is not None:
        _keep(out, journey, transcript, trust.to_json())
    if as_json:
        typer.echo(json.dumps(transcript, ensure_ascii=False, indent=2))
    else:
        total = sum(step.milliseconds for step in steps)
        console.print(
            f"\n[bold]Done 完成[/bold]: {len(steps)} steps in {total:.0f} ms"
            + (f", kept in {out}" if out else "")
        )


def _keep(out: Path, journey: Journey, transcript: dict[str, Any], trust: dict[str, Any]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (out / "transcript.json").write_text(
        json.dumps(transcript, ensure_ascii=False, indent=2), encoding="utf-8"
    )
    (out / "consent-credential.txt").write_text(journey.kept.consent_credential, encoding="ascii")
    (out / "receipt.txt").write_text(journey.kept.receipt, encoding="ascii")
    (out / "evidence.zip").write_bytes(journey.kept.evidence)
    (out / "trust.json").write_text(json.dumps(trust, indent=2), encoding="ascii")


def _show(console: Console, number: int, step: Step) -> None:
    spent = f"[dim]{step.milliseconds:.0f} ms[/dim]"
    console.print(
        f"\n[bold]{number}. {step.title_en}[/bold]  {step.title_zh}  {spent}", soft_wrap=True
    )
    for name, value in step.shown.items():
        _line(console, name, value)


def _line(console: Console, name: str, value: object) -> None:
    if name == "reasons" and isinstance(value, list):
        for reason in value:
            law = "; ".join(reason.get("law", [])) if isinstance(reason, dict) else ""
            said = f"{reason.get('code')}  {reason.get('zh', '')} {reason.get('en', '')}"
            console.print(
                f"   [red]✗[/red] {escape(said)}  [dim]{escape(law)}[/dim]", soft_wrap=True
            )
        return
    if name == "decision":
        console.print("   [green]✓ permit 允许[/green]" if value else "   [red]✗ deny 拒绝[/red]")
        return
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    console.print(f"   [dim]{name}:[/dim] {escape(text)}", soft_wrap=True)
