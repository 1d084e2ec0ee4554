"""What the authorization server refuses beyond the errors of the token endpoint."""

from typing import ClassVar

from wallet_adapters.errors import WalletProtocolError


class DpopRefused(WalletProtocolError):
    """A DPoP proof is missing or not acceptable (RFC 9449, sections 5 and 7.1)."""

    code: ClassVar[str] = "dpop_refused"
    default_error: ClassVar[str] = "invalid_dpop_proof"


class DpopProofMissing(DpopRefused):
    """A proof is demanded and none came, or more than one."""

    code: ClassVar[str] = "dpop_proof_missing"


class DpopProofInvalid(DpopRefused):
    """The proof's form, type, algorithm, key, claims or signature is wrong."""

    code: ClassVar[str] = "dpop_proof_invalid"


class DpopProofMismatch(DpopRefused):
    """The proof was made for another method, address or access token."""

    code: ClassVar[str] = "dpop_proof_mismatch"


class DpopProofStale(DpopRefused):
    """The proof's `iat` is too far from now, in either direction."""

    code: ClassVar[str] = "dpop_proof_stale"


class DpopProofUsed(DpopRefused):
    """The proof was used before: each is good for one request."""

    code: ClassVar[str] = "dpop_proof_used"


class DpopKeyMismatch(DpopRefused):
    """The proof is by another key than the one that the grant is bound to."""

    code: ClassVar[str] = "dpop_key_mismatch"


class DpopNonceRequired(DpopRefused):
    """The proof needs a nonce of this server; the answer carries one (RFC 9449, section 8)."""

    code: ClassVar[str] = "use_dpop_nonce"
    default_error: ClassVar[str] = "use_dpop_nonce"


class PkceRequired(WalletProtocolError):
    """The request has no PKCE challenge, or one of another method than S256."""

    code: ClassVar[str] = "pkce_required"


class PkceMismatch(WalletProtocolError):
    """The code verifier is not the one that the challenge was made of."""

    code: ClassVar[str] = "pkce_mismatch"
    default_error: ClassVar[str] = "invalid_grant"


class UnsupportedResponseType(WalletProtocolError):
    """Another response type than `code`."""

    code: ClassVar[str] = "unsupported_response_type"
    default_error: ClassVar[str] = "unsupported_response_type"


class ClientNotKnown(WalletProtocolError):
    """The wallet is not registered here, or not with this redirect address."""

    code: ClassVar[str] = "client_not_known"
    default_error: ClassVar[str] = "unauthorized_client"


class RedirectUriInvalid(WalletProtocolError):
    """The redirect address is of a form that no wallet should have."""

    code: ClassVar[str] = "redirect_uri_invalid"


class PushedRequestRequired(WalletProtocolError):
    """An authorization request came by itself instead of by `request_uri` (RFC 9126)."""

    code: ClassVar[str] = "pushed_request_required"


class RequestUriInvalid(WalletProtocolError):
    """The `request_uri` is unknown, over, used, or another client's."""

    code: ClassVar[str] = "request_uri_invalid"
    default_error: ClassVar[str] = "invalid_request_uri"


class IssuerStateInvalid(WalletProtocolError):
    """No open offer belongs to the `issuer_state`: who the customer is cannot be known."""

    code: ClassVar[str] = "issuer_state_invalid"


class TokenOfAnotherClient(WalletProtocolError):
    """A client would give back a token that is not its own (RFC 7009, section 2.1)."""

    code: ClassVar[str] = "token_of_another_client"
    default_error: ClassVar[str] = "unauthorized_client"
