"""Rounds of federated training: opened, told of by receipts, closed with a model, or given up.

A coordinator may repeat each call: it is answered as the first time. Whatever changes a round holds
its campaign's row, so one thing happens to a campaign at a time; what is costly, such as
looking at a hundred thousand leaves, is done before.
"""

import json
from dataclasses import dataclass

from sqlalchemy import Connection

from broker.domain.errors import StateConflict
from broker.domain.ids import new_id
from broker.domain.training_errors import MemberNotAdmitted, TooFewMembers
from broker.domain.training_round import check_budget, check_number, check_time, names_of
from broker.domain.unlearning import EXCLUDE
from broker.store import (
    campaigns,
    federation_members,
    kill_switches,
    model_versions,
    status_lists,
    training_rounds,
)
from broker.store.campaigns import CampaignRow
from broker.store.model_versions import VersionRow
from broker.store.training_rounds import RoundRow
from broker.usecases import audit
from broker.usecases.campaign import move, salt_of, signed_of
from broker.usecases.context import Context
from broker.usecases.unlearning import SECONDS, search
from federation import reading
from federation.board import SignedCampaign
from federation.presence import RoundKey

ROUND = "fr"


@dataclass(frozen=True)
class Opened:
    """A round with its campaign, and the members whose receipts are there."""

    campaign: CampaignRow
    row: RoundRow
    receipts: list[str]


@dataclass(frozen=True)
class OwnKey:
    """The key of one member's leaves in a round."""

    campaign: CampaignRow
    row: RoundRow
    key: RoundKey


def open_round(
    ctx: Context, tenant_id: str, campaign_id: str, *, stage: str, number: int, model_in: str
) -> Opened:
    """Open a round, or give the one that this very call has opened before.

    1. The campaign is running, it is its time and its stage, nothing switches it off, and no
       other round of it is open.
    2. The number is the stage's next.
    3. The model is the one that training goes on from, neither retired nor, unless the policy is to
       exclude rows from then on, tainted. Until a round has given one, what was withdrawn by now is
       looked for first: another campaign may have made it.
    4. The privacy budget covers one more round.
    5. Enough members are admitted.
    6. From the next second on, which is when the round opens, their lists are signed anew.

    Raises `NotFound`, `StateConflict`, `PrivacyBudgetSpent`, `TooFewMembers`, `Malformed`, and
    `SearchNotOver` where what was withdrawn is looked for and that takes long.
    """
    reading.hash_bytes(model_in, "model_in")
    with ctx.db.reading() as tx:
        campaign = campaigns.find(tx, tenant_id, campaign_id)
        told = training_rounds.of_campaign(tx, campaign.id)
    is_new = all((one.stage, one.number) != (stage, number) for one in told)
    if is_new and all(one.state != "closed" for one in told):
        search(ctx, tenant_id, within=SECONDS)
    opens_at = ctx.now() + 1
    with ctx.db.transaction() as tx:
        row = campaigns.find(tx, tenant_id, campaign_id, lock=True)
        rounds = training_rounds.of_campaign(tx, row.id)
        for one in rounds:
            if (one.stage, one.number) == (stage, number):
                if one.model_in != model_in:
                    raise StateConflict("this round was opened with another model")
                return Opened(row, one, training_rounds.who_told(tx, row.id).get(one.id, []))
        signed = signed_of(row)
        # 1.
        if row.state != "running":
            raise StateConflict(f"the campaign is {row.state}: it opens no round")
        check_time(signed.campaign, opens_at)
        if stage != row.stage:
            raise StateConflict(f"the campaign is in stage {row.stage}")
        check_switches(tx, tenant_id, signed)
        if any(one.state == "open" for one in rounds):
            raise StateConflict("another round of the campaign is open: close it or give it up")
        # 2.
        check_number(signed.campaign, number, [one.number for one in rounds if one.stage == stage])
        # 3.
        _check_begins_with(row, rounds, model_in)
        _check_usable(tx, row, signed, model_in)
        # 4.
        check_budget(signed.campaign, len(rounds) + 1)
        # 5.
        taking_part = _taking_part(tx, tenant_id, signed, stage, opens_at)
        # 6.
        lists = status_lists.renew_at(tx, tenant_id, taking_part, opens_at)
        opened = RoundRow(
            id=new_id(ROUND),
            tenant_id=tenant_id,
            campaign_id=row.id,
            stage=stage,
            number=number,
            state="open",
            model_in=model_in,
            model_out=None,
            taking_part=json.dumps(taking_part),
            lists=json.dumps(lists),
            code=None,
            opened_at=opens_at,
            over_at=None,
        )
        training_rounds.add(tx, opened)
        if not rounds:
            _begin(ctx, tx, row, signed, model_in)
        body = {
            "campaign": row.id,
            "stage": stage,
            "number": number,
            "model_in": model_in,
            "taking_part": taking_part,
            "opened_at": opens_at,
        }
        audit.record(ctx, tx, tenant_id=tenant_id, type="training.round_opened", body=body)
    return Opened(row, opened, [])


