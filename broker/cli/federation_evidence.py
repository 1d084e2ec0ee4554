"""`consent-broker federation evidence` and `verify`: whether a customer's row was trained on."""

import json
from pathlib import Path
from typing import Annotated

import orjson
import typer

from broker.cli.composed import REFUSED, USAGE, Json, Tenant, composed, read_file
from broker.cli.subject import Consent, Partner, SubjectRef
from broker.domain.access_request import moment
from broker.domain.addresses import ROOT_TENANT
from broker.domain.errors import BrokerError, InvalidRequest
from broker.domain.training_evidence import LARGEST_FILE, verify_training_evidence
from broker.domain.trust import Trust
from broker.usecases.person import Named
from broker.usecases.training_evidence import training_evidence


def register(commands: typer.Typer) -> None:
    """Add the commands."""
    commands.command("evidence")(evidence)
    commands.command("verify")(verify)


def evidence(
    out: Annotated[Path, typer.Option("--out", help="Write it here. 输出文件。")],
    partner: Partner = None,
    subject_ref: SubjectRef = None,
    consent: Consent = None,
    campaign: Annotated[
        str | None,
        typer.Option("--campaign", help="Look through this one alone. 只查一个活动。"),
    ] = None,
    with_salt: Annotated[
        bool,
        typer.Option(
            "--with-salt",
            help="For an auditor who checks the rounds' keys too: keep that file secret. 附盐值。",
        ),
    ] = False,
    tenant: Tenant = ROOT_TENANT,
    as_json: Json = False,
) -> None:
    """In which rounds a customer's consents were used, with proofs. 训练使用证据。"""
    try:
        named = Named(partner, subject_ref, consent)
    except InvalidRequest as error:
        typer.echo(f"consent-broker: {error}", err=True)
        raise typer.Exit(USAGE) from None
    with composed() as ctx:
        found = training_evidence(ctx, tenant, named, campaign_id=campaign, with_salt=with_salt)
    try:
        out.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
    except OSError as error:
        typer.echo(f"consent-broker: cannot write {error.filename}: {error.strerror}", err=True)
        raise typer.Exit(USAGE) from None
    rounds = len(found["evidence"]["rounds"])
    told = json.dumps({"file": str(out), "rounds": rounds})
    typer.echo(told if as_json else f"{out}: proofs about {rounds} receipts")


def verify(
    file: Annotated[Path, typer.Argument(help="The evidence. 证据文件。")],
    trust: Annotated[Path, typer.Option("--trust", help="consent-broker trust export. 信任文件。")],
    as_json: Json = False,
) -> None:
    """Check evidence of training; needs no server. 离线核验训练使用证据。"""
    content, trusted = read_file(file, LARGEST_FILE), read_file(trust, LARGEST_FILE)
    try:
        found = verify_training_evidence(content, Trust.parse(trusted))
    except BrokerError as error:
        typer.echo(f"consent-broker: {file}: {error}", err=True)
        raise typer.Exit(REFUSED) from None
    tree = found.checkpoint
    log = None if tree is None else {"origin": tree.origin, "size": tree.size}
    keys = "computed from the salt" if found.keys_computed else "the broker's word"
    if as_json:
        told = {
            "issuer": found.issuer,
            "made_at": found.made_at,
            "consents": list(found.consents),
            "round_keys": keys,
            "boards": list(found.boards),
            "only": found.only,
            "log": log,
            "shown": [vars(one) for one in found.shown],
        }
        typer.echo(json.dumps(told))
        return
    for one in found.shown:
        typer.echo(
            f"{one.shows:8}  {one.consent}  {one.stage} {one.number}  {one.member}  "
            f"campaign {one.campaign}  signed {moment(one.signed_at)}  "
            f"in the log since {moment(one.logged_at)}"
        )
    used = sum(one.shows == "included" for one in found.shown)
    where = "" if found.only is None else f" of campaign {found.only} alone"
    typer.echo(
        f"{file}: by {found.issuer}; used in {used} of {len(found.shown)} places{where} that were "
        f"looked at, by what members said; the rounds' keys are {keys}"
        + ("" if tree is None else f"; each receipt is in the log {tree.origin} of {tree.size}")
    )
    typer.echo(
        f"{file}: 由 {found.issuer} 签发；按成员所述，在所查 {len(found.shown)} 处中使用 {used} 处"
        + ("" if found.only is None else f"（仅活动 {found.only}）")
        + ("" if tree is None else f"；每份回执均在日志 {tree.origin}（{tree.size} 条）中")
    )
