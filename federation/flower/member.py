"""A member's part of a round: the gate, the training, the receipt.

An application's `ClientApp` hands each message to `answer`, with a `Site`: what this member has and
trusts. From the coordinator come the signed campaign, the round's announcement and the model; all
that decides is looked at here (`federation.gate` says in which order). What is refused is answered
by its code alone, and counts by reason stay on this machine (`Site.note`).
"""

import hashlib
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from flwr.app import ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict

from credentials.jws import Signer
from federation.board import Board, PassedStage, SignedCampaign, read_signed_campaign
from federation.campaign import Campaign
from federation.consents import ConsentCache
from federation.errors import BundleDiffers, CampaignInvalid, FederationError, Malformed
from federation.flower.dp_sgd import learning_rate, private_training
from federation.flower.masking import WrongShares
from federation.flower.models import Model, model_hash, of_record, to_record
from federation.flower.run_settings import check_settings, with_settings
from federation.flower.secure_member import (
    SECURE,
    Masking,
    give_keys,
    give_shares,
    of_site,
    unmask,
)
from federation.flower.strategy import ARRAYS, CONFIG, WEIGHT, weight_of
from federation.gate import Gated, gate
from federation.guard import Before
from federation.opening import PinnedLists, Round, open_round, pin_lists
from federation.presence import SENTINELS, PresenceTree, RoundKey, leaves_of
from federation.receipt import Receipt, sign_receipt


@dataclass(frozen=True)
class Task:
    """What to train: the campaign as signed, and the model to begin with.

    `business_line` is the one that the stage is of, None for all: the rows are of it already.
    """

    campaign: Campaign
    number: int
    model: Model
    stage: str
    business_line: str | None


@dataclass(frozen=True)
class Trained:
    """What came of it: the model's new tensors, and metrics for the coordinator.

    Here nobody has the model that comes of the round, so metrics are of the one that it began with.
    """

    model: Model
    metrics: Mapping[str, float]


class Site(Protocol):
    """What a member has and trusts. Each is asked for once a round, in this order."""

    member: str
    board: Board
    cache: ConsentCache
    signer: Signer

    def now(self) -> int:
        """The time, Unix seconds."""

    def bundle(self) -> bytes:
        """The application that runs here, as the board signed it (`check_running`)."""

    def passed(self, signed: SignedCampaign) -> PassedStage | None:
        """That the stage before is over, as this member checked it; None in the first stage."""

    def consents(self) -> Sequence[str]:
        """For each row, the consent credential that it rests on."""

    def lists(self, opened_at: int, addresses: Sequence[str]) -> Mapping[str, str]:
        """Whole status lists by address, downloaded from `opened_at` on: it may be a second off."""

    def before(self, signed: SignedCampaign) -> Before:
        """What was kept of the round before."""

    def keep(self, before: Before) -> None:
        """Keep it, durably, before anything is trained."""

    def note(self, left_out: Mapping[str, int]) -> None:
        """Take down how many rows were left out and why. It stays here."""

    def round_key(self, opened: Round) -> RoundKey:
        """The key of this member's leaves in the round, as the broker gives it."""

    def train(self, task: Task, rows: Sequence[int]) -> Trained:
        """Train on these rows, by their places, and on no others.

        With `aggregation.mu` the loss has the term of `federation.aggregation`. Not called in
        campaigns with `privacy`: see `PrivateSite`.
        """


@runtime_checkable
class PrivateSite(Site, Protocol):
    """A member for campaigns with `privacy` too: it gives gradients, and `dp_sgd` trains.

    So nothing of an application has to draw, clip or add noise as the accounting supposes.
    """

    def gradients(self, task: Task, model: Model, rows: Sequence[int]) -> Mapping[str, Any]:
        """The loss's gradient at a model for each of these rows by itself: `dp_sgd.Gradients`.

        Nothing of one row may come into another's: no normalising over the rows of a call.
        """

    def evaluate(self, task: Task, model: Model) -> Mapping[str, float]:
        """Metrics of the model that was trained, which the coordinator sees.

        On public or invented rows; none of a customer's, whom no accounting covers here.
        """


