"""The one error family of this package.

Every function here raises nothing but `WalletProtocolError` and its leaves, whatever the bytes;
`openid4vp.verify_response` alone also lets `credentials.CredentialError` pass, since the verdict on
a presentation is that package's. Each leaf has a stable `code` for logs and tests, and an `error`:
the value that the protocol itself puts on the wire (OpenID4VCI 1.0 section 8.3.1, OpenID4VP 1.0
section 8.5, RFC 6749 section 5.2).
"""

from typing import ClassVar


class WalletProtocolError(Exception):
    """A message broke its protocol; the text says cause and cure and holds no personal data."""

    code: ClassVar[str] = "wallet_protocol_error"
    default_error: ClassVar[str] = "invalid_request"

    def __init__(self, message: str, *, error: str | None = None) -> None:
        """Say `message`; `error` replaces the leaf's usual protocol value."""
        super().__init__(message)
        self.error = error if error is not None else self.default_error

    @property
    def description(self) -> str:
        """The message in the characters of `error_description` (RFC 6749, section 5.2)."""
        return "".join(
            letter if " " <= letter <= "~" and letter not in '"\\' else "'" for letter in str(self)
        )

    def body(self) -> dict[str, str]:
        """The JSON error body of the protocol."""
        return {"error": self.error, "error_description": self.description}


class TooLarge(WalletProtocolError):
    """A message or a part of it is over its size limit; it was not parsed."""

    code: ClassVar[str] = "too_large"


class TooDeep(WalletProtocolError):
    """JSON is nested deeper than the limit."""

    code: ClassVar[str] = "too_deep"


class Malformed(WalletProtocolError):
    """Bytes are not the JSON, form, JWS or type that belongs there."""

    code: ClassVar[str] = "malformed"


class MissingParameter(WalletProtocolError):
    """A required parameter is absent or empty."""

    code: ClassVar[str] = "missing_parameter"


class RepeatedParameter(WalletProtocolError):
    """A parameter or JSON member is there twice (RFC 6749 section 3.2 forbids it)."""

    code: ClassVar[str] = "repeated_parameter"


class ConflictingParameters(WalletProtocolError):
    """Two parameters that exclude each other are both there."""

    code: ClassVar[str] = "conflicting_parameters"
