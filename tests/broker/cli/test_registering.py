"""`consent-broker tenant`, `partner` and so on: on a real home, with one-line errors."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from broker.cli import app
from broker.composition import build_context
from broker.settings import read_settings
from broker.usecases.bootstrap import ensure_demo_tenant
from broker.usecases.token import client_token
from credentials.keys import SoftwareKey, sign_jws
from tests.broker.demonstration import DEMONSTRATION
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.openid4vci import ClientCredentialsRequest, parse_client_assertion

REFUSED, USAGE = 1, 2
LABELS = "--zh x --en x"
EXPLAINED = "--explanation-zh x --explanation-en x"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with the demonstration tenant, as a first `serve` leaves it."""
    for name in list(os.environ):
        if name == "DATABASE_URL" or name.startswith("BROKER_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("BROKER_HOME", str(tmp_path))
    monkeypatch.setenv("PUBLIC_URL", "https://consent.example")
    ctx = build_context(read_settings())
    ensure_demo_tenant(ctx)
    ctx.db.close()
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def told(*arguments: str) -> Any:  # noqa: ANN401 (JSON)
    result = run(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_a_partner_is_shown_its_client_id_and_key_once(home: Path) -> None:
    added = told("partner", "add", "--name", "X")
    assert set(added) == {"client_id", "name", "private_jwk"}
    assert added["private_jwk"]["d"]
    (listed,) = [one for one in told("partner", "list") if one["id"] == added["client_id"]]
    # What was not said is the tenant's.
    assert (listed["name_zh"], listed["country"], listed["state"]) == ("X", "CN", "active")
    assert listed["contact"]
    for file in home.iterdir():
        assert added["private_jwk"]["d"].encode() not in file.read_bytes()


def test_the_key_that_was_shown_authenticates_until_the_partner_is_suspended(home: Path) -> None:
    added = told("partner", "add", "--name", "X")
    assert authenticates(added)
    assert run("partner", "suspend", added["client_id"]).exit_code == 0
    assert not authenticates(added)
    assert run("partner", "resume", added["client_id"]).exit_code == 0
    assert authenticates(added)


def test_an_officer_likewise(home: Path) -> None:
    added = told("officer", "add", "--name", "Wang")
    assert authenticates(added)
    assert run("officer", "suspend", added["client_id"]).exit_code == 0
    assert not authenticates(added)
    assert run("officer", "resume", added["client_id"]).exit_code == 0
    assert [one["state"] for one in told("officer", "list")] == ["active", "active"]


@pytest.mark.parametrize("role", ["partner", "officer"])
def test_another_key_takes_the_place_of_the_first(home: Path, role: str, tmp_path: Path) -> None:
    added = told(role, "add", "--name", "Y")
    changed = told(role, "rekey", added["client_id"])
    assert not authenticates(added)
    assert authenticates(changed)
    own = SoftwareKey.generate("Ed25519")
    file = tmp_path / "public.json"
    file.write_text(json.dumps(own.public_jwk()))
    handed = told(role, "rekey", added["client_id"], "--public-jwk", str(file))
    assert "private_jwk" not in handed
    assert authenticates({**handed, "private_jwk": own.private_jwk()})
    assert not authenticates(changed)
    file.write_text(json.dumps(own.private_jwk()))
    refused = run(role, "rekey", added["client_id"], "--public-jwk", str(file))
    assert (refused.exit_code, "public members alone" in refused.stderr) == (REFUSED, True)
    assert run(role, "rekey", added["client_id"], "--public-jwk", "absent.json").exit_code == 2


def authenticates(added: dict[str, Any]) -> bool:
    ctx = build_context(read_settings())
    now = ctx.now()
    claims = {
        "iss": added["client_id"],
        "sub": added["client_id"],
        "aud": "https://consent.example",
        "exp": now + 60,
        "jti": os.urandom(8).hex(),
    }
    key = SoftwareKey.from_private_jwk(added["private_jwk"])
    assertion = parse_client_assertion(sign_jws(key, {"typ": "JWT"}, claims))
    try:
        client_token(ctx, "demo", ClientCredentialsRequest(client_assertion=assertion))
    except WalletProtocolError:
        return False
    finally:
        ctx.db.close()
    return True


def test_a_tenant_of_one_s_own_from_nothing_to_a_template(home: Path) -> None:
    added = told(
        "tenant", "add", "acme", "--zh", "顶点", "--en", "Acme", "--contact", "a@b.example"
    )
    assert added == {"id": "acme", "address": "https://consent.example/t/acme"}
    own = ("--tenant", "acme")
    labels = ("--zh", "文", "--en", "text")
    told("purpose", "add", "dpv:ServicePersonalisation", *labels, *own)
    told("purpose", "add", "dpv:ServiceProvision", *labels, "--necessary", *own)
    for one in DEMONSTRATION["algorithms"]:
        told(
            "algorithm",
            "add",
            one["id"],
            one["version"],
            "--purpose",
            one["purpose"],
            *labels,
            "--explanation-zh",
            "文",
            "--explanation-en",
            "text",
            "--risk-tier",
            one["risk_tier"],
            *own,
        )
    for one in DEMONSTRATION["attributes"]:
        told(
            "attribute",
            "add",
            one["id"],
            *labels,
            "--category",
            one["category"],
            "--type",
            one["value_type"],
            *(["--sensitive"] if one["sensitive"] else []),
            *own,
        )
    file = home / "template.json"
    file.write_text(json.dumps(DEMONSTRATION["templates"][0]))
    assert told("template", "add", str(file), *own)["version"] == 1
    assert told("template", "add", str(file), *own)["version"] == 2
    assert [one["id"] for one in told("template", "list", *own)] == ["loyalty-churn@2"]
    assert len(told("algorithm", "list", *own)) == len(DEMONSTRATION["algorithms"])
    assert {one["id"] for one in told("attribute", "list", *own) if one["sensitive"]} == {
        "visit_log",
        "id_number",
        "medical_summary",
    }
    assert [one["necessary_for_service"] for one in told("purpose", "list", *own)] == [False, True]
    assert {one["id"] for one in told("tenant", "list")} == {"demo", "acme"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("partner add --name X --tenant nobody", "no such tenant"),
        ("partner list --tenant nobody", "no such tenant"),
        ("partner suspend p-nobody", "no such partner"),
        ("officer suspend o-nobody", "no such officer"),
        ("partner add --name X --country china", "ISO 3166-1"),
        ("tenant add A_B --zh x --en x --contact c", "lower-case"),
        ("tenant add demo --zh x --en x --contact c", "exists already"),
        ("purpose add Marketing --zh x --en x", "dpv:ServicePersonalisation"),
        ("purpose add dpv:ServiceProvision --zh x --en x", "registered already"),
        (
            f"algorithm add a 1 --purpose dpv:Marketing {LABELS} {EXPLAINED} --risk-tier high",
            "register the purpose",
        ),
        ("attribute add A --zh x --en x --category c --type t", "purchase_count_12m"),
        ("attribute add phone --zh x --en x --category c --type t", "registered already"),
    ],
)
def test_a_refusal_is_one_line_with_the_cure_and_exit_code_1(
    home: Path, arguments: str, says: str
) -> None:
    result = run(*arguments.split())
    assert result.exit_code == REFUSED
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("consent-broker: ")
    assert says in line


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "cannot read"),
        (b"{", "not JSON"),
        (b"[" * 9_000, "nested deeper"),
        (b"[]", "not a JSON object"),
    ],
    ids=["missing", "broken", "deep", "list"],
)
def test_a_file_that_is_no_template_is_said_so(
    home: Path, content: bytes | None, says: str
) -> None:
    file = home / "template.json"
    if content is not None:
        file.write_bytes(content)
    result = run("template", "add", str(file))
    assert result.exit_code == USAGE
    assert says in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_template_that_the_schema_refuses_names_the_place(home: Path) -> None:
    file = home / "template.json"
    file.write_text('{"schema": "urn:consent-broker:template:1"}')
    result = run("template", "add", str(file))
    assert result.exit_code == REFUSED
    assert "/schemas/consent-template/1.json" in result.stderr


