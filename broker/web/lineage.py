"""A lineage as a picture: columns from what was there to what rests on it."""

from datetime import UTC, datetime
from typing import Any

import orjson

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
TIMES = ("valid_from", "valid_until")
WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 212, 66, 44, 16, 8
LONGEST_LINE = 32


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
    columns = len(_filled(graph))
    view: dict[str, Any] = {
        "width": 2 * MARGIN + columns * (WIDTH + GAP_X) - GAP_X,
        "height": height,
        "box": (WIDTH, HEIGHT),
        "nodes": nodes,
        "edges": edges,
    }
    return document("lineage.svg", view)


def html(graph: Graph, name: str, *, more: bool) -> str:
    """The picture and its nodes as a table, in one file; `more`: there are further uses."""
    from_text = {"name": name, "picture": svg(graph), "more": more}
    return document("lineage.html", {**from_text, "rows": [_row(node) for node in graph.nodes]})


def _row(node: Node) -> dict[str, Any]:
    return {
        "title": TITLES[node.kind],
        "id": node.id,
        "time": "" if node.time is None else _moment(node.time),
        "index": "" if node.index is None else node.index,
        "facts": {name: _fact(name, value) for name, value in node.facts.items() if value != []},
    }


def _fact(name: str, value: Any) -> str:  # noqa: ANN401 (facts are JSON)
    if name in TIMES and isinstance(value, int):
        return _moment(value)
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ", ".join(value)
    return value if isinstance(value, str) else orjson.dumps(value).decode()


def _moment(time: int) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _filled(graph: Graph) -> list[int]:
    """The columns that hold a node, from left to right."""
    return sorted({COLUMNS[node.kind] for node in graph.nodes})


def _placed(graph: Graph) -> tuple[dict[str, tuple[int, int]], int]:
    """The upper left corner of each node, and how high all of it is."""
    columns = _filled(graph)
    filled = dict.fromkeys(range(len(columns)), 0)
    places = {}
    for node in graph.nodes:
        column = columns.index(COLUMNS[node.kind])
        x = MARGIN + column * (WIDTH + GAP_X)
        places[node.id] = (x, MARGIN + filled[column] * (HEIGHT + GAP_Y))
        filled[column] += 1
    return places, 2 * MARGIN + max(filled.values(), default=1) * (HEIGHT + GAP_Y) - GAP_Y


def said(node: Node) -> str:
    """What a node is besides its kind, in a few words; empty where there is no more to say."""
    facts = node.facts
    return {
        "use": f"{facts.get('action')} {facts.get('attribute')}",
        "denial": ", ".join(facts.get("conditions", ())),
        "signature": str(facts.get("signature_grade", "")),
        "consent": str(facts.get("state", "")),
        "notice": str(facts.get("language", "")),
        "end": str(facts.get("type", "")),
        "act": str(facts.get("type", "")),
        "action": f"{facts.get('action')} {facts.get('agent')}",
    }.get(node.kind, "")


def _box(node: Node, x: int, y: int) -> dict[str, Any]:
    time = ""
    if node.time is not None:
        time = _moment(node.time)
        time += "" if node.index is None else f"  #{node.index}"
    told = said(node)
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
