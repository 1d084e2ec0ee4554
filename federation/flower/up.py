"""The coordinator as a controller: what should run at the broker, runs.

Each turn looks at the broker's running campaigns and at the SuperLink, and does what is missing. It
remembers nothing that is not on disk, at the broker or in the SuperLink, so a turn after any crash
is like any other:

1. The SuperLink runs; one that ended is started again.
2. Every admitted member's key is registered; exactly those nodes take part. One that is revoked is
   out within a turn, in mid-round too.
3. A campaign whose stage is not over has one run. One that ended is followed by another, later each
   time while none gets further: each may use up a round's number. After so many in a row
   (`attempts`) the campaign is paused, and goes on when somebody starts it again.
4. A run that is of no running campaign is stopped; of one that is paused it ends by itself.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from federation.board import SignedCampaign
from federation.campaign import bundle_hash
from federation.errors import FederationError
from federation.flower.broker import OK, BrokerClient, BrokerRefused, said
from federation.flower.bundle import Bundle
from federation.flower.campaign_told import closed, over, verified
from federation.flower.control import Control, ControlRefused, Node, Run
from federation.flower.events import Changes, Events, Tail
from federation.flower.places import Places
from federation.flower.run_settings import settings_of
from federation.flower.serving import NAMED, client_of, events_file, write_members
from federation.flower.settings import CoordinatorHome, read_json
from federation.flower.supervised import Supervised, until_told
from federation.flower.tried import Tried

TURN_SECONDS: Final = 2.0
GRACES: Final = 5
"""A run waits at most so many times `grace`, however often there are too few meanwhile."""
CAMPAIGNS: Final = "/v1/federation/campaigns?state="
UNAUTHORIZED: Final = frozenset({400, 401, 403})
NO_ANSWER: Final = 0
NOT_FOUND: Final = 404
IN_VAIN: Final = "no_round_accepted"
ENDS_BY_ITSELF: Final = frozenset({"paused", "finished"})
GONE: Final = frozenset({"revoked", "expired"})
PROMOTE: Final = "go on by: consent-broker federation model promote MODEL --approval FILE"
NOTHING: Final = "no round of it gave a model: see why, and sign another campaign"
LOOK: Final = (
    "see why: consent-broker federation status; go on by: consent-broker federation campaign start"
)


@dataclass
class Reconciler:
    """Brings a SuperLink to what the broker says; one for each process."""

    home: CoordinatorHome
    client: BrokerClient
    events: Events
    control: Callable[[], Control]
    tried: dict[str, Tried] = field(default_factory=dict)
    tails: dict[str, Tail] = field(default_factory=dict)
    rounds: dict[str, int] = field(default_factory=dict)
    enough: dict[str, tuple[float, float | None]] = field(default_factory=dict)
    """When enough members were first online, and since when they are; None while they are not."""
    ended: dict[int, Run] = field(default_factory=dict)
    """Campaigns' own runs that are over."""

    def __post_init__(self) -> None:
        """Tell each thing once."""
        self.changes = Changes(self.events)

    def turn(self) -> None:
        """Do what is missing now. What fails is told, and tried again by the next turn."""
        try:
            campaigns = self._listed("running")
            # An open round of a paused one ends as it began: its members go on taking part.
            paused = self._listed("paused")
        except BrokerRefused as error:
            hint = ""
            if error.status in UNAUTHORIZED:
                hint = "is it this coordinator's id and key (federation coordinator add, rekey)?"
            self.changes.tell("broker", "broker_silent", why=str(error), hint=hint)
            return
        self.changes.tell("broker", "broker_answers")
        try:
            with self.control() as control:
                self._reconcile(control, campaigns, paused)
        except (ControlRefused, OSError) as error:
            self.changes.tell("superlink", "superlink_silent", why=str(error))
        except FederationError as error:
            self.changes.tell("broker", "broker_silent", why=str(error))
        else:
            self.changes.forget("superlink")

    def _reconcile(
        self,
        control: Control,
        campaigns: Sequence[Mapping[str, Any]],
        paused: Sequence[Mapping[str, Any]],
    ) -> None:
        admitted = {
            one["member"]: one
            for told in [*campaigns, *paused]
            for one in told["members"]
            if one["state"] == "admitted"
        }
        nodes = self._registered(control, admitted)
        self._admit(control, nodes)
        running = {told["id"] for told in campaigns}
        runs = self._runs(control, running)
        for told in paused:
            self._tried(told["id"]).anew()
        for campaign in sorted(set(self.rounds) - running):
            self._tell_rounds(campaign)
            self.changes.tell(
                campaign, "campaign_state", campaign=campaign, **self._standing(campaign)
            )
        for told in campaigns:
            self._tell_rounds(told["id"])
            try:
                self._campaign(control, told, nodes, runs)
            except (BrokerRefused, ControlRefused):
                raise
            except FederationError as error:
                why = str(error)
                self.changes.tell(told["id"], "campaign_refused", campaign=told["id"], why=why)

    def _registered(
        self, control: Control, admitted: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Node]:
        """The node of each admitted member; one that is new is registered.

        One that is revoked takes no part, and stays registered: a key whose registration was taken
        back is refused by Flower for good, and its member may be admitted again.
        """
        known = {node.public_key: node for node in control.nodes() if node.status != "unregistered"}
        found = {}
        for member, one in sorted(admitted.items()):
            key = str(one["node_public_key"]).encode()
            found[member] = known.get(key) or Node(control.register(key), "registered", key)
        return found

    def _admit(self, control: Control, nodes: Mapping[str, Node]) -> None:
        file = Places(self.home.link).admitted
        wanted = sorted(node.id for node in nodes.values())
        if not file.exists() or json.loads(file.read_bytes()) != wanted:
            control.admit(wanted)
        self.changes.tell("members", "members", admitted=sorted(nodes))

    def _runs(self, control: Control, running: set[str]) -> Mapping[int, Run]:
        """The newest runs, and campaigns' own however many are newer.

        Those of campaigns that were stopped, and those of which nobody knows any more, are stopped.
        """
        known = {}
        for file in self.home.state.glob("campaigns/*/run.json"):
            known[int(read_json(file)["run"])] = file.parent.name
        runs = {run.id: run for run in control.runs()}
        for one in known.keys() - runs.keys():
            runs[one] = self.ended.get(one) or control.run(one)
        self.ended = {one: run for one, run in runs.items() if run.over and one in known}
        for run in runs.values():
            campaign = known.get(run.id)
            if run.over or campaign in running:
                continue
            if campaign is None or self._standing(campaign)["state"] not in ENDS_BY_ITSELF:
                control.stop(run.id)
        return runs

    def _listed(self, state: str) -> list[Mapping[str, Any]]:
        """The campaigns in a state, of all pages."""
        found: list[Mapping[str, Any]] = []
        after: str | None = ""
        while after is not None:
            page = self.client.get(f"{CAMPAIGNS}{state}" + (f"&after={after}" if after else ""))
            listed = page.get("campaigns")
            if not isinstance(listed, list):
                raise BrokerRefused(OK, "malformed", "these are no campaigns")
            found += listed
            after = page.get("next")
        return found

    def _told(self, campaign: str) -> Mapping[str, Any]:
        return self.client.get(f"/v1/federation/campaigns/{campaign}")

    def _standing(self, campaign: str) -> dict[str, str]:
        """A campaign's state, and why it is in it where nobody chose that."""
        told = self._told(campaign)
        return {"state": said(told, "state", str), "reason": str(told.get("reason") or "")}

    def _tried(self, campaign: str) -> Tried:
        if campaign not in self.tried:
            self.tried[campaign] = Tried.read(self.home.campaign(campaign))
        return self.tried[campaign]

    def _campaign(
        self,
        control: Control,
        told: Mapping[str, Any],
        nodes: Mapping[str, Node],
        runs: Mapping[int, Run],
    ) -> None:
        campaign, signed = told["id"], verified(told)
        self.rounds[campaign] = signed.campaign.rounds
        directory = self.home.campaign(campaign)
        write_members(directory, told, {name: node.id for name, node in nodes.items()})
        tried = self._tried(campaign)
        run = None if tried.run is None else runs.get(tried.run)
        if run is not None and not run.over:
            return
        stage = str(told["stage"])
        if run is not None and run.id != tried.told:
            facts = {"run": run.id, "status": run.status, "details": run.details}
            self.events.tell("run_ended", campaign=campaign, stage=stage, **facts)
            # As it is now: the run's last rounds may be of after the campaigns were listed.
            told = self._told(campaign)
            tried.ended(told["last_accepted"], time.monotonic())
            if told["state"] != "running":
                return
        if over(told, signed):
            done, of = closed(told), signed.campaign.rounds
            facts = {"campaign": campaign, "stage": stage, "closed": done, "rounds": of}
            self.changes.tell(campaign, "stage_over", **facts, hint=PROMOTE if done else NOTHING)
            return
        if tried.in_vain >= self.home.attempts:
            self._given_up(campaign, tried)
            return
        if time.monotonic() < tried.not_before or not self._enough(told, signed, nodes):
            return
        bundle = self._bundle(campaign, signed)
        if bundle is None:
            return
        config = settings_of(bundle.content, signed.campaign.parameters, campaign)
        started = control.start(control.put(bundle), config)
        tried.started(started, told["last_accepted"])
        self.changes.tell(campaign, "run_started", campaign=campaign, stage=stage, run=started)

    def _given_up(self, campaign: str, tried: Tried) -> None:
        """Pause a campaign whose runs get nowhere: somebody has to look at it.

        A broker of before knows no such call, and the campaign is tried on.
        """
        facts = {"campaign": campaign, "runs": tried.in_vain}
        try:
            self.client.post(f"/v1/federation/campaigns/{campaign}/pause", {"reason": IN_VAIN})
        except BrokerRefused as error:
            if error.status == NO_ANSWER:
                raise
            if error.status != NOT_FOUND:
                # It is asked again by the next turn; the other campaigns need not wait.
                self.changes.tell(campaign, "campaign_refused", campaign=campaign, why=str(error))
                return
        else:
            self.changes.tell(campaign, "campaign_paused", **facts, hint=LOOK)
        tried.anew()

    def _enough(
        self, told: Mapping[str, Any], signed: SignedCampaign, nodes: Mapping[str, Node]
    ) -> bool:
        """Whether so many members are online that a round can take place.

        The stage's others are waited for a while, who has yet to be admitted too: from a round that
        began they are left out.
        """
        campaign = signed.campaign
        [stage] = [one for one in campaign.rollout if one.stage == told["stage"]]
        online = {
            name for name in stage.members if name in nodes and nodes[name].status == "online"
        }
        if len(online) >= campaign.minimum_members:
            gone = {one["member"] for one in told["members"] if one["state"] in GONE}
            now = time.monotonic()
            first, since = self.enough.get(told["id"], (now, now))
            since = now if since is None else since
            # One that comes and goes would have the others wait for ever.
            waited = now - since >= self.home.grace or now - first >= GRACES * self.home.grace
            self.enough[told["id"]] = first, since
            if waited or online >= set(stage.members) - gone:
                self.enough.pop(told["id"])
                return True
        elif told["id"] in self.enough:
            self.enough[told["id"]] = self.enough[told["id"]][0], None
        facts = {"online": len(online), "needed": campaign.minimum_members}
        missing = sorted(set(stage.members) - online)
        self.changes.tell(
            told["id"], "waiting_for_members", campaign=told["id"], **facts, missing=missing
        )
        return False

    def _bundle(self, campaign: str, signed: SignedCampaign) -> Bundle | None:
        named = signed.campaign.bundle_hash
        for file in sorted(self.home.bundles.glob("*.fab")):
            bundle = Bundle.read(file)
            if bundle_hash(bundle.content) == named and bundle.signatures:
                return bundle
        folder = str(self.home.bundles)
        self.changes.tell(
            campaign, "bundle_missing", campaign=campaign, bundle=named, folder=folder
        )
        return None

    def _tell_rounds(self, campaign: str) -> None:
        """Hand on what the campaign's run wrote down."""
        file = events_file(self.home.campaign(campaign))
        tail = self.tails.setdefault(campaign, Tail(file))
        for event in tail.new():
            name = event.pop("event")
            rounds = self.rounds.get(campaign, 0)
            self.events.tell(name, campaign=campaign, rounds=rounds, **event)