def test_a_setting_that_is_wrong_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_MASTER_KEY", "short")
    result = run("partner", "list")
    assert result.exit_code == USAGE
    assert "BROKER_MASTER_KEY" in result.stderr


def test_a_database_that_is_not_there_is_told_without_a_traceback(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", "sqlite:////nowhere/at/all/broker.db")
    result = run("partner", "list")
    assert result.exit_code == USAGE
    assert "the database cannot be opened" in result.stderr
    assert "Traceback" not in result.stderr


COMMANDS = (
    "",
    *("tenant", "tenant add", "tenant list"),
    *("partner", "partner add", "partner list", "partner suspend", "partner resume"),
    *("partner rekey", "officer rekey"),
    *("officer", "officer add", "officer list", "officer suspend", "officer resume"),
    *("purpose", "purpose add", "purpose list", "purpose demand"),
    *("issuer", "issuer add", "issuer remove", "issuer list"),
    *("algorithm", "algorithm add", "algorithm list"),
    *("attribute", "attribute add", "attribute list"),
    *("template", "template add", "template list"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda name: name or "program")
def test_every_command_explains_itself(command: str) -> None:
    result = run(*command.split(), "--help")
    assert result.exit_code == 0
    assert "Usage" in result.stdout


def test_the_program_runs_as_people_start_it(home: Path) -> None:
    started = subprocess.run(
        [sys.executable, "-c", "from broker.cli import main; main()", "officer", "list", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert len(json.loads(started.stdout)) == 1
    assert started.stderr == ""
