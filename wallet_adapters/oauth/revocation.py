"""Token revocation (RFC 7009): a client gives back a token that it does not need any more."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from wallet_adapters.openid4vci.client_assertion import (
    UnverifiedClientAssertion,
    read_client_assertion,
)
from wallet_adapters.wire import optional_text, require_text

MAX_TOKEN = 512


@dataclass(frozen=True)
class RevocationRequest:
    """Which token is to end, and who says so: None is a wallet, which shows the token alone."""

    token: str = field(repr=False)
    client_assertion: UnverifiedClientAssertion | None


def parse_revocation_request(form: Mapping[str, str]) -> RevocationRequest:
    """Read the form of a revocation request (section 2.1).

    `token_type_hint` is read and not needed: there is one kind of token. Raises leaves of
    `WalletProtocolError`.
    """
    what = "the revocation request"
    optional_text(form, "token_type_hint", what=what, max_length=64)
    return RevocationRequest(
        token=require_text(form, "token", what=what, max_length=MAX_TOKEN),
        client_assertion=read_client_assertion(form),
    )
