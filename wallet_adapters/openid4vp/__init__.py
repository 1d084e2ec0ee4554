"""OpenID for Verifiable Presentations 1.0, the verifier's side, without input or output.

The way of a presentation: a `DcqlQuery` and its transaction data become the parameters of
`build_request`, which `sign_request` signs for the `request_uri` that `request_link` names;
`parse_request_uri_post` reads what a wallet sends there; `parse_authorization_response` reads
what it posts, a `WalletRefusal` included; `verify_response` checks it against the
`ExpectedResponse` that the caller kept; `direct_post_answer` ends the exchange.
"""

from wallet_adapters.openid4vp.dcql import (
    ClaimsQuery,
    CredentialQuery,
    CredentialSet,
    DcqlQuery,
    TrustedAuthority,
    optional_each,
    parse_dcql,
)
from wallet_adapters.openid4vp.request import (
    REQUEST_OBJECT_MEDIA_TYPE,
    RequestUriPost,
    build_request,
    client_metadata,
    parse_request_uri_post,
    redirect_uri_client_id,
    request_link,
    request_link_by_value,
    sign_request,
    x509_hash_client_id,
)
from wallet_adapters.openid4vp.response import (
    AuthorizationResponse,
    WalletRefusal,
    direct_post_answer,
    parse_authorization_response,
)
from wallet_adapters.openid4vp.transaction_data import (
    FallbackNonce,
    TransactionData,
    decode_transaction_data,
    encode_transaction_data,
    fallback_nonce,
    transaction_data_for,
    transaction_data_hash,
    verify_fallback_nonce,
)
from wallet_adapters.openid4vp.verify import ExpectedResponse, verify_response, verify_several

__all__ = [
    "REQUEST_OBJECT_MEDIA_TYPE",
    "AuthorizationResponse",
    "ClaimsQuery",
    "CredentialQuery",
    "CredentialSet",
    "DcqlQuery",
    "ExpectedResponse",
    "FallbackNonce",
    "RequestUriPost",
    "TransactionData",
    "TrustedAuthority",
    "WalletRefusal",
    "build_request",
    "client_metadata",
    "decode_transaction_data",
    "direct_post_answer",
    "encode_transaction_data",
    "fallback_nonce",
    "optional_each",
    "parse_authorization_response",
    "parse_dcql",
    "parse_request_uri_post",
    "redirect_uri_client_id",
    "request_link",
    "request_link_by_value",
    "sign_request",
    "transaction_data_for",
    "transaction_data_hash",
    "verify_fallback_nonce",
    "verify_response",
    "verify_several",
    "x509_hash_client_id",
]
