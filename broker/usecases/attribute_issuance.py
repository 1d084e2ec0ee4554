"""Issue a credential of attributes to the wallet that redeemed its offer, bound to its holder."""

from sqlalchemy import Connection

from broker.domain.errors import LogUnavailable, Unauthorized
from broker.store import access_tokens
from broker.store import attribute_credentials as store
from broker.store.attribute_credentials import OfferRow
from broker.usecases import audit
from broker.usecases.attribute_keys import signing_key
from broker.usecases.attribute_offer import open_claims
from broker.usecases.attribute_type import attribute_type
from broker.usecases.context import Context
from broker.usecases.nonces import read_nonce, spend_nonce
from wallet_adapters.openid4vci.attributes import (
    attributes_response,
    configuration_id,
    parse_attributes_request,
)
from wallet_adapters.openid4vci.errors import (
    CredentialRequestDenied,
    ProofInvalid,
    UnknownCredentialConfiguration,
)
from wallet_adapters.status_token import place_of
from zkp import ZkpError, sign_bound
from zkp.predicates import REVOCATION_ID


def offer_of_token(tx: Connection, tenant_id: str, token_hash: str, now: int) -> OfferRow | None:
    """The offer of attributes that a token was had for; None for every other token."""
    token = access_tokens.find(tx, tenant_id, token_hash)
    if token is None or token.expires_at <= now or not store.is_one(token.subject):
        return None
    return store.offer(tx, tenant_id, token.subject)


def issue_attributes(
    ctx: Context, tenant_id: str, offer: OfferRow, token: str, token_hash: str, body: bytes
) -> dict[str, object]:
    """Answer a credential request for attributes.

    1. The log takes what is issued; the offer was not issued before.
    2. The request is well formed, for the kind that was offered.
    3. The nonce is one of this issuer and not too old.
    4. The claims open under the token, and are within their bounds still; the commitment shows
       that the wallet knows its secret; the key that signs now signs, with no transaction open.
    5. One transaction: the nonce is unspent, the offer becomes issued, its claims are deleted,
       the token ends, the log tells.

    An answer that is lost on its way cannot be repeated: nothing is left to repeat it from. Raises
    leaves of `WalletProtocolError`, `Unauthorized`, `LogUnavailable`.
    """
    # 1.
    if not ctx.log.permits(ctx.now()):
        raise LogUnavailable("the audit log cannot take credentials at the moment; try again soon")
    if offer.state != "redeemed" or offer.claims is None:
        raise Unauthorized("the offer of this token was used or is over; ask for a new one")
    # 2.
    request = parse_attributes_request(body)
    if request.configuration_id != configuration_id(offer.type_id):
        raise UnknownCredentialConfiguration("ask for the configuration that the offer named")
    # 3.
    nonce = read_nonce(ctx, tenant_id, request.nonce)
    # 4.
    kind = attribute_type(ctx, tenant_id, offer.type_id)
    claims = open_claims(token, offer)
    key_id, key = signing_key(ctx, tenant_id)
    revocation_id = str(claims[REVOCATION_ID]) if kind.revocable else None
    place = None if revocation_id is None else place_of(revocation_id)
    try:
        signature = sign_bound(
            key,
            kind.header,
            kind.schema,
            claims,
            commitment=request.commitment,
            nonce=request.nonce.encode(),
        )
    except ZkpError as problem:
        raise ProofInvalid(
            f"{problem}; it is made for the issuer's newest key, the header and the nonce"
        ) from problem
    # 5.
    with ctx.db.transaction() as tx:
        spend_nonce(tx, nonce, ctx.now())
        if not store.finish(tx, offer.id, key_id, revocation_id, place):
            raise CredentialRequestDenied("the credential of this offer was issued already")
        access_tokens.end(tx, tenant_id, token_hash)
        told = {"offer": offer.id, "type": offer.type_id}
        audit.record(ctx, tx, tenant_id=tenant_id, type="attributes.issued", body=told)
    return attributes_response(key.public, kind.header, signature, claims)
