"""Every error has one status, every refusal is a problem document, none repeats what was sent."""

import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from pydantic import BaseModel, Field

import credentials
import wallet_adapters
from broker import domain
from broker.api import errors, logs, oauth, openapi, openid4vci, openid4vp
from broker.api.errors import STATUS, status_of
from broker.domain import errors as domain_errors
from broker.domain.errors import BrokerError, LogError
from credentials.errors import CredentialError
from federation.errors import FederationError
from tests.broker.clients_world import world
from wallet_adapters.errors import WalletProtocolError

SECRET = "13800138000"


def leaves(family: type[Exception]) -> Iterator[type[Exception]]:
    yield family
    for leaf in family.__subclasses__():
        yield from leaves(leaf)


def every_code() -> set[str]:
    for package in (credentials, wallet_adapters, domain):
        for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            importlib.import_module(module.name)
    families = (BrokerError, CredentialError, FederationError, WalletProtocolError)
    # Subclasses that a test defines are no part of the product.
    return {
        leaf.code  # type: ignore[attr-defined]
        for family in families
        for leaf in leaves(family)
        if leaf.__module__.split(".")[0]
        in {"broker", "credentials", "federation", "wallet_adapters"}
    }


def test_the_table_names_no_code_that_does_not_exist() -> None:
    assert set(STATUS) <= every_code()


def test_every_code_is_spelled_so_that_it_can_be_a_name() -> None:
    assert all(code.replace("_", "").isalnum() and code == code.lower() for code in every_code())


def test_what_the_broker_alone_can_cause_is_never_called_a_bad_request() -> None:
    own = {leaf.code for leaf in leaves(LogError)} - {"log_tile_path_invalid"}  # type: ignore[attr-defined]
    assert {status_of(code) for code in own} == {500, 503}


def test_the_statuses_that_clients_act_on() -> None:
    assert status_of(domain_errors.Unauthorized.code) == 401
    assert status_of(domain_errors.NotFound.code) == 404
    assert status_of(domain_errors.IdempotencyConflict.code) == 409
    assert status_of(domain_errors.Gone.code) == 410
    assert status_of(domain_errors.LogUnavailable.code) == 503
    assert status_of("a code of tomorrow") == 400


class Sent(BaseModel):
    """A body."""

    phone: int = Field(gt=0)
    kind: str = Field(pattern="^[a-z]+$")


@pytest.fixture
def small() -> Iterator[TestClient]:
    app = FastAPI()
    errors.install(app)
    logs.install(app)

    @app.post("/sent")
    def sent(body: Sent) -> None:
        raise RuntimeError(f"the database said: {body.phone}")

    @app.get("/known/{code}")
    def known(code: str) -> None:
        for leaf in leaves(BrokerError):
            if leaf.code == code:  # type: ignore[attr-defined]
                raise leaf("a message with a cure")

    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


def test_an_invalid_body_is_a_400_that_names_fields_and_no_values(small: TestClient) -> None:
    answer = small.post("/sent", json={"phone": SECRET + "x", "kind": SECRET, SECRET: 1})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body["code"] == "invalid_request"
    assert {error["field"] for error in body["errors"]} == {"body.phone", "body.kind"}
    assert SECRET not in answer.text


def test_a_body_that_is_no_json_is_a_400(small: TestClient) -> None:
    answer = small.post(
        "/sent", content=f"{{{SECRET}".encode(), headers={"Content-Type": "application/json"}
    )
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (400, "json_invalid")
    assert SECRET not in answer.text


def test_what_nobody_expected_is_a_500_that_says_nothing(small: TestClient) -> None:
    answer = small.post("/sent", json={"phone": int(SECRET), "kind": "a"})
    assert answer.status_code == 500
    assert set(answer.json()) == {"type", "title", "status", "code", "instance"}
    assert answer.json()["code"] == "internal_error"
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_inner_fault_does_not_tell_its_message(small: TestClient) -> None:
    answer = small.get("/known/log_entry_unreadable")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "message" not in answer.text


def test_what_may_pass_says_when_to_try_again(small: TestClient) -> None:
    answer = small.get("/known/log_unavailable")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert answer.json()["detail"] == "a message with a cure"


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "not_found"),
        ("DELETE", "/v1/purposes", 405, "method_not_allowed"),
    ],
)
def test_the_frameworks_own_refusals_are_problem_documents_too(
    tmp_path: Path, method: str, path: str, status: int, code: str
) -> None:
    with world(tmp_path) as broker:
        answer = broker.http.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


def test_openapi_promises_problem_documents_and_no_422(tmp_path: Path) -> None:
    with world(tmp_path) as broker:
        document = broker.http.get("/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    operations = [one for path in document["paths"].values() for one in path.values()]
    assert operations
    for operation in operations:
        assert "422" not in operation["responses"]
        assert "application/problem+json" in operation["responses"]["default"]["content"]
    assert document["components"]["schemas"]["Problem"]["required"]
    assert "HTTPValidationError" not in document["components"]["schemas"]


def test_openapi_says_in_which_form_wallets_get_their_errors() -> None:
    app = FastAPI()
    openapi.install(app)
    for module in (oauth, openid4vci, openid4vp):
        app.include_router(module.router)
    document = app.openapi()
    error = {"$ref": "#/components/schemas/ProtocolError"}
    plain = {"/openid4vci/offer/{invitation_id}", "/openid4vci/nonce"}  # they refuse no message
    for path in document["paths"].keys() - plain:
        for operation in document["paths"][path].values():
            told = [
                answer["content"]["application/json"]
                for status, answer in operation["responses"].items()
                if status.isdigit() and int(status) in {400, 404}
            ]
            assert told, path
            for content in told:
                assert content["schema"] == error, path
                assert {"error", "code"} <= content["example"].keys()
    assert document["components"]["schemas"]["ProtocolError"]["required"] == ["error", "code"]


def test_the_instance_is_the_request_id_that_the_answer_carries(tmp_path: Path) -> None:
    with world(tmp_path) as broker:
        answer = broker.http.get("/v1/purposes")
    request_id = answer.headers["x-request-id"]
    assert answer.json()["instance"] == f"urn:consent-broker:request:{request_id}"


def test_a_tenant_that_is_not_there_is_a_404(tmp_path: Path) -> None:
    with world(tmp_path) as broker:
        answer = broker.http.get("/t/nobody/v1/purposes")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
