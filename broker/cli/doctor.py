"""`consent-broker doctor`: what is wrong with a deployment, why it matters, how to cure it."""

import base64
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy.exc import SQLAlchemyError

from broker.cli.composed import REFUSED, USAGE, Json
from broker.cli.doctor_texts import AREAS, CURE, VERDICTS, WHY, texts
from broker.domain.finding import Finding, problem
from broker.settings import SettingsError, read_settings
from broker.store.acting import acting_for_all
from broker.store.db import Database
from broker.usecases.doctor import examine
from broker.usecases.doctor.keys import own_roots
from credentials.certificate import read_certificate
from credentials.chain import verify_chain
from credentials.errors import CredentialError, UntrustedChain
from credentials.json_reader import read_json

LARGEST_FILE = 262_144
MARKS = {"fine": "✓", "warning": "!", "problem": "✗"}
PEM = b"-----BEGIN CERTIFICATE-----"

doctor = typer.Typer(
    help="Say what is wrong, why it matters, how to cure it. 诊断：问题、影响与处理。",
    invoke_without_command=True,
)

Lang = Annotated[Literal["zh", "en"], typer.Option("--lang", help="zh or en. 语言。")]


@doctor.callback()
def look(
    context: typer.Context,
    lang: Lang = "en",
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask neither PUBLIC_URL nor vaults. 不访问网络。")
    ] = False,
    as_json: Json = False,
) -> None:
    """Examine the deployment that the environment names, whether it serves or not. 诊断部署。

    Nothing is changed; a probe is put into each vault of BROKER_VAULTS and deleted. Exit codes:
    0 nothing worse than warnings; 1 problems.
    """
    if context.invoked_subcommand is not None:
        return
    try:
        with acting_for_all():
            found = list(examine(read_settings(), int(time.time()), ask=not offline))
    except SettingsError as error:
        found = [problem("settings", "settings_invalid", message=str(error))]
    problems = sum(one.level == "problem" for one in found)
    warnings = sum(one.level == "warning" for one in found)
    if as_json:
        told = {
            "problems": problems,
            "warnings": warnings,
            "findings": [_told(one, lang) for one in found],
        }
        typer.echo(json.dumps(told, ensure_ascii=False))
    else:
        for one in found:
            _print(one, lang)
        verdict = VERDICTS[lang][bool(problems or warnings)]
        typer.echo(verdict.format(problems=problems, warnings=warnings))
    raise typer.Exit(REFUSED if problems else 0)


@doctor.command()
def chain(
    file: Annotated[
        Path,
        typer.Argument(help="A credential, a JWS, a JSON list x5c, or PEM. 凭证、x5c 或 PEM。"),
    ],
    anchors: Annotated[
        list[Path] | None,
        typer.Option(help="PEM files of roots to trust; this broker's own without. 信任的根证书。"),
    ] = None,
    at: Annotated[
        int | None, typer.Option(help="The time to judge by, in Unix seconds; now. 判定时间。")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say whether a certificate chain is trusted; if not, which certificate fails and why. 证书链。

    Exit codes: 0 trusted; 1 not; 2 the file holds no chain.
    """
    try:
        x5c = _chain_of(file)
        roots = (
            [der for path in anchors for der in _certificates(path.read_bytes())]
            if anchors
            else _own_roots()
        )
    except (OSError, ValueError, CredentialError, SettingsError, SQLAlchemyError) as error:
        typer.echo(f"consent-broker: {file}: {error}", err=True)
        raise typer.Exit(USAGE) from None
    fault: UntrustedChain | None = None
    try:
        verify_chain(x5c, roots, int(time.time()) if at is None else at)
    except UntrustedChain as error:
        fault = error
    seen = [_seen(number, entry, fault) for number, entry in enumerate(x5c)]
    if as_json:
        reason = None if fault is None else {"position": fault.position, "reason": fault.reason}
        told = {"trusted": fault is None, "certificates": seen, "fault": reason}
        typer.echo(json.dumps(told, ensure_ascii=False))
    else:
        for one in seen:
            mark = MARKS["problem" if one["at_fault"] else "fine"]
            typer.echo(f"{mark} {one['position']}  {one['subject']}")
            typer.echo(f"     issued by {one['issuer']}, {one['from']} to {one['until']}")
        typer.echo(
            f"{MARKS['fine']} the chain leads to one of {len(roots)} trust anchors"
            if fault is None
            else f"{MARKS['problem']} {fault}"
        )
    raise typer.Exit(0 if fault is None else REFUSED)


def _print(found: Finding, lang: str) -> None:
    text = texts()[found.code][lang]
    area = AREAS[found.area][lang == "zh"]
    typer.echo(f"{MARKS[found.level]} {area}: {text.what.format_map(found.values)}")
    if found.level != "fine":
        typer.echo(f"    {WHY[lang]}: {text.why.format_map(found.values)}")
        typer.echo(f"    {CURE[lang]}: {text.cure.format_map(found.values)}")


def _told(found: Finding, lang: str) -> dict[str, object]:
    text = texts()[found.code][lang]
    return {
        "area": found.area,
        "code": found.code,
        "level": found.level,
        "what": text.what.format_map(found.values),
        "why": text.why.format_map(found.values),
        "cure": text.cure.format_map(found.values),
    }


def _chain_of(file: Path) -> list[str]:
    """The chain in a file: base64 DER, leaf first. Raises `ValueError`, `CredentialError`."""
    with file.open("rb") as source:
        data = source.read(LARGEST_FILE + 1).strip()
    if len(data) > LARGEST_FILE:
        raise ValueError(f"more than {LARGEST_FILE} bytes: not a chain")
    if PEM in data:
        return [base64.b64encode(der).decode() for der in _certificates(data)]
    if not data.startswith((b"[", b"{")):
        # A credential or a JWS: its header.
        encoded = data.split(b".", 1)[0]
        data = base64.urlsafe_b64decode(encoded + b"=" * (-len(encoded) % 4))
    value = read_json(data)
    found = value.get("x5c") if isinstance(value, dict) else value
    if not isinstance(found, list) or not found or not all(isinstance(one, str) for one in found):
        raise ValueError("there is no x5c in it")
    return [str(one) for one in found]


def _certificates(pem: bytes) -> list[bytes]:
    return [one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(pem)]


def _own_roots() -> Sequence[bytes]:
    db = Database(read_settings().sqlalchemy_url, pool_size=1)
    try:
        with acting_for_all():
            return own_roots(db)
    finally:
        db.close()


def _seen(number: int, entry: str, fault: UntrustedChain | None) -> dict[str, object]:
    told: dict[str, object] = {"position": number, "subject": "(unreadable)", "issuer": ""}
    told |= {"from": "", "until": "", "at_fault": fault is not None and fault.position == number}
    try:
        view = read_certificate(base64.b64decode(entry, validate=True))
    except (ValueError, CredentialError):
        return told
    return told | {
        "subject": view.subject,
        "issuer": view.issuer,
        "from": datetime.fromtimestamp(view.not_before, UTC).date().isoformat(),
        "until": datetime.fromtimestamp(view.not_after, UTC).date().isoformat(),
    }
