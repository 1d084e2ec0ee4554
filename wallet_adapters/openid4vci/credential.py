"""Nonce, credential and notification endpoints (OpenID4VCI 1.0, sections 7, 8 and 11)."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from wallet_adapters.errors import Malformed
from wallet_adapters.openid4vci.errors import (
    BatchTooLarge,
    EncryptionNotOffered,
    InvalidCredentialRequest,
    InvalidNotification,
    ProofMissing,
    UnknownCredentialConfiguration,
    UnknownCredentialIdentifier,
)
from wallet_adapters.openid4vci.proof import MAX_PROOF
from wallet_adapters.wire import optional_text, parse_json_object, require_text

NOTIFICATION_EVENTS: Final = ("credential_accepted", "credential_failure", "credential_deleted")
MAX_REQUEST_BYTES: Final = 262_144
MAX_NOTIFICATION_BYTES: Final = 8_192
_WHAT: Final = "the credential request"
_ERROR: Final = "invalid_credential_request"


@dataclass(frozen=True)
class CredentialRequest:
    """What a wallet asks for: exactly one of the two names, and a key proof for each copy."""

    configuration_id: str | None
    credential_identifier: str | None
    proofs: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True)
class Notification:
    """What became of the credentials of one response."""

    notification_id: str
    event: str
    description: str | None = None


def nonce_response(c_nonce: str) -> dict[str, str]:
    """The body of the nonce endpoint's answer; send it with `Cache-Control: no-store`.

    `c_nonce` is unpredictable, short-lived, and good for one credential request.
    """
    return {"c_nonce": c_nonce}


def parse_credential_request(
    body: bytes | Mapping[str, object], *, max_batch: int
) -> CredentialRequest:
    """Read a credential request; the proofs are still to be verified by `verify_key_proofs`.

    `max_batch` is the `batch_size` of the metadata, or 1. Unknown members are ignored. Raises
    leaves of `WalletProtocolError` with the error values of section 8.3.1.2.
    """
    value = parse_json_object(body, what=_WHAT, max_bytes=MAX_REQUEST_BYTES, error=_ERROR)
    configuration_id = optional_text(value, "credential_configuration_id", what=_WHAT, error=_ERROR)
    identifier = optional_text(value, "credential_identifier", what=_WHAT, error=_ERROR)
    if (configuration_id is None) == (identifier is None):
        raise InvalidCredentialRequest(
            f"{_WHAT} needs credential_configuration_id or credential_identifier, and not both"
        )
    if value.get("credential_response_encryption") is not None:
        raise EncryptionNotOffered("this issuer does not encrypt credential responses")
    return CredentialRequest(
        configuration_id=configuration_id,
        credential_identifier=identifier,
        proofs=_proofs(value, max_batch),
    )


def resolve_configuration(
    request: CredentialRequest,
    *,
    configuration_ids: Collection[str],
    credential_identifiers: Mapping[str, str] | None = None,
) -> str:
    """The configuration id that a request means (section 8.2).

    `configuration_ids` are those that the access token allows; `credential_identifiers` maps each
    identifier of the token answer to its configuration id, and where there are any, only they may
    be used. Raises `UnknownCredentialConfiguration`, `UnknownCredentialIdentifier` or
    `InvalidCredentialRequest`.
    """
    if request.credential_identifier is not None:
        found = (credential_identifiers or {}).get(request.credential_identifier)
        if found is None:
            raise UnknownCredentialIdentifier(
                "credential_identifier must be one of the token answer's authorization_details"
            )
        return found
    if credential_identifiers:
        raise InvalidCredentialRequest(
            "the token answer named credential_identifiers; request by one of them"
        )
    if request.configuration_id is None or request.configuration_id not in configuration_ids:
        raise UnknownCredentialConfiguration(
            "credential_configuration_id must be one that the offer named"
        )
    return request.configuration_id


def credential_response(
    credentials: Sequence[str], notification_id: str | None = None
) -> dict[str, object]:
    """The body of a successful answer (section 8.3): each credential in an object of its own.

    Raises `Malformed` when there is none, or one is no SD-JWT as issued (it ends in `~`).
    """
    if not credentials or not all(credential.endswith("~") for credential in credentials):
        raise Malformed("a credential response holds SD-JWTs, each with its trailing tilde")
    body: dict[str, object] = {
        "credentials": [{"credential": credential} for credential in credentials]
    }
    if notification_id is not None:
        body["notification_id"] = notification_id
    return body


def parse_notification(body: bytes | Mapping[str, object]) -> Notification:
    """Read a notification (section 11.1). Raises leaves of `WalletProtocolError`."""
    what, error = "the notification", "invalid_notification_request"
    value = parse_json_object(body, what=what, max_bytes=MAX_NOTIFICATION_BYTES, error=error)
    event = require_text(value, "event", what=what, error=error)
    if event not in NOTIFICATION_EVENTS:
        raise InvalidNotification(f"event must be one of: {', '.join(NOTIFICATION_EVENTS)}")
    return Notification(
        notification_id=require_text(value, "notification_id", what=what, error=error),
        event=event,
        description=optional_text(value, "event_description", what=what, error=error),
    )


def _proofs(value: Mapping[str, object], max_batch: int) -> tuple[str, ...]:
    if "proof" in value:
        raise InvalidCredentialRequest("proof is of a draft; send proofs with the member jwt")
    proofs = value.get("proofs")
    if proofs is None:
        raise ProofMissing(f"{_WHAT} needs proofs with the member jwt, one for each copy")
    if not isinstance(proofs, dict) or list(proofs) != ["jwt"]:
        raise ProofMissing("proofs must hold the one member jwt, the proof type on offer")
    jwts = proofs["jwt"]
    if not isinstance(jwts, list) or not jwts:
        raise ProofMissing("jwt in proofs must be a non-empty array")
    if len(jwts) > max_batch:
        raise BatchTooLarge(f"{len(jwts)} proofs came; batch_size is {max_batch}")
    found = tuple(jwt for jwt in jwts if isinstance(jwt, str) and 0 < len(jwt) <= MAX_PROOF)
    if len(found) != len(jwts):
        raise ProofMissing(f"jwt in proofs holds strings of at most {MAX_PROOF} characters")
    return found