@runtime_checkable
class LinedSite(Site, Protocol):
    """A member that takes part in stages of one business line too."""

    def business_lines(self) -> Sequence[str] | None:
        """For each row, its business line, "" for none; None where nobody has said."""


def answer(message: Message, site: Site, context: Context) -> Message:
    """Take part in a round. A refusal is a reply with its code, and never an error of Flower's.

    `context` is Flower's: its settings of the run have to be what the board signed
    (`run_settings`), and in its state secure aggregation keeps its keys from one message of a round
    to the next (`secure_member`, whose `SecureSite` it takes).
    """
    try:
        content = answered(message, site, context)
    except FederationError as error:
        content = refusal(error)
    return Message(content, reply_to=message)


def refusal(error: FederationError) -> RecordDict:
    """What a member answers that takes no part."""
    refused = {"code": error.code}
    if isinstance(error, WrongShares):
        # Else nobody learnt who ends a round for all.
        refused["of"] = error.sender
    return RecordDict({"refused": ConfigRecord(dict(refused))})


def check_running(bundle: bytes, directory: Path) -> None:
    """Check that the files of a running application are those of a bundle. Raises `BundleDiffers`.

    A SuperNode sees to it that a trusted entity signed what it runs; which of all that it ever
    signed, the campaign says.
    """
    with zipfile.ZipFile(io.BytesIO(bundle)) as files:
        for name in files.namelist():
            if name.startswith(".info/"):
                continue
            here = directory / name
            if not here.is_file() or _digest(here.read_bytes()) != _digest(files.read(name)):
                raise BundleDiffers(f"{name} is not as in the bundle that the campaign names")


def answered(message: Message, site: Site, context: Context) -> RecordDict:
    """What `answer` replies with. Raises `FederationError` where this member takes no part."""
    now, told = site.now(), _told(message)
    signed = read_signed_campaign(told.document, site.board)
    secure = message.content.get(SECURE)
    if not signed.campaign.aggregation.secure:
        if secure is not None:
            raise CampaignInvalid("the campaign has no secure aggregation")
        opened = _opened(site, signed, told, context, now)
        return _trained(message, site, signed, opened, None)
    peered, kept = of_site(site), context.state
    if not isinstance(secure, ConfigRecord):
        raise Malformed("the campaign has secure aggregation, and the message none of its steps")
    # Of a round that was opened once: these two come when it takes long, too.
    if secure.get("step") == "shares":
        return give_shares(secure, signed, peered, kept)
    if secure.get("step") == "unmask":
        return unmask(secure, peered, kept)
    opened = _opened(site, signed, told, context, now)
    if secure.get("step") == "keys":
        return give_keys(opened, len(set(told.taking_part)), peered, kept)
    masking = Masking.begin(secure, opened, kept)
    reply = _trained(message, site, signed, opened, masking)
    metrics = reply["metrics"]
    reply[SECURE] = masking.done([name for name in metrics if name != WEIGHT], kept)
    # In the sum, they are under the masks.
    reply["metrics"] = MetricRecord({WEIGHT: metrics[WEIGHT]})
    return reply


def _opened(site: Site, signed: SignedCampaign, told: "_Told", context: Context, now: int) -> Round:
    bundle, parameters = site.bundle(), signed.campaign.parameters
    opened = open_round(
        signed,
        stage=told.stage,
        number=told.number,
        member=site.member,
        taking_part=told.taking_part,
        bundle=bundle,
        parameters=with_settings(parameters, context.run_config),
        opened_at=told.opened_at,
        now=now,
        passed=site.passed(signed),
    )
    check_settings(context.run_config, bundle, parameters)
    return opened


