"""OAuth 2.0 beyond the token endpoint, without input or output: DPoP and PKCE.

`verify_dpop_proof` checks that the sender of a request holds a key (RFC 9449); `read_challenge`
and `verify_verifier` tie an authorization code to the wallet that asked for it (RFC 7636).
"""

from wallet_adapters.oauth.dpop import DpopProof, make_dpop_proof, verify_dpop_proof
from wallet_adapters.oauth.pkce import challenge_of, new_verifier, read_challenge, verify_verifier

__all__ = [
    "DpopProof",
    "challenge_of",
    "make_dpop_proof",
    "new_verifier",
    "read_challenge",
    "verify_dpop_proof",
    "verify_verifier",
]
