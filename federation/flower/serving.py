"""A stage's rounds inside a SuperLink: what an application's `ServerApp` does, in one call.

    @app.main()
    def main(grid, context):
        run_stage(grid, context, first_model)

`first_model` is what the first round of a campaign begins with. The run's setting `campaign` is
the broker's id of it (`[tool.flwr.app.config]` declares it, empty); the coordinator's settings file
is named by the environment variable `FEDERATION_COORDINATOR`, which `federation up` sets.
"""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from flwr.app import Context
from flwr.serverapp import Grid

from federation.board import Board, read_signed_campaign
from federation.campaign import CAMPAIGN
from federation.errors import FederationError
from federation.flower.broker import AGAIN_SECONDS, BrokerClient, BrokerRefused
from federation.flower.desk import BrokerDesk
from federation.flower.events import append
from federation.flower.locks import held
from federation.flower.models import Checkpoint, CheckpointBroken, Checkpoints, Model, kept_model
from federation.flower.places import write_private
from federation.flower.round_values import Opening, RoundFailed, Told
from federation.flower.rounds import Rounds
from federation.flower.settings import ID, CoordinatorHome, SettingsWrong, read_json, read_key
from federation.remarks import Remarks

SPENT: Final = "privacy_budget_spent"
NAMED: Final = "FEDERATION_COORDINATOR"
TURN_SECONDS: Final = 10
"""Longer than the coordinator takes to register who was admitted."""


class RunsAlready(FederationError):
    """Another process runs this campaign's rounds: two would fail each other's."""

    code = "runs_already"


def run_stage(grid: Grid, context: Context, first: Model) -> Model:
    """Run what is left of the stage that a campaign is in. Raises what `Rounds.go_on` does."""
    file = os.environ.get(NAMED)
    if not file:
        raise SettingsWrong(f"{NAMED} names no settings: start the SuperLink by `federation up`")
    home = CoordinatorHome.read(Path(file))
    campaign = str(context.run_config[CAMPAIGN])
    if not ID.fullmatch(campaign):  # it names a directory
        raise SettingsWrong(f"the run's setting {CAMPAIGN} is no id of the broker's")
    directory = home.campaign(campaign)
    with _alone(directory):
        return _run(grid, home, campaign, first)


def client_of(home: CoordinatorHome) -> BrokerClient:
    """The coordinator's client. Raises `SettingsWrong`."""
    key = read_key(home.client_key)
    return BrokerClient(home.broker, home.coordinator, key, now=lambda: int(time.time()))


def members_file(directory: Path) -> Path:
    """Who has a node: `{member: {"node": id of Flower's, "receipt_key": JWK}}`."""
    return directory / "members.json"


def write_members(directory: Path, told: Mapping[str, Any], nodes: Mapping[str, int]) -> None:
    """Keep the members of a campaign, as the broker tells it, who have one of these nodes."""
    found = {
        one["member"]: {"node": nodes[one["member"]], "receipt_key": one["receipt_key"]}
        for one in told["members"]
        if one["member"] in nodes
    }
    data = json.dumps(found, sort_keys=True).encode()
    file = members_file(directory)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not file.exists() or file.read_bytes() != data:
        write_private(file, data)


def events_file(directory: Path) -> Path:
    """What a run did: a JSON object a line."""
    return directory / "events.jsonl"


