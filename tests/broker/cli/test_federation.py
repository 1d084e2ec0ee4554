"""`consent-broker federation`, on a real home: from a salt to a campaign that is stopped."""

import hashlib
import json
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from broker.cli import app
from broker.store import model_versions
from broker.store.acting import acting_for_all
from broker.store.model_versions import VersionRow
from broker.usecases.bootstrap import demo_clients
from broker.usecases.context import Context
from broker.usecases.trust import trust
from credentials.jcs import b64url
from federation.campaign import bundle_hash, parameters_hash
from tests.broker.builders import Broker
from tests.broker.cli.commands import Commands, home
from tests.broker.training import board_file, member_keys, signed_document
from tests.federation.world import BUNDLE, PARAMETERS

REFUSED, USAGE = 1, 2
COMMANDS = Commands("federation")
run, told = COMMANDS.run, COMMANDS.told


@pytest.fixture(scope="module")
def ctx(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    """One home for all: each test makes what it looks at."""
    with pytest.MonkeyPatch.context() as patch:
        yield home(tmp_path_factory.mktemp("home"), patch)


def test_from_a_salt_to_a_campaign_that_is_stopped(ctx: Context, tmp_path: Path) -> None:
    with acting_for_all():
        partner = demo_clients(ctx)[0]["client_id"]
    salt = told("campaign", "new-salt")["salt_hash"]
    files = {name: tmp_path / name for name in ("signed", "board", "node", "receipts")}
    files["signed"].write_bytes(signed_document(salt, [partner], ctx.now()))
    files["board"].write_bytes(board_file())
    _, receipts, node = member_keys()
    files["node"].write_bytes(node)
    files["receipts"].write_bytes(receipts)

    added = told("campaign", "add", str(files["signed"]), "--board", str(files["board"]))
    assert added["state"] == "draft"
    keys = ("--node-key", str(files["node"]), "--receipt-key", str(files["receipts"]))
    invited = told("member", "add", partner, *keys)
    assert (invited["state"], invited["receipt_key"]["kty"]) == ("invited", "EC")
    assert told("member", "admit", partner)["state"] == "admitted"
    assert run("member", "add", partner, *keys).exit_code == REFUSED
    assert f"{partner}  admitted" in run("member", "list").output
    assert told("campaign", "start", added["id"])["state"] == "running"
    assert told("campaign", "pause", added["id"])["state"] == "paused"
    listed = {one["id"]: one for one in told("campaign", "list")}[added["id"]]
    assert (listed["state"], listed["stage"]) == ("paused", "consortium")
    assert "churn-2026" in run("campaign", "list").output
    shown = json.loads(run("campaign", "show", added["id"]).stdout)
    assert [one["state"] for one in shown["members"]] == ["admitted"]
    status = run("status").output
    assert "0/3 rounds" in status
    assert f"{partner} admitted" in status
    campaign = {one["id"]: one for one in told("status")["campaigns"]}[added["id"]]
    assert (campaign["rounds"], campaign["models"]) == ([], [])
    assert told("campaign", "stop", added["id"])["state"] == "stopped"
    assert run("campaign", "start", added["id"]).exit_code == REFUSED
    assert told("member", "revoke", partner)["state"] == "revoked"


@pytest.mark.usefixtures("ctx")
def test_a_coordinator_is_a_client_like_others(tmp_path: Path) -> None:
    added = told("coordinator", "add", "--name", "training")
    assert added["client_id"].startswith("co-")
    assert added["private_jwk"]["d"]
    assert told("coordinator", "suspend", added["client_id"])["state"] == "suspended"
    states = {one["id"]: one["state"] for one in told("coordinator", "list")}
    assert states[added["client_id"]] == "suspended"
    assert told("coordinator", "resume", added["client_id"])["state"] == "active"
    _, public, _ = member_keys()
    (tmp_path / "public").write_bytes(public)
    rekeyed = told(
        "coordinator", "rekey", added["client_id"], "--public-jwk", tmp_path.as_posix() + "/public"
    )
    assert "private_jwk" not in rekeyed


@pytest.mark.parametrize(
    ("wrong", "code", "why"),
    [
        (("campaign", "add", "absent", "--board", "absent"), USAGE, "cannot read"),
        (("campaign", "start", "fc-absent"), REFUSED, "no such campaign"),
        (("campaign", "show", "fc-absent"), REFUSED, "no such campaign"),
        (("model", "promote", "absent"), REFUSED, "no such model"),
        (("model", "retire", "absent"), REFUSED, "no such model"),
        (("model", "list", "--campaign", "absent"), REFUSED, "no such campaign"),
        (("task", "list", "--campaign", "absent"), REFUSED, "no such campaign"),
        (("task", "list", "--state", "shut"), USAGE, "open or done"),
        (("task", "list", "--after", "absent"), REFUSED, "no such unlearning task"),
        (("task", "close", "absent"), REFUSED, "no such unlearning task"),
        (("task", "close", "absent", "--residual-after", "1"), USAGE, "before and after"),
        (("task", "search", "--tenant", "absent"), REFUSED, "tenant"),
        (("member", "admit", "p-absent"), REFUSED, "no member"),
        (("status", "--tenant", "absent"), REFUSED, "tenant"),
        (("coordinator", "suspend", "co-absent"), REFUSED, "no such coordinator"),
    ],
)
@pytest.mark.usefixtures("ctx")
def test_what_is_refused_says_why(wrong: tuple[str, ...], code: int, why: str) -> None:
    result = run(*wrong)
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.startswith("consent-broker: ")
    assert why in result.stderr


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("node", b"{}", "P-256 or P-384"),
        ("node", b"-----BEGIN EC PRIVATE KEY-----", "private key"),
        ("node", b"\xff", "P-256 or P-384"),
        ("receipts", b'{"kty": "oct", "k": "AA"}', "no public JWK"),
        ("board", b'{"keys": [], "threshold": 1}', "of 1 to"),
        ("board", b"[]", "the board"),
        ("signed", b"{}", "a signed campaign"),
    ],
)
def test_files_that_do_not_hold_are_named(
    ctx: Context, tmp_path: Path, name: str, content: bytes, why: str
) -> None:
    with acting_for_all():
        partner = demo_clients(ctx)[0]["client_id"]
    _, receipts, node = member_keys()
    salt = told("campaign", "new-salt")["salt_hash"]
    good = {"node": node, "receipts": receipts, "board": board_file()}
    good["signed"] = signed_document(salt, [partner], ctx.now())
    for file, data in (good | {name: content}).items():
        (tmp_path / file).write_bytes(data)
    keys = ("--node-key", str(tmp_path / "node"), "--receipt-key", str(tmp_path / "receipts"))
    if name in {"node", "receipts"}:
        refused = run("member", "add", partner, *keys)
    else:
        board = str(tmp_path / "board")
        refused = run("campaign", "add", str(tmp_path / "signed"), "--board", board)
    assert (refused.exit_code, why in refused.stderr) == (REFUSED, True), refused.stderr


