"""From any use to the signed consent and back: as a graph, a picture and OpenLineage events."""

import http.server
import json
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import orjson
import pytest
from jsonschema import Draft202012Validator
from openlineage.client.event_v2 import InputDataset, Job, Run, RunEvent, RunState
from openlineage.client.serde import Serde

from broker.domain.entry import Entry
from broker.domain.errors import FetchRefused
from broker.domain.lineage import Act, Graph, Node, graph_of
from broker.domain.openlineage import FACET, batches, events
from broker.domain.schemas import DECISIONS_FACET
from broker.store import audit
from broker.usecases import lineage
from broker.web.lineage import html, svg
from tests.broker.builders import terms_of
from tests.broker.flow_world import PUBLIC_URL, PURPOSE, World, world


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    url = ""
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres_server").create("lineage")
    with world(tmp_path_factory.mktemp("lineage"), database_url=url) as found:
        yield found


def granted(made: World, name: str) -> str:
    request = made.customer(name, copies=2).grant("base")
    (consent_id,) = (one["id"] for one in request["consents"] if one["state"] == "granted")
    return str(consent_id)


def kinds(graph: dict[str, Any]) -> list[str]:
    return sorted(node["kind"] for node in graph["nodes"])


def led_to(graph: dict[str, Any], target: str) -> set[str]:
    """The kinds of everything that a node rests on."""
    into: dict[str, list[str]] = {}
    for edge in graph["edges"]:
        into.setdefault(edge["to"], []).append(edge["from"])
    seen, open_ = set[str](), [target]
    while open_:
        for source in into.get(open_.pop(), []):
            if source not in seen:
                seen.add(source)
                open_.append(source)
    return {node["kind"] for node in graph["nodes"] if node["id"] in seen}


def test_from_a_use_to_what_was_signed(made: World) -> None:
    consent_id = granted(made, "crm-use")
    use = made.decide("crm-use")["context"]["id"]
    other = made.decide("crm-use")["context"]["id"]
    waiting = made.api("GET", f"/v1/uses/{use}/lineage", made.officer).json()
    (node,) = (one for one in waiting["nodes"] if one["id"] == use)
    assert node["log_index"] is None
    made.advance(2)
    graph = made.api("GET", f"/v1/uses/{use}/lineage", made.officer).json()
    assert graph["consent"] == consent_id
    assert led_to(graph, use) == {"request", "notice", "signature", "consent", "algorithm"}
    nodes = {one["id"]: one for one in graph["nodes"]}
    assert other not in nodes
    assert nodes[use]["facts"]["attribute"] == "purchase_count_12m"
    (signature,) = (one for one in graph["nodes"] if one["kind"] == "signature")
    assert signature["facts"]["evidence"]["presentation"]
    assert signature["facts"]["terms_hash"] == nodes[consent_id]["facts"]["terms_hash"]
    proof = made.api("GET", f"/v1/log/proof?entry={signature['id']}", made.officer)
    assert f"index {signature['log_index']}\n" in proof.text


def test_from_a_consent_to_every_use_page_by_page(made: World) -> None:
    consent_id = granted(made, "crm-pages")
    uses = [made.decide("crm-pages")["context"]["id"] for _ in range(3)]
    denied = made.decide("crm-pages", territory="SG")["context"]["id"]
    made.advance(2)
    uses.append(made.decide("crm-pages")["context"]["id"])  # waits for its index
    path = f"/v1/consents/{consent_id}/lineage"
    found, after = [], -1
    while True:
        page = made.api("GET", f"{path}?limit=2&after={after}", made.officer).json()
        found += [one["id"] for one in page["nodes"] if one["kind"] in {"use", "denial"}]
        if page["next"] is None:
            break
        after = page["next"]
    assert found == [*uses[:3], denied, uses[3]]
    whole = made.api("GET", path, made.officer).json()
    edges = {(edge["from"], edge["to"]): edge["kind"] for edge in whole["edges"]}
    assert edges[consent_id, denied] == "does_not_permit"
    assert all(edges[consent_id, use] == "permits" for use in uses)
    made.withdrawal(consent_id, made.officer)
    ended = made.api("GET", path, made.officer).json()
    assert "end" in kinds(ended)
    assert made.api("GET", path).status_code == 403


def test_a_use_of_nothing_and_what_is_no_use(made: World) -> None:
    nothing = made.decide("crm-unknown")["context"]["id"]
    for entry_id in (nothing, "e-none", made.logged("purpose.added")[0].id):
        answer = made.api("GET", f"/v1/uses/{entry_id}/lineage", made.officer)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_a_proof_that_a_use_rested_on_is_in_it() -> None:
    terms = terms_of("p-1")
    body = {"decision": True, "purpose": PURPOSE, "attribute": "a", "proof_request": "zp-1"}
    graph = graph_of(terms, "granted", [act("e-1", 3, body)]).to_json()
    assert led_to(graph, "e-1") == {"consent", "algorithm", "proof"}


