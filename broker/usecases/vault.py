"""Customers' vaults: wallets put sealed attributes there, the broker keeps where they lie.

The broker cannot open an envelope: it is sealed to the partner. What it keeps is the wallet's
signed reference, and digests by which every piece is checked before it is sent (`transfer`). An
envelope goes when its consent ends, and the log says so.
"""

import hashlib
import hmac
from dataclasses import replace
from typing import Final

import structlog
from sqlalchemy import Connection

from broker.domain.access import stored_terms
from broker.domain.addresses import tenant_url
from broker.domain.errors import (
    ConsentNotLive,
    EnvelopeDamaged,
    NotFound,
    StateConflict,
    UnknownAttribute,
    VaultUnreachable,
)
from broker.domain.ids import new_id
from broker.domain.vault import piece_digests
from broker.outbound.vaults import Vault
from broker.store import consents, credentials, vault
from broker.store.consents import ConsentRow
from broker.store.vault import EnvelopeRow
from broker.usecases import audit
from broker.usecases.context import Context
from broker.usecases.sealing_key import sealing_key_of
from broker.usecases.vault_register import open_to_change
from broker.usecases.vault_upkeep import check_whole
from credentials.jcs import b64url
from wallet_adapters.envelope import UNMASKED, EnvelopeInvalid, read_envelope_header
from wallet_adapters.masking import MASKINGS
from wallet_adapters.vault_reference import (
    ReferenceInvalid,
    SignedReference,
    VaultReference,
    read_vault_reference,
)

WRITING_SECONDS: Final = 600
_PATH_CHARACTERS: Final = 32

_log = structlog.get_logger("broker")


def put_envelope(
    ctx: Context, tenant_id: str, consent_id: str, attribute: str, signed: str, data: bytes
) -> EnvelopeRow:
    """Take an envelope from a customer's wallet; the same again renews when it was signed for.

    The same again is written again where its vault has lost it.

    1. The reference is of its form, for this broker, fresh, signed by the key that it brings.
    2. It is about this consent and attribute, by a wallet of the customer who gave the consent.
    3. The consent is in force and covers the attribute; the envelope is sealed to its partner.
    4. The bytes are those of the reference, and an envelope.
    5. A row says that they are being written; they are written; one transaction puts them in place
       if the consent is still in force, ends what they replace, and writes the entry.

    What is refused there, or a crash, leaves a row that `delete_due` cleans up after. Raises
    `ReferenceInvalid`, `EnvelopeInvalid`, `NotFound`, `ConsentNotLive`, `UnknownAttribute`,
    `UnknownVault`, `NoSealingKey`, `StateConflict` (a newer one is there), `VaultUnreachable`.
    """
    # 1.
    audience = tenant_url(ctx.settings.public_url, tenant_id)
    read = read_vault_reference(signed, audience=audience, now=ctx.now())
    reference = read.reference
    # 2.
    if reference.masking not in {UNMASKED, *MASKINGS}:
        raise ReferenceInvalid(f"masking is one of: {', '.join((UNMASKED, *MASKINGS))}")
    if (reference.consent_id, reference.attribute) != (consent_id, attribute):
        raise ReferenceInvalid("it is about another consent or attribute than the address")
    with ctx.db.reading() as tx:
        row = _signers_consent(tx, tenant_id, read)
        # 3.
        _check_covered(ctx, row, reference)
        key = sealing_key_of(tx, tenant_id, row.partner_id)
    if reference.kid != key["kid"]:
        raise EnvelopeInvalid("it is sealed to another key than the partner's present one")
    place = open_to_change(ctx, reference.vault)
    # 4.
    digest = b64url(hashlib.sha256(data).digest())
    if len(data) != reference.size or not hmac.compare_digest(digest, reference.digest):
        raise EnvelopeInvalid("the bytes are not those that the reference names")
    read_envelope_header(data, key)
    # 5.
    envelope = _new(ctx, row, reference, signed, data)
    renewed = _again(ctx, place, envelope, row)
    if renewed is not None:
        return renewed
    with ctx.db.transaction() as tx:
        vault.add(tx, envelope)
    place.put(envelope.path, data)
    try:
        with ctx.db.transaction() as tx:
            return _put_in_place(ctx, tx, envelope, row)
    except (ConsentNotLive, StateConflict):
        _give_up(ctx, place, envelope)
        raise


def envelopes(ctx: Context, tenant_id: str, consent_id: str) -> list[EnvelopeRow]:
    """The envelopes that there are, or were, under a consent; raises `NotFound`."""
    with ctx.db.reading() as tx:
        consents.consent(tx, tenant_id, consent_id)
        return vault.of_consents(tx, tenant_id, [consent_id])


def _signers_consent(tx: Connection, tenant_id: str, read: SignedReference) -> ConsentRow:
    """The consent, if the key is one of its customer's; else `NotFound`, whatever the cause."""
    row = consents.consent(tx, tenant_id, read.reference.consent_id)
    held = [] if row.subject_id is None else credentials.of_subject(tx, row.subject_id)
    if not any(hmac.compare_digest(one.holder_thumbprint, read.thumbprint) for one in held):
        raise NotFound("no such consent")
    return row


def _check_covered(ctx: Context, row: ConsentRow, reference: VaultReference) -> None:
    if row.state != "granted" or row.valid_until is None or row.valid_until <= ctx.now():
        raise ConsentNotLive("nothing is put into a vault under a consent that is not in force")
    if reference.attribute not in stored_terms(row.terms).attributes:
        raise UnknownAttribute("the consent does not cover this attribute")


