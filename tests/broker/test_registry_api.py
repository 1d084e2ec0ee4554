"""Reading the registry, storing templates, mapping a partner's field names: who may, and what."""

import copy
import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from broker.domain.errors import InvalidRequest, StateConflict, UnknownPurpose
from broker.domain.terms import AlgorithmTerms, Label, PurposeTerms
from broker.store import access_tokens, partners, registry
from broker.store.registry import AttributeSpec
from broker.usecases.tenant import add_algorithm, add_attribute, add_purpose, add_tenant
from credentials.jcs import b64url
from tests.broker.clients_world import START, World, world

READS = ("purposes", "algorithms", "attributes", "templates")
LABEL = Label("文", "text")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


def keyed(headers: dict[str, str], key: str) -> dict[str, str]:
    return headers | {"Idempotency-Key": key}


def template_of(broker: World, headers: dict[str, str]) -> dict[str, Any]:
    found = broker.http.get("/v1/templates/loyalty-churn", headers=headers).json()
    document: dict[str, Any] = copy.deepcopy(found["document"])
    return document


@pytest.mark.parametrize("name", READS)
def test_partners_and_officers_read_their_tenant_s_registry(broker: World, name: str) -> None:
    for client in (broker.partner, broker.officer):
        answer = broker.http.get(f"/v1/{name}", headers=broker.bearer(client))
        assert answer.status_code == 200
        assert answer.json()[name]


@pytest.mark.parametrize("name", READS)
def test_another_tenant_reads_its_own(broker: World, name: str) -> None:
    headers = broker.bearer(broker.stranger)
    assert broker.http.get(f"/t/acme/v1/{name}", headers=headers).json() == {name: []}
    assert broker.http.get(f"/v1/{name}", headers=headers).status_code == 401
    assert broker.http.get("/t/acme/v1/templates/loyalty-churn", headers=headers).status_code == 404


def test_an_algorithm_is_listed_as_decisions_name_it(broker: World) -> None:
    found = broker.http.get("/v1/algorithms", headers=broker.bearer(broker.partner)).json()
    assert "dpv:ServicePersonalisation#algo:churn-v3@2" in {
        one["wire"] for one in found["algorithms"]
    }


def test_an_officer_stores_versions_and_each_stays_as_it_is(broker: World) -> None:
    headers = broker.bearer(broker.officer)
    document = template_of(broker, headers)
    document["title"]["en"] = "asks for more"
    stored = broker.http.post("/v1/templates", json=document, headers=keyed(headers, "a"))
    assert (stored.status_code, stored.json()["version"]) == (201, 2)
    newest = broker.http.get("/v1/templates/loyalty-churn", headers=headers).json()
    first = broker.http.get(
        "/v1/templates/loyalty-churn", params={"version": 1}, headers=headers
    ).json()
    assert (newest["version"], newest["document"]) == (2, document)
    assert first["document"] != document
    assert first["notice_hash"] != newest["notice_hash"]
    gone = broker.http.get("/v1/templates/loyalty-churn", params={"version": 3}, headers=headers)
    assert (gone.status_code, gone.json()["code"]) == (404, "not_found")
    assert broker.logged("template.added")[-1]["template"] == "loyalty-churn@2"


def test_a_partner_may_not_store_templates(broker: World) -> None:
    headers = broker.bearer(broker.partner)
    document = template_of(broker, headers)
    answer = broker.http.post("/v1/templates", json=document, headers=keyed(headers, "a"))
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"minimum_grade": "none"}, "invalid_template"),
        ({"title": {"zh": "\ud800", "en": "x"}}, "invalid_template"),
        ({"evidence_retention_days": 10**40}, "invalid_template"),
        ({"more": 1}, "invalid_template"),
        ({"items": []}, "invalid_template"),
    ],
)
def test_a_bad_template_is_refused_and_its_key_stays_free(
    broker: World, change: dict[str, object], code: str
) -> None:
    headers = keyed(broker.bearer(broker.officer), "a")
    good = template_of(broker, headers)
    bad = broker.http.post(
        "/v1/templates",
        content=json.dumps(good | change),
        headers=headers | {"Content-Type": "application/json"},
    )
    assert (bad.status_code, bad.json()["code"]) == (400, code)
    assert broker.http.post("/v1/templates", json=good, headers=headers).status_code == 201


