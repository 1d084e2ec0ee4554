"""Rounds of federated training: opened, told of by receipts, closed with a model, or given up.

A coordinator may repeat each call: it is answered as the first time. Whatever changes a round holds
its campaign's row, so one thing happens to a campaign at a time; what is costly, such as
looking at a hundred thousand leaves, is done before.
"""

import json
from dataclasses import dataclass

from sqlalchemy import Connection

from broker.domain.campaign import BUDGET_SPENT
from broker.domain.errors import BrokerError, NotFound, StateConflict
from broker.domain.training_errors import MemberNotAdmitted
from broker.domain.training_round import affords, check_remarks, names_of
from broker.store import campaigns, federation_members, kill_switches, training_rounds
from broker.store.campaigns import CampaignRow
from broker.store.training_rounds import RoundRow
from broker.usecases import audit
from broker.usecases.campaign import finish_over, move, salt_of, signed_of
from broker.usecases.context import Context
from broker.usecases.refusal_log import log_refusals_in
from federation.board import SignedCampaign
from federation.presence import RoundKey
from federation.remarks import Remarks

KEY_REFUSED = "training.key_refused"
NOTHING = Remarks()


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

    try:
        return await ctx.db.read(work)
    except NotFound:
        raise
    except BrokerError as refusal:
        # Neither round nor message: whoever asks chooses the round, and so what is said of it.
        body = {"campaign": campaign_id, "member": member, "code": refusal.code}
        if await ctx.db.read(lambda tx: _is_named(tx, tenant_id, campaign_id, member)):
            await ctx.db.write(lambda tx: log_refusals_in(ctx, tx, tenant_id, KEY_REFUSED, [body]))
        raise


def _is_named(tx: Connection, tenant_id: str, campaign_id: str, member: str) -> bool:
    """Whether a partner is in a campaign's document; the log is not for any other to fill."""
    campaign = signed_of(campaigns.find(tx, tenant_id, campaign_id)).campaign
    return member in campaign.members


def fail_round(
    ctx: Context,
    tenant_id: str,
    campaign_id: str,
    stage: str,
    number: int,
    code: str,
    *,
    remarks: Remarks = NOTHING,
) -> Opened:
    """Give up a round that is open; its number is used up.

    Raises `NotFound`, `StateConflict`, and `InvalidRequest` for remarks of who takes no part.
    """
    with ctx.db.transaction() as tx:
        campaign = campaigns.find(tx, tenant_id, campaign_id, lock=True)
        now = ctx.now()
        row = training_rounds.find(tx, campaign.id, stage, number)
        told = training_rounds.who_told(tx, campaign.id).get(row.id, [])
        if row.state == "closed":
            raise StateConflict("the round is closed: it has given a model")
        if row.state == "failed":
            return Opened(campaign, row, told)
        remarked = remarks_in(row, remarks)
        training_rounds.change(
            tx, row.id, state="failed", code=code, over_at=now, **columns(remarked)
        )
        body = {
            "campaign": campaign.id,
            "stage": stage,
            "number": number,
            "code": code,
            "receipts": told,
            **vars(remarked),
        }
        audit.record(ctx, tx, tenant_id=tenant_id, type="training.round_failed", body=body)
        finish_after(ctx, tx, campaign, signed_of(campaign))
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


def remarks_in(row: RoundRow, remarks: Remarks) -> Remarks:
    """What is remarked of a round's members, checked. Raises `InvalidRequest`."""
    return check_remarks(remarks.left_out, remarks.notices, names_of(row.taking_part))


def columns(remarks: Remarks) -> dict[str, str]:
    """Remarks as a round's row has them."""
    return {name: json.dumps(dict(told)) for name, told in vars(remarks).items()}


def finish_after(
    ctx: Context, tx: Connection, campaign: CampaignRow, signed: SignedCampaign
) -> None:
    """Finish a running campaign whose last stage is over, or that affords no round."""
    if campaign.state != "running":
        return
    if finish_over(ctx, tx, campaign, signed).state == "running":
        finish_spent(ctx, tx, campaign, signed)


def finish_spent(
    ctx: Context, tx: Connection, campaign: CampaignRow, signed: SignedCampaign
) -> None:
    """Finish a running campaign whose next round would overspend its privacy budget."""
    if signed.campaign.privacy is None:
        return
    # What a campaign may spend is signed and what it has spent stays so: no later round.
    following = len(training_rounds.of_campaign(tx, campaign.id)) + 1
    if not affords(signed.campaign, following):
        move(ctx, tx, campaign, "finished", BUDGET_SPENT)


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