def superlink(home: CoordinatorHome, events: Events) -> Supervised:
    """The SuperLink with its SuperExec, supervised."""
    command = [sys.executable, "-m", "federation.flower", "superlink"]
    command += ["--directory", str(home.link), "--host", home.host, "--port", str(home.port)]
    command += ["--control-port", str(home.control_port), "--environment", f"{NAMED}={home.file}"]
    if home.self_signed:
        command += ["--self-signed", home.self_signed]
    else:
        command += ["--certificate", str(home.certificate), "--key", str(home.key)]
    return Supervised("SuperLink", command, os.environ, home.state / "superlink.log", events)


def coordinate(file: Path, *, as_json: bool) -> int:
    """Run until told to stop. Raises `SettingsWrong` before anything is started."""
    events = Events(as_json=as_json)
    home = CoordinatorHome.read(file)
    Places.open(home.state)
    places = Places.open(home.link)

    def control() -> Control:
        token, root = places.control_token, places.directory / "loopback.pem"
        return Control(home.control_port, token.read_text(), root.read_bytes())

    link = superlink(home, events)
    with client_of(home) as client:
        reconciler = Reconciler(home, client, events, control)
        try:
            until_told(link.look, reconciler.turn, events, seconds=TURN_SECONDS)
        finally:
            link.stop()
    events.tell("stopped")
    return 0
