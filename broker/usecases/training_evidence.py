"""Evidence of training for one customer: each round that could have used their consents, proven."""

import json
import time
from collections.abc import Iterable
from typing import Any

import orjson

from broker.domain.access import read_terms
from broker.domain.addresses import tenant_url
from broker.domain.errors import NotFound
from broker.domain.merkle import inclusion_proof
from broker.domain.training_evidence import SCHEMA, check_size, digest_of, vouch
from broker.store import audit as audit_store
from broker.store import campaigns, log_tree, people, training_rounds
from broker.store.audit import LoggedEntry
from broker.store.campaigns import CampaignRow
from broker.store.consents import ConsentRow
from broker.store.sealed_columns import context_of
from broker.store.training_rounds import ReceiptRow, RoundRow
from broker.usecases import audit
from broker.usecases.campaign import salt_of, signed_of
from broker.usecases.context import Context, at_one_moment
from broker.usecases.evidence import WAIT_SECONDS, opened, pause
from broker.usecases.person import Named, find_person
from credentials.jcs import b64url
from federation.presence import CampaignSalt, PresenceTree, is_among, leaf_of, read_leaves

OPERATOR = "operator"


def training_evidence(
    ctx: Context,
    tenant_id: str,
    named: Named,
    *,
    campaign_id: str | None = None,
    with_salt: bool = False,
    by: str = OPERATOR,
) -> dict[str, Any]:
    """In which rounds a customer's consents were used, as `domain.training_evidence` writes it.

    All their consents that were ever granted are looked for, the superseded ones too, in every
    receipt of every campaign, or of one, which the file then says. Told of are those of a partner
    that they gave one to, in a campaign of a purpose that they consented to, whatever they show,
    and all others in which one of the consents is, since that is abuse. That it was handed out
    enters the log. Raises `NotFound` where there is no such customer or campaign, or none of their
    consents was ever granted, `TrainingEvidenceTooLarge`, and `LogUnavailable`.
    """
    ctx = at_one_moment(ctx)
    with ctx.db.reading() as tx:
        person = find_person(ctx, tx, tenant_id, named)
        given = [
            row for row in people.consents(tx, person.contact_ids) if row.valid_from is not None
        ]
        if not given:
            raise NotFound("this customer has granted no consent")
        held = (
            campaigns.of_tenant(tx, tenant_id)
            if campaign_id is None
            else [campaigns.find(tx, tenant_id, campaign_id)]
        )
    evidence = {
        "schema": SCHEMA,
        "iss": tenant_url(ctx.settings.public_url, tenant_id),
        "made_at": ctx.now(),
        "consents": sorted(row.id for row in given),
        **({} if campaign_id is None else {"only": campaign_id}),
        **_found(ctx, held, given, with_salt=with_salt),
    }
    key = ctx.keys.issuer(tenant_id)
    evidence |= _log(ctx, evidence["rounds"])
    file = vouch(evidence, signer=key.signer, x5c=key.x5c)
    body = {
        "sha256": digest_of(evidence),
        "rounds": len(evidence["rounds"]),
        "with_salt": with_salt,
        "by": by,
    }
    with ctx.db.transaction() as tx:
        audit.record(
            ctx,
            tx,
            tenant_id=tenant_id,
            type="training.evidence",
            subject_id=person.subject_id,
            body=body,
        )
    return file


