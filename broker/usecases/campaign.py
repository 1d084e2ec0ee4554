"""Campaigns: their salts, added as the board signed them, started, paused, stopped, shown."""

import json
import secrets
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection

from broker.domain.campaign import ROUNDS_USED_UP, board_json, check_transition, read_board
from broker.domain.errors import InvalidRequest, NotFound, StateConflict
from broker.domain.ids import new_id
from broker.domain.training_round import StageRounds
from broker.store import campaigns, federation_members, registry, training_rounds
from broker.store.campaigns import CampaignRow
from broker.store.federation_members import MemberRow
from broker.store.sealed_columns import context_of
from broker.store.training_rounds import RoundRow
from broker.usecases import audit
from broker.usecases.context import Context
from broker.usecases.status import list_uri
from federation.board import SignedCampaign, read_signed_campaign
from federation.presence import SALT_BYTES, CampaignSalt, salt_hash

CAMPAIGN = "fc"
STOPPED = "campaign_stopped"
CAMPAIGNS_CACHED = 64


@dataclass(frozen=True)
class Progress:
    """A campaign with those of its members that are registered, and how far it is.

    `last` is its last round of whatever state, with the members who `told` of it; `accepted` the
    last one that gave a model; `stage` counts the rounds of its stage.
    """

    row: CampaignRow
    members: tuple[MemberRow, ...]
    last: RoundRow | None
    told: list[str]
    accepted: RoundRow | None
    stage: StageRounds


def new_salt(ctx: Context, tenant_id: str) -> str:
    """Make the salt of a campaign that is to be; its hash, for the draft that the board signs.

    The salt itself never leaves the broker. Raises `NotFound` (tenant).
    """
    salt = secrets.token_bytes(SALT_BYTES)
    named = salt_hash(salt)
    sealed = ctx.master.seal(salt, context_of("campaign_salt", tenant_id, named))
    with ctx.db.transaction() as tx:
        registry.tenant(tx, tenant_id)
        campaigns.add_salt(tx, tenant_id, salt_hash=named, sealed_salt=sealed, now=ctx.now())
    return named


def add_campaign(ctx: Context, tenant_id: str, document: bytes, board: bytes) -> CampaignRow:
    """Take a campaign that the board has signed, as a draft.

    Raises `InvalidRequest` (the board, a salt that is not here), `StateConflict` (added before, or
    another one has its salt), `NotFound` (tenant), and leaves of `FederationError` for a document
    that does not hold.
    """
    decides = read_board(board)
    signed = read_signed_campaign(document, decides)
    campaign, now = signed.campaign, ctx.now()
    row = CampaignRow(
        id=new_id(CAMPAIGN),
        tenant_id=tenant_id,
        hash=signed.campaign_hash,
        name=campaign.id,
        purpose=campaign.purpose,
        document=json.dumps(json.loads(document), ensure_ascii=False),
        board=json.dumps(board_json(decides)),
        stage=campaign.rollout[0].stage,
        state="draft",
        passed=None,
        created_at=now,
        changed_at=now,
    )
    with ctx.db.transaction() as tx:
        registry.tenant(tx, tenant_id)
        try:
            campaigns.salt(tx, tenant_id, campaign.salt_hash, lock=True)
        except NotFound:
            raise InvalidRequest(
                "the broker has not made the salt that this campaign commits to: make one "
                "(consent-broker federation campaign new-salt), put its hash into the campaign "
                "and have the board sign that"
            ) from None
        _check_fresh(tx, row, campaign.salt_hash)
        campaigns.add(tx, row)
        body = {
            "campaign": row.id,
            "hash": row.hash,
            "signers": sorted(signed.signers),
            "threshold": decides.threshold,
        }
        audit.record(ctx, tx, tenant_id=tenant_id, type="campaign.added", body=body)
    return row


def _check_fresh(tx: Connection, row: CampaignRow, salt_hash: str) -> None:
    """Raise `StateConflict` where another campaign commits to this salt, which `tx` holds.

    The keys of both would be the same: equal leaves would show whose consents they are, and, where
    one is missing, who withdrew.
    """
    for one in campaigns.of_tenant(tx, row.tenant_id):
        if one.hash != row.hash and json.loads(one.document)["campaign"]["salt_hash"] == salt_hash:
            raise StateConflict(
                "another campaign has this salt: make a new one (consent-broker federation "
                "campaign new-salt), put its hash into the campaign and have the board sign that"
            )


