"""Every operation of a broker that serves, as schemathesis reads them, and people to call them.

What the OpenAPI document describes is read from the server; the pages, which are for people and
not in it, are described here as far as it takes to send them something.
"""

import json
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import requests
import schemathesis
from hypothesis import strategies as st
from schemathesis.core.result import Err, Ok
from schemathesis.schemas import APIOperation

from broker.domain.terms import Label
from broker.store import access_tokens, tables
from broker.usecases.coordinator import add_coordinator
from broker.usecases.partner import add_officer, add_partner
from broker.usecases.tenant import add_tenant
from credentials.jcs import b64url
from tests.broker import builders
from tests.faults.serving import Deployment, deployment, fresh_key
from wallet_adapters.envelope import MEDIA_TYPE

Operation: TypeAlias = APIOperation[Any, Any, Any, Any]

OTHER = "acme"
ROLES = ("partner", "officer", "wallet", "coordinator", "nobody")
TIMEOUT = 20
# Where the names of things that exist stand in a body.
NAMED = ("subject_ref", "template", "partner", "consent", "purpose", "territory", "id")
METHODS = frozenset({"get", "post", "put", "patch", "delete"})

_TEXT: Mapping[str, Any] = {"type": "string"}


@schemathesis.serializer(MEDIA_TYPE)
def _envelope(_ctx: object, value: object) -> bytes:
    """What was made up for the body of an envelope, as bytes."""
    return value if isinstance(value, bytes) else str(value).encode(errors="surrogatepass")


def _page(*query: str, form: tuple[str, ...] | None = None, **path: Any) -> dict[str, Any]:  # noqa: ANN401
    found: dict[str, Any] = {
        "parameters": [
            *({"name": name, "in": "path", "required": True, "schema": _TEXT} for name in path),
            *({"name": name, "in": "query", "schema": _TEXT} for name in query),
            {"name": "Accept-Language", "in": "header", "schema": _TEXT},
            {"name": "Cookie", "in": "header", "schema": _TEXT},
        ],
        "responses": {"default": {"description": "A page."}},
    }
    if form is not None:
        schema = {"type": "object", "properties": dict.fromkeys(form, _TEXT)}
        kinds = ("application/x-www-form-urlencoded", "multipart/form-data")
        found["requestBody"] = {"content": {kind: {"schema": schema} for kind in kinds}}
    return found


PAGES: dict[str, Any] = {
    "/": {"get": _page("lang")},
    "/did.json": {"get": _page()},
    "/docs": {"get": _page()},
    "/static/{name}": {"get": _page(name=0)},
    "/oauth/authorize": {
        "get": _page("client_id", "request_uri", "lang"),
        "post": _page(form=("client_id", "request_uri", "form_token", "decision", "tx_code")),
    },
    "/c/{page_token}": {"get": _page("step", "lang", page_token=0)},
    "/c/{page_token}/choice": {"post": _page(form=("form_token", "share:c-1"), page_token=0)},
    "/c/{page_token}/refusal": {"post": _page(form=("form_token",), page_token=0)},
    "/c/{page_token}/withdrawal": {"post": _page(form=("form_token", "consent_id"), page_token=0)},
    "/c/{page_token}/automated-decisions": {
        "post": _page(form=("form_token", "consent_id"), page_token=0)
    },
    "/c/{page_token}/done": {"get": _page("response_code", page_token=0)},
    "/c/{page_token}/receipt/{consent_id}": {"get": _page(page_token=0, consent_id=0)},
    # An answer that goes on for as long as the page is open: for pages that are not there only.
    "/c/{page}/events": {"get": _page(page=0)},
}


@dataclass
class Served:
    """A broker with two tenants in use, who may call it, and the names of what is there."""

    at: Deployment
    address: str
    tokens: Mapping[tuple[str, str], str]
    known: Mapping[str, list[str]]
    session: requests.Session

    def headers(self, tenant_id: str, role: str) -> dict[str, str]:
        """How a person of a tenant calls."""
        token = self.tokens.get((tenant_id, role))
        return {} if token is None else {"Authorization": f"Bearer {token}"}

    def base(self, tenant_id: str) -> str:
        """Where a tenant is reached."""
        return self.address if tenant_id == builders.TENANT else f"{self.address}/t/{OTHER}"


@contextmanager
def served(home: Path, database_url: str = "") -> Iterator[Served]:
    """A broker that serves, after the demonstration has left what there is to name."""
    with (
        deployment(home, database_url, BROKER_RATE_LIMITS="off") as at,
        requests.Session() as session,
    ):
        server = at.servers[0]
        told = server.run("demo", "--json")
        assert told.returncode == 0, told.stderr
        ids = dict(_other_tenant(at)) | {
            (builders.TENANT, "partner"): at.partner_id,
            (builders.TENANT, "officer"): at.officer_id,
            (builders.TENANT, "coordinator"): add_coordinator(
                at.ctx, builders.TENANT, name="training"
            ).client_id,
        }
        known = _known(at)
        for tenant_id, named in ((builders.TENANT, known["invitation_id"][0]), (OTHER, "iv-none")):
            ids[tenant_id, "wallet"] = named
        tokens = {
            (tenant, role): _token(at, tenant, role, ids[tenant, role]) for tenant, role in ids
        }
        known["partner_id"] += [at.partner_id, ids[OTHER, "partner"]]
        yield Served(at, server.address, tokens, known, session)


