"""Invite the customer behind a contact: an offer of credentials, to be redeemed by a wallet."""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field

from broker.domain.addresses import tenant_url
from broker.domain.consent import BindingGrade
from broker.domain.errors import Gone, InvalidRequest, StateConflict, UnknownPartner
from broker.domain.ids import new_id
from broker.store import access_tokens, contacts, partners
from broker.store.contacts import InvitationRow
from broker.usecases import audit
from broker.usecases.context import Context
from credentials.jcs import b64url
from wallet_adapters.openid4vci import CredentialOffer, TxCode

CUSTOMER_CONFIGURATION = "customer_credential"
OFFER_SECONDS = 600
TX_CODE_DIGITS = 6
SECRET_BYTES = 32
# The transaction code goes another way than the offer, so whoever was forwarded a link lacks it.
CODED_GRADES = frozenset({BindingGrade.CODE, BindingGrade.VERIFIED_PERSON})


@dataclass(frozen=True)
class Opened:
    """An invitation as whoever opened it gets it, once; whoever has it can redeem it.

    `offer_uri` starts a wallet and is short enough for a QR code, `offer_by_value` holds the
    whole offer, `tx_code` is to be sent by another way. `expires_at` is in Unix seconds.
    """

    invitation_id: str
    grade: BindingGrade
    offer_uri: str = field(repr=False)
    offer_by_value: str = field(repr=False)
    tx_code: str | None = field(repr=False)
    expires_at: int


@dataclass(frozen=True)
class WaitingOffer:
    """An invitation that can still be redeemed: its link, and whether it takes a code."""

    offer_uri: str = field(repr=False)
    with_code: bool


def pairwise_id(ctx: Context, subject_id: str, partner_id: str) -> str:
    """A customer's identifier with one partner: HMAC-SHA256, base64url; partners cannot join it."""
    message = f"{subject_id}\x00{partner_id}".encode()
    return b64url(hmac.digest(ctx.keys.hmac_key("pairwise"), message, hashlib.sha256)[:24])


def open_invitation(
    ctx: Context,
    tenant_id: str,
    partner_id: str,
    subject_ref: str,
    grade: BindingGrade,
    *,
    rebind: bool = False,
    opened_by: str | None = None,
    needs_approval: bool = False,
) -> Opened:
    """Offer customer credentials to whoever `subject_ref` stands for, in place of earlier offers.

    Tokens that wallets have had for earlier offers end: of two wallets the newer offer decides.
    `rebind` (officers only, which the caller checks) replaces the wallet that the contact is
    bound to. `opened_by` is the client that asked (the partner when None). With `needs_approval`
    the wallet waits for its credentials until an officer approves.
    Raises `StateConflict` when the contact is bound and `rebind` was not asked for,
    `UnknownPartner`, `InvalidRequest`.
    """
    if grade is BindingGrade.NONE:
        raise InvalidRequest("an invitation binds by link, code or verified_person")
    now = ctx.now()
    invitation_id = new_id("iv")
    code = b64url(secrets.token_bytes(SECRET_BYTES))
    tx_code = None
    if grade in CODED_GRADES:
        tx_code = f"{secrets.randbelow(10**TX_CODE_DIGITS):0{TX_CODE_DIGITS}}"
    ref_hash = contacts.subject_ref_hash(ctx.keys.hmac_key("contact"), partner_id, subject_ref)
    with ctx.db.transaction() as tx:
        # Held: whoever suspends it meanwhile waits, and ends what is opened here.
        if partners.find(tx, tenant_id, partner_id, lock=True).state != "active":
            raise UnknownPartner("the partner is suspended")
        contact = contacts.get_or_create(
            tx,
            ctx.master,
            tenant_id=tenant_id,
            partner_id=partner_id,
            subject_ref=subject_ref,
            ref_hash=ref_hash,
            now=now,
        )
        if contact.subject_id is not None and not rebind:
            raise StateConflict(
                "the contact is bound to a wallet already; an officer who has recognised the "
                "customer can bind it anew with rebind"
            )
        contacts.close_invitations(tx, contact.id)
        access_tokens.end_of_contact(tx, contact.id)
        contacts.add_invitation(
            tx,
            InvitationRow(
                id=invitation_id,
                tenant_id=tenant_id,
                contact_id=contact.id,
                grade=str(grade),
                code_hash=secret_hash(code),
                sealed_code=ctx.master.seal(code.encode(), f"invitation:{invitation_id}"),
                tx_code_hash=None if tx_code is None else hash_tx_code(ctx, invitation_id, tx_code),
                tx_code_failures=0,
                state="open",
                subject_id=None,
                rebinding=rebind,
                expires_at=now + OFFER_SECONDS,
                created_at=now,
                approval="waiting" if needs_approval else "none",
            ),
        )
        audit.record(
            ctx,
            tx,
            tenant_id=tenant_id,
            type="invitation.opened",
            subject_id=contact.subject_id,
            body={
                "invitation": invitation_id,
                "contact": contact.id,
                "partner": partner_id,
                "grade": str(grade),
                "rebind": rebind,
                **({"approval": "waiting"} if needs_approval else {}),
                "opened_by": partner_id if opened_by is None else opened_by,
            },
        )
    offer = _offer(ctx, tenant_id, invitation_id, code, with_tx_code=tx_code is not None)
    return Opened(
        invitation_id=invitation_id,
        grade=grade,
        offer_uri=offer.by_reference(offer_address(ctx, tenant_id, invitation_id)),
        offer_by_value=offer.by_value(),
        tx_code=tx_code,
        expires_at=now + OFFER_SECONDS,
    )


