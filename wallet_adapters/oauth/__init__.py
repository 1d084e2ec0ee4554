"""OAuth 2.0 beyond the token endpoint, without input or output: DPoP, PKCE, PAR, `iss`.

`verify_dpop_proof` checks that the sender of a request holds a key (RFC 9449); `read_challenge`
and `verify_verifier` tie an authorization code to the wallet that asked for it (RFC 7636);
`parse_pushed_request` reads what a wallet asks for (RFC 9126), and `authorization_answer` says
where its customer's browser goes (RFC 9207).
"""

from wallet_adapters.oauth.dpop import DpopProof, make_dpop_proof, verify_dpop_proof
from wallet_adapters.oauth.par import (
    AuthorizationCodeRequest,
    AuthorizationRequest,
    authorization_answer,
    authorization_refusal,
    parse_authorization_query,
    parse_code_request,
    parse_pushed_request,
)
from wallet_adapters.oauth.pkce import challenge_of, new_verifier, read_challenge, verify_verifier

__all__ = [
    "AuthorizationCodeRequest",
    "AuthorizationRequest",
    "DpopProof",
    "authorization_answer",
    "authorization_refusal",
    "challenge_of",
    "make_dpop_proof",
    "new_verifier",
    "parse_authorization_query",
    "parse_code_request",
    "parse_pushed_request",
    "read_challenge",
    "verify_dpop_proof",
    "verify_verifier",
]