def act(entry_id: str, index: int, body: dict[str, Any], time: int = 1_795_478_400) -> Act:
    told = {"partner": "p-1", "purpose": PURPOSE, "action": "read", "attribute": "a", **body}
    return Act(index, Entry(entry_id, "demo", "decision", time, told, consent_id="c-1"))


def test_the_picture_is_well_formed_and_holds_no_markup_of_others(made: World) -> None:
    consent_id = granted(made, "crm-drawn")
    use = made.decide("crm-drawn")["context"]["id"]
    drawn = svg(lineage.of_consent(made.ctx, "demo", consent_id).graph)
    root = ET.fromstring(drawn)  # noqa: S314 (our own)
    assert use in "".join(root.itertext())
    assert "script" not in drawn
    hostile = "<script>alert(1)</script>&\"'"
    graph = Graph((Node(hostile, "act", facts={"type": hostile}),), ())
    ET.fromstring(svg(graph))  # noqa: S314
    for text in (svg(graph), html(graph, hostile, more=True)):
        assert "<script" not in text


def test_events_are_open_lineages_own(made: World) -> None:
    consent_id = granted(made, "crm-events")
    permitted = made.decide("crm-events")["context"]["id"]
    denied = made.decide("crm-events", territory="SG")["context"]["id"]
    made.advance(2)
    found = [one for page in lineage.stretches(made.ctx, "demo", -1) for one in page.events]
    read = [read_back(event) for event in found]
    assert [one.eventType for one in read[:2]] == [RunState.START, RunState.COMPLETE]
    facets = [one["run"]["facets"][FACET] for one in found if one["eventType"] == "COMPLETE"]
    checking = Draft202012Validator(orjson.loads(DECISIONS_FACET))
    for facet in facets:
        assert list(checking.iter_errors(facet)) == []
    told = {one["id"]: one for facet in facets for one in facet["decisions"]}
    assert (told[permitted]["permit"], told[permitted]["consent"]) == (True, consent_id)
    assert told[denied]["permit"] is False
    with made.ctx.db.reading() as tx:
        logged = audit.entry(tx, permitted)
    assert logged is not None
    assert told[permitted]["logIndex"] == logged.index
    again = [one for page in lineage.stretches(made.ctx, "demo", -1) for one in page.events]
    assert again == found
    last = max(one["logIndex"] for one in told.values())
    assert list(lineage.stretches(made.ctx, "demo", last)) == []


def read_back(event: dict[str, Any]) -> RunEvent:
    """An event through the classes of the specification, and the same event again."""
    run = event["run"]
    uuid.UUID(run["runId"])
    read = RunEvent(
        eventType=RunState(event["eventType"]),
        eventTime=event["eventTime"],
        producer=event["producer"],
        run=Run(**run),
        job=Job(**event["job"]),
        inputs=[InputDataset(**one) for one in event["inputs"]],
        outputs=[],
    )
    assert Serde.to_dict(read) == event
    return read


def test_a_batch_is_of_one_partner_and_purpose() -> None:
    acts = [
        act("e-1", 1, {"decision": True}),
        act("e-2", 2, {"decision": False, "partner": "p-2"}, time=1_795_478_401),
        act("e-3", 3, {"decision": True, "attribute": "b"}, time=1_795_478_402),
        act("e-4", 4, {"decision": False, "purpose": "unregistered"}),
    ]
    found = [list(events(batch, PUBLIC_URL)) for batch in batches(acts)]
    assert [one[0]["job"]["name"] for one in found] == [
        f"p-1/{PURPOSE}",
        f"p-2/{PURPOSE}",
        "p-1/unregistered",
    ]
    start, complete = found[0]
    assert [one["name"] for one in complete["inputs"]] == ["attributes/a", "attributes/b"]
    assert (start["eventTime"], complete["eventTime"]) == (
        "2026-11-24T00:00:00+00:00",
        "2026-11-24T00:00:02+00:00",
    )
    assert start["run"]["runId"] == complete["run"]["runId"]
    assert len({one[0]["run"]["runId"] for one in found}) == 3


@contextmanager
def receiver() -> Iterator[tuple[int, list[dict[str, Any]]]]:
    got: list[dict[str, Any]] = []

    class Receive(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(201)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receive)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port, got
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_events_are_sent_by_the_guarded_client(tmp_path: Path) -> None:
    with world(tmp_path / "home", private_hosts=frozenset({"127.0.0.1"})) as made:
        made.decide("crm-nobody")
        made.advance(2)
        (page,) = lineage.stretches(made.ctx, "demo", -1)
        with receiver() as (port, got):
            for event in page.events:
                lineage.send(made.ctx, f"http://127.0.0.1:{port}/api/v1/lineage", event)
        assert got == list(page.events)
    with world(tmp_path / "strict") as made, pytest.raises(FetchRefused):
        lineage.send(made.ctx, f"http://127.0.0.1:{port}/api/v1/lineage", {})