def _found(
    ctx: Context, held: Iterable[CampaignRow], given: list[ConsentRow], *, with_salt: bool
) -> dict[str, Any]:
    consents = sorted(row.id for row in given)
    partners = {row.partner_id for row in given}
    purposes = {purpose_of(row) for row in given}
    told: list[dict[str, Any]] = []
    rounds: list[dict[str, Any]] = []
    size = 0
    for campaign in held:
        # Terms that an erasure has emptied do not say for what: then every campaign is told of.
        meant = campaign.purpose in purposes or None in purposes
        with ctx.db.reading() as tx:
            salt = salt_of(ctx, tx, campaign, signed_of(campaign))
            who = training_rounds.who_told(tx, campaign.id)
            every = training_rounds.of_campaign(tx, campaign.id)
        before = len(rounds)
        for row, member in ((of, one) for of in every for one in who.get(of.id, ())):
            # Each in a transaction of its own: there may be ten thousand.
            with ctx.db.reading() as tx:
                receipt = training_rounds.receipt(tx, row.id, member)
            # The file is of its moment: what came in since is for a later one.
            if receipt is None or receipt.received_at > ctx.now():
                continue
            always = meant and member in partners
            for one in _proven(ctx, campaign, row, receipt, salt, consents, always=always):
                size += len(orjson.dumps(one))
                check_size(len(rounds) + 1, size)
                rounds.append(one)
        if not meant and len(rounds) == before:
            continue
        told.append(
            {
                "id": campaign.id,
                "document": json.loads(campaign.document),
                "board": json.loads(campaign.board),
                "salt": b64url(salt.salt) if with_salt else None,
            }
        )
    return {"campaigns": told, "rounds": rounds}


def _proven(
    ctx: Context,
    campaign: CampaignRow,
    row: RoundRow,
    receipt: ReceiptRow,
    salt: CampaignSalt,
    consents: list[str],
    *,
    always: bool,
) -> list[dict[str, Any]]:
    key = salt.key(row.stage, row.number, receipt.partner_id)
    leaves = leaves_of(ctx, receipt)
    if not always and not any(is_among(leaves, leaf_of(key, one)) for one in consents):
        return []
    tree = PresenceTree(read_leaves(leaves))
    told = {
        "campaign": campaign.hash,
        "stage": row.stage,
        "number": row.number,
        "member": receipt.partner_id,
        "receipt": receipt.token,
        "receipt_key": json.loads(receipt.key),
        "key": b64url(key),
        "entry": receipt.entry_id,
        "model_out": row.model_out,
        "proofs": {one: tree.prove(leaf_of(key, one)).to_json() for one in consents},
    }
    return [told]


def _log(ctx: Context, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """The checkpoint below which all entries of the rounds are; gives each its place there.

    Waits for the log to hold them (seconds at most). Raises `LogUnavailable`,
    `TrainingEvidenceTooLarge`.
    """
    if not rounds:
        return {"checkpoint": None}
    deadline = time.monotonic() + WAIT_SECONDS
    found: dict[str, LoggedEntry] = {}
    while True:
        ctx.log.wake()
        with ctx.db.reading() as tx:
            # There may be a hundred thousand, and what has its index keeps it.
            for one in rounds:
                if one["entry"] not in found:
                    entry = audit_store.entry(tx, one["entry"])
                    found |= {} if entry is None else {one["entry"]: entry}
            latest = log_tree.latest_checkpoint(tx)
        size = 0 if latest is None else latest.size
        whole = len(found) == len(rounds) and all(one.index < size for one in found.values())
        if latest is not None and whole:
            break
        pause(deadline)
    size = 0
    with ctx.db.reading() as tx:
        tree = log_tree.TileReader(tx, latest.size)
        for told in rounds:
            entry = found[told.pop("entry")]
            path = inclusion_proof(entry.index, latest.size, tree)
            told["log"] = {
                **orjson.loads(opened(ctx, tx, entry)),
                "path": b64url(b"".join(path)),
            }
            size += len(orjson.dumps(told))
            check_size(len(rounds), size)
    return {"checkpoint": latest.note}


def leaves_of(ctx: Context, receipt: ReceiptRow) -> bytes:
    """The leaves of a receipt, as its member sent them."""
    named = context_of("training_receipt", receipt.round_id, receipt.partner_id)
    return ctx.master.open(receipt.sealed_leaves, named)


def purpose_of(row: ConsentRow) -> str | None:
    """The purpose of a consent with algorithm and version; None where its terms were erased."""
    if not row.terms:
        return None
    terms = read_terms(row.terms)
    return f"{terms.purpose_id}#algo:{terms.algorithm_id}@{terms.algorithm_version}"
