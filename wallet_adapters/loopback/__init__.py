"""A careful wallet, without input or output: it makes a wallet's messages and reads the answers.

`accept_offer` and `answer_request` go the whole way; they are handed a function that carries a
`Message` and brings the `Answer`. The steps they take are public too. It trusts the certificates
in `Wallet.anchors` and nothing else, and it is what the demonstration and the tests speak with;
it is not meant to guard anybody's keys.
"""

from wallet_adapters.loopback.attributes import accept_attributes
from wallet_adapters.loopback.dpop import bound_to
from wallet_adapters.loopback.issuance import (
    AccessToken,
    IssuerDescription,
    accept_offer,
    credential_request,
    read_credentials,
    read_issuer_metadata,
    read_nonce,
    read_token,
    read_token_endpoint,
    token_request,
)
from wallet_adapters.loopback.presentation import (
    answer_request,
    candidates,
    present,
    read_direct_post_answer,
    refuse,
)
from wallet_adapters.loopback.request import (
    KNOWN_TRANSACTION_DATA,
    PresentationRequest,
    RequestLink,
    check_transaction_data,
    fetch_request_object,
    parse_request_link,
    read_request_object,
    read_unsigned_request,
)
from wallet_adapters.loopback.state import (
    Answer,
    Carry,
    HeldAttributes,
    HeldCredential,
    Message,
    Wallet,
)
from wallet_adapters.loopback.vault import ToSeal, put_into_vault

__all__ = [
    "KNOWN_TRANSACTION_DATA",
    "AccessToken",
    "Answer",
    "Carry",
    "HeldAttributes",
    "HeldCredential",
    "IssuerDescription",
    "Message",
    "PresentationRequest",
    "RequestLink",
    "ToSeal",
    "Wallet",
    "accept_attributes",
    "accept_offer",
    "answer_request",
    "bound_to",
    "candidates",
    "check_transaction_data",
    "credential_request",
    "fetch_request_object",
    "parse_request_link",
    "present",
    "put_into_vault",
    "read_credentials",
    "read_direct_post_answer",
    "read_issuer_metadata",
    "read_nonce",
    "read_request_object",
    "read_token",
    "read_token_endpoint",
    "read_unsigned_request",
    "refuse",
    "token_request",
]