def _new(
    ctx: Context, row: ConsentRow, reference: VaultReference, signed: str, data: bytes
) -> EnvelopeRow:
    envelope_id = new_id("env")
    return EnvelopeRow(
        id=envelope_id,
        tenant_id=row.tenant_id,
        partner_id=row.partner_id,
        consent_id=row.id,
        attribute=reference.attribute,
        masking=reference.masking,
        vault=reference.vault,
        path=_path(ctx, row, envelope_id),
        kid=reference.kid,
        digest=reference.digest,
        size=reference.size,
        pieces=piece_digests(data),
        sealed_reference=ctx.master.seal(signed.encode(), f"envelope:{envelope_id}"),
        state="writing",
        signed_at=reference.signed_at,
        created_at=ctx.now(),
        delete_from=ctx.now() + WRITING_SECONDS,
    )


def _path(ctx: Context, row: ConsentRow, envelope_id: str) -> str:
    """A place that tells whoever keeps the vault neither the consent nor the envelope's id."""
    key = ctx.keys.hmac_key("vault")
    names = (
        b64url(hmac.digest(key, text.encode(), "sha256"))[:_PATH_CHARACTERS]
        for text in (f"consent\x00{row.id}", f"envelope\x00{envelope_id}")
    )
    return "/".join((row.tenant_id, *names))


def _in_place(tx: Connection, envelope: EnvelopeRow) -> EnvelopeRow | None:
    """What the envelope would replace; raises `StateConflict` where that is the newer one."""
    there = vault.in_place(
        tx, envelope.tenant_id, envelope.consent_id, envelope.attribute, envelope.masking
    )
    if there is not None and there.signed_at > envelope.signed_at:
        raise StateConflict("a newer envelope is there: this reference was signed before it")
    return there


def _put_in_place(
    ctx: Context, tx: Connection, envelope: EnvelopeRow, consent: ConsentRow
) -> EnvelopeRow:
    _hold_live(ctx, tx, envelope)
    there = _in_place(tx, envelope)
    if there is not None:
        vault.replace(tx, there.id, ctx.now())
    if not vault.put_in_place(tx, envelope.id):
        raise StateConflict("writing took too long, and the envelope was cleaned up: put it again")
    _record_stored(ctx, tx, envelope, consent)
    return envelope


def _hold_live(ctx: Context, tx: Connection, envelope: EnvelopeRow) -> None:
    if not vault.hold_live(tx, envelope.tenant_id, envelope.consent_id, ctx.now()):
        raise ConsentNotLive("the consent ended meanwhile: nothing is put into a vault under it")


def _give_up(ctx: Context, place: Vault, envelope: EnvelopeRow) -> None:
    """Have what was written in vain deleted.

    Where writing took so long that the clean-up came before its end nobody else will: it goes now,
    or is a stray of its vault.
    """
    with ctx.db.transaction() as tx:
        if vault.give_up(tx, envelope.id, ctx.now()):
            return
    try:
        place.delete(envelope.path)
    except VaultUnreachable as error:
        _log.warning("envelope_not_deleted", vault=envelope.vault, code=error.code)


def _again(
    ctx: Context, place: Vault, envelope: EnvelopeRow, consent: ConsentRow
) -> EnvelopeRow | None:
    """What lies there, renewed, if it is the same envelope in the same vault, and whole."""
    with ctx.db.reading() as tx:
        there = _in_place(tx, envelope)
    if there is None or (there.digest, there.vault) != (envelope.digest, envelope.vault):
        return None
    try:
        check_whole(place, there)
    except EnvelopeDamaged:
        return None
    with ctx.db.transaction() as tx:
        _hold_live(ctx, tx, envelope)
        still = _in_place(tx, envelope)
        if still is None or still.id != there.id:
            return None
        return _renewed(ctx, tx, still, envelope, consent)


def _renewed(
    ctx: Context, tx: Connection, there: EnvelopeRow, again: EnvelopeRow, consent: ConsentRow
) -> EnvelopeRow:
    """What lies there, signed for anew: what was signed for between is refused from now on."""
    if again.signed_at == there.signed_at:
        return there
    signed = ctx.master.open(again.sealed_reference, f"envelope:{again.id}")
    renewed = replace(
        there,
        signed_at=again.signed_at,
        sealed_reference=ctx.master.seal(signed, f"envelope:{there.id}"),
    )
    vault.renew(tx, there.id, renewed.signed_at, renewed.sealed_reference)
    _record_stored(ctx, tx, renewed, consent)
    return renewed


def _record_stored(
    ctx: Context, tx: Connection, envelope: EnvelopeRow, consent: ConsentRow
) -> None:
    audit.record(
        ctx,
        tx,
        tenant_id=envelope.tenant_id,
        type="envelope.stored",
        consent_id=envelope.consent_id,
        subject_id=consent.subject_id,
        body={
            "envelope": envelope.id,
            "partner": envelope.partner_id,
            "attribute": envelope.attribute,
            "masking": envelope.masking,
            "vault": envelope.vault,
            "kid": envelope.kid,
            "digest": envelope.digest,
            "size": envelope.size,
            "reference": b64url(
                hashlib.sha256(
                    ctx.master.open(envelope.sealed_reference, f"envelope:{envelope.id}")
                ).digest()
            ),
        },
    )
