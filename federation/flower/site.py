"""A member's `Site` out of its settings file: an application brings the training and nothing else.

    @app.train()
    def train(message, context):
        here = Path(__file__).parent.parent
        return take_part(message, train_rows, count_rows, here, context)

`train_rows(task, rows, data)` trains on these places of the rows that lie at `data`, of which there
are `count_rows(data)`. For campaigns with `privacy` it brings `Private` besides. The file is named
by the environment variable `FEDERATION_MEMBER`, which `member up` sets.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Self

from flwr.app import Context, Message

from credentials.jws import Signer
from federation.board import Board, PassedStage, SignedCampaign, pass_stage
from federation.campaign import bundle_hash
from federation.consents import ConsentCache
from federation.errors import BundleDiffers, FederationError, Malformed
from federation.flower.broker import BrokerClient, download_lists, round_key
from federation.flower.events import append
from federation.flower.keeping import Keeping
from federation.flower.member import Task, Trained, answered, check_running, refusal
from federation.flower.models import Model
from federation.flower.refusals import CURES, RowsDiffer, cure_of
from federation.flower.settings import MemberHome, SettingsWrong, read_json, read_key
from federation.flower.strategy import ARRAYS, CONFIG
from federation.flower.warm import WarmCache
from federation.guard import Before
from federation.opening import Round
from federation.presence import RoundKey

NAMED: Final = "FEDERATION_MEMBER"
Training = Callable[[Task, Sequence[int], Path], Trained]
Counting = Callable[[Path], int]


@dataclass(frozen=True)
class Private:
    """What an application brings for `member.PrivateSite`, with where the rows lie besides."""

    gradients: Callable[[Task, Model, Sequence[int], Path], Mapping[str, Any]]
    evaluate: Callable[[Task, Model], Mapping[str, float]]


@dataclass
class FileSite:
    """`member.Site` of a settings file, for one message."""

    home: MemberHome
    training: Training
    counting: Counting
    running: Path
    told: Mapping[str, Any]
    member: str = ""
    noted: dict[str, int] = field(default_factory=dict)
    trained_on: int = 0
    reached: dict[str, tuple[float, float]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        message: Message,
        training: Training,
        counting: Counting,
        running: Path,
        **more: Any,  # noqa: ANN401 (what a subclass has besides)
    ) -> Self:
        """What the environment names, for this message. Raises `SettingsWrong`."""
        file = os.environ.get(NAMED)
        if not file:
            raise SettingsWrong(f"{NAMED} names no settings: start members by `member up`")
        config = message.content.get(CONFIG)
        home = MemberHome.read(Path(file))
        told = dict(config) if config else {}
        return cls(home, training, counting, running, told, home.member, **more)

    def __post_init__(self) -> None:
        """Read what is read once."""
        self.board: Board = self.home.decides()
        self.cache: ConsentCache = WarmCache(self.home)
        self.signer: Signer = self.home.signer()
        self.keeping = Keeping(self.home)

    def now(self) -> int:
        """This machine's clock."""
        return int(time.time())

    def bundle(self) -> bytes:
        """The bundle that the campaign names, if it is what runs. Raises `BundleDiffers`."""
        try:
            document = json.loads(self.told["campaign"])
            named = document["campaign"]["bundle_hash"]
        except (KeyError, TypeError, ValueError, RecursionError):
            raise Malformed("the message holds no campaign") from None
        for file in sorted(self.home.bundles.glob("*.fab")):
            content = file.read_bytes()
            if bundle_hash(content) == named:
                check_running(content, self.running)
                return content
        raise BundleDiffers(f"no bundle of hash {named} in {self.home.bundles}")

    def passed(self, signed: SignedCampaign) -> PassedStage | None:
        """The stage before as the coordinator tells it, checked here against this board."""
        told = self.told.get("passed")
        if not isinstance(told, str):
            return None
        try:
            source = json.loads(told)
            return pass_stage(
                signed,
                str(source["stage"]),
                str(source["model"]),
                metrics={str(name): str(one) for name, one in source["metrics"].items()},
                given=[str(one) for one in source["approvals"]],
                board=self.board,
            )
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError):
            raise Malformed("the message says nothing readable of the stage before") from None

    def consents(self) -> Sequence[str]:
        """A line for each row. Raises `RowsDiffer`."""
        self.reached["gate"] = _clocks()
        credentials = self.home.credentials()
        rows = self.counting(self.home.rows)
        if rows != len(credentials):
            raise RowsDiffer(f"{rows} rows, and {len(credentials)} lines in {self.home.consents}")
        return credentials

    def business_lines(self) -> Sequence[str] | None:
        """A line for each row, where the settings name them. Raises `SettingsWrong`."""
        try:
            return self.home.business_lines()
        except SettingsWrong as error:
            self.hint = str(error)[:500]
            raise

    def lists(self, opened_at: int, addresses: Sequence[str]) -> Mapping[str, str]:
        """Whole lists, from the broker."""
        with self._client() as client:
            return download_lists(client, opened_at, addresses)

    def before(self, signed: SignedCampaign) -> Before:
        """What is kept of the last round. Raises what `Keeping.begin` does."""
        return self.keeping.begin(signed)

    def keep(self, before: Before) -> None:
        """Keep it durably. Raises what `Keeping.keep` does."""
        self.keeping.keep(before)
        self.trained_on = len(before.trained or ())
        self.reached["training"] = _clocks()

    def close(self) -> None:
        """Let the next answer of the campaign go on."""
        self.keeping.close()

    def note(self, left_out: Mapping[str, int]) -> None:
        """For this member's eyes."""
        self.noted = dict(left_out)

    def round_key(self, opened: Round) -> RoundKey:
        """From the broker, as the partner that this member is."""
        self.reached["receipt"] = _clocks()
        campaign = self.told.get("at-broker")
        if not isinstance(campaign, str):
            raise Malformed("the message does not say which campaign of the broker's it is")
        with self._client() as client:
            return round_key(client, campaign, opened)

    def train(self, task: Task, rows: Sequence[int]) -> Trained:
        """As the application does."""
        return self.training(task, rows, self.home.rows)

    def peers(self, signed: SignedCampaign) -> Mapping[str, Mapping[str, Any]]:
        """The others' keys, as they lie here. Raises `SettingsWrong`."""
        if self.home.peers is None:
            raise SettingsWrong(f"{self.home.file}: secure aggregation needs peers, see --example")
        told = read_json(self.home.peers)
        return {member: told[member] for member in signed.campaign.members if member in told}

    def seconds(self) -> dict[str, dict[str, float]]:
        """How long the gate took (its lists with it), the training, and the receipt.

        `seconds` passed; `processor` are those that this process itself worked.
        """
        ends = [*list(self.reached.values())[1:], _clocks()]
        spans = list(zip(self.reached.items(), ends, strict=True))
        return {
            name: {part: round(end[clock] - begun[clock], 4) for (part, begun), end in spans}
            for clock, name in enumerate(("seconds", "processor"))
        }

    def _client(self) -> BrokerClient:
        key = read_key(self.home.client_key)
        return BrokerClient(self.home.broker, self.home.member, key, now=self.now)


