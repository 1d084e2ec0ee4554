"""Where a use comes from and where a consent goes: a graph over entries of the log.

    request -> notice -> signature -> consent -> use, denial, end, act
                             proof, algorithm ->  use, denial
                                          use ->  action (of an agent)

An edge leads from what was there to what rests on it. Each node that is an act is an entry of the
log, and says its index there; None while the entry waits for one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from broker.domain.entry import Entry
from broker.domain.terms import Terms

DECISION: Final = "decision"
AGENT_ACTION: Final = "agent.action"
GRANTED: Final = "consent.granted"
REQUESTED: Final = "consent.requested"
ENDS: Final = frozenset(
    {"consent.withdrawn", "consent.expired", "consent.superseded", "consent.refused"}
)
# What the graph says of an entry: names, codes and hashes, each of them short.
_DECIDED = ("partner", "action", "attribute", "purpose", "territory", "conditions", "policies")


@dataclass(frozen=True)
class Act:
    """An entry of the log, and its index there; None while it waits."""

    index: int | None
    entry: Entry


@dataclass(frozen=True)
class Node:
    """One thing of the graph: `kind` is one of those in the module's picture.

    `time` is Unix seconds; `facts` are JSON values.
    """

    id: str
    kind: str
    time: int | None = None
    index: int | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The node as a JSON object."""
        return {
            "id": self.id,
            "kind": self.kind,
            "time": self.time,
            "log_index": self.index,
            "facts": dict(self.facts),
        }


@dataclass(frozen=True)
class Edge:
    """That `target` rests on `source`, and how."""

    source: str
    target: str
    kind: str

    def to_json(self) -> dict[str, str]:
        """The edge as a JSON object."""
        return {"from": self.source, "to": self.target, "kind": self.kind}


@dataclass(frozen=True)
class Graph:
    """Nodes, each once, and the edges between them; both in the order of the acts."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]

    def to_json(self) -> dict[str, Any]:
        """The graph as a JSON object."""
        return {
            "nodes": [node.to_json() for node in self.nodes],
            "edges": [edge.to_json() for edge in self.edges],
        }


def graph_of(terms: Terms, state: str, acts: Sequence[Act]) -> Graph:
    """The graph of a consent in a state, with these of its acts.

    The acts before its end are in it as far as they are given: a signature only with the entry of
    the grant.
    """
    drawing = _Drawing(terms, state)
    for act in acts:
        drawing.add(act)
    return drawing.done()


class _Drawing:
    """A graph while it grows."""

    def __init__(self, terms: Terms, state: str) -> None:
        self._nodes: dict[str, Node] = {}
        self._edges: dict[tuple[str, str], Edge] = {}
        self._acted: list[Entry] = []
        self._consent = terms.consent_id
        notice = terms.notice
        self._notice = f"{notice.template}@{notice.version}"
        self._node(
            self._notice,
            "notice",
            facts={
                "template": notice.template,
                "version": notice.version,
                "language": notice.language,
                "hash": notice.hash,
            },
        )
        self._node(
            self._consent,
            "consent",
            facts={
                "state": state,
                "terms_hash": terms.hash(),
                "partner": terms.partner.id,
                "purpose": terms.purpose_wire,
                "attributes": [one.id for one in terms.attributes],
                "valid_from": terms.valid_from,
                "valid_until": terms.valid_until,
            },
        )

    def add(self, act: Act) -> None:
        entry = act.entry
        if entry.type == DECISION:
            self._decision(act)
        elif entry.type == REQUESTED:
            self._act(act, "request", ("request", "partner", "template", "item", "terms_hash"))
            self._edge(entry.id, self._notice, "shows")
        elif entry.type == GRANTED:
            names = ("terms_hash", "signature_grade", "binding_grade", "evidence")
            self._act(act, "signature", names)
            self._edge(self._notice, entry.id, "was_shown")
            self._edge(entry.id, self._consent, "grants")
        elif entry.type == AGENT_ACTION:
            self._act(act, "action", ("action_id", "agent", "action", "decisions"))
            self._acted.append(entry)
        else:
            kind = "end" if entry.type in ENDS else "act"
            self._act(act, kind, ())
            self._edge(self._consent, entry.id, "ends_with" if kind == "end" else "leads_to")

    def done(self) -> Graph:
        for entry in self._acted:
            # An action stands beside its consent where its uses are on another page.
            shown = [one for one in entry.body["decisions"] if one in self._nodes]
            for source in shown or [self._consent]:
                self._edge(source, entry.id, "is_acted_on")
        return Graph(tuple(self._nodes.values()), tuple(self._edges.values()))

    def _decision(self, act: Act) -> None:
        entry, body = act.entry, act.entry.body
        permit = body.get("decision") is True
        self._act(act, "use" if permit else "denial", _DECIDED)
        self._edge(self._consent, entry.id, "permits" if permit else "does_not_permit")
        purpose = body.get("purpose")
        if isinstance(purpose, str) and "#algo:" in purpose:
            self._node(purpose, "algorithm", facts={"purpose": purpose})
            self._edge(purpose, entry.id, "is_used_by")
        proof = body.get("proof_request")
        if isinstance(proof, str):
            self._node(proof, "proof")
            self._edge(proof, entry.id, "was_proven_for")

    def _act(self, act: Act, kind: str, names: Sequence[str]) -> None:
        entry = act.entry
        told = {name: entry.body[name] for name in names if name in entry.body}
        self._node(entry.id, kind, entry.time, act.index, {"type": entry.type, **told})

    def _node(
        self,
        node_id: str,
        kind: str,
        time: int | None = None,
        index: int | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> None:
        self._nodes.setdefault(node_id, Node(node_id, kind, time, index, facts or {}))

    def _edge(self, source: str, target: str, kind: str) -> None:
        self._edges.setdefault((source, target), Edge(source, target, kind))
