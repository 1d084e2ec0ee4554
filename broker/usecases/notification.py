"""What became of credentials in a wallet (OpenID4VCI 1.0, section 11): heard, and written down.

    notification_id = base64url(sealed(JSON list of the copies' ids)), sealed for the invitation

So nothing is stored for a notification that never comes, and one wallet's id is no other's.
"""

import hashlib
from collections.abc import Sequence

import orjson

from broker.domain.errors import Unauthorized
from broker.store import contacts, used_once
from broker.usecases import audit
from broker.usecases.context import Context
from credentials.errors import CredentialError
from credentials.jcs import b64url, b64url_decode
from wallet_adapters.openid4vci import parse_notification
from wallet_adapters.openid4vci.errors import InvalidNotificationId

KIND = "notification"


def notification_id(ctx: Context, invitation_id: str, copies: Sequence[str]) -> str:
    """The id of a credential response, by which its wallet tells what became of the copies."""
    sealed = ctx.master.seal(orjson.dumps(list(copies)), _context(invitation_id))
    return b64url(sealed)


def notify(ctx: Context, tenant_id: str, token_hash: str, body: bytes) -> None:
    """Write into the log what a wallet tells; told again, it is known already.

    Nothing else changes: a wallet that failed to store its credentials may ask for them again.
    Raises `Unauthorized`, `InvalidNotificationId` or another leaf of `WalletProtocolError`.
    """
    with ctx.db.reading() as tx:
        invited = contacts.invited(tx, tenant_id, token_hash)
    if invited is None or invited.expires_at <= ctx.now():
        raise Unauthorized("send the token with which the credentials were fetched")
    told = parse_notification(body)
    invitation = invited.invitation
    try:
        opened = ctx.master.open(b64url_decode(told.notification_id), _context(invitation.id))
    except CredentialError:
        raise InvalidNotificationId("the notification id is not one of this wallet") from None
    once = b64url(hashlib.sha256(f"{told.notification_id}\x00{told.event}".encode()).digest())
    with ctx.db.transaction() as tx:
        if used_once.spend(tx, KIND, once, expires_at=invited.expires_at, now=ctx.now()):
            audit.record(
                ctx,
                tx,
                tenant_id=tenant_id,
                # The wallet's own words stay out: nobody knows whose they are.
                type=f"customer_{told.event}",
                subject_id=invitation.subject_id,
                body={"invitation": invitation.id, "copies": orjson.loads(opened)},
            )


def _context(invitation_id: str) -> str:
    return f"notification:{invitation_id}"