def test_evidence_for_one_customer(ctx: Context, tmp_path: Path) -> None:
    with acting_for_all():
        partner = demo_clients(ctx)[0]["client_id"]
        seeds = Broker(ctx, [ctx.now()])
        consent = seeds.consent(partner, "crm-1")
    out, trust = tmp_path / "evidence.json", tmp_path / "trust.json"
    assert told("evidence", "--consent", consent, "--out", str(out)) == {
        "file": str(out),
        "rounds": 0,
    }
    written = CliRunner().invoke(app, ["trust", "export", "--out", str(trust)])
    assert written.exit_code == 0, written.output
    checked = told("verify", str(out), "--trust", str(trust))
    assert (checked["consents"], checked["shown"]) == ([consent], [])
    shown = run("verify", str(out), "--trust", str(trust)).output
    assert "used in 0 of 0" in shown
    assert "0 处中使用 0 处" in shown
    out.write_bytes(out.read_bytes().replace(consent.encode(), b"c-another"))
    changed = run("verify", str(out), "--trust", str(trust))
    assert (
        changed.exit_code,
        "does not hold" in changed.stderr or "not what" in changed.stderr,
    ) == (
        REFUSED,
        True,
    )
    absent = ("evidence", "--consent", "c-absent", "--out", str(out))
    assert run(*absent).exit_code == REFUSED
    assert run("evidence", "--partner", partner, "--out", str(out)).exit_code == USAGE