def _trained(
    message: Message, site: Site, signed: SignedCampaign, opened: Round, masking: Masking | None
) -> RecordDict:
    model = _model(message)
    begun = model_hash(model)
    training = _training(site, signed.campaign)
    found, pinned = gated(site, signed, opened, site.now())
    site.note(found.left_out)
    if found.refused:
        return RecordDict({"refused": ConfigRecord({"code": found.refused})})
    site.keep(found.before)
    line = opened.business_line
    trained = training(Task(signed.campaign, opened.number, model, opened.stage, line), found.rows)
    tree = PresenceTree(leaves_of(site.round_key(opened), found.consents))
    weight = weight_of(signed.campaign, tree.size - SENTINELS)
    given = trained.model
    if masking is not None:
        given = masking.masked(trained.model, trained.metrics, weight, begun)
    receipt = Receipt(
        member=site.member,
        signed_at=site.now(),
        campaign=opened.campaign_hash,
        stage=opened.stage,
        round=opened.number,
        model_in=begun,
        model_out=model_hash(given),
        lists=pinned.used,
        bucket=tree.size - SENTINELS,
        root=tree.root(),
    )
    return RecordDict(
        {
            ARRAYS: to_record(given),
            "metrics": MetricRecord({**trained.metrics, WEIGHT: weight}),
            "receipt": ConfigRecord(
                {
                    "token": sign_receipt(site.signer, receipt),
                    "leaves": b"".join(tree.leaves),
                }
            ),
        }
    )


def _training(site: Site, campaign: Campaign) -> Callable[[Task, Sequence[int]], Trained]:
    """How a member trains in a campaign. Raises `CampaignInvalid`, before anything is spent."""
    if campaign.privacy is None:
        return site.train
    if not isinstance(site, PrivateSite):
        raise CampaignInvalid("with privacy a member gives gradients: see member.PrivateSite")
    learning_rate(campaign)

    def privately(task: Task, rows: Sequence[int]) -> Trained:
        model = private_training(campaign, task.model, rows, partial(site.gradients, task))
        return Trained(model, site.evaluate(task, model))

    return privately


def gated(site: Site, signed: SignedCampaign, opened: Round, now: int) -> tuple[Gated, PinnedLists]:
    """Which rows of a site may train in a round, and by which lists."""
    credentials = site.consents()
    keys = [site.cache.key_of(one) for one in credentials]
    site.cache.learn(credentials, now, keys)
    needed = site.cache.needed(keys, now)
    tokens = site.lists(opened.opened_at, needed)
    # The lists were downloaded meanwhile: they are of a later second than the round's beginning.
    now = site.now()
    pinned = pin_lists(tokens, needed=needed, issuer=site.cache.issuer, opened=opened, now=now)
    lines = None
    if opened.business_line is not None and isinstance(site, LinedSite):
        lines = site.business_lines()
    before = site.before(signed)
    found = gate(opened, keys, site.cache, pinned, before=before, now=now, lines=lines)
    return found, pinned


@dataclass(frozen=True)
class _Told:
    """What the coordinator says of a round."""

    document: bytes
    stage: str
    number: int
    opened_at: int
    taking_part: tuple[str, ...]


def _told(message: Message) -> _Told:
    """Read a message. Raises `Malformed`."""
    config = message.content.get(CONFIG)
    if not isinstance(config, ConfigRecord):
        raise Malformed("the message holds no announcement")
    document, stage, members = (config.get(name) for name in ("campaign", "stage", "taking-part"))
    number, opened_at = config.get("server-round"), config.get("opened-at")
    if (
        not isinstance(document, bytes)
        or not isinstance(stage, str)
        or type(number) is not int
        or type(opened_at) is not int
        or not isinstance(members, list)
        or not all(isinstance(one, str) for one in members)
    ):
        raise Malformed("the message announces no round")
    return _Told(document, stage, number, opened_at, tuple(members))


def _model(message: Message) -> Model:
    """The model that a round begins with. Raises `Malformed`."""
    arrays = message.content.get(ARRAYS)
    if not isinstance(arrays, ArrayRecord):
        raise Malformed("the message holds no model")
    return of_record(arrays)


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
