"""What a careful wallet refuses."""

from typing import ClassVar

from wallet_adapters.errors import WalletProtocolError


class OfferRefused(WalletProtocolError):
    """A credential offer or its issuer's metadata cannot be followed."""

    code: ClassVar[str] = "offer_refused"


class CredentialRefused(WalletProtocolError):
    """An issued credential is not what was asked for, or is no plain SD-JWT."""

    code: ClassVar[str] = "credential_refused"


class RequestObjectRefused(WalletProtocolError):
    """A request object's signature, type, audience, time or certificate is wrong."""

    code: ClassVar[str] = "request_object_refused"


class ClientIdMismatch(WalletProtocolError):
    """The client id is not the one of the link, the certificate or the response address."""

    code: ClassVar[str] = "client_id_mismatch"


class ClientIdUnsupported(WalletProtocolError):
    """The client id's prefix is one that this wallet does not accept."""

    code: ClassVar[str] = "client_id_prefix_unsupported"


class WalletNonceMismatch(WalletProtocolError):
    """The request object does not carry the nonce that the wallet sent."""

    code: ClassVar[str] = "wallet_nonce_mismatch"


class TransactionDataUnknown(WalletProtocolError):
    """A transaction_data type is unknown to this wallet, which must then refuse the request."""

    code: ClassVar[str] = "transaction_data_type_unknown"
    default_error: ClassVar[str] = "invalid_transaction_data"


class NothingToPresent(WalletProtocolError):
    """The wallet holds, or its holder granted, nothing that satisfies the request."""

    code: ClassVar[str] = "nothing_to_present"
    default_error: ClassVar[str] = "access_denied"


class PeerRefused(WalletProtocolError):
    """The other side answered with an error; `error` is its own value, `status` its HTTP status."""

    code: ClassVar[str] = "peer_refused"

    def __init__(self, message: str, *, error: str | None = None, status: int = 400) -> None:
        """Keep the peer's error value and status beside the message."""
        super().__init__(message, error=error)
        self.status = status
