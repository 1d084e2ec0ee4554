"""Membership credentials of a training consortium: offered, taken by a node, revoked.

officer   offers one to a partner            -> a link, and a transaction code by another way
node      OpenID4VCI, proving its own key    -> SD-JWT VC, `cnf` the node's key, a status entry
node      presents it (`joining`)            -> admitted
officer   revokes the member                 -> status bit, and out in mid-round
"""

import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from sqlalchemy import Connection

from broker.domain.addresses import tenant_url
from broker.domain.campaign import read_node_key
from broker.domain.credential_types import MEMBERSHIP
from broker.domain.errors import LogUnavailable, Unauthorized, UnknownPartner
from broker.domain.ids import new_id
from broker.domain.membership import ALGORITHMS, CONFIGURATION
from broker.store import access_tokens, federation_members, memberships, partners
from broker.store.memberships import MembershipRow
from broker.usecases import audit
from broker.usecases.context import Context
from broker.usecases.dpop import TokenHashes, kept_as, spend_proof
from broker.usecases.invitation import SECRET_BYTES, TX_CODE_DIGITS, hash_tx_code, secret_hash
from broker.usecases.nonces import read_nonce, spend_nonce
from broker.usecases.redemption import (
    REFUSALS_LOGGED,
    TOKEN_SECONDS,
    TX_CODE_TRIES,
    TokenAnswer,
    asked_for_another,
    keep_token,
)
from broker.usecases.status import Allocated, allocate
from credentials.issue import issue_sd_jwt_vc
from credentials.jcs import b64url
from credentials.model import StatusReference
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.oauth import DpopProof
from wallet_adapters.openid4vci import (
    CredentialOffer,
    KeyProof,
    PreAuthorizedCodeRequest,
    TxCode,
    credential_response,
    parse_credential_request,
    require_tx_code,
    resolve_configuration,
    verify_key_proofs,
)
from wallet_adapters.openid4vci.errors import (
    CredentialRequestDenied,
    InvalidGrant,
    ProofKeyBound,
    TxCodeWrong,
)

OFFER_SECONDS = 86_400
"""An engineer elsewhere takes it, maybe tomorrow: longer than an offer to a customer."""
VALID_SECONDS = 365 * 86_400


@dataclass(frozen=True)
class OfferedMembership:
    """An offer as the officer gets it, once; `tx_code` goes to the member another way."""

    membership_id: str
    member: str
    offer: str = field(repr=False)
    tx_code: str = field(repr=False)
    expires_at: int


def offer_membership(ctx: Context, tenant_id: str, partner_id: str) -> OfferedMembership:
    """Offer a partner's node its membership credential, in place of earlier offers.

    Raises `UnknownPartner` (none, or suspended).
    """
    now, membership_id = ctx.now(), new_id(memberships.PREFIX)
    code = b64url(secrets.token_bytes(SECRET_BYTES))
    tx_code = f"{secrets.randbelow(10**TX_CODE_DIGITS):0{TX_CODE_DIGITS}}"
    with ctx.db.transaction() as tx:
        # Held: whoever suspends, revokes or offers meanwhile waits, and ends what is offered here.
        partners.hold_alone(tx, tenant_id, partner_id)
        if partners.find(tx, tenant_id, partner_id).state != "active":
            raise UnknownPartner("the partner is suspended: it is offered no membership")
        memberships.close_of(tx, tenant_id, partner_id)
        memberships.add(
            tx,
            MembershipRow(
                id=membership_id,
                tenant_id=tenant_id,
                partner_id=partner_id,
                code_hash=secret_hash(code),
                tx_code_hash=hash_tx_code(ctx, membership_id, tx_code),
                state="open",
                expires_at=now + OFFER_SECONDS,
                created_at=now,
            ),
        )
        _record(ctx, tx, tenant_id, "offered", membership_id, partner_id)
    offer = CredentialOffer(
        issuer=tenant_url(ctx.settings.public_url, tenant_id),
        configuration_ids=(CONFIGURATION,),
        pre_authorized_code=code,
        tx_code=TxCode(
            input_mode="numeric",
            length=TX_CODE_DIGITS,
            description="The code that was sent to you separately / 另行发送给您的验证码",
        ),
    )
    return OfferedMembership(
        membership_id, partner_id, offer.by_value(), tx_code, now + OFFER_SECONDS
    )


