"""Who a client of the API is: `private_key_jwt`, checked alike wherever a client authenticates."""

import hashlib
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import Connection

from broker.domain.addresses import tenant_url
from broker.domain.errors import NotFound, UnknownPartner
from broker.store import coordinators, partners, used_once
from broker.usecases.context import Context
from broker.usecases.refusal_log import log_refusals
from credentials.jcs import b64url
from wallet_adapters.openid4vci import verify_client_assertion
from wallet_adapters.openid4vci.client_assertion import UnverifiedClientAssertion
from wallet_adapters.openid4vci.errors import ClientAssertionInvalid

JTI_KIND = "client_assertion"
REFUSAL_KIND = "token.refused"


@dataclass(frozen=True)
class RegisteredClient:
    """A partner, an officer or a coordinator as registered now."""

    id: str
    role: str
    jwk: dict[str, Any]
    suspended: bool


@dataclass(frozen=True)
class AuthenticatedClient:
    """A client whose assertion has verified; `jti` is still to be spent, by `spend_assertion`."""

    client: RegisteredClient
    jti: str
    expires_at: int


def registered_client(
    tx: Connection, tenant_id: str, client_id: str, *, lock: bool = False
) -> RegisteredClient | None:
    """The client of that id; with `lock` it stays as it is until the end of `tx`."""
    try:
        row = partners.find(tx, tenant_id, client_id, lock=lock)
        return RegisteredClient(row.id, "partner", orjson.loads(row.jwk), row.state != "active")
    except UnknownPartner:
        pass
    for role, find in (("officer", partners.officer), ("coordinator", coordinators.find)):
        try:
            found = find(tx, tenant_id, client_id, lock=lock)
        except NotFound:
            continue
        return RegisteredClient(found.id, role, orjson.loads(found.jwk), found.state != "active")
    return None


def authenticate(
    ctx: Context,
    tenant_id: str,
    client: RegisteredClient | None,
    assertion: UnverifiedClientAssertion,
    *,
    path: str,
) -> AuthenticatedClient:
    """Verify an assertion under the key of the client that it names (RFC 7523, section 3).

    1. The client is a partner, an officer or a coordinator of the tenant.
    2. Its assertion verifies under its registered key: signature, audience, times. The audience
       is the issuer, the token endpoint, or the endpoint at `path`.
    3. Owed by the caller: `spend_assertion`, in the transaction of what is done for the client.

    Raises leaves of `WalletProtocolError`.
    """
    # 1.
    if client is None:
        raise ClientAssertionInvalid("the client is not registered with this tenant")
    # 2.
    issuer = tenant_url(ctx.settings.public_url, tenant_id)
    verified = verify_client_assertion(
        assertion,
        keys=[client.jwk],
        audiences=(issuer, f"{issuer}/oauth/token", issuer + path),
        now=ctx.now(),
    )
    return AuthenticatedClient(client, verified.jti, verified.expires_at)


def spend_assertion(
    ctx: Context, tx: Connection, tenant_id: str, authenticated: AuthenticatedClient
) -> None:
    """Use an assertion for its one time; raises `ClientAssertionInvalid`.

    The client's row is held, so that whoever suspends it or replaces its key waits, and then ends
    what was given here; who was first to do so is noticed here.
    """
    before = authenticated.client
    if registered_client(tx, tenant_id, before.id, lock=True) != before:
        raise ClientAssertionInvalid("the client's registration has changed: begin again")
    spent = digest(f"{before.id}\x00{authenticated.jti}")
    # The verifier allows some skew after `expires_at`; keeping it a minute longer covers that.
    kept = authenticated.expires_at + 60
    if not used_once.spend(tx, JTI_KIND, spent, expires_at=kept, now=ctx.now()):
        raise ClientAssertionInvalid("this client assertion was used before: sign a new one")


def log_refusal(ctx: Context, tenant_id: str, client: RegisteredClient | None, code: str) -> None:
    """Log that a client was refused: once a minute for each client and cause.

    Whoever is refused may be anybody, and the log is not theirs to fill.
    """
    body = {"code": code} if client is None else {"client": client.id, "code": code}
    log_refusals(ctx, tenant_id, REFUSAL_KIND, [body])


def digest(text: str) -> str:
    """Base64url SHA-256 of a text, under which a value that is good once is remembered."""
    return b64url(hashlib.sha256(text.encode("utf-8", "replace")).digest())
