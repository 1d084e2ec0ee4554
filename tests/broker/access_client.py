"""The decision point over HTTP, for tests."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient
from jsonschema import Draft202012Validator

from broker.api import access, errors, limits, logs, search, tenancy
from tests.broker.builders import PUBLIC_URL, WIRE
from tests.broker.deciding import SUBJECT_REF, Desk, desk
from tests.programs import shared

EVALUATION = "/access/v1/evaluation"
EVALUATIONS = "/access/v1/evaluations"


@dataclass
class Client:
    """The decision point over HTTP, and the desk behind it."""

    at: Desk
    http: TestClient

    def request(self, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
        """The usual evaluation request, with whole parts replaced; None leaves one out."""
        parts = {
            "subject": {"type": "partner", "id": self.at.partner_id},
            "action": {"name": "read"},
            "resource": resource("home_city"),
            "context": {"purpose": WIRE, "territory": "CN"},
            **changes,
        }
        return {name: value for name, value in parts.items() if value is not None}

    def post(self, path: str, body: object, **headers: str) -> Any:  # noqa: ANN401 (httpx answer)
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.http.post(
            path,
            content=content,
            headers={
                "Authorization": f"Bearer {self.at.token}",
                "Content-Type": "application/json",
                **headers,
            },
        )

    def evaluate(self, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
        answer = self.post(EVALUATION, self.request(**changes))
        assert answer.status_code == 200, answer.text
        decision: dict[str, Any] = answer.json()
        return decision


@contextmanager
def access_client(home: Path) -> Iterator[Client]:
    """The decision point with what stands around it in the whole program."""
    with desk(home) as at:
        app = FastAPI()
        app.state.context = at.broker.ctx
        errors.install(app)
        app.include_router(access.router)
        app.include_router(search.router)
        tenancy.install(app)
        limits.install(app, max_bytes=1_048_576, max_depth=64)
        logs.install(app)
        with TestClient(app, base_url=PUBLIC_URL) as http:
            yield Client(at, http)


def resource(name: str, **properties: str) -> dict[str, Any]:
    """An attribute of the usual contact."""
    return {
        "type": "attribute",
        "id": name,
        "properties": properties or {"subject_ref": SUBJECT_REF},
    }


def codes(decision: dict[str, Any]) -> list[str]:
    """The codes of a denial's reasons."""
    return [reason["code"] for reason in decision["context"].get("reasons", [])]


def schema(name: str) -> Draft202012Validator:
    """A published AuthZEN schema."""
    return Draft202012Validator(json.loads(shared(f"vectors/authzen/{name}").read_bytes()))