def set_state(ctx: Context, tenant_id: str, campaign_id: str, state: str) -> CampaignRow:
    """Start, pause or stop a campaign; stopping fails the round that is open.

    One whose last round ended while it was paused is finished as it starts: nothing is to open.

    Raises `NotFound`, `StateConflict`.
    """
    now = ctx.now()
    with ctx.db.transaction() as tx:
        row = campaigns.find(tx, tenant_id, campaign_id, lock=True)
        check_transition(row.state, state)
        if state == "running" and now >= signed_of(row).campaign.valid_until:
            raise StateConflict("the time of the campaign is over: see its valid_until")
        if state == "stopped":
            for one in training_rounds.of_campaign(tx, row.id):
                if one.state == "open":
                    training_rounds.change(tx, one.id, state="failed", code=STOPPED, over_at=now)
        row = move(ctx, tx, row, state)
        return finish_over(ctx, tx, row, signed_of(row)) if state == "running" else row


def rounds_of(tx: Connection, row: CampaignRow) -> StageRounds:
    """The rounds of the stage that a campaign is in."""
    campaign = json.loads(row.document)["campaign"]
    counted = training_rounds.states(tx, row.id, row.stage)
    return StageRounds(
        campaign["rounds"],
        campaign.get("spare_rounds", 0),
        *(counted.get(one, 0) for one in ("open", "closed", "failed")),
    )


def finish_over(
    ctx: Context, tx: Connection, row: CampaignRow, signed: SignedCampaign
) -> CampaignRow:
    """Finish a running campaign whose last stage is over; it says where rounds are missing."""
    stage = rounds_of(tx, row)
    if row.stage != signed.campaign.rollout[-1].stage or not stage.over:
        return row
    return move(ctx, tx, row, "finished", None if stage.all_closed else ROUNDS_USED_UP)


def pause_for(ctx: Context, tenant_id: str, campaign_id: str, reason: str) -> Progress:
    """Pause a running campaign for a coordinator, which says why; one that is paused stays so.

    Raises `NotFound`, `StateConflict`.
    """
    with ctx.db.transaction() as tx:
        row = campaigns.find(tx, tenant_id, campaign_id, lock=True)
        if row.state != "paused":
            row = move(ctx, tx, row, "paused", reason)
        return progress_in(tx, row)


def move(
    ctx: Context, tx: Connection, row: CampaignRow, state: str, reason: str | None = None
) -> CampaignRow:
    """Bring a campaign that `tx` holds into a state that follows, and log it.

    `reason` is said where nobody chose the state.
    """
    check_transition(row.state, state)
    values = {"state": state, "changed_at": ctx.now(), "reason": reason}
    campaigns.change(tx, row.id, **values)
    body = {"campaign": row.id, "from": row.state, "to": state}
    if reason is not None:
        body["reason"] = reason
    audit.record(ctx, tx, tenant_id=row.tenant_id, type="campaign.state", body=body)
    return CampaignRow(**{**vars(row), **values})


def signed_of(row: CampaignRow) -> SignedCampaign:
    """The campaign of a row, verified again: what is in a database may have been changed there."""
    return _verified(_Texts(row.id, row.document, row.board))


@dataclass(frozen=True)
class _Texts:
    """What of a campaign is verified. Equal by all of it; found by the id, which is short.

    Each key and each receipt of a round asks, and to hash a long text takes longer than to compare.
    """

    id: str
    document: str
    board: str

    def __hash__(self) -> int:
        return hash(self.id)


@lru_cache(maxsize=CAMPAIGNS_CACHED)
def _verified(of: _Texts) -> SignedCampaign:
    # By the very texts: whatever is changed in one is verified anew.
    return read_signed_campaign(of.document.encode(), read_board(of.board.encode()))


