"""The one error family of this package.

Every parser and every check in `credentials` raises a leaf of `CredentialError` and nothing
else, whatever bytes it is given. `code` is stable across releases: it is what an API answer, an
audit entry and a test name. The message says the cause and, where there is one, the cure; it
never holds a claim value or any other personal data.
"""

from typing import ClassVar


class CredentialError(Exception):
    """Root of the family. Catch this to catch everything this package refuses."""

    code: ClassVar[str] = "credential_error"


class Malformed(CredentialError):
    """The input is not the format it is said to be."""

    code: ClassVar[str] = "malformed"


class TooLarge(CredentialError):
    """The input exceeds a cap on size, count or nesting and was not parsed."""

    code: ClassVar[str] = "too_large"


class AlgorithmNotAllowed(CredentialError):
    """The signature or hash algorithm is not in the registry, or the caller did not allow it."""

    code: ClassVar[str] = "algorithm_not_allowed"


class HeaderNotAllowed(CredentialError):
    """A JOSE header names its own key or an extension that must be understood."""

    code: ClassVar[str] = "header_not_allowed"


class KeyInvalid(CredentialError):
    """A key is not a usable key of its kind: wrong members, or not a point on its curve."""

    code: ClassVar[str] = "key_invalid"


class SignatureInvalid(CredentialError):
    """The signature does not verify under the expected key."""

    code: ClassVar[str] = "signature_invalid"


class SealBroken(CredentialError):
    """Sealed bytes do not open: another master key, another context, or changed bytes."""

    code: ClassVar[str] = "seal_broken"


class TypeMismatch(CredentialError):
    """`typ` or `vct` is not the expected one."""

    code: ClassVar[str] = "type_mismatch"


class IssuerMismatch(CredentialError):
    """`iss` is not the expected issuer, or not one that its certificate may speak for."""

    code: ClassVar[str] = "issuer_mismatch"


class UntrustedChain(CredentialError):
    """The certificate chain does not lead to a trust anchor.

    `position` is the index in `x5c` of the certificate at fault (0 is the leaf, `None` when the
    chain as a whole is at fault) and `reason` says what is wrong with it.
    """

    code: ClassVar[str] = "untrusted_chain"

    def __init__(self, reason: str, *, position: int | None = None, subject: str = "") -> None:
        """Build the message from which certificate and why."""
        self.position = position
        self.subject = subject
        self.reason = reason
        where = "certificate chain" if position is None else f"certificate {position} ({subject})"
        super().__init__(f"{where}: {reason}")


class Expired(CredentialError):
    """The validity period is over."""

    code: ClassVar[str] = "expired"


class NotYetValid(CredentialError):
    """The validity period has not begun, or the time of issue lies in the future."""

    code: ClassVar[str] = "not_yet_valid"


class Revoked(CredentialError):
    """The status list says that the credential is invalid, for good."""

    code: ClassVar[str] = "revoked"


class Suspended(CredentialError):
    """The status list says that the credential is suspended or in an unknown state."""

    code: ClassVar[str] = "suspended"


class StatusUnavailable(CredentialError):
    """No fresh, authentic status list could be had, so the credential is not accepted."""

    code: ClassVar[str] = "status_unavailable"


class DisclosureInvalid(CredentialError):
    """A disclosure is malformed, duplicated, unreferenced, or conceals what must be open."""

    code: ClassVar[str] = "disclosure_invalid"


class KeyBindingMissing(CredentialError):
    """A presentation has no KB-JWT, or its credential is bound to no key."""

    code: ClassVar[str] = "key_binding_missing"


class KeyBindingUnexpected(CredentialError):
    """A KB-JWT stands where a credential as issued is expected."""

    code: ClassVar[str] = "key_binding_unexpected"


class KeyBindingExpired(CredentialError):
    """The KB-JWT was signed too long ago."""

    code: ClassVar[str] = "key_binding_expired"


class KeyBindingInFuture(CredentialError):
    """The KB-JWT claims to have been signed in the future."""

    code: ClassVar[str] = "key_binding_in_future"


class AudienceMismatch(CredentialError):
    """`aud` is not this verifier."""

    code: ClassVar[str] = "audience_mismatch"


class NonceMismatch(CredentialError):
    """`nonce` is not the one of this request."""

    code: ClassVar[str] = "nonce_mismatch"


class SdHashMismatch(CredentialError):
    """`sd_hash` does not cover the credential and disclosures that were presented."""

    code: ClassVar[str] = "sd_hash_mismatch"


class TransactionDataMismatch(CredentialError):
    """The signed transaction data hashes are not exactly those of the request."""

    code: ClassVar[str] = "transaction_data_mismatch"


class DidInvalid(CredentialError):
    """A DID is malformed, of an unsupported method, or does not match its document."""

    code: ClassVar[str] = "did_invalid"


class MalformedProof(CredentialError):
    """Sizes and indexes that no proof about a Merkle tree can have."""

    code: ClassVar[str] = "tree_proof_malformed"


class InvalidProof(CredentialError):
    """A proof about a Merkle tree that does not lead to the root."""

    code: ClassVar[str] = "tree_proof_invalid"
