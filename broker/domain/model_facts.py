"""What is said of a model that is handed out, as `model.json`: written and read again.

It is one JSON object:

    schema          `SCHEMA`
    iss, made_at    the tenant's address, and when this was so: states change later
    model           the version: `id` is the SHA-256 of its weights
    campaign        its campaign: `id`, `hash`, `document` as the board signed it, `board`
    line            the version and its ancestors, itself first, each with `buckets` (by member, how
                    many rows its receipt covers, rounded up), `approvals` (JWS of the board) and,
                    where there are any, `residuals`
    looked_through  whether all that was withdrawn by then had been looked for

A residual is of an unlearning task that was closed with the version: `task`, the distances `before`
and `after`, decimals in text, and `measured`: the SHA-256 of the weights that it was measured from
(`before`, `after`, `reference`), or null where it is what was said.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from broker.domain.errors import EvidenceInvalid, StateConflict
from broker.domain.unlearning import check_residual
from federation import reading
from federation.board import MOST_KEYS
from federation.campaign import MOST_MEMBERS, MOST_ROUNDS
from federation.errors import Malformed
from federation.rollout import STAGES
from federation.unlearning import ModelVersion

SCHEMA: Final = "urn:consent-broker:model:1"
FACTS: Final = "model.json"
STATES: Final = ("candidate", "pilot", "active", "tainted", "retired")
LARGEST_FILE: Final = 32 * 1_048_576
MOST_VERSIONS: Final = 10_000
_MOST_RESIDUALS: Final = 10_000
_CONTAINERS: Final = 8 * MOST_VERSIONS
_FACTS = frozenset({"schema", "iss", "made_at", "model", "campaign", "line", "looked_through"})
_CAMPAIGN = frozenset({"id", "hash", "document", "board"})
_MODEL = frozenset(
    {
        *("id", "parent", "campaign", "stage", "number", "bundle_hash", "parameters_hash"),
        *("receipts_root", "members", "epsilon", "metrics", "state", "taint", "created_at"),
    }
)
_LINE = _MODEL | {"buckets", "approvals", "residuals"}
_RESIDUAL = frozenset({"task", "before", "after", "measured"})
_MEASURED = frozenset({"before", "after", "reference"})


@dataclass(frozen=True)
class Facts:
    """What a file says; `line` is the model and its ancestors, `approvals` are by version."""

    issuer: object
    made_at: int
    model: str
    state: str
    campaign: Mapping[str, Any]
    line: tuple[ModelVersion, ...]
    approvals: Mapping[str, Sequence[str]]


def facts_file(facts: Mapping[str, Any]) -> bytes:
    """`model.json`. Raises `StateConflict` where it would be more than is read again."""
    data = orjson.dumps(facts, option=orjson.OPT_INDENT_2)
    if len(data) > LARGEST_FILE or len(facts["line"]) > MOST_VERSIONS:
        raise StateConflict(
            f"the model descends from so many versions that nobody could verify its facts: at most "
            f"{MOST_VERSIONS}, in {LARGEST_FILE >> 20} MiB"
        )
    return data


def read_facts(data: bytes) -> Facts:
    """Read `model.json`, whoever wrote it. Raises `EvidenceInvalid` and `FederationError`."""
    told = reading.json_object(data, largest=LARGEST_FILE, containers=_CONTAINERS)
    source = reading.members(told, FACTS, _FACTS)
    reading.choice(source, "schema", (SCHEMA,))
    made_at = reading.whole(source, "made_at", 0, 2**53 - 1)
    reading.flag(source, "looked_through")
    model = reading.members(source["model"], "a model", _MODEL)
    campaign = reading.members(source["campaign"], "the campaign", _CAMPAIGN)
    versions: list[ModelVersion] = []
    given: dict[str, Sequence[str]] = {}
    for one in reading.items(source, "line", MOST_VERSIONS):
        version, approved = _version(one)
        versions.append(version)
        given[version.id] = approved
    if not versions or model != {name: source["line"][0][name] for name in _MODEL}:
        raise EvidenceInvalid("the line does not begin with the model")
    first = versions[0]
    return Facts(source["iss"], made_at, first.id, first.state, campaign, tuple(versions), given)


def _version(value: object) -> tuple[ModelVersion, Sequence[str]]:
    told = {"residuals": [], **value} if isinstance(value, dict) else value
    source = reading.members(told, "a version of the line", _LINE)
    metrics, buckets = source["metrics"], source["buckets"]
    if not isinstance(metrics, dict) or not all(isinstance(one, str) for one in metrics.values()):
        raise Malformed("metrics are decimals in text by name")
    if not isinstance(buckets, dict) or not all(type(one) is int for one in buckets.values()):
        raise Malformed("buckets are whole numbers by member")
    approved = reading.items(source, "approvals", MOST_KEYS)
    members = reading.items(source, "members", MOST_MEMBERS)
    if not all(isinstance(one, str) for one in (*approved, *members)):
        raise Malformed("members are names, and approvals compact JWS")
    for one in reading.items(source, "residuals", _MOST_RESIDUALS):
        _check_residual(one)
    if source["taint"] is not None:
        reading.choice(source, "taint", ("used", "descends"))
    reading.whole(source, "created_at", 0, 2**53 - 1)
    version = ModelVersion(
        id=reading.digest(source, "id"),
        parent=None if source["parent"] is None else reading.digest(source, "parent"),
        campaign=reading.name(source, "campaign"),
        stage=reading.choice(source, "stage", STAGES),
        round=reading.whole(source, "number", 0, MOST_ROUNDS),
        bundle_hash=reading.digest(source, "bundle_hash"),
        parameters_hash=reading.digest(source, "parameters_hash"),
        receipts_root=None
        if source["receipts_root"] is None
        else reading.digest(source, "receipts_root"),
        members=tuple(members),
        metrics=metrics,
        state=reading.choice(source, "state", STATES),  # type: ignore[arg-type]
    )
    return version, approved


def _check_residual(value: object) -> None:
    source = reading.members(value, "a residual", _RESIDUAL)
    reading.name(source, "task")
    before, after = source["before"], source["after"]
    if not isinstance(before, str) or not isinstance(after, str):
        raise Malformed("a residual is two decimals in text")
    check_residual(before, after)
    if source["measured"] is not None:
        measured = reading.members(source["measured"], "what was measured", _MEASURED)
        for one in _MEASURED:
            reading.digest(measured, one)
