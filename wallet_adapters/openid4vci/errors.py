"""What the token, nonce, credential and notification endpoints refuse."""

from typing import ClassVar

from wallet_adapters.errors import WalletProtocolError


class UnsupportedGrantType(WalletProtocolError):
    """`grant_type` names a grant that this server does not offer."""

    code: ClassVar[str] = "unsupported_grant_type"
    default_error: ClassVar[str] = "unsupported_grant_type"


class InvalidGrant(WalletProtocolError):
    """A code is unknown, expired or used."""

    code: ClassVar[str] = "invalid_grant"
    default_error: ClassVar[str] = "invalid_grant"


class TxCodeRequired(WalletProtocolError):
    """The offer demands a transaction code and none came (OpenID4VCI 1.0 section 6.3)."""

    code: ClassVar[str] = "tx_code_required"


class TxCodeUnexpected(WalletProtocolError):
    """A transaction code came for an offer without one (OpenID4VCI 1.0 section 6.3)."""

    code: ClassVar[str] = "tx_code_unexpected"


class TxCodeWrong(WalletProtocolError):
    """The transaction code is not the one that was given out."""

    code: ClassVar[str] = "tx_code_wrong"
    default_error: ClassVar[str] = "invalid_grant"


class ClientAuthenticationRequired(WalletProtocolError):
    """The grant demands a client assertion and none came."""

    code: ClassVar[str] = "client_authentication_required"
    default_error: ClassVar[str] = "invalid_client"


class ClientAssertionInvalid(WalletProtocolError):
    """The client assertion's form, claims, key or signature is wrong (RFC 7523 section 3)."""

    code: ClassVar[str] = "client_assertion_invalid"
    default_error: ClassVar[str] = "invalid_client"


class ClientAssertionExpired(WalletProtocolError):
    """The client assertion is past its `exp`, or lives longer than allowed."""

    code: ClassVar[str] = "client_assertion_expired"
    default_error: ClassVar[str] = "invalid_client"


class ClientAssertionAudience(WalletProtocolError):
    """The client assertion is meant for another server."""

    code: ClassVar[str] = "client_assertion_audience"
    default_error: ClassVar[str] = "invalid_client"


class InvalidCredentialRequest(WalletProtocolError):
    """The credential request misses, repeats or mixes parameters."""

    code: ClassVar[str] = "invalid_credential_request"
    default_error: ClassVar[str] = "invalid_credential_request"


class UnknownCredentialConfiguration(WalletProtocolError):
    """The requested credential configuration does not exist or was not offered."""

    code: ClassVar[str] = "unknown_credential_configuration"
    default_error: ClassVar[str] = "unknown_credential_configuration"


class UnknownCredentialIdentifier(WalletProtocolError):
    """The requested credential identifier does not exist or was not granted."""

    code: ClassVar[str] = "unknown_credential_identifier"
    default_error: ClassVar[str] = "unknown_credential_identifier"


class BatchTooLarge(WalletProtocolError):
    """More key proofs came than `batch_credential_issuance.batch_size` allows."""

    code: ClassVar[str] = "batch_too_large"
    default_error: ClassVar[str] = "invalid_credential_request"


class EncryptionNotOffered(WalletProtocolError):
    """The wallet asks for an encrypted answer, which the metadata does not offer."""

    code: ClassVar[str] = "encryption_not_offered"
    default_error: ClassVar[str] = "invalid_encryption_parameters"


class ProofMissing(WalletProtocolError):
    """The credential request holds no key proof."""

    code: ClassVar[str] = "proof_missing"
    default_error: ClassVar[str] = "invalid_proof"


class ProofInvalid(WalletProtocolError):
    """A key proof's form, type or signature is wrong."""

    code: ClassVar[str] = "proof_invalid"
    default_error: ClassVar[str] = "invalid_proof"


class ProofAlgorithm(WalletProtocolError):
    """A key proof uses an algorithm that the metadata does not list (`none` and HMAC never are)."""

    code: ClassVar[str] = "proof_algorithm_not_allowed"
    default_error: ClassVar[str] = "invalid_proof"


class ProofKey(WalletProtocolError):
    """A key proof names its key otherwise than by one public `jwk` in its header."""

    code: ClassVar[str] = "proof_key_invalid"
    default_error: ClassVar[str] = "invalid_proof"


class ProofKeyRepeated(WalletProtocolError):
    """Two proofs of one batch have the same key: two copies would be linkable."""

    code: ClassVar[str] = "proof_key_repeated"
    default_error: ClassVar[str] = "invalid_proof"


class ProofAudience(WalletProtocolError):
    """A key proof was made for another issuer."""

    code: ClassVar[str] = "proof_audience_mismatch"
    default_error: ClassVar[str] = "invalid_proof"


class ProofTooOld(WalletProtocolError):
    """A key proof's `iat` is too far in the past."""

    code: ClassVar[str] = "proof_too_old"
    default_error: ClassVar[str] = "invalid_proof"


class ProofInFuture(WalletProtocolError):
    """A key proof's `iat` is in the future."""

    code: ClassVar[str] = "proof_in_future"
    default_error: ClassVar[str] = "invalid_proof"


class ProofNonceMissing(WalletProtocolError):
    """A key proof has no `nonce` though there is a nonce endpoint."""

    code: ClassVar[str] = "proof_nonce_missing"
    default_error: ClassVar[str] = "invalid_proof"


class ProofNonceInvalid(WalletProtocolError):
    """A key proof's nonce is unknown, used or expired; the wallet fetches a new one and repeats."""

    code: ClassVar[str] = "proof_nonce_invalid"
    default_error: ClassVar[str] = "invalid_nonce"


class ProofKeyBound(WalletProtocolError):
    """A key is bound to a credential already; a second copy with it would be linkable."""

    code: ClassVar[str] = "proof_key_bound"
    default_error: ClassVar[str] = "invalid_proof"


class CredentialRequestDenied(WalletProtocolError):
    """The request is in order and is not granted, for good (OpenID4VCI 1.0 section 8.3.1.2)."""

    code: ClassVar[str] = "credential_request_denied"
    default_error: ClassVar[str] = "credential_request_denied"


class InvalidTransactionId(WalletProtocolError):
    """A deferred issuance is unknown, another wallet's, over, or was delivered already."""

    code: ClassVar[str] = "invalid_transaction_id"
    default_error: ClassVar[str] = "invalid_transaction_id"


class InvalidNotificationId(WalletProtocolError):
    """A notification id is not one that this wallet was given."""

    code: ClassVar[str] = "invalid_notification_id"
    default_error: ClassVar[str] = "invalid_notification_id"


class InvalidNotification(WalletProtocolError):
    """A notification misses a parameter or names an unknown event."""

    code: ClassVar[str] = "invalid_notification_request"
    default_error: ClassVar[str] = "invalid_notification_request"
