"""Receipts of a round: checked, kept once for each member, written into the log."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import Connection

from broker.domain.errors import BrokerError, InvalidRequest, StateConflict
from broker.domain.training_errors import MemberNotAdmitted, ReceiptConflict, TrainingReceiptRefused
from broker.domain.training_round import check_receipt, names_of, receipt_hash, signed_part
from broker.store import campaigns, federation_members, training_rounds
from broker.store.campaigns import CampaignRow
from broker.store.federation_members import Standing
from broker.store.sealed_columns import context_of
from broker.store.training_rounds import KeptReceipt, ReceiptRow, RoundRow
from broker.usecases import audit
from broker.usecases.campaign import signed_of
from broker.usecases.context import Context
from broker.usecases.refusal_log import log_refusals
from broker.usecases.status import list_uri
from broker.usecases.training_round import check_member, check_switches
from credentials.errors import CredentialError
from credentials.jcs import b64url_decode
from credentials.jws import PublicKey
from federation import reading
from federation.board import SignedCampaign
from federation.errors import FederationError
from federation.receipt import Asked, Receipt, check_leaves, read_receipt

REFUSAL_KIND = "training.receipt_refused"
KEYS_CACHED = 4_096


@dataclass(frozen=True)
class Sent:
    """A receipt as a coordinator carries it: of whom, the JWS, the leaves in base64url."""

    member: str
    receipt: str
    leaves: str


@dataclass(frozen=True)
class RefusedReceipt:
    """A receipt that is not kept, and why."""

    member: str
    error: BrokerError | FederationError


Answered = KeptReceipt | RefusedReceipt


@dataclass(frozen=True)
class _Round:
    """What receipts of a round are checked against, read once for all that come together."""

    campaign: CampaignRow
    signed: SignedCampaign
    row: RoundRow
    taking_part: frozenset[str]
    lists: frozenset[str]


@dataclass(frozen=True)
class _Checked:
    """A receipt that holds by itself, its leaves sealed, and the key that it holds under."""

    sent: Sent
    receipt: Receipt
    sealed: bytes
    key: str


def accept_receipt(
    ctx: Context, tenant_id: str, campaign_id: str, stage: str, number: int, sent: Sent
) -> KeptReceipt:
    """One receipt by itself, as `accept_receipts` takes several; raises what that tells besides.

    `StateConflict`, `MemberNotAdmitted`, `TrainingReceiptRefused`, `ReceiptConflict` and leaves of
    `FederationError`.
    """
    [answered] = accept_receipts(ctx, tenant_id, campaign_id, stage, number, [sent])
    if isinstance(answered, RefusedReceipt):
        raise answered.error
    return answered


def accept_receipts(
    ctx: Context, tenant_id: str, campaign_id: str, stage: str, number: int, sent: Sequence[Sent]
) -> list[Answered]:
    """Check receipts of a round and keep them: of each member its one. An answer for each of them.

    1. The same receipt was kept before: it is answered again.
    2. The round is open, the member takes part in it and is still admitted.
    3. The receipt is by the member's key and of this round (`federation.receipt.read_receipt`).
    4. It says what the round allows (`check_receipt`).
    5. Its leaves are those that its root covers (`check_leaves`).
    6. In one transaction, which keeps and logs all of them: 1. and 2. again, and that nothing
       switches the campaign off.

    One that is refused takes nothing from the others; the log tells of it, of the same again once a
    minute. Raises `NotFound`, and `InvalidRequest` for two of one member.
    """
    if len({one.member for one in sent}) < len(sent):
        raise InvalidRequest("of each member one receipt is handed in at a time")
    with ctx.db.reading() as tx:
        campaign = campaigns.find(tx, tenant_id, campaign_id)
        at = _round(ctx, campaign, training_rounds.find(tx, campaign.id, stage, number))
        kept, standing = _known(ctx, tx, at, sent)
    told: dict[str, Answered] = {}
    checked: list[_Checked] = []
    for one in sent:
        try:
            before = _settled(at, kept, standing, one)
            if before is None:
                checked.append(_check(ctx, at, one, standing[one.member].row.receipt_key))
            else:
                told[one.member] = before
        except (FederationError, BrokerError) as refusal:
            told[one.member] = RefusedReceipt(one.member, refusal)
    if checked:
        with ctx.db.transaction() as tx:
            told |= _keep(ctx, tx, at, checked)
    _log_refusals(ctx, at, [one for one in told.values() if isinstance(one, RefusedReceipt)])
    return [told[one.member] for one in sent]


def _round(ctx: Context, campaign: CampaignRow, row: RoundRow) -> _Round:
    return _Round(
        campaign,
        signed_of(campaign),
        row,
        frozenset(names_of(row.taking_part)),
        frozenset(list_uri(ctx, row.tenant_id, one) for one in names_of(row.lists)),
    )


def _known(
    ctx: Context, tx: Connection, at: _Round, sent: Iterable[Sent], *, lock: bool = False
) -> tuple[Mapping[str, KeptReceipt], Mapping[str, Standing]]:
    """Which receipts of these members are there, and how the members stand.

    With `lock` a suspension or revocation that is on its way comes first, and none thereafter.
    """
    names = sorted(one.member for one in sent)
    standing = federation_members.standing(tx, at.row.tenant_id, names, ctx.now(), lock=lock)
    return training_rounds.kept(tx, at.row.id, names), standing


def _settled(
    at: _Round,
    kept: Mapping[str, KeptReceipt],
    standing: Mapping[str, Standing],
    sent: Sent,
) -> KeptReceipt | None:
    # 1.
    before = kept.get(sent.member)
    if before is not None:
        if signed_part(before.token) != signed_part(sent.receipt):
            raise ReceiptConflict(
                "the member has given a receipt for this round that says something else: the first "
                "one counts, and two claims about one round are none"
            )
        return before
    # 2.
    if at.row.state != "open":
        raise StateConflict(f"the round is {at.row.state}: it takes no more receipts")
    stands = standing.get(sent.member)
    check_member(takes_part=sent.member in at.taking_part, able=stands is not None and stands.able)
    return None


def _check(ctx: Context, at: _Round, sent: Sent, key: str) -> _Checked:
    row = at.row
    # 3.
    asked = Asked(at.campaign.hash, row.stage, row.number, sent.member, model_in=row.model_in)
    receipt = read_receipt(sent.receipt, _loaded(key), asked)
    # 4.
    check_receipt(
        receipt, at.signed.campaign, opened_at=row.opened_at, lists=at.lists, now=ctx.now()
    )
    # 5.
    leaves = _leaves(sent.leaves)
    check_leaves(receipt, leaves)
    sealed = ctx.master.seal(leaves, context_of("training_receipt", row.id, sent.member))
    return _Checked(sent, receipt, sealed, key)


def _keep(
    ctx: Context, tx: Connection, at: _Round, checked: Sequence[_Checked]
) -> dict[str, Answered]:
    # 6.
    campaigns.find(tx, at.row.tenant_id, at.campaign.id, lock=True)
    row = training_rounds.find(tx, at.campaign.id, at.row.stage, at.row.number)
    at = _Round(at.campaign, at.signed, row, at.taking_part, at.lists)
    kept, standing = _known(ctx, tx, at, [one.sent for one in checked], lock=True)
    told: dict[str, Answered] = {}
    fresh: list[_Checked] = []
    off = _switched_off(tx, at)
    for one in checked:
        member = one.sent.member
        try:
            before = _settled(at, kept, standing, one.sent)
            if before is not None:
                told[member] = before
                continue
            if off is not None:
                told[member] = RefusedReceipt(member, off)
                continue
            if standing[member].row.receipt_key != one.key:
                raise MemberNotAdmitted("this member was given another key meanwhile")
            fresh.append(one)
        except BrokerError as refusal:
            told[member] = RefusedReceipt(member, refusal)
    entries = _log(ctx, tx, at, fresh)
    rows = [_row(ctx, row, one, entry) for one, entry in zip(fresh, entries, strict=True)]
    training_rounds.add_receipts(tx, rows)
    return told | {one.partner_id: one.kept() for one in rows}


def _switched_off(tx: Connection, at: _Round) -> StateConflict | None:
    """That a switch stops the campaign, looked at once for all that come together."""
    try:
        check_switches(tx, at.row.tenant_id, at.signed)
    except StateConflict as refusal:
        return refusal
    return None


def _row(ctx: Context, row: RoundRow, one: _Checked, entry: str) -> ReceiptRow:
    return ReceiptRow(
        round_id=row.id,
        partner_id=one.receipt.member,
        tenant_id=row.tenant_id,
        token=one.sent.receipt,
        key=one.key,
        bucket=one.receipt.bucket,
        root=reading.encoded(one.receipt.root),
        sealed_leaves=one.sealed,
        entry_id=entry,
        received_at=ctx.now(),
    )


def _log(ctx: Context, tx: Connection, at: _Round, fresh: Sequence[_Checked]) -> list[str]:
    bodies = [
        {
            "campaign": at.campaign.id,
            "campaign_hash": at.campaign.hash,
            "stage": at.row.stage,
            "number": at.row.number,
            "member": one.receipt.member,
            "receipt": receipt_hash(one.sent.receipt),
            "root": reading.encoded(one.receipt.root),
            "bucket": one.receipt.bucket,
            "model_in": one.receipt.model_in,
            "model_out": one.receipt.model_out,
        }
        for one in fresh
    ]
    return audit.record_each(
        ctx, tx, tenant_id=at.row.tenant_id, type="training.receipt", bodies=bodies
    )


def _log_refusals(ctx: Context, at: _Round, refused: Sequence[RefusedReceipt]) -> None:
    """Log that receipts were refused: once a minute for each round, member and cause."""
    if not refused:
        return
    bodies = [
        {
            "campaign": at.campaign.id,
            "stage": at.row.stage,
            "number": at.row.number,
            "code": one.error.code,
            **({"member": one.member} if one.member in at.taking_part else {}),
        }
        for one in refused
    ]
    log_refusals(ctx, at.row.tenant_id, REFUSAL_KIND, bodies)


@lru_cache(maxsize=KEYS_CACHED)
def _loaded(key: str) -> PublicKey:
    """A registered key, loaded once: members sign with the same one in every round."""
    return PublicKey(json.loads(key))


def _leaves(text: str) -> bytes:
    try:
        return b64url_decode(text)
    except CredentialError:
        raise TrainingReceiptRefused("leaves are base64url without padding") from None
