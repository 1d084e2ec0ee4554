"""Making public (PIPL 25) and images from public places (PIPL 26): each a consent of its own."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from broker.domain.terms import Label
from broker.store.registry import AttributeSpec
from broker.usecases.tenant import add_attribute
from tests.broker.demonstration import DEMONSTRATION
from tests.broker.flow_world import Customer, World, world

CAMERA = AttributeSpec(
    "store_camera",
    Label(zh="门店监控图像", en="Pictures of the shop's cameras"),
    "pd:Picture",
    "text",
    sensitive=False,
    stored_in="CN",
    public_place=True,
)
CITY, PICTURES = "home_city", "store_camera"


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


@pytest.fixture
def li(broker: World) -> Customer:
    return broker.customer("crm-1")


def template(broker: World) -> str:
    """Ordinary use of the city, its publication, and the cameras' pictures."""
    add_attribute(broker.ctx, "demo", CAMERA)
    ordinary: dict[str, Any] = DEMONSTRATION["templates"][0]["items"][0]
    items = []
    for name, attribute, actions in (
        ("base", CITY, ["read"]),
        ("public", CITY, ["publish"]),
        ("camera", PICTURES, ["read"]),
    ):
        one = copy.deepcopy(ordinary)
        one |= {"item": name, "actions": actions}
        one["attributes"] = [{"id": attribute, "required": True}]
        items.append(one)
    return broker.template("open", items=items)


def denied(broker: World, action: str, attribute: str) -> list[str]:
    asked = {
        "subject": {"type": "partner", "id": broker.partner},
        "action": {"name": action},
        "resource": {
            "type": "attribute",
            "id": attribute,
            "properties": {"subject_ref": "crm-1"},
        },
        "context": {
            "purpose": "dpv:ServicePersonalisation#algo:churn-v3@1",
            "territory": "CN",
        },
    }
    answer = broker.api("POST", "/access/v1/evaluation", json=asked).json()
    return [one["code"] for one in answer["context"].get("reasons", [])]


def test_each_is_signed_for_itself_and_opens_only_itself(broker: World, li: Customer) -> None:
    request = broker.ask("crm-1", template(broker))
    page = broker.http.get(f"{request['page_url']}?step=2&lang=en").text
    assert "Anybody may see it, separate consent" in page
    assert "Recorded in a public place, separate consent" in page
    li.sign(request["wallet_link"], "consent_base")
    assert denied(broker, "read", CITY) == []
    assert denied(broker, "publish", CITY) == ["consent_refused"]
    assert denied(broker, "read", PICTURES) == ["consent_refused"]
    again = broker.ask("crm-1", "open")
    li.sign(again["wallet_link"], "consent_public", "consent_camera")
    assert denied(broker, "publish", CITY) == []
    assert denied(broker, "read", PICTURES) == []
    assert "action_not_granted" in denied(broker, "publish", PICTURES)
    granted = {one["item"]: one["id"] for one in broker.follow(again)["consents"]}
    terms = broker.consent(granted["public"])["terms"]
    assert terms["separate"] == ["publication", "third_party"]
    record = broker.api("GET", f"/v1/consents/{granted['camera']}/record").json()
    told = [one["law"] for one in record["pipl"]["separate_consents"]]
    assert told == [["PIPL-26"], ["PIPL-23"]]
    assert broker.evidence(granted["public"]).verdict == "verified"


def test_what_cameras_collect_is_told_in_the_dictionary(broker: World) -> None:
    add_attribute(broker.ctx, "demo", CAMERA)
    listed = broker.api("GET", "/v1/attributes").json()["attributes"]
    flagged = {one["id"]: one["public_place"] for one in listed}
    assert flagged[PICTURES] is True
    assert flagged[CITY] is False
