"""Receipts of a round: checked, kept once for each member, written into the log."""

import hashlib
import json
from dataclasses import dataclass

from sqlalchemy import Connection

from broker.domain.errors import BrokerError, StateConflict
from broker.domain.training_errors import MemberNotAdmitted, ReceiptConflict, TrainingReceiptRefused
from broker.domain.training_round import check_receipt, names_of
from broker.store import campaigns, federation_members, partners, training_rounds, used_once
from broker.store.campaigns import CampaignRow
from broker.store.sealed_columns import context_of
from broker.store.training_rounds import ReceiptRow, RoundRow
from broker.usecases import audit
from broker.usecases.campaign import signed_of
from broker.usecases.client_authentication import digest
from broker.usecases.context import Context
from broker.usecases.status import list_uri
from broker.usecases.training_round import check_member, check_switches
from credentials.errors import CredentialError
from credentials.jcs import b64url, b64url_decode
from federation import reading
from federation.errors import FederationError
from federation.receipt import Asked, Receipt, check_leaves, read_receipt

REFUSAL_KIND = "training.receipt_refused"
REFUSALS_LOGGED_EVERY = 60


@dataclass(frozen=True)
class Sent:
    """A receipt as a coordinator carries it: of whom, the JWS, the leaves in base64url."""

    member: str
    receipt: str
    leaves: str


def accept_receipt(
    ctx: Context, tenant_id: str, campaign_id: str, stage: str, number: int, sent: Sent
) -> ReceiptRow:
    """Check a receipt and keep it: the member's one for the round.

    1. The same receipt was kept before: it is answered again.
    2. The round is open, the member takes part in it and is still admitted.
    3. The receipt is by the member's key and of this round (`federation.receipt.read_receipt`).
    4. It says what the round allows (`check_receipt`).
    5. Its leaves are those that its root covers (`check_leaves`).
    6. In the transaction that keeps it and logs it: 1. and 2. again, and that nothing switches the
       campaign off.

    Raises `NotFound`; `StateConflict`, `MemberNotAdmitted`, `TrainingReceiptRefused`,
    `ReceiptConflict` and leaves of `FederationError`, of which the log tells, the same again once a
    minute.
    """
    with ctx.db.reading() as tx:
        campaign = campaigns.find(tx, tenant_id, campaign_id)
        row = training_rounds.find(tx, campaign.id, stage, number)
    try:
        return _accept(ctx, campaign, row, sent)
    except (FederationError, BrokerError) as refusal:
        _log_refusal(ctx, campaign, row, sent, refusal.code)
        raise


def receipt_hash(token: str) -> str:
    """SHA-256 over what a receipt signs, base64url: its signature has a second spelling."""
    return b64url(hashlib.sha256(_signed_part(token)).digest())


def _accept(ctx: Context, campaign: CampaignRow, row: RoundRow, sent: Sent) -> ReceiptRow:
    with ctx.db.reading() as tx:
        # 1.
        before = _kept(tx, row, sent)
        if before is not None:
            return before
        # 2.
        _check_open(ctx, tx, row, sent.member)
        key = federation_members.find(tx, row.tenant_id, sent.member).receipt_key
    # 3.
    asked = Asked(campaign.hash, row.stage, row.number, sent.member, model_in=row.model_in)
    receipt = read_receipt(sent.receipt, json.loads(key), asked)
    # 4.
    lists = {list_uri(ctx, row.tenant_id, one) for one in names_of(row.lists)}
    check_receipt(
        receipt,
        signed_of(campaign).campaign,
        opened_at=row.opened_at,
        lists=lists,
        now=ctx.now(),
    )
    # 5.
    leaves = _leaves(sent.leaves)
    check_leaves(receipt, leaves)
    sealed = ctx.master.seal(leaves, context_of("training_receipt", row.id, sent.member))
    with ctx.db.transaction() as tx:
        # 6.
        campaigns.find(tx, row.tenant_id, campaign.id, lock=True)
        before = _kept(tx, row, sent)
        if before is not None:
            return before
        row = training_rounds.find(tx, campaign.id, row.stage, row.number)
        # Held before it is looked at: a suspension or revocation that is on its way comes first.
        partners.hold(tx, row.tenant_id, sent.member)
        held = federation_members.find(tx, row.tenant_id, sent.member, lock=True)
        _check_open(ctx, tx, row, sent.member)
        check_switches(tx, row.tenant_id, signed_of(campaign))
        if held.receipt_key != key:
            raise MemberNotAdmitted("this member was given another key meanwhile")
        entry = _log(ctx, tx, campaign, row, receipt, sent.receipt)
        kept = ReceiptRow(
            round_id=row.id,
            partner_id=receipt.member,
            tenant_id=row.tenant_id,
            token=sent.receipt,
            key=key,
            bucket=receipt.bucket,
            root=reading.encoded(receipt.root),
            sealed_leaves=sealed,
            entry_id=entry,
            received_at=ctx.now(),
        )
        training_rounds.add_receipt(tx, kept)
        return kept


def _kept(tx: Connection, row: RoundRow, sent: Sent) -> ReceiptRow | None:
    before = training_rounds.receipt(tx, row.id, sent.member)
    if before is not None and _signed_part(before.token) != _signed_part(sent.receipt):
        raise ReceiptConflict(
            "the member has given a receipt for this round that says something else: the first "
            "one counts, and two claims about one round are none"
        )
    return before


def _check_open(ctx: Context, tx: Connection, row: RoundRow, member: str) -> None:
    if row.state != "open":
        raise StateConflict(f"the round is {row.state}: it takes no more receipts")
    check_member(tx, row, member, ctx.now())


def _log(
    ctx: Context,
    tx: Connection,
    campaign: CampaignRow,
    row: RoundRow,
    receipt: Receipt,
    token: str,
) -> str:
    body = {
        "campaign": campaign.id,
        "campaign_hash": campaign.hash,
        "stage": row.stage,
        "number": row.number,
        "member": receipt.member,
        "receipt": receipt_hash(token),
        "root": reading.encoded(receipt.root),
        "bucket": receipt.bucket,
        "model_in": receipt.model_in,
        "model_out": receipt.model_out,
    }
    return audit.record(ctx, tx, tenant_id=row.tenant_id, type="training.receipt", body=body)


def _log_refusal(ctx: Context, campaign: CampaignRow, row: RoundRow, sent: Sent, code: str) -> None:
    """Log that a receipt was refused: once a minute for each round, member and cause."""
    known, now = sent.member in names_of(row.taking_part), ctx.now()
    minute = now // REFUSALS_LOGGED_EVERY
    once = digest(f"{row.id}\x00{sent.member if known else ''}\x00{code}\x00{minute}")
    body = {
        "campaign": campaign.id,
        "stage": row.stage,
        "number": row.number,
        "code": code,
        **({"member": sent.member} if known else {}),
    }
    with ctx.db.transaction() as tx:
        if used_once.spend(tx, REFUSAL_KIND, once, expires_at=now + REFUSALS_LOGGED_EVERY, now=now):
            audit.record(
                ctx, tx, tenant_id=row.tenant_id, type="training.receipt_refused", body=body
            )


def _leaves(text: str) -> bytes:
    try:
        return b64url_decode(text)
    except CredentialError:
        raise TrainingReceiptRefused("leaves are base64url without padding") from None


def _signed_part(token: str) -> bytes:
    return token.rpartition(".")[0].encode("utf-8", "replace")
