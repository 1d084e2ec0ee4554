"""OpenID for Verifiable Credential Issuance 1.0, the issuer's side, without input or output.

The way of an issuance: `CredentialOffer` as a link; `parse_token_request`, `require_tx_code`,
`token_response`; `nonce_response`; `parse_credential_request`, `resolve_configuration`,
`verify_key_proofs`, `credential_response`. Every refusal is a `WalletProtocolError` whose
`body()` is the protocol's error body. Partners authenticate at the same token endpoint by
`verify_client_assertion`.
"""

from wallet_adapters.openid4vci.client_assertion import (
    CLIENT_ASSERTION_TYPE,
    ClientAssertion,
    UnverifiedClientAssertion,
    parse_client_assertion,
    verify_client_assertion,
)
from wallet_adapters.openid4vci.credential import (
    CredentialRequest,
    Notification,
    credential_response,
    nonce_response,
    parse_credential_request,
    parse_notification,
    resolve_configuration,
)
from wallet_adapters.openid4vci.deferred import deferred_response, parse_deferred_request
from wallet_adapters.openid4vci.metadata import (
    AUTHORIZATION_SERVER_METADATA,
    ISSUER_METADATA,
    CredentialConfiguration,
    authorization_server_metadata,
    issuer_metadata,
    well_known_url,
)
from wallet_adapters.openid4vci.offer import CredentialOffer, TxCode, parse_offer, parse_offer_link
from wallet_adapters.openid4vci.proof import KeyProof, verify_key_proof, verify_key_proofs
from wallet_adapters.openid4vci.token import (
    CLIENT_CREDENTIALS_GRANT,
    PRE_AUTHORIZED_CODE_GRANT,
    ClientCredentialsRequest,
    PreAuthorizedCodeRequest,
    parse_token_request,
    require_tx_code,
    token_response,
)

__all__ = [
    "AUTHORIZATION_SERVER_METADATA",
    "CLIENT_ASSERTION_TYPE",
    "CLIENT_CREDENTIALS_GRANT",
    "ISSUER_METADATA",
    "PRE_AUTHORIZED_CODE_GRANT",
    "ClientAssertion",
    "ClientCredentialsRequest",
    "CredentialConfiguration",
    "CredentialOffer",
    "CredentialRequest",
    "KeyProof",
    "Notification",
    "PreAuthorizedCodeRequest",
    "TxCode",
    "UnverifiedClientAssertion",
    "authorization_server_metadata",
    "credential_response",
    "deferred_response",
    "issuer_metadata",
    "nonce_response",
    "parse_client_assertion",
    "parse_credential_request",
    "parse_deferred_request",
    "parse_notification",
    "parse_offer",
    "parse_offer_link",
    "parse_token_request",
    "require_tx_code",
    "resolve_configuration",
    "token_response",
    "verify_client_assertion",
    "verify_key_proof",
    "verify_key_proofs",
    "well_known_url",
]