def operations(document: Mapping[str, Any]) -> list[Operation]:
    """The operations of an OpenAPI document, which must all be readable."""
    schema = schemathesis.openapi.from_dict(dict(document))
    found = list(schema.get_all_operations())
    assert not [one for one in found if isinstance(one, Err)], "an operation cannot be read"
    return [one.ok() for one in found if isinstance(one, Ok)]


def described(address: str) -> dict[str, Any]:
    """The OpenAPI document that a broker serves."""
    with urllib.request.urlopen(f"{address}/openapi.json", timeout=TIMEOUT) as answer:  # noqa: S310
        found: dict[str, Any] = json.loads(answer.read())
    return found


def pages() -> dict[str, Any]:
    """The pages, as a document of their own."""
    return {"openapi": "3.1.0", "info": {"title": "Pages", "version": "1"}, "paths": PAGES}


def name_what_exists(draw: st.DataObject, case: Any, known: Mapping[str, list[str]]) -> None:  # noqa: ANN401
    """Put names of what is there in place of invented ones, so that not all ends in a 404."""
    for values in (case.path_parameters, case.query):
        for name in list(values or {}):
            if name in known and draw.draw(st.booleans()):
                values[name] = draw.draw(st.sampled_from(known[name]))
    if isinstance(case.body, dict | list) and draw.draw(st.booleans()):
        _name_in_body(draw, case.body, known)


def _name_in_body(draw: st.DataObject, body: Any, known: Mapping[str, list[str]]) -> None:  # noqa: ANN401
    pairs = list(body.items()) if isinstance(body, dict) else list(enumerate(body))
    for key, value in pairs:
        if isinstance(value, dict | list):
            _name_in_body(draw, value, known)
        elif key in NAMED and isinstance(value, str):
            body[key] = draw.draw(st.sampled_from(known[key]))


def _other_tenant(at: Deployment) -> Iterator[tuple[tuple[str, str], str]]:
    ctx = at.ctx
    add_tenant(ctx, OTHER, name=Label("顶点", "Acme"), contact="a@acme.example", country="CN")
    partner = add_partner(
        ctx, OTHER, name="Acme Tea", name_zh="茶", contact="t@acme.example", country="CN"
    )
    yield (OTHER, "partner"), partner.client_id
    yield (OTHER, "officer"), add_officer(ctx, OTHER, name="Acme officer").client_id


def _token(at: Deployment, tenant_id: str, role: Any, subject: str) -> str:  # noqa: ANN401
    token = b64url(fresh_key().encode())
    with at.ctx.db.transaction() as tx:
        access_tokens.add(
            tx,
            token_hash=builders.hash_of(token),
            tenant_id=tenant_id,
            subject=subject,
            role=role,
            expires_at=at.ctx.now() + 86_400,
        )
    return token


def _known(at: Deployment) -> dict[str, list[str]]:
    """Names by parameter: what the demonstration has left, and what everybody has."""
    for number in range(3):
        at.granted(f"fuzzed-{number}")
    partner = at.caller("partner")
    pages = []
    for number in range(3):
        body = {"subject_ref": f"fuzzed-{number}", "template": "loyalty-churn"}
        asked = partner.post("/v1/consent-requests", body, **{"Idempotency-Key": fresh_key()})
        assert asked.status == 201, asked
        pages.append(asked.json["page_url"].rsplit("/", 1)[1])
    with at.ctx.db.reading() as tx:

        def of(table: str, column: str = "id") -> list[str]:
            chosen = tables.metadata.tables[table]
            return list(tx.execute(chosen.select().with_only_columns(chosen.c[column])).scalars())

        return {
            "page_token": pages,
            "consent_id": of("consent"),
            "consent": of("consent"),
            "request_id": of("consent_request") + of("presentation_request"),
            "invitation_id": of("invitation"),
            "list_id": of("status_list"),
            "entry": of("audit_entry"),
            "template_id": ["loyalty-churn"],
            "template": ["loyalty-churn"],
            "subject_ref": [f"fuzzed-{number}" for number in range(3)],
            "id": [at.partner_id, "home_city", "purchase_count_12m"],
            "partner": [at.partner_id],
            "partner_id": [],
            "purpose": [builders.WIRE],
            "territory": ["CN", "SG"],
            "name": ["customer", "consent", "receipt"],
            "version": ["1"],
            "level": ["0", "1"],
            "address": ["000", "000.p/1", "000.p/9"],
        }
