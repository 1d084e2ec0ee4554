"""`python -m federation.flower`: the closed SuperLink, and a member's SuperNode."""

import argparse
import importlib
import json
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from federation.campaign import bundle_hash
from federation.errors import FederationError
from federation.flower.places import LOOPBACK, Certificate, Places
from federation.flower.processes import Program, closed_environment, program, run_together
from federation.flower.settings import COORDINATOR, MEMBER

SELF_SIGNED_DAYS = 397
EXAMPLES = {"up": COORDINATOR, "member-up": MEMBER}
SUPERVISED = {"up": ("up", "coordinate"), "member-up": ("member_up", "run_member")}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the commands; 0 when it was told to stop, 1 when a program ended by itself."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.command == "bundle":
        return _bundle(given)
    if given.command in EXAMPLES:
        return _up(parser, given)
    if given.command == "superlink" and not (
        given.self_signed or (given.certificate and given.key)
    ):
        parser.error("members come in by TLS: give --certificate and --key, or --self-signed NAME")
    if not all("=" in one for one in getattr(given, "environment", ())):
        parser.error("--environment takes NAME=VALUE")
    places = Places.open(given.directory)
    if given.command == "node-key":
        places.make_node_key()
        sys.stdout.write(f"{places.node_public_key}\n")
        return 0
    now = datetime.now(UTC)
    places.make_secret(places.superexec_secret)
    own = places.loopback(now)
    build = _superlink if given.command == "superlink" else _supernode
    programs = build(given, places, own, now)
    more = dict(one.split("=", 1) for one in given.environment)
    ended = run_together(programs, closed_environment(os.environ, places.flower, more))
    if ended:
        sys.stderr.write(f"federation.flower: {ended}; the others were stopped\n")
    return 1 if ended else 0


def _up(parser: argparse.ArgumentParser, given: argparse.Namespace) -> int:
    """Supervise what a settings file says; 2 where it cannot be used."""
    if given.example:
        sys.stdout.write(EXAMPLES[given.command])
        return 0
    if given.file is None:
        parser.error("name your settings file; --example shows one")
    module, function = SUPERVISED[given.command]
    # Here and not above: making a node's key and saying what is wrong needs no Flower.
    supervised = getattr(importlib.import_module(f"federation.flower.{module}"), function)
    try:
        return int(supervised(given.file, as_json=given.json))
    except FederationError as error:
        sys.stderr.write(f"consent-broker: {error}\n")
        return 2


def _bundle(given: argparse.Namespace) -> int:
    """Build an application and sign it."""
    # Here and not above: it is Flower that builds.
    made = importlib.import_module("federation.flower.bundle")
    try:
        bundle = made.Bundle.build(given.application)
        if given.key:
            key = made.read_entity_key(given.key.read_bytes())
            bundle = bundle.signed_by(key, given.name, int(time.time()))
        given.out.mkdir(parents=True, exist_ok=True)
        file = given.out / f"{given.application.resolve().name}.fab"
        bundle.write(file)
    except (FederationError, OSError) as error:
        sys.stderr.write(f"federation.flower: {error}\n")
        return 2
    told = {"file": str(file), "bundle_hash": bundle_hash(bundle.content)}
    sys.stdout.write(f"{json.dumps(told)}\n")
    return 0


def _superlink(
    given: argparse.Namespace, places: Places, own: Certificate, now: datetime
) -> list[Program]:
    places.make_secret(places.control_token)
    if given.self_signed:
        outside = places.kept_certificate("members", given.self_signed, now, SELF_SIGNED_DAYS)
    else:
        outside = Certificate(given.certificate, given.key, given.certificate)
    serve = [sys.executable, "-m", "federation.flower.superlink", str(places.directory)]
    serve += ["--control-port", str(given.control_port)]
    serve += ["--host", given.host, "--port", str(given.port)]
    serve += ["--certificate", str(outside.certificate), "--key", str(outside.key)]
    return [
        Program("the SuperLink", serve),
        _superexec(places, own, given.control_port),
    ]