def _clocks() -> tuple[float, float]:
    return time.monotonic(), time.process_time()


@dataclass
class PrivateFileSite(FileSite):
    """`member.PrivateSite` of a settings file."""

    private: Private = field(kw_only=True)

    def gradients(self, task: Task, model: Model, rows: Sequence[int]) -> Mapping[str, Any]:
        """As the application does."""
        return self.private.gradients(task, model, rows, self.home.rows)

    def evaluate(self, task: Task, model: Model) -> Mapping[str, float]:
        """As the application does."""
        return self.private.evaluate(task, model)


def take_part(
    message: Message,
    training: Training,
    counting: Counting,
    running: Path,
    context: Context,
    private: Private | None = None,
) -> Message:
    """Answer a message of a round; `running` is the folder that the application was unpacked to.

    `context` is Flower's: `member.answer` says what it is for.
    """
    try:
        site = (
            FileSite.of(message, training, counting, running)
            if private is None
            else PrivateFileSite.of(message, training, counting, running, private=private)
        )
    except FederationError as fault:
        return _unable(message, fault)
    about = {"stage": site.told.get("stage"), "number": site.told.get("server-round")}
    cure, done = "", False
    try:
        content = answered(message, site, context)
        done = True
    except FederationError as fault:
        content, cure, done = refusal(fault), cure_of(fault), True
    finally:
        site.close()
        # Whatever the application raised goes on to Flower; here it is told to this member.
        error = sys.exc_info()[1]
        if not done and error is not None:
            why = f"{type(error).__name__}: {error}"
            append(site.home.events, "broken", **about, why=why[:500])
    if "refused" in content:
        code = str(content["refused"]["code"])
        more = {"left_out": site.noted, "hint": cure or CURES.get(code, "")}
        append(site.home.events, "refused", **about, code=code, **more)
    elif ARRAYS in content:
        facts = {"rows": site.trained_on, "left_out": site.noted, **site.seconds()}
        append(site.home.events, "trained", **about, **facts)
    return Message(content, reply_to=message)


def _unable(message: Message, error: FederationError) -> Message:
    """Take no part, since this member's own files cannot be used: refused, and told to it."""
    config = message.content.get(CONFIG)
    told: dict[str, Any] = dict(config) if config else {}
    about = {"stage": told.get("stage"), "number": told.get("server-round")}
    try:
        home = MemberHome.read(Path(os.environ.get(NAMED, "")))
    except FederationError:
        sys.stderr.write(f"{error}\n")  # the SuperNode's log: where events go is unknown
    else:
        more = {"left_out": {}, "hint": str(error)[:500]}
        append(home.events, "refused", **about, code=error.code, **more)
    return Message(refusal(error), reply_to=message)
