"""A consortium of one's own: a broker, three members and a coordinator, each a process.

Customers sign their consents with wallets, and withdraw on their pages, over HTTP; members and the
coordinator are started by the commands that people use, and members join by the operator's offer.
What is set up here by function calls an operator does by `consent-broker`.
"""

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from broker.composition import build_context
from broker.domain.addresses import ROOT_TENANT
from broker.outbound.client import Client
from broker.settings import read_settings
from broker.store.acting import acting_for_all
from broker.usecases import campaign as campaigns
from broker.usecases.context import Context
from broker.usecases.coordinator import add_coordinator
from broker.usecases.partner import add_partner
from broker.usecases.tenant import add_template
from broker.usecases.training_report import reports
from broker.usecases.trust import trust
from credentials.keys import SoftwareKey
from dev.federation.customers import signed
from dev.federation.members import Member, RefusedError
from dev.federation.papers import (
    campaign_json,
    write_coordinator,
    write_key,
    write_member,
    write_table,
)
from dev.federation.programs import Program, until
from dev.running import CONSENT_BROKER, HOST, Broker, free_port, running_broker
from federation.board import approve_model, sign_campaign, signed_campaign
from federation.campaign import Campaign
from federation.rollout import STAGES

ROOT: Final = Path(__file__).resolve().parent.parent.parent
PYTHON: Final = ROOT / ".venv-federation" / "bin" / "python"
APPLICATION: Final = Path(__file__).resolve().parent / "application"
NAMES: Final = ("North", "South", "West")
TEMPLATE: Final = "train-together"


class NoFlowerError(Exception):
    """`make federation` has not been run."""