def redeem_membership(
    ctx: Context,
    tenant_id: str,
    request: PreAuthorizedCodeRequest,
    proof: DpopProof | None = None,
) -> TokenAnswer | None:
    """Exchange the code of a membership's offer for a token; None for other codes.

    1. The offer is open and not over.
    2. The transaction code is the one given out; the fifth wrong one ends the offer.
    3. A compare-and-swap redeems the offer.

    Raises leaves of `WalletProtocolError`.
    """
    token = b64url(secrets.token_bytes(SECRET_BYTES))
    with ctx.db.transaction() as tx:
        row = memberships.by_code(tx, tenant_id, secret_hash(request.pre_authorized_code))
        if row is None:
            return None
        spend_proof(ctx, tx, proof)
        refusal = asked_for_another(request.configuration_ids, CONFIGURATION) or _redeem(
            ctx, tx, row, request.tx_code, kept_as(token, proof)
        )
    # Raised after the commit: what was counted stays.
    if refusal is not None:
        raise refusal
    identifiers = {wanted: [wanted] for wanted in request.configuration_ids}
    return TokenAnswer(token, TOKEN_SECONDS, identifiers)


def membership_of_token(
    tx: Connection, tenant_id: str, token_hash: str, now: int
) -> MembershipRow | None:
    """The membership that a token was had for; None for every other token."""
    token = access_tokens.find(tx, tenant_id, token_hash)
    if token is None or token.expires_at <= now or not memberships.is_one(token.subject):
        return None
    return memberships.find(tx, tenant_id, token.subject)


def issue_membership(
    ctx: Context, offered: MembershipRow, token_hash: str, body: bytes
) -> dict[str, object]:
    """Answer the credential request of a node.

    1. The log takes what is issued; the offer was redeemed and not issued before.
    2. The request is well formed, for the membership, with one proof.
    3. The proof verifies under the node's key, on P-256; its nonce is one of this issuer.
    4. One transaction: the nonce is unspent, the partner active, the key not another member's;
       the place in the status list, the row, the end of the token, the log entry.
    5. The credential is signed. One that is lost on its way needs a new offer.

    What is refused from 2 on is in the log. Raises leaves of `WalletProtocolError`,
    `Unauthorized`, `LogUnavailable`.
    """
    # 1.
    if not ctx.log.permits(ctx.now()):
        raise LogUnavailable("the audit log cannot take credentials at the moment; try again soon")
    if offered.state != "redeemed":
        raise Unauthorized("the offer of this token was used or is over; ask for a new one")
    try:
        proof = _proven(ctx, offered, body)
        valid_until, place = _write(ctx, offered, proof, token_hash)
    except WalletProtocolError as problem:
        with ctx.db.transaction() as tx:
            _log_refusal(ctx, tx, offered, problem)
        raise
    # 5.
    return credential_response([_signed(ctx, offered, proof, place, valid_until)])


def node_key_of(holder_jwk: Mapping[str, Any]) -> str:
    """A node's public key, SPKI PEM, by the key that its credential is bound to."""
    return read_node_key(orjson.dumps(dict(holder_jwk)))


def held_by_another(
    tx: Connection, tenant_id: str, partner_id: str, thumbprint: str, node_key: str
) -> bool:
    """Whether a node's key is that of another member, by credential or by an officer's word.

    Whoever asks the same meanwhile waits for the end of `tx`: one of two binds a key.
    """
    memberships.hold_keys(tx, tenant_id)
    if memberships.others_hold(tx, tenant_id, partner_id, thumbprint):
        return True
    return any(
        hmac.compare_digest(one.node_key, node_key)
        for one in federation_members.of_tenant(tx, tenant_id)
        if one.partner_id != partner_id and one.state != "revoked"
    )