def _supernode(
    given: argparse.Namespace, places: Places, own: Certificate, _now: datetime
) -> list[Program]:
    places.make_node_key()
    node = [program("flower-supernode"), "--superlink", given.superlink]
    node += ["--root-certificates", str(given.root_certificates)]
    node += ["--trusted-entities", str(given.trusted_entities)]
    node += ["--auth-supernode-private-key", str(places.node_key)]
    node += ["--isolation", "process", "--host", LOOPBACK, "--port", str(given.port)]
    node += ["--superexec-auth-secret-file", str(places.superexec_secret)]
    node += ["--ssl-certfile", str(own.certificate), "--ssl-keyfile", str(own.key)]
    node += ["--ssl-ca-certfile", str(own.root)]
    if given.node_config:
        node += ["--node-config", given.node_config]
    return [Program("the SuperNode", node), _superexec(places, own, given.port)]


def _superexec(places: Places, own: Certificate, port: int) -> Program:
    # Its tasks end when it does, and it when this process does: each watches its parent.
    command = [program("flower-superexec"), "--runtime-api-address", f"{LOOPBACK}:{port}"]
    command += ["--root-certificates", str(own.root), "--parent-pid", str(os.getpid())]
    command += ["--superexec-auth-secret-file", str(places.superexec_secret)]
    return Program("the SuperExec", command)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m federation.flower",
        description="Run Flower, closed: see docs/federation.md. 以封闭方式运行 Flower。",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    link = commands.add_parser(
        "superlink", help="The coordinator's SuperLink and its SuperExec. 协调方的 SuperLink。"
    )
    link.add_argument("--host", default="0.0.0.0", help="Where members come in. 成员接入地址。")  # noqa: S104
    link.add_argument("--port", type=int, default=9092, help="Its port. 成员接入端口。")
    link.add_argument(
        "--control-port",
        type=int,
        default=9093,
        help="The coordinator's port, on the loopback only. 协调方端口，仅限本机。",
    )
    link.add_argument("--certificate", type=Path, help="TLS chain, PEM. TLS 证书链。")
    link.add_argument("--key", type=Path, help="Its private key, PEM. TLS 私钥。")
    link.add_argument(
        "--self-signed",
        metavar="NAME",
        help="Instead, make members.pem for this host name or address; members trust that file. "
        "改为生成自签名证书 members.pem。",
    )
    node = commands.add_parser(
        "supernode", help="A member's SuperNode and its SuperExec. 成员的 SuperNode。"
    )
    node.add_argument("--superlink", required=True, help="HOST:PORT of the SuperLink. 地址。")
    node.add_argument(
        "--root-certificates",
        type=Path,
        required=True,
        help="What its TLS is checked against. 根证书。",
    )
    node.add_argument(
        "--trusted-entities",
        type=Path,
        required=True,
        help="Whose bundles run here: YAML, name to OpenSSH Ed25519 key. 受信任的签名者。",
    )
    node.add_argument(
        "--port", type=int, default=9094, help="A port of the loopback for its own use. 本机端口。"
    )
    node.add_argument("--node-config", default="", help="As Flower takes it: key=value. 节点配置。")
    key = commands.add_parser(
        "node-key",
        help="Make a SuperNode's key once, and say where the public one is, which the coordinator "
        "registers before the SuperNode starts. 生成节点密钥并给出公钥文件。",
    )
    bundle = commands.add_parser(
        "bundle",
        help="Build an application's directory and sign it; prints the hash that a campaign names. "
        "打包并签名应用。",
    )
    bundle.add_argument("application", type=Path, help="Its directory. 应用目录。")
    bundle.add_argument("--out", type=Path, required=True, help="The folder for it. 输出目录。")
    bundle.add_argument("--key", type=Path, help="OpenSSH Ed25519 private key. 签名私钥。")
    bundle.add_argument("--name", default="board", help="Of the key, as members know it. 签名者。")
    for name, told in (
        ("up", "Run the campaigns that the broker says should run. 运行训练活动。"),
        ("member-up", "Run a member, with all checks. 运行成员节点。"),
    ):
        up = commands.add_parser(name, help=told)
        up.add_argument("file", type=Path, nargs="?", help="Its settings, TOML. 配置文件。")
        up.add_argument("--json", action="store_true", help="Events as JSON lines. 输出 JSON。")
        up.add_argument("--example", action="store_true", help="Print a settings file. 配置示例。")
    for one in (link, node, key):
        one.add_argument(
            "--directory", type=Path, required=True, help="Its keys and state. 密钥与状态目录。"
        )
    for one in (link, node):
        one.add_argument(
            "--environment",
            action="append",
            default=[],
            metavar="NAME=VALUE",
            help="For the application on this machine; may be given again. 应用的环境变量。",
        )
    return parser


if __name__ == "__main__":
    sys.exit(main())