async def round_key(
    ctx: Context, tenant_id: str, campaign_id: str, stage: str, number: int, member: str
) -> OwnKey:
    """The key of a member's leaves in a round that is open and that it takes part in.

    Raises `NotFound`, `StateConflict`, `MemberNotAdmitted`.
    """

    def work(tx: Connection) -> OwnKey:
        campaign = campaigns.find(tx, tenant_id, campaign_id)
        row = training_rounds.find(tx, campaign.id, stage, number)
        if row.state != "open":
            raise StateConflict(f"the round is {row.state}")
        check_member(
            takes_part=member in names_of(row.taking_part),
            able=federation_members.is_able(tx, tenant_id, member, ctx.now()),
        )
        signed = signed_of(campaign)
        check_switches(tx, tenant_id, signed)
        key = salt_of(ctx, tx, campaign, signed).key(stage, number, member)
        return OwnKey(campaign, row, key)

    return await ctx.db.read(work)


def fail_round(
    ctx: Context, tenant_id: str, campaign_id: str, stage: str, number: int, code: str
) -> Opened:
    """Give up a round that is open; its number is used up. Raises `NotFound`, `StateConflict`."""
    with ctx.db.transaction() as tx:
        campaign = campaigns.find(tx, tenant_id, campaign_id, lock=True)
        now = ctx.now()
        row = training_rounds.find(tx, campaign.id, stage, number)
        told = training_rounds.who_told(tx, campaign.id).get(row.id, [])
        if row.state == "closed":
            raise StateConflict("the round is closed: it has given a model")
        if row.state == "failed":
            return Opened(campaign, row, told)
        training_rounds.change(tx, row.id, state="failed", code=code, over_at=now)
        body = {
            "campaign": campaign.id,
            "stage": stage,
            "number": number,
            "code": code,
            "receipts": told,
        }
        audit.record(ctx, tx, tenant_id=tenant_id, type="training.round_failed", body=body)
        finish_after(ctx, tx, campaign, signed_of(campaign), row)
        row = training_rounds.find(tx, campaign.id, stage, number)
    return Opened(campaign, row, told)


def check_member(*, takes_part: bool, able: bool) -> None:
    """Check that a member takes part in a round and is still admitted.

    Raises `MemberNotAdmitted`.
    """
    if not takes_part:
        raise MemberNotAdmitted("this member takes no part in the round")
    if not able:
        raise MemberNotAdmitted("this member was revoked or suspended since the round opened")


def finish_after(
    ctx: Context, tx: Connection, campaign: CampaignRow, signed: SignedCampaign, row: RoundRow
) -> None:
    """Finish a running campaign whose last stage has had its last round."""
    last = signed.campaign.rollout[-1].stage
    over = (row.stage, row.number) == (last, signed.campaign.rounds)
    if over and campaign.state == "running":
        move(ctx, tx, campaign, "finished")


def check_switches(tx: Connection, tenant_id: str, signed: SignedCampaign) -> None:
    """Raise `StateConflict` where a kill switch is on for what a campaign trains.

    An open round stops too: it can be given up, and goes on when the switch is off again.
    """
    purpose, _, algorithm = signed.campaign.purpose.partition("#algo:")
    name, _, version = algorithm.partition("@")
    switch = kill_switches.stopping(tx, tenant_id, purpose, (name, version))
    if switch is not None:
        raise StateConflict(
            f"the kill switch of the {switch.kind} {switch.id} is on: nothing is trained"
        )


def _check_begins_with(row: CampaignRow, rounds: list[RoundRow], model_in: str) -> None:
    given = [one.model_out for one in rounds if one.state == "closed" and one.stage == row.stage]
    if given:
        wanted = given[-1]
    elif row.passed is not None:
        wanted = json.loads(row.passed)["model"]
    else:
        wanted = rounds[0].model_in if rounds else model_in
    if model_in != wanted:
        raise StateConflict(f"this round begins with the model {wanted}")


def _check_usable(tx: Connection, row: CampaignRow, signed: SignedCampaign, model: str) -> None:
    known = model_versions.known(tx, row.tenant_id, model)
    if known is None or known.state not in {"tainted", "retired"}:
        return
    # By exclusion a campaign goes on from its own models, with the withdrawn rows left out.
    goes_on = signed.campaign.unlearning == EXCLUDE and known.campaign_id == row.id
    if known.state == "tainted" and goes_on:
        return
    raise StateConflict(
        f"the model to begin with is {known.state}: nothing is trained from it. Stop the "
        "campaign, and begin another with a model that is neither (an unlearning task names one)"
    )


def _taking_part(
    tx: Connection, tenant_id: str, signed: SignedCampaign, stage: str, now: int
) -> list[str]:
    campaign = signed.campaign
    of_stage = next(one.members for one in campaign.rollout if one.stage == stage)
    able = federation_members.able(tx, tenant_id, of_stage, now)
    if len(able) < campaign.minimum_members:
        raise TooFewMembers(
            f"a round takes {campaign.minimum_members} members; of this stage {len(able)} are "
            "admitted and active"
        )
    return able


def _begin(
    ctx: Context, tx: Connection, row: CampaignRow, signed: SignedCampaign, model: str
) -> None:
    """Enter the model that a campaign begins with, unless it is one that is known."""
    if model_versions.known(tx, row.tenant_id, model) is not None:
        return
    now, campaign = ctx.now(), signed.campaign
    model_versions.add(
        tx,
        VersionRow(
            tenant_id=row.tenant_id,
            id=model,
            parent=None,
            campaign_id=row.id,
            stage=row.stage,
            number=0,
            bundle_hash=campaign.bundle_hash,
            parameters_hash=campaign.parameters_hash,
            receipts_root=None,
            members="[]",
            epsilon=None,
            metrics="{}",
            state="candidate",
            created_at=now,
            changed_at=now,
        ),
    )
