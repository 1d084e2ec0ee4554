"""What a verifier refuses, in its own requests and in the answers to them."""

from typing import ClassVar

from wallet_adapters.errors import WalletProtocolError


class InvalidQuery(WalletProtocolError):
    """A DCQL query breaks OpenID4VP 1.0 section 6."""

    code: ClassVar[str] = "invalid_query"


class InvalidTransactionData(WalletProtocolError):
    """A transaction_data entry is malformed or names no requested credential."""

    code: ClassVar[str] = "transaction_data_invalid"
    default_error: ClassVar[str] = "invalid_transaction_data"


class InvalidRequest(WalletProtocolError):
    """An authorization request breaks a rule of OpenID4VP 1.0 section 5."""

    code: ClassVar[str] = "invalid_authorization_request"


class StateMismatch(WalletProtocolError):
    """The response carries another `state` than the request."""

    code: ClassVar[str] = "state_mismatch"


class EncryptedResponse(WalletProtocolError):
    """An encrypted response came for a request that asked for a plain one."""

    code: ClassVar[str] = "encrypted_response_unexpected"


class ResponseNotEncrypted(WalletProtocolError):
    """Presentations came in the clear for a request that asked for an encrypted response."""

    code: ClassVar[str] = "response_not_encrypted"


class ResponseUnreadable(WalletProtocolError):
    """An encrypted response is not made as the request asked, or does not decrypt."""

    code: ClassVar[str] = "response_unreadable"


class NoPresentation(WalletProtocolError):
    """The response holds no presentation at all; nothing verifies nothing."""

    code: ClassVar[str] = "no_presentation"


class UnknownQuery(WalletProtocolError):
    """The response answers a credential query that was not asked."""

    code: ClassVar[str] = "unknown_query"


class DuplicatePresentation(WalletProtocolError):
    """Two presentations came for a query that allows one."""

    code: ClassVar[str] = "duplicate_presentation"


class RequiredPresentationMissing(WalletProtocolError):
    """The presentations do not satisfy every required credential set."""

    code: ClassVar[str] = "required_presentation_missing"


class ClaimsNotSatisfied(WalletProtocolError):
    """A presentation does not disclose the claims, or the values, that its query asked for."""

    code: ClassVar[str] = "claims_not_satisfied"


class WalletLacks(WalletProtocolError):
    """A wallet says in its metadata that it cannot do what the request needs (section 10)."""

    code: ClassVar[str] = "wallet_lacks"
