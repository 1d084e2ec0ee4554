"""Credentials of typed attributes (BBS) as a format of OpenID4VCI: offered, asked for, delivered.

The format `consent-broker-bbs+1` has in the issuer's metadata (section 12.2.4), beside what every
configuration has,

    header       base64url of the canonical JSON signed beside the attributes: schema and issuer
    issuer_keys  the issuer's BBS keys (96 bytes, base64url), the one that signs now first

and its own proof type: the credential request (section 8.2) holds

    proofs       {"holder_commitment": [{"nonce": c_nonce, "commitment": base64url}]}

one commitment to a holder's secret (`zkp.holder`, 112 bytes), made for the key, the header and the
ASCII text of the nonce. The answer's one credential is an object: `issuer_key`, `header`,
`signature` (80 bytes) and `values`, the attributes. A later version takes another name.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from credentials.jcs import b64url
from wallet_adapters.errors import Malformed
from wallet_adapters.openid4vci.credential import MAX_REQUEST_BYTES
from wallet_adapters.openid4vci.errors import (
    InvalidCredentialRequest,
    ProofInvalid,
    ProofMissing,
    UnknownCredentialConfiguration,
)
from wallet_adapters.wire import (
    decode_base64url,
    optional_text,
    parse_json_object,
    require_object,
    require_strings,
    require_text,
)
from zkp import HolderCommitment, PublicKey, Schema, Signature, Value, ZkpError
from zkp.holder import COMMITMENT_BYTES

FORMAT: Final = "consent-broker-bbs+1"
PROOF_TYPE: Final = "holder_commitment"
PREFIX: Final = "attributes:"
MAX_HEADER: Final = 131_072
_WHAT: Final = "the credential request"
_ERROR: Final = "invalid_credential_request"


@dataclass(frozen=True)
class AttributesConfiguration:
    """A kind of credential as the issuer describes it; `keys` are 96 bytes each, newest first."""

    header: bytes
    keys: tuple[bytes, ...]

    def as_dict(self) -> dict[str, object]:
        """The value for `credential_configurations_supported`."""
        return {
            "format": FORMAT,
            "header": b64url(self.header),
            "issuer_keys": [b64url(key) for key in self.keys],
            "credential_signing_alg_values_supported": ["BBS-BLS12-381-SHA-256"],
            "cryptographic_binding_methods_supported": [PROOF_TYPE],
            "proof_types_supported": {
                PROOF_TYPE: {"proof_signing_alg_values_supported": ["BLS12-381-SHA-256"]}
            },
        }


@dataclass(frozen=True)
class AttributesRequest:
    """What a wallet asks for: a kind of credential, bound to the secret that it commits to."""

    configuration_id: str
    nonce: str
    commitment: HolderCommitment = field(repr=False)


@dataclass(frozen=True)
class DeliveredAttributes:
    """A credential as it came: of valid form, and its signature still to be checked."""

    key: PublicKey
    header: bytes
    signature: Signature
    values: Mapping[str, Value] = field(repr=False)


def configuration_id(type_id: str) -> str:
    """The id under which a kind of credential is offered."""
    return PREFIX + type_id


def read_configuration(
    supported: Mapping[str, object], configuration: str
) -> AttributesConfiguration:
    """A kind of credential of the issuer's metadata. Raises leaves of `WalletProtocolError`."""
    what = "the issuer metadata"
    told = require_object(supported, configuration, what=what)
    if told.get("format") != FORMAT:
        raise UnknownCredentialConfiguration(f"{configuration} is of another format than {FORMAT}")
    header = require_text(told, "header", what=what, max_length=MAX_HEADER)
    keys = require_strings(told, "issuer_keys", what=what)
    return AttributesConfiguration(
        decode_base64url(header, what="header"),
        tuple(decode_base64url(key, what="issuer_keys") for key in keys),
    )


def parse_attributes_request(body: bytes | Mapping[str, object]) -> AttributesRequest:
    """Read a credential request. Raises leaves of `WalletProtocolError`."""
    value = parse_json_object(body, what=_WHAT, max_bytes=MAX_REQUEST_BYTES, error=_ERROR)
    asked = [
        optional_text(value, name, what=_WHAT, error=_ERROR)
        for name in ("credential_configuration_id", "credential_identifier")
    ]
    named = [one for one in asked if one is not None]
    if len(named) != 1:
        raise InvalidCredentialRequest(
            f"{_WHAT} needs credential_configuration_id or credential_identifier, and not both"
        )
    proofs = value.get("proofs")
    if not isinstance(proofs, dict) or list(proofs) != [PROOF_TYPE]:
        raise ProofMissing(f"proofs must hold the one member {PROOF_TYPE}")
    commitments = proofs[PROOF_TYPE]
    if not isinstance(commitments, list) or len(commitments) != 1:
        raise ProofMissing(f"{PROOF_TYPE} in proofs is an array of one commitment")
    (told,) = commitments
    if not isinstance(told, dict):
        raise ProofInvalid("a holder's commitment has nonce and commitment")
    nonce = require_text(told, "nonce", what=_WHAT, error="invalid_nonce")
    text = require_text(
        told,
        "commitment",
        what=_WHAT,
        max_length=(COMMITMENT_BYTES * 4 + 2) // 3,
        error="invalid_proof",
    )
    try:
        data = decode_base64url(text, what="commitment", error="invalid_proof")
        return AttributesRequest(named[0], nonce, HolderCommitment.from_bytes(data))
    except ZkpError as problem:
        raise ProofInvalid(str(problem)) from problem


def attributes_response(
    key: PublicKey, header: bytes, signature: Signature, values: Mapping[str, Value]
) -> dict[str, object]:
    """The body of the successful answer (section 8.3)."""
    credential = {
        "issuer_key": b64url(key.data),
        "header": b64url(header),
        "signature": b64url(signature.to_bytes()),
        "values": dict(values),
    }
    return {"credentials": [{"credential": credential}]}


def read_attributes_response(
    value: Mapping[str, object], configuration: AttributesConfiguration
) -> DeliveredAttributes:
    """The credential of an answer: of the kind and by a key of the issuer's metadata.

    Raises leaves of `WalletProtocolError`.
    """
    what = "the credential answer"
    entries = value.get("credentials")
    entry = entries[0] if isinstance(entries, list) and len(entries) == 1 else None
    if not isinstance(entry, dict):
        raise Malformed(f"{what} holds one credential")
    told = require_object(entry, "credential", what=what)
    key, header, signature = (
        decode_base64url(
            require_text(told, name, what=what, max_length=MAX_HEADER), what=f"{name} in {what}"
        )
        for name in ("issuer_key", "header", "signature")
    )
    if key not in configuration.keys or header != configuration.header:
        raise Malformed(f"{what} is of another kind or key than the issuer's metadata have")
    values: dict[str, Value] = {}
    for name, one in require_object(told, "values", what=what).items():
        if type(one) is not int and not isinstance(one, str):
            raise Malformed("an attribute is a whole number or a text")
        values[name] = one
    try:
        Schema.from_header(header)[0].scalars(values)
        return DeliveredAttributes(
            PublicKey.from_bytes(key), header, Signature.from_bytes(signature), values
        )
    except ZkpError as problem:
        raise Malformed(f"{what} holds no credential of attributes: {problem}") from problem
