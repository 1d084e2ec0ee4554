"""Taking status tokens in whole shards, ahead of any presentation."""

from credentials.jcs import b64url
from wallet_adapters.loopback.errors import CredentialRefused
from wallet_adapters.loopback.state import Carry, HeldAttributes, Message, Wallet
from wallet_adapters.status_token import (
    StatusIndex,
    place_of,
    read_status_index,
    read_status_shard,
    shard_of,
    tag_of,
)
from zkp import STATUS_TOKEN, TYPED, ZkpError
from zkp.bbs import verify
from zkp.predicates import REVOCATION_ID, STATUS_SCHEMA

_WHAT = "the status tokens"


def take_status_tokens(wallet: Wallet, issuer: str, *, carry: Carry) -> int:
    """Replace the wallet's tokens of an issuer by those of this epoch; how many there were.

    On a schedule of the wallet's own, and not because of a request: whoever serves the shard must
    not learn that something is about to be presented. A credential without a token was revoked.
    Raises leaves of `WalletProtocolError`; the wallet is unchanged then.
    """
    index = read_status_index(carry(Message.get(f"{issuer}/attribute-status")).json(_WHAT))
    ours = [
        held
        for held in wallet.attributes
        if held.kind[1] == issuer and held.kind[0] != STATUS_SCHEMA and REVOCATION_ID in held.values
    ]
    found = [token for held in ours if (token := _token(held, index, issuer, carry)) is not None]
    wallet.attributes[:] = [
        held for held in wallet.attributes if held.kind != (STATUS_SCHEMA, issuer)
    ] + found
    return len(found)


def _token(
    held: HeldAttributes, index: StatusIndex, issuer: str, carry: Carry
) -> HeldAttributes | None:
    if held.key not in index.keys:
        return None
    key_id, bits = index.keys[held.key]
    revocation_id = str(held.values[REVOCATION_ID])
    shard = shard_of(place_of(revocation_id), bits)
    address = f"{issuer}/attribute-status/{index.epoch}/{key_id}/{bits}/{shard}"
    told = read_status_shard(carry(Message.get(address)).json(_WHAT))
    signature = told.tokens.get(tag_of(revocation_id))
    if signature is None:
        return None
    key, header = held.opened().key, STATUS_TOKEN.header(issuer)
    values: dict[str, str | int] = {"epoch": index.epoch, REVOCATION_ID: revocation_id}
    try:
        if told.header != header:
            raise CredentialRefused("the status tokens are of another issuer or kind")
        verify(key, signature, header, STATUS_TOKEN.scalars(values), TYPED)
    except ZkpError as problem:
        raise CredentialRefused(f"the status token does not verify: {problem}") from problem
    return HeldAttributes(held.key, header.decode(), b64url(signature.to_bytes()), dict(values))
