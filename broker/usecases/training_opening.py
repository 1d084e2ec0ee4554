"""Opening a round of federated training: what has to hold, and what is entered with it."""

import json

from sqlalchemy import Connection

from broker.domain.campaign import BUDGET_SPENT
from broker.domain.errors import StateConflict
from broker.domain.ids import new_id
from broker.domain.training_errors import PrivacyBudgetSpent, TooFewMembers
from broker.domain.training_round import check_budget, check_number, check_time
from broker.domain.unlearning import EXCLUDE
from broker.store import (
    campaigns,
    federation_members,
    model_versions,
    status_lists,
    training_rounds,
)
from broker.store.campaigns import CampaignRow
from broker.store.model_versions import VersionRow
from broker.store.training_rounds import RoundRow
from broker.usecases import audit
from broker.usecases.campaign import rounds_of, signed_of
from broker.usecases.context import Context
from broker.usecases.refusal_log import refusals_logged
from broker.usecases.training_round import Opened, check_switches, finish_spent
from broker.usecases.unlearning import SECONDS, search
from federation import reading
from federation.board import SignedCampaign

ROUND = "fr"
OPENING_REFUSED = "training.opening_refused"


def open_round(
    ctx: Context, tenant_id: str, campaign_id: str, *, stage: str, number: int, model_in: str
) -> Opened:
    """Open a round, or give the one that this very call has opened before.

    1. The campaign is running, it is its time and its stage, nothing switches it off, and no
       other round of it is open.
    2. The number is the stage's next: one is left, and not all its rounds have given a model.
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
    with refusals_logged(ctx, tenant_id, OPENING_REFUSED, {"campaign": campaign.id}):
        try:
            return _opened(ctx, tenant_id, campaign_id, stage, number, model_in)
        except PrivacyBudgetSpent:
            _end_spent(ctx, tenant_id, campaign_id)
            raise


def _opened(
    ctx: Context, tenant_id: str, campaign_id: str, stage: str, number: int, model_in: str
) -> Opened:
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
        if row.reason == BUDGET_SPENT:
            raise PrivacyBudgetSpent("the campaign has spent its privacy budget: it is finished")
        if row.state != "running":
            raise StateConflict(f"the campaign is {row.state}: it opens no round")
        check_time(signed.campaign, opens_at)
        if stage != row.stage:
            raise StateConflict(f"the campaign is in stage {row.stage}")
        check_switches(tx, tenant_id, signed)
        if any(one.state == "open" for one in rounds):
            raise StateConflict("another round of the campaign is open: close it or give it up")
        # 2.
        check_number(rounds_of(tx, row), number)
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


def _end_spent(ctx: Context, tenant_id: str, campaign_id: str) -> None:
    """Finish a campaign that affords no round and that an older broker has left running."""
    with ctx.db.transaction() as tx:
        row = campaigns.find(tx, tenant_id, campaign_id, lock=True)
        if row.state == "running":
            finish_spent(ctx, tx, row, signed_of(row))