def offer_address(ctx: Context, tenant_id: str, invitation_id: str) -> str:
    """Where a wallet fetches the offer of an invitation."""
    return f"{tenant_url(ctx.settings.public_url, tenant_id)}/openid4vci/offer/{invitation_id}"


def waiting_offer(ctx: Context, tenant_id: str, contact_id: str) -> WaitingOffer | None:
    """The offer that waits for a contact, for the customer's own page; None when there is none."""
    with ctx.db.reading() as tx:
        row = contacts.open_invitation(tx, contact_id, ctx.now())
    if row is None:
        return None
    coded = row.tx_code_hash is not None
    # By reference the link holds the offer's address alone: the sealed code is not needed for it.
    offer = _offer(ctx, tenant_id, row.id, row.code_hash, with_tx_code=coded)
    return WaitingOffer(offer.by_reference(offer_address(ctx, tenant_id, row.id)), coded)


def read_offer(ctx: Context, tenant_id: str, invitation_id: str) -> dict[str, object]:
    """The offer by reference (OpenID4VCI 1.0, section 4.1.3), until it is redeemed.

    Raises `NotFound`, or `Gone` when it was redeemed, replaced, locked or is over.
    """
    with ctx.db.reading() as tx:
        row = contacts.invitation(tx, tenant_id, invitation_id)
    if row.state != "open" or row.sealed_code is None or row.expires_at <= ctx.now():
        raise Gone("this offer was used or is over; ask for a new one")
    code = ctx.master.open(row.sealed_code, f"invitation:{row.id}").decode()
    return _offer(ctx, tenant_id, row.id, code, with_tx_code=row.tx_code_hash is not None).as_dict()


def issuer_state(ctx: Context, tenant_id: str, invitation_id: str) -> str:
    """What names an invitation to the authorization endpoint: its id and a MAC over it.

    Whoever has it is taken for the customer as far as the invitation's grade goes, like whoever
    has the pre-authorized code; the one cannot be made of the other.
    """
    message = f"{tenant_id}\x00{invitation_id}".encode()
    mac = hmac.digest(ctx.keys.hmac_key("issuer_state"), message, hashlib.sha256)
    return f"{invitation_id}.{b64url(mac)}"


def _offer(
    ctx: Context, tenant_id: str, invitation_id: str, code: str, *, with_tx_code: bool
) -> CredentialOffer:
    return CredentialOffer(
        issuer=tenant_url(ctx.settings.public_url, tenant_id),
        configuration_ids=(CUSTOMER_CONFIGURATION,),
        pre_authorized_code=code,
        tx_code=TxCode(
            input_mode="numeric",
            length=TX_CODE_DIGITS,
            description="The code that was sent to you separately / 另行发送给您的验证码",
        )
        if with_tx_code
        else None,
        issuer_state=issuer_state(ctx, tenant_id, invitation_id),
    )


def secret_hash(secret: str) -> str:
    """How a long random secret is kept: base64url SHA-256."""
    return b64url(hashlib.sha256(secret.encode("utf-8", "replace")).digest())


def hash_tx_code(ctx: Context, invitation_id: str, tx_code: str) -> str:
    """How an invitation's transaction code is kept: base64url HMAC-SHA256."""
    # Six digits are guessed from a bare hash in no time: keyed, and bound to its invitation.
    message = f"tx-code\x00{invitation_id}\x00{tx_code}".encode("utf-8", "replace")
    return b64url(hmac.digest(ctx.keys.hmac_key("code"), message, hashlib.sha256))