def salt_of(ctx: Context, tx: Connection, row: CampaignRow, signed: SignedCampaign) -> CampaignSalt:
    """The salt of a campaign, which is the one that it commits to."""
    named = signed.campaign.salt_hash
    sealed = campaigns.salt(tx, row.tenant_id, named)
    return CampaignSalt(
        signed, ctx.master.open(sealed, context_of("campaign_salt", row.tenant_id, named))
    )


def progress(ctx: Context, tenant_id: str, campaign_id: str) -> Progress:
    """One campaign and how far it is; raises `NotFound`."""
    with ctx.db.reading() as tx:
        return progress_in(tx, campaigns.find(tx, tenant_id, campaign_id))


def every_progress(
    ctx: Context,
    tenant_id: str,
    *,
    limit: int,
    state: str | None = None,
    after: str | None = None,
) -> tuple[list[Progress], str | None]:
    """Campaigns of a tenant, or those in a state, oldest first, and where the next page begins.

    `after` is the last campaign of the page before. Raises `NotFound` (tenant, `after`).
    """
    with ctx.db.reading() as tx:
        registry.tenant(tx, tenant_id)
        behind = None if after is None else campaigns.find(tx, tenant_id, after)
        rows = campaigns.of_tenant(tx, tenant_id, state, limit=limit + 1, after=behind)
        found = [progress_in(tx, row) for row in rows[:limit]]
    return found, rows[limit - 1].id if len(rows) > limit else None


def progress_in(tx: Connection, row: CampaignRow) -> Progress:
    """A campaign and how far it is, within a transaction."""
    named = set(json.loads(row.document)["campaign"]["members"])
    members = federation_members.of_tenant(tx, row.tenant_id)
    last = training_rounds.last(tx, row.id)
    return Progress(
        row,
        tuple(one for one in members if one.partner_id in named),
        last,
        [] if last is None else training_rounds.who_told_of(tx, last.id),
        training_rounds.last(tx, row.id, state="closed"),
        rounds_of(tx, row),
    )


def told(ctx: Context, found: Progress) -> dict[str, Any]:
    """A campaign as the API and `--json` tell it (docs/federation.md)."""
    row, last, accepted = found.row, found.last, found.accepted
    return {
        "id": row.id,
        "hash": row.hash,
        "state": row.state,
        # A broker from before reasons leaves one there when it starts or stops a campaign.
        "reason": row.reason if row.state in {"paused", "finished"} else None,
        "stage": row.stage,
        "document": json.loads(row.document),
        "board": json.loads(row.board),
        "members": [told_member(one, ctx.now()) for one in found.members],
        "passed": None if row.passed is None else json.loads(row.passed),
        "progress": {
            "rounds": found.stage.rounds,
            "closed": found.stage.closed,
            "failed": found.stage.failed,
            "spare_rounds": found.stage.spare_rounds,
            "spare_used": found.stage.spare_used,
        },
        "last_round": None if last is None else told_round(ctx, row, last, found.told),
        "last_accepted": None
        if accepted is None
        else {
            "stage": accepted.stage,
            "number": accepted.number,
            "model_out": accepted.model_out,
        },
    }


def told_member(row: MemberRow, now: int) -> dict[str, Any]:
    """A member as the API and `--json` tell it."""
    return {
        "member": row.partner_id,
        "node_public_key": row.node_key,
        "receipt_key": json.loads(row.receipt_key),
        "state": row.state_at(now),
        "since": row.since,
        "valid_until": row.valid_until,
    }


def told_round(
    ctx: Context, campaign: CampaignRow, row: RoundRow, receipts: list[str]
) -> dict[str, Any]:
    """A round as the API and `--json` tell it."""
    return {
        "campaign": campaign.hash,
        "stage": row.stage,
        "number": row.number,
        "state": row.state,
        "model_in": row.model_in,
        "model_out": row.model_out,
        "opened_at": row.opened_at,
        "taking_part": json.loads(row.taking_part),
        "lists": [list_uri(ctx, row.tenant_id, one) for one in json.loads(row.lists)],
        "receipts": receipts,
        "code": row.code,
        "left_out": json.loads(row.left_out or "{}"),
        "notices": json.loads(row.notices or "{}"),
    }
