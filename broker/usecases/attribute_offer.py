"""Offer a credential of attributes: what it will say is here, and the broker cannot read it.

    claims    sealed under HKDF of the offer's code, which only the customer's wallet has
    redeemed  opened by the code and sealed anew under the wallet's token, by the same means
    issued    opened by the token, signed, delivered, deleted

Of code and token the broker keeps hashes. So the offer goes by value only, in the answer to whoever
made it and nowhere else: an offer by reference would have to keep the code.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson
from sqlalchemy import Connection

from broker.domain.addresses import tenant_url
from broker.domain.errors import InvalidRequest
from broker.domain.ids import new_id
from broker.domain.proof import CONTACT_ID, contact_number
from broker.store import attribute_credentials as store
from broker.store import contacts, partners
from broker.store.attribute_credentials import OfferRow
from broker.usecases import audit
from broker.usecases.attribute_type import AttributeType, attribute_type
from broker.usecases.context import Context
from broker.usecases.dpop import TokenHashes, kept_as, spend_proof
from broker.usecases.invitation import (
    OFFER_SECONDS,
    SECRET_BYTES,
    TX_CODE_DIGITS,
    hash_tx_code,
    secret_hash,
)
from broker.usecases.redemption import (
    TOKEN_SECONDS,
    TX_CODE_TRIES,
    TokenAnswer,
    asked_for_another,
    keep_token,
)
from credentials.jcs import b64url
from credentials.sealing import MasterKey
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.oauth import DpopProof
from wallet_adapters.openid4vci import (
    CredentialOffer,
    PreAuthorizedCodeRequest,
    TxCode,
    require_tx_code,
)
from wallet_adapters.openid4vci.attributes import configuration_id
from wallet_adapters.openid4vci.errors import InvalidGrant, TxCodeWrong
from zkp import Value, ZkpError
from zkp.predicates import REVOCATION_ID
from zkp.schema import IDENTIFIER_BITS

_CLAIMS_KEY = b"consent-broker attribute claims v1"


@dataclass(frozen=True)
class OfferedAttributes:
    """An offer as whoever made it gets it, once; `tx_code` goes to the customer another way."""

    offer_id: str
    offer_by_value: str = field(repr=False)
    tx_code: str = field(repr=False)
    expires_at: int


def offer_attributes(
    ctx: Context,
    tenant_id: str,
    offered_by: str,
    *,
    role: str,
    type_id: str,
    claims: Mapping[str, Value],
    subject_ref: str | None = None,
) -> OfferedAttributes:
    """Offer a customer a credential of these attributes, by a partner or an officer.

    A kind with the attribute `contact_id` is for one contact of the partner, `subject_ref`. Raises
    `NotFound` (kind), `InvalidRequest`: attributes that are missing, of no use, or out of their
    bounds are refused here, before anything is kept. The message names no value.
    """
    kind = attribute_type(ctx, tenant_id, type_id)
    if kind.revocable:
        if REVOCATION_ID in claims:
            raise InvalidRequest(f"{REVOCATION_ID} is drawn here: leave it out")
        claims = {**claims, REVOCATION_ID: str(secrets.randbits(IDENTIFIER_BITS))}
    _check_contact(kind, claims, role, subject_ref)
    # The contact is known within the transaction alone: here any number stands for its own.
    of_nobody = {CONTACT_ID: contact_number("")} if kind.for_a_contact else {}
    try:
        kind.schema.scalars({**claims, **of_nobody})
    except ZkpError as problem:
        raise InvalidRequest(f"these attributes cannot be signed: {problem}") from None
    now, offer_id = ctx.now(), new_id(store.PREFIX)
    code = b64url(secrets.token_bytes(SECRET_BYTES))
    tx_code = f"{secrets.randbelow(10**TX_CODE_DIGITS):0{TX_CODE_DIGITS}}"
    contact_key = ctx.keys.hmac_key("contact")  # before the transaction: it may take one to read
    with ctx.db.transaction() as tx:
        if role == "partner":
            # Held: whoever suspends it meanwhile waits, and ends what is offered here.
            partners.find(tx, tenant_id, offered_by, lock=True)
        if kind.for_a_contact and subject_ref is not None:
            contact = contacts.get_or_create(
                tx,
                ctx.master,
                tenant_id=tenant_id,
                partner_id=offered_by,
                subject_ref=subject_ref,
                ref_hash=contacts.subject_ref_hash(contact_key, offered_by, subject_ref),
                now=now,
            )
            claims = {**claims, CONTACT_ID: contact_number(contact.id)}
        store.add_offer(
            tx,
            OfferRow(
                id=offer_id,
                tenant_id=tenant_id,
                offered_by=offered_by,
                type_id=type_id,
                code_hash=secret_hash(code),
                tx_code_hash=hash_tx_code(ctx, offer_id, tx_code),
                claims=seal_claims(code, offer_id, claims),
                state="open",
                expires_at=now + OFFER_SECONDS,
                created_at=now,
            ),
        )
        body = {"offer": offer_id, "type": type_id, "by": offered_by}
        audit.record(ctx, tx, tenant_id=tenant_id, type="attributes.offered", body=body)
    offer = CredentialOffer(
        issuer=tenant_url(ctx.settings.public_url, tenant_id),
        configuration_ids=(configuration_id(type_id),),
        pre_authorized_code=code,
        tx_code=TxCode(
            input_mode="numeric",
            length=TX_CODE_DIGITS,
            description="The code that was sent to you separately / 另行发送给您的验证码",
        ),
    )
    return OfferedAttributes(offer_id, offer.by_value(), tx_code, now + OFFER_SECONDS)


def _check_contact(
    kind: AttributeType, claims: Mapping[str, Value], role: str, subject_ref: str | None
) -> None:
    if not kind.for_a_contact:
        if subject_ref is not None:
            raise InvalidRequest(f"subject_ref is for kinds with an attribute {CONTACT_ID}")
        return
    if CONTACT_ID in claims:
        raise InvalidRequest(f"{CONTACT_ID} follows from subject_ref: leave it out")
    if role != "partner" or subject_ref is None:
        raise InvalidRequest("this kind is for one contact: its partner offers it, by subject_ref")


def redeem_offer(
    ctx: Context,
    tenant_id: str,
    request: PreAuthorizedCodeRequest,
    proof: DpopProof | None = None,
) -> TokenAnswer | None:
    """Exchange the code of an offer of attributes for a wallet's token; None for other codes.

    1. The offer is open and not over.
    2. The transaction code is the one given out; the fifth wrong one ends the offer.
    3. The claims are sealed anew under the token, and a compare-and-swap redeems the offer.

    Raises leaves of `WalletProtocolError`.
    """
    token = b64url(secrets.token_bytes(SECRET_BYTES))
    with ctx.db.transaction() as tx:
        row = store.offer_by_code(tx, tenant_id, secret_hash(request.pre_authorized_code))
        if row is None:
            return None
        spend_proof(ctx, tx, proof)
        refusal = asked_for_another(
            request.configuration_ids, configuration_id(row.type_id)
        ) or _redeem(ctx, tx, row, request, token, kept_as(token, proof))
    # Raised after the commit: what was counted stays.
    if refusal is not None:
        raise refusal
    identifiers = {wanted: [wanted] for wanted in request.configuration_ids}
    return TokenAnswer(token, TOKEN_SECONDS, identifiers)


def seal_claims(secret: str, offer_id: str, claims: Mapping[str, Value]) -> bytes:
    """Encrypt the claims of an offer under its code or its token."""
    return _key(secret).seal(orjson.dumps(dict(claims)), f"attribute-claims:{offer_id}")


def open_claims(secret: str, row: OfferRow) -> dict[str, Value]:
    """The claims of an offer. Raises `SealBroken` for another code or token."""
    opened = _key(secret).open(row.claims or b"", f"attribute-claims:{row.id}")
    claims: dict[str, Value] = orjson.loads(opened)
    return claims


def _redeem(
    ctx: Context,
    tx: Connection,
    row: OfferRow,
    request: PreAuthorizedCodeRequest,
    token: str,
    hashes: TokenHashes,
) -> WalletProtocolError | None:
    # 1.
    if row.state != "open" or row.expires_at <= ctx.now():
        return InvalidGrant("the offer was used already or is over; ask for a new one")
    # 2.
    tx_code = request.tx_code
    try:
        require_tx_code(hash_tx_code(ctx, row.id, tx_code) if tx_code else None, row.tx_code_hash)
    except TxCodeWrong as problem:
        tries = store.count_refused(tx, row.id)
        if tries >= TX_CODE_TRIES:
            store.close(tx, row.id)
        body = {"offer": row.id, "code": problem.code, "refusals": tries}
        audit.record(ctx, tx, tenant_id=row.tenant_id, type="attributes.refused", body=body)
        return problem
    except WalletProtocolError as problem:
        return problem
    # 3.
    claims = open_claims(request.pre_authorized_code, row)
    expires_at = ctx.now() + TOKEN_SECONDS
    if not store.redeem(tx, row.id, seal_claims(token, row.id, claims), expires_at):
        return InvalidGrant("the offer was used already; ask for a new one")
    keep_token(tx, row.tenant_id, row.id, hashes, expires_at)
    return None


def _key(secret: str) -> MasterKey:
    # Code and token have 256 random bits: one pass of a keyed hash is all that a key needs.
    key = hmac.digest(secret.encode("utf-8", "replace"), _CLAIMS_KEY, hashlib.sha256)
    return MasterKey.from_bytes(key)
