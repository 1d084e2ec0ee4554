"""A lineage as a picture: columns from what was there to what rests on it."""

from datetime import UTC, datetime
from typing import Any

from broker.domain.lineage import Graph, Node
from broker.web.documents import document

COLUMNS = {
    "request": 0,
    "notice": 1,
    "signature": 2,
    "consent": 3,
    "proof": 3,
    "algorithm": 3,
    "use": 4,
    "denial": 4,
    "end": 4,
    "act": 4,
    "action": 5,
}
TITLES = {
    "request": "请求 Request",
    "notice": "告知 Notice",
    "signature": "客户签名 Signature",
    "consent": "同意 Consent",
    "proof": "证明 Proof",
    "algorithm": "目的与算法 Algorithm",
    "use": "使用 Use",
    "denial": "已拒绝 Denied",
    "end": "终止 End",
    "act": "操作 Act",
    "action": "智能体操作 Agent's action",
}
WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 232, 66, 72, 16, 16
LONGEST_LINE = 34


def svg(graph: Graph) -> str:
    """The graph as an SVG document without script or network."""
    places, height = _placed(graph)
    edges = []
    for edge in graph.edges:
        (x1, y1), (x2, y2) = places[edge.source], places[edge.target]
        same = x1 == x2
        start, end = (x1 + WIDTH, y1 + HEIGHT // 2), (x2, y2 + HEIGHT // 2)
        if same:
            start, end = (x1 + WIDTH // 2, y1 + HEIGHT), (x2 + WIDTH // 2, y2)
        bend = (start[0] + end[0]) // 2
        edges.append({"start": start, "end": end, "bend": bend, "kind": edge.kind})
    nodes = [_box(node, *places[node.id]) for node in graph.nodes]
    columns = max(COLUMNS.values()) + 1
    view: dict[str, Any] = {
        "width": 2 * MARGIN + columns * WIDTH + (columns - 1) * GAP_X,
        "height": height,
        "box": (WIDTH, HEIGHT),
        "nodes": nodes,
        "edges": edges,
    }
    return document("lineage.svg", view)


def html(graph: Graph, name: str, *, more: bool) -> str:
    """The picture and its nodes as a table, in one file; `more`: there are further uses."""
    from_text = {"name": name, "picture": svg(graph), "more": more}
    rows = [{**_box(node, 0, 0), "node": node.to_json()} for node in graph.nodes]
    return document("lineage.html", {**from_text, "rows": rows})


def _placed(graph: Graph) -> tuple[dict[str, tuple[int, int]], int]:
    """The upper left corner of each node, and how high all of it is."""
    filled = dict.fromkeys(COLUMNS.values(), 0)
    places = {}
    for node in graph.nodes:
        column = COLUMNS[node.kind]
        x = MARGIN + column * (WIDTH + GAP_X)
        places[node.id] = (x, MARGIN + filled[column] * (HEIGHT + GAP_Y))
        filled[column] += 1
    return places, 2 * MARGIN + max(filled.values()) * (HEIGHT + GAP_Y) - GAP_Y


def _box(node: Node, x: int, y: int) -> dict[str, Any]:
    time = ""
    if node.time is not None:
        time = datetime.fromtimestamp(node.time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        time += "" if node.index is None else f"  #{node.index}"
    facts = node.facts
    told = {
        "use": f"{facts.get('action')} {facts.get('attribute')}",
        "denial": ", ".join(facts.get("conditions", ())),
        "signature": str(facts.get("signature_grade", "")),
        "consent": str(facts.get("state", "")),
        "notice": str(facts.get("language", "")),
        "end": str(facts.get("type", "")),
        "act": str(facts.get("type", "")),
        "action": f"{facts.get('action')} {facts.get('agent')}",
    }.get(node.kind, "")
    return {
        "x": x,
        "y": y,
        "kind": node.kind,
        "title": TITLES[node.kind],
        "lines": [_short(line) for line in (node.id, told or time, time if told else "")],
        "full": node.id,
    }


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_LINE else f"{text[: LONGEST_LINE - 1]}…"