class _Desk(BrokerDesk):
    """The broker, with each step told, and members looked up anew as each round opens."""

    def __init__(self, client: BrokerClient, campaign: str, directory: Path) -> None:
        super().__init__(client, campaign)
        self.directory = directory
        self.rollout: dict[str, frozenset[str]] = {}
        """The members of each stage, as the board signed them."""
        self.nodes: dict[str, int] = {}
        self.keys: dict[str, Mapping[str, Any]] = {}

    def open(self, stage: str, number: int, model_in: str) -> Opening:
        """Open a round with the members of this moment.

        Who of the stage has just been admitted is waited for, until the coordinator has registered
        the node.
        """
        until = time.monotonic() + TURN_SECONDS
        while self._admitted(stage) - read_json(members_file(self.directory)).keys():
            if time.monotonic() > until:
                break
            time.sleep(AGAIN_SECONDS)
        opening = super().open(stage, number, model_in)
        found = read_json(members_file(self.directory))
        self.nodes.clear()
        self.keys.clear()
        for member, one in found.items():
            self.nodes[member], self.keys[member] = one["node"], one["receipt_key"]
        self.tell("round_opened", stage, number, members=len(opening.taking_part))
        return opening

    def _admitted(self, stage: str) -> frozenset[str]:
        told = self.told()["members"]
        admitted = {one["member"] for one in told if one["state"] == "admitted"}
        return self.rollout.get(stage, frozenset()) & admitted

    def fail(self, stage: str, number: int, code: str, remarks: Remarks) -> None:
        """Give a round up, and tell."""
        super().fail(stage, number, code, remarks)
        told = {"left_out": dict(remarks.left_out), "notices": dict(remarks.notices)}
        self.tell("round_failed", stage, number, why=code, **told)

    def tell(self, event: str, stage: str, number: int, **facts: object) -> None:
        """Write an event down."""
        append(events_file(self.directory), event, stage=stage, number=number, **facts)

    def closed(self, told: Told) -> None:
        """A round that closed."""
        kept = told.checkpoint
        facts = {
            "metrics": dict(kept.metrics),
            "left_out": dict(told.left_out),
            "notices": dict(kept.notices),
        }
        self.tell(
            "round_closed",
            kept.stage,
            kept.number,
            **facts,
            closed=told.closed,
            members=list(kept.members),
            model_out=kept.model_out,
        )


def _run(grid: Grid, home: CoordinatorHome, campaign: str, first: Model) -> Model:
    directory = home.campaign(campaign)
    with client_of(home) as client:
        desk = _Desk(client, campaign, directory)
        told = desk.told()
        try:
            board = Board.of(told["board"]["keys"], told["board"]["threshold"])
            document = json.dumps(told["document"]).encode()
            signed = read_signed_campaign(document, board)
            desk.rollout = {one.stage: frozenset(one.members) for one in signed.campaign.rollout}
            checkpoints = Checkpoints(home.models, signed.campaign_hash)
            more = {"at-broker": campaign}
            if told["passed"] is not None:
                more["passed"] = json.dumps(told["passed"])
            rounds = Rounds(
                signed,
                document,
                told["stage"],
                desk,
                checkpoints,
                desk.nodes,
                desk.keys,
                patience=home.patience,
                more=more,
                tell=desk.closed,
            )
            begun = _begun(home, campaign, told, checkpoints, first)
            try:
                return rounds.go_on(grid, begun)
            except BrokerRefused as error:
                if error.told != SPENT:
                    raise
                return _last(directory, told["stage"], checkpoints, begun)
        except FederationError as error:
            left_out = dict(error.left_out) if isinstance(error, RoundFailed) else {}
            facts = {"stage": told["stage"], "code": error.code, "why": str(error)[:500]}
            append(events_file(directory), "run_failed", **facts, left_out=left_out)
            raise


def _last(directory: Path, stage: str, checkpoints: Checkpoints, begun: Model) -> Model:
    """The last model of a campaign that affords no further round: the run ends as it should."""
    kept = checkpoints.last()
    model = "" if kept is None else kept.model_out
    append(events_file(directory), "budget_spent", stage=stage, model=model)
    return begun if kept is None else checkpoints.model(kept)


def _begun(
    home: CoordinatorHome,
    campaign: str,
    told: Mapping[str, Any],
    checkpoints: Checkpoints,
    first: Model,
) -> Model:
    """What the stage's first round begins with; read while nothing of the stage is kept alone.

    Raises `CheckpointBroken`.
    """
    kept = checkpoints.last()
    if kept is not None and kept.stage == told["stage"]:
        return first
    if told["passed"] is not None:
        return _promoted(checkpoints, told["passed"]["model"])
    if campaign in home.begins:
        return kept_model(home.models, home.begins[campaign])
    return first


def _promoted(checkpoints: Checkpoints, model: str) -> Model:
    """The model that passed the stage before: not always the last one that was kept."""
    kept: Checkpoint | None = checkpoints.of_model(model)
    if kept is None:
        raise CheckpointBroken(f"the model {model} that passed the pilot is not kept here")
    return checkpoints.model(kept)


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Hold a campaign; one that ended a moment ago may take a little to let go of it."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    busy = RunsAlready("another run of this campaign has not ended")
    with held(directory / "lock", busy):
        yield