def test_an_unregistered_purpose_is_named(broker: World) -> None:
    headers = keyed(broker.bearer(broker.officer), "a")
    document = template_of(broker, headers)
    document["items"][0]["purpose"] = "dpv:ServicePersonalisation#algo:churn-v3@9"
    answer = broker.http.post("/v1/templates", json=document, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_purpose")
    assert "churn-v3@9" in answer.json()["detail"]


def test_the_published_schema_accepts_what_is_stored(broker: World) -> None:
    answer = broker.http.get("/schemas/consent-template/1.json")
    assert answer.headers["content-type"] == "application/schema+json"
    validator = Draft202012Validator(answer.json())
    validator.validate(template_of(broker, broker.bearer(broker.partner)))
    assert broker.http.get("/t/acme/schemas/consent-template/1.json").json() == answer.json()


def test_the_documented_example_can_be_sent_as_it_stands(broker: World) -> None:
    document = broker.http.get("/openapi.json").json()
    body = document["paths"]["/v1/templates"]["post"]["requestBody"]["content"]
    (example,) = body["application/json"]["schema"]["examples"]
    headers = keyed(broker.bearer(broker.officer), "a")
    stored = broker.http.post("/v1/templates", json=example, headers=headers)
    assert stored.status_code == 201, stored.text
    assert stored.json()["document"] == example


def path_of(broker: World) -> str:
    return f"/v1/partners/{broker.partner.id}/attribute-mapping"


def test_a_partner_maps_its_own_field_names(broker: World) -> None:
    headers = broker.bearer(broker.partner)
    assert broker.http.get(path_of(broker), headers=headers).json() == {"fields": {}}
    with broker.ctx.db.reading() as tx:
        before = partners.find(tx, "demo", broker.partner.id).version
    for fields in ({"buy_cnt": "purchase_count_12m", "City": "home_city"}, {"tel": "phone"}, {}):
        answer = broker.http.put(path_of(broker), json={"fields": fields}, headers=headers)
        assert answer.status_code == 200
        assert broker.http.get(path_of(broker), headers=headers).json() == {"fields": fields}
    with broker.ctx.db.reading() as tx:
        after = partners.find(tx, "demo", broker.partner.id).version
    assert after == before + 3  # a decision under way notices
    assert [body["fields"] for body in broker.logged("partner.mapping_changed")] == [2, 1, 0]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"size": "shoe_size"}, "unknown_attribute"),
        ({"id_number": "home_city"}, "invalid_request"),
        ({"a b": "home_city"}, "invalid_request"),
        ({"x\n": "home_city"}, "invalid_request"),
        ({"": "home_city"}, "invalid_request"),
        ({"x": "home_city\u0000"}, "invalid_request"),
        ({f"f{n}": "home_city" for n in range(1001)}, "invalid_request"),
    ],
    ids=["unknown", "twisted", "space", "line", "empty", "nul", "many"],
)
def test_a_mapping_that_misleads_is_refused_and_nothing_changes(
    broker: World, fields: dict[str, str], code: str
) -> None:
    headers = broker.bearer(broker.partner)
    broker.http.put(path_of(broker), json={"fields": {"tel": "phone"}}, headers=headers)
    answer = broker.http.put(path_of(broker), json={"fields": fields}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert broker.http.get(path_of(broker), headers=headers).json()["fields"] == {"tel": "phone"}


def test_nobody_else_s_partner_can_be_mapped(broker: World) -> None:
    body = {"fields": {"tel": "phone"}}
    other = f"/v1/partners/{broker.stranger.id}/attribute-mapping"
    answer = broker.http.put(other, json=body, headers=broker.bearer(broker.partner))
    assert answer.status_code == 403
    answer = broker.http.put(other, json=body, headers=broker.bearer(broker.officer))
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    answer = broker.http.get(path_of(broker), headers=broker.bearer(broker.officer))
    assert answer.status_code == 200


def test_an_attribute_cannot_take_a_name_that_a_partner_uses_for_another(broker: World) -> None:
    headers = broker.bearer(broker.partner)
    broker.http.put(path_of(broker), json={"fields": {"tel": "phone"}}, headers=headers)
    spec = AttributeSpec("tel", LABEL, "pd:Location", "text", sensitive=True, stored_in="CN")
    with pytest.raises(StateConflict):
        add_attribute(broker.ctx, "demo", spec)
    add_attribute(broker.ctx, "acme", spec)


def test_names_are_checked_where_they_are_registered(broker: World) -> None:
    algorithm = AlgorithmTerms(
        "a", "1", LABEL, LABEL, automated_decision=False, risk_tier="limited"
    )
    with pytest.raises(UnknownPurpose):
        add_algorithm(broker.ctx, "demo", "dpv:Marketing", algorithm)
    with pytest.raises(InvalidRequest):
        add_purpose(
            broker.ctx, "demo", PurposeTerms("Marketing", LABEL, necessary_for_service=False)
        )
    with pytest.raises(StateConflict):
        add_purpose(
            broker.ctx,
            "demo",
            PurposeTerms("dpv:ServiceProvision", LABEL, necessary_for_service=False),
        )
    for tenant_id in ("Acme", "a_b", "", "-a", "a" * 33, "acme\n"):
        with pytest.raises(InvalidRequest):
            add_tenant(broker.ctx, tenant_id, name=LABEL, contact="a@b.example", country="CN")


def test_adding_a_tenant_twice_leaves_the_first_one_s_log_readable(broker: World) -> None:
    with pytest.raises(StateConflict):
        add_tenant(broker.ctx, "demo", name=LABEL, contact="a@b.example", country="CN")
    add_purpose(
        broker.ctx, "demo", PurposeTerms("dpv:Marketing", LABEL, necessary_for_service=False)
    )
    assert broker.logged("purpose.added")[-1] == {"purpose": "dpv:Marketing"}
    with broker.ctx.db.reading() as tx:
        assert registry.tenant(tx, "demo").name_en != LABEL.en


def test_a_wallet_s_token_reads_nothing(broker: World) -> None:
    with broker.ctx.db.transaction() as tx:
        access_tokens.add(
            tx,
            token_hash=b64url(sha256(b"wallet").digest()),
            tenant_id="demo",
            subject="iv-1",
            role="wallet",
            expires_at=START + 60,
        )
    answer = broker.http.get("/v1/purposes", headers={"Authorization": "Bearer wallet"})
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