def test_a_report_and_a_card_are_written(ctx: Context, tmp_path: Path) -> None:
    with acting_for_all():
        seeds = Broker(ctx, [ctx.now()])
        partner = seeds.partner("Reported")
    salt = told("campaign", "new-salt")["salt_hash"]
    (tmp_path / "signed").write_bytes(signed_document(salt, [partner], ctx.now()))
    (tmp_path / "board").write_bytes(board_file())
    signed, board = str(tmp_path / "signed"), str(tmp_path / "board")
    added = told("campaign", "add", signed, "--board", board)["id"]
    out = tmp_path / "out"
    files = told("report", added, "--out", str(out))["files"]
    assert files == [str(out / "report.html")]
    assert added in (out / "report.html").read_text("utf-8")
    assert "0/3 rounds" in run("status", "--campaign", added, "--follow").output
    assert run("status", "--follow", "--json").exit_code == USAGE

    weights = tmp_path / "weights"
    weights.write_bytes(b"weights")
    named = b64url(hashlib.sha256(b"weights").digest())
    with acting_for_all(), ctx.db.transaction() as tx:
        version = VersionRow(
            *("demo", named, None, added, "consortium", 0, bundle_hash(BUNDLE)),
            *(parameters_hash(PARAMETERS), None, "[]", None, "{}"),
            *("candidate", 1, 1),
        )
        model_versions.add(tx, version)
    export = ("model", "export", named, "--out", str(out))
    files = told(*export, "--weights", str(weights))["files"]
    assert (out / "model.safetensors").read_bytes() == b"weights"
    assert (out / "MODEL_CARD.md").read_text("utf-8").startswith("# ")
    assert json.loads((out / "model.json").read_bytes())["model"]["id"] == named
    assert {Path(one).name for one in files} == {one.name for one in out.iterdir()} - {
        "report.html"
    }
    verified_by_command(ctx, out, board)
    other = run(*export, "--weights", board)
    assert (other.exit_code, "not the weights" in other.stderr) == (REFUSED, True)
    assert run(*export, "--weights", "absent").exit_code == USAGE


def verified_by_command(ctx: Context, out: Path, board: str) -> None:
    """What was exported verifies by itself; each file that is another one is named."""
    known = out.parent / "trust.json"
    with acting_for_all():
        known.write_text(json.dumps(trust(ctx).to_json()))
    verify = ("model", "verify", str(out), "--trust", str(known))
    found = told(*verify, "--board", board)
    assert (found["verified"], found["state"], found["made_at"] > 1) == (True, "candidate", True)
    assert found["weights_checked"] is True
    assert "compare them" not in run(*verify, "--board", board).output
    shown = run(*verify)
    assert "✓ model.safetensors 权重: exactly those" in shown.output
    assert "NOT checked" not in shown.output
    assert all(one in shown.output for one in (*found["boards"], "candidate as of", "compare them"))
    kept = {name: (out / name).read_bytes() for name in ("model.safetensors", "MODEL_CARD.md")}
    (out / "model.safetensors").write_bytes(b"others")
    (out / "MODEL_CARD.md").unlink()
    refused = run(*verify)
    assert refused.exit_code == REFUSED
    lines = ("✗ MODEL_CARD.md 模型卡: there is no", "✗ model.safetensors 权重: these are")
    assert all(line in refused.output for line in (*lines, "not verified"))
    (out / "MODEL_CARD.md").write_bytes(kept["MODEL_CARD.md"])
    (out / "model.safetensors").unlink()
    absent = run(*verify)
    assert (absent.exit_code, "there is no model.safetensors" in absent.output) == (REFUSED, True)
    found = told(*verify, "--without-weights")
    assert (found["verified"], found["weights_checked"]) == (True, False)
    last = run(*verify, "--without-weights").output.splitlines()[-1]
    assert "weights NOT checked 未核对权重" in last
    (out / "model.safetensors").write_bytes(kept["model.safetensors"])
    assert run(*verify[:-1], board).exit_code == USAGE
    assert run("model", "verify", str(out / "absent"), *verify[3:]).exit_code == USAGE


def test_a_residual_is_measured_from_files(tmp_path: Path) -> None:
    """By hand: the reference has length 5, the others lie 5 and 1e-30 away from it."""
    files = []
    for name, numbers in (("a", (3, 4, 5)), ("b", (3, 4, 1e-30)), ("c", (3, 4, 0))):
        header = {"w": {"dtype": "F64", "shape": [3], "data_offsets": [0, 24]}}
        text = json.dumps(header).encode()
        file = tmp_path / name
        file.write_bytes(struct.pack("<Q", len(text)) + text + struct.pack("<3d", *numbers))
        files.append(str(file))
    given = ("--before", files[0], "--after", files[1], "--reference", files[2])
    found = told("task", "measure", *given)
    assert (found["before"], found["after"]) == ("1.000000000000000", "0.000000000000001")
    assert not found["erased"]
    assert found["models"]["before"] == b64url(hashlib.sha256(Path(files[0]).read_bytes()).digest())
    assert "--residual-before=1.0" in run("task", "measure", *given).output
    some = run("task", "close", "ut-none", *given[:4])
    assert (some.exit_code, "three files" in some.stderr) == (USAGE, True)
    both = run("task", "close", "ut-none", *given, "--residual-before=1", "--residual-after=1")
    assert both.exit_code == USAGE
    assert run("task", "close", "ut-none", *given).exit_code == REFUSED
    Path(files[1]).write_bytes(b"no weights")
    assert run("task", "measure", *given).exit_code == REFUSED