def _proven(ctx: Context, offered: MembershipRow, body: bytes) -> KeyProof:
    # 2.
    request = parse_credential_request(body, max_batch=1)
    by_identifier = request.credential_identifier is not None
    resolve_configuration(
        request,
        configuration_ids=(CONFIGURATION,),
        credential_identifiers={CONFIGURATION: CONFIGURATION} if by_identifier else None,
    )
    # 3.
    [proof] = verify_key_proofs(
        request.proofs,
        issuer_url=tenant_url(ctx.settings.public_url, offered.tenant_id),
        now=ctx.now(),
        algorithms=ALGORITHMS,
    )
    return proof


def _write(
    ctx: Context, offered: MembershipRow, proof: KeyProof, token_hash: str
) -> tuple[int, Allocated]:
    """Step 4; until when the credential is valid (Unix seconds), and its place."""
    tenant_id, now = offered.tenant_id, ctx.now()
    nonce, valid_until = read_nonce(ctx, tenant_id, proof.nonce), now + VALID_SECONDS
    node_key = node_key_of(proof.holder_jwk)
    with ctx.db.transaction() as tx:
        spend_nonce(tx, nonce, now)
        if partners.find(tx, tenant_id, offered.partner_id, lock=True).state != "active":
            raise CredentialRequestDenied("the partner is suspended: ask the tenant")
        if held_by_another(tx, tenant_id, offered.partner_id, proof.thumbprint, node_key):
            raise ProofKeyBound("this key is that of another member's node: make one for this one")
        place = allocate(ctx, tx, tenant_id, None)
        issued = memberships.issue(
            tx,
            offered.id,
            holder_thumbprint=proof.thumbprint,
            place=(place.list_id, place.index),
            now=now,
            valid_until=valid_until,
        )
        if not issued:
            raise CredentialRequestDenied("the credential of this offer was issued already")
        access_tokens.end(tx, tenant_id, token_hash)
        _record(ctx, tx, tenant_id, "issued", offered.id, offered.partner_id, node=proof.thumbprint)
    return valid_until, place


def _signed(
    ctx: Context, offered: MembershipRow, proof: KeyProof, place: Allocated, valid_until: int
) -> str:
    base = tenant_url(ctx.settings.public_url, offered.tenant_id)
    key = ctx.keys.issuer(offered.tenant_id)
    return issue_sd_jwt_vc(
        signer=key.signer,
        x5c=key.x5c,
        issuer=base,
        vct=base + MEMBERSHIP.path,
        claims={"jti": offered.id, "member": offered.partner_id},
        disclosable=(),
        holder_jwk=proof.holder_jwk,
        status=StatusReference(place.uri, place.index),
        issued_at=valid_until - VALID_SECONDS,
        expires_at=valid_until,
    )


def _redeem(
    ctx: Context, tx: Connection, row: MembershipRow, tx_code: str | None, hashes: TokenHashes
) -> WalletProtocolError | None:
    # 1.
    if row.state != "open" or row.expires_at <= ctx.now():
        return InvalidGrant("the offer was used already or is over; ask for a new one")
    # 2.
    try:
        require_tx_code(hash_tx_code(ctx, row.id, tx_code) if tx_code else None, row.tx_code_hash)
    except TxCodeWrong as problem:
        if _log_refusal(ctx, tx, row, problem) >= TX_CODE_TRIES:
            memberships.close(tx, row.id)
        return problem
    except WalletProtocolError as problem:
        return problem
    # 3.
    expires_at = ctx.now() + TOKEN_SECONDS
    if not memberships.redeem(tx, row.id, expires_at):
        return InvalidGrant("the offer was used already; ask for a new one")
    keep_token(tx, row.tenant_id, row.id, hashes, expires_at)
    return None


def _log_refusal(
    ctx: Context, tx: Connection, row: MembershipRow, problem: WalletProtocolError
) -> int:
    """Count a refusal, and tell of it as often as it has to be known; how many there were."""
    count = memberships.count_refused(tx, row.id)
    if count <= REFUSALS_LOGGED:
        told = {"code": problem.code}
        _record(ctx, tx, row.tenant_id, "refused", row.id, row.partner_id, **told)
    return count


def _record(
    ctx: Context,
    tx: Connection,
    tenant_id: str,
    what: str,
    membership_id: str,
    member: str,
    **more: str,
) -> None:
    body = {"membership": membership_id, "member": member, **more}
    audit.record(ctx, tx, tenant_id=tenant_id, type=f"membership.{what}", body=body)