@dataclass
class Consortium:
    """All of it, in a directory; `told` hears what each program says."""

    broker: Broker
    ctx: Context
    directory: Path
    told: Callable[[str, dict[str, Any]], None]
    anchors: tuple[bytes, ...] = ()
    members: list[Member] = field(default_factory=list)
    board: tuple[SoftwareKey, ...] = ()
    bundle_hash: str = ""
    campaign: str = ""
    signed: Campaign | None = None
    coordinator: Program | None = None
    ports: tuple[int, int] = (0, 0)

    @classmethod
    def begin(
        cls,
        broker: Broker,
        directory: Path,
        told: Callable[[str, dict[str, Any]], None],
        names: Sequence[str],
    ) -> Self:
        """Partners and a template whose one consent allows training."""
        made = cls(broker, build_context(read_settings(broker.environment)), directory, told)
        with acting_for_all():
            made.anchors = tuple(made.ctx.keys.anchors())
            document = json.loads(
                files("broker.usecases").joinpath("demonstration.json").read_text("utf-8")
            )["templates"][0]
            base = next(one for one in document["items"] if one["item"] == "base")
            item = base | {"actions": ["read", "profile", "train"]}
            add_template(made.ctx, ROOT_TENANT, {**document, "id": TEMPLATE, "items": [item]})
            for number, name in enumerate(names):
                client = add_partner(
                    made.ctx,
                    ROOT_TENANT,
                    name=name,
                    name_zh=name,
                    contact="privacy@brand.example",
                    country="CN",
                )
                place = directory / f"member-{number}"
                place.mkdir(parents=True)
                made.members.append(Member(client, place))
        return made

    def draw(self, seed: int, customers: int) -> None:
        """Each member's rows."""
        drawn = (seed, self.directory, customers, len(self.members))
        self.in_flower("-m", "dev.federation.data", "draw", *drawn)

    def in_flower(self, *arguments: object) -> str:
        """Run Python in the environment with Flower; what it prints. Raises `NoFlowerError`."""
        if not PYTHON.exists():
            raise NoFlowerError("Flower is not installed: make federation")
        return subprocess.run(
            [PYTHON, *map(str, arguments)], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True
        ).stdout

    def sign_consents(self, customers: int, progress: Callable[[], None]) -> None:
        """Every customer takes a credential and signs, each member's one after the other."""
        with ThreadPoolExecutor(len(self.members)) as pool:
            list(pool.map(lambda one: self._signed(one, customers, progress), self.members))

    def _signed(self, member: Member, customers: int, progress: Callable[[], None]) -> None:
        key = member.client.private_jwk
        with contextlib.closing(Client(self.broker.address, member.id, key)) as partner:
            for one in signed(partner, TEMPLATE, self.anchors, customers):
                member.customers.append(one)
                progress()
        credentials = "".join(f"{one.credential}\n" for one in member.customers)
        (member.directory / "consents.txt").write_text(credentials)

    def found_board(self) -> None:
        """The board makes its keys, and builds and signs an application."""
        entity = Ed25519PrivateKey.generate()
        key = self.directory / "entity.key"
        key.write_bytes(entity.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        public = entity.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        (self.directory / "board.yaml").write_text(json.dumps({"board": public.decode()}))
        bundles, flower = self.directory / "bundles", ("-m", "federation.flower", "bundle")
        built = json.loads(
            self.in_flower(*flower, APPLICATION, "--out", bundles, "--key", key, "--name", "board")
        )
        self.bundle_hash = built["bundle_hash"]
        self.board = tuple(SoftwareKey.generate() for _ in range(2))
        board = {"keys": [one.public_jwk() for one in self.board], "threshold": 2}
        (self.directory / "board.json").write_text(json.dumps(board))

    def sign_campaign(self, rounds: int, **changes: Any) -> None:  # noqa: ANN401 (of a campaign)
        """The board signs a campaign, the broker takes it: it is what is spoken of from now on."""
        if not self.board:
            self.found_board()
        with acting_for_all():
            salt_hash = campaigns.new_salt(self.ctx, ROOT_TENANT)
            document = campaign_json(
                [one.id for one in self.members],
                salt_hash=salt_hash,
                bundle_hash=self.bundle_hash,
                rounds=rounds,
                **changes,
            )
            self.signed = Campaign.from_json(document)
            signatures = [sign_campaign(one, self.signed) for one in self.board]
            signed = json.dumps(signed_campaign(self.signed, signatures)).encode()
            decides = (self.directory / "board.json").read_bytes()
            self.campaign = campaigns.add_campaign(self.ctx, ROOT_TENANT, signed, decides).id

    def promote(self, stage: str, model: str) -> None:
        """The board approves a model of a stage, and the operator promotes it."""
        if self.signed is None:
            raise RuntimeError("there is no campaign yet")
        file = self.directory / "approvals.txt"
        approved = [approve_model(one, self.signed, stage, model) for one in self.board]
        file.write_text("\n".join(approved))
        self.operate("federation", "model", "promote", model, "--approval", str(file))

    def operate(self, *arguments: str) -> str:
        """What a command of the operator prints. Raises `RefusedError`."""
        finished = self.broker.run(*arguments)
        if finished.returncode:
            raise RefusedError(" ".join(arguments), finished.stderr.strip())
        return finished.stdout

    def settle(self, *, patience: int = 120, grace: int = 60) -> None:
        """Write each member's settings and the coordinator's."""
        self.ports = free_port(), free_port()
        with acting_for_all():
            told = trust(self.ctx).to_json()
            added = add_coordinator(self.ctx, ROOT_TENANT, name="training")
        (self.directory / "trust.json").write_text(json.dumps(told))
        for number, member in enumerate(self.members):
            write_key(member.directory / "client.jwk", member.client)
            write_member(
                member.directory,
                broker=self.broker.address,
                member=member.id,
                superlink=f"{HOST}:{self.ports[0]}",
                rows=f"../rows-{number}.csv",
                port=free_port(),
            )
        place = self.directory / "coordinator"
        place.mkdir()
        write_key(place / "coordinator.jwk", added)
        write_coordinator(
            place,
            broker=self.broker.address,
            coordinator=added.client_id,
            host=HOST,
            port=self.ports[0],
            control_port=self.ports[1],
            self_signed=HOST,
            patience=patience,
            grace=grace,
        )

    def start_coordinator(self) -> Program:
        """As people do: `consent-broker federation up`."""
        file = self.directory / "coordinator" / "coordinator.toml"
        self.coordinator = Program(
            "coordinator", [*CONSENT_BROKER, "federation", "up", str(file), "--json"], self.told
        )
        self.coordinator.start()
        until((self.state / "link" / "members.pem").exists, "the SuperLink's certificate")
        return self.coordinator

    def start(self, members: Sequence[Member] | None = None) -> Program:
        """The coordinator and members, of whom each joins: all of them unless said."""
        coordinator = self.start_coordinator()
        those = self.members if members is None else members
        for member in those:
            member.start(self.told)
        with ThreadPoolExecutor(len(those)) as pool:
            list(pool.map(self.admit, those))
        return coordinator

    def admit(self, member: Member) -> None:
        """The operator offers the membership, and the member joins by it with its own keys."""
        member.await_keys()
        offered = self.operate("federation", "member", "offer", member.id, "--json")
        member.join(self.broker.address, json.loads(offered))

    def revoke(self, member: Member) -> None:
        """The operator ends a membership: `federation member revoke`."""
        self.operate("federation", "member", "revoke", member.id)

    def go_on_from(self, model: str, old: Campaign) -> None:
        """Have the campaign begin with a model, and members go on with what they kept of another.

        It is one that does rounds of `old` anew.
        """
        if self.signed is None:
            raise RuntimeError("there is no campaign yet")
        follows = {self.signed.hash(): old.hash()}
        for member in self.members:
            write_table(member.directory / "member.toml", "follows", follows)
        file = self.directory / "coordinator" / "coordinator.toml"
        write_table(file, "begins", {self.campaign: model})

    def introduce(self) -> None:
        """Members are told each other's receipt keys, which secure aggregation rests on."""
        keys = {
            one.id: json.loads((one.directory / "state" / "receipt.pub.jwk").read_bytes())
            for one in self.members
        }
        (self.directory / "peers.json").write_text(json.dumps(keys))

    def set_state(self, state: str) -> None:
        """Start, pause or stop the campaign."""
        with acting_for_all():
            campaigns.set_state(self.ctx, ROOT_TENANT, self.campaign, state)

    @property
    def state(self) -> Path:
        """The coordinator's."""
        return self.directory / "coordinator" / "state"

    def models(self) -> list[Path]:
        """The models of the campaign's rounds that were kept, oldest first."""
        if self.signed is None:
            raise RuntimeError("there is no campaign yet")

        def when(file: Path) -> tuple[int, int]:
            stage, _, number = file.stem.rpartition("-")
            return STAGES.index(stage), int(number)

        kept = self.state / "models" / self.signed.hash()
        return sorted(kept.glob("*-*.safetensors"), key=when)

    def told_campaign(self) -> dict[str, Any]:
        """All of the campaign at the broker."""
        with acting_for_all():
            [told] = reports(self.ctx, ROOT_TENANT, self.campaign)
            return told

    def rounds(self) -> list[dict[str, Any]]:
        """The campaign's rounds at the broker."""
        found: list[dict[str, Any]] = self.told_campaign()["rounds"]
        return found

    def rounds_that_closed(self) -> list[dict[str, Any]]:
        """Those of them that gave a model, oldest first."""
        return [one for one in self.rounds() if one["state"] == "closed"]

    def stop(self) -> None:
        """Everything that was started."""
        programs = [one.program for one in self.members if one.program is not None]
        for program in [*programs, self.coordinator]:
            if program is not None:
                program.stop()
        self.ctx.db.close()


@contextlib.contextmanager
def consortium(
    directory: Path,
    told: Callable[[str, dict[str, Any]], None],
    names: Sequence[str] = NAMES,
) -> Iterator[Consortium]:
    """A broker and partners in a directory; all is stopped at the end."""
    home = directory / "broker"
    home.mkdir(parents=True, exist_ok=True)
    # Customers of a demonstration all come from one address.
    with running_broker(home, {"BROKER_RATE_LIMITS": "off"}) as broker:
        made = Consortium.begin(broker, directory, told, names)
        try:
            yield made
        finally:
            made.stop()
