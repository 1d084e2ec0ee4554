"""Accepting a credential offer (OpenID4VCI 1.0, the wallet's side)."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from credentials.errors import CredentialError
from credentials.keys import SoftwareKey, sign_jws, thumbprint
from credentials.status import StatusCheck
from credentials.verify import verify_credential
from wallet_adapters.errors import Malformed
from wallet_adapters.loopback.dpop import bound_to
from wallet_adapters.loopback.errors import CredentialRefused, OfferRefused
from wallet_adapters.loopback.state import Answer, Carry, HeldCredential, Message, Wallet
from wallet_adapters.openid4vci.metadata import (
    AUTHORIZATION_SERVER_METADATA,
    FORMAT,
    ISSUER_METADATA,
    well_known_url,
)
from wallet_adapters.openid4vci.offer import CredentialOffer, parse_offer, parse_offer_link
from wallet_adapters.openid4vci.proof import PROOF_TYPE
from wallet_adapters.openid4vci.token import PRE_AUTHORIZED_CODE_GRANT
from wallet_adapters.wire import (
    is_url,
    parse_json_object,
    require_object,
    require_strings,
    require_text,
    require_url,
)

ALGORITHM: Final = "ES256"
BATCH_BYTES: Final = 8
_METADATA: Final = "the issuer metadata"


@dataclass(frozen=True)
class IssuerDescription:
    """What the wallet needs of the issuer's metadata; `types` maps configuration id to vct."""

    issuer: str
    credential_endpoint: str
    nonce_endpoint: str | None
    authorization_server: str
    batch_size: int
    types: Mapping[str, str]


@dataclass(frozen=True)
class AccessToken:
    """A bearer token; `identifiers` maps configuration id to the identifiers to request by."""

    value: str = field(repr=False)
    identifiers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


def accept_offer(
    wallet: Wallet,
    link: str,
    *,
    carry: Carry,
    now: int,
    tx_code: str | None = None,
    copies: int = 1,
    dpop_key: SoftwareKey | None = None,
    key: SoftwareKey | None = None,
) -> list[HeldCredential]:
    """Follow an offer link to its end and keep the credentials that come.

    For each offered configuration the wallet makes `copies` fresh ES256 keys, at most the
    issuer's batch size, and takes one credential for each. With `dpop_key` its token is bound to
    that key; with `key` there is one credential of each, bound to it. Returns what was
    added to the wallet.
    Raises leaves of `WalletProtocolError`; the wallet is unchanged then.
    """
    found = parse_offer_link(link)
    if isinstance(found, str):
        found = parse_offer(carry(Message.get(found)).json("the credential offer"))
    address = well_known_url(found.issuer, ISSUER_METADATA)
    description = read_issuer_metadata(carry(Message.get(address)), found)
    address = well_known_url(description.authorization_server, AUTHORIZATION_SERVER_METADATA)
    endpoint = read_token_endpoint(carry(Message.get(address)), description.authorization_server)
    if dpop_key is not None:
        carry = bound_to(dpop_key, carry, now=now)
    token = read_token(carry(token_request(found, endpoint, tx_code)), bound=dpop_key is not None)
    received: list[HeldCredential] = []
    for configuration_id in found.configuration_ids:
        count = max(1, min(copies, description.batch_size))
        keys = [SoftwareKey.generate(ALGORITHM) for _ in range(count)] if key is None else [key]
        c_nonce = None
        if description.nonce_endpoint is not None:
            c_nonce = read_nonce(carry(Message("POST", description.nonce_endpoint)))
        message = credential_request(
            description, configuration_id, token=token, c_nonce=c_nonce, keys=keys, now=now
        )
        received += read_credentials(
            carry(message),
            description=description,
            configuration_id=configuration_id,
            keys=keys,
            anchors=wallet.anchors,
            now=now,
        )
    wallet.credentials += received
    return received


def read_issuer_metadata(answer: Answer, offer: CredentialOffer) -> IssuerDescription:
    """Read the metadata of the issuer that made the offer. Raises leaves of the family."""
    value = answer.json(_METADATA)
    if value.get("credential_issuer") != offer.issuer:
        # Section 12.2.4: compared as strings; otherwise the document must not be used.
        raise OfferRefused(f"credential_issuer in {_METADATA} is not the one of the offer")
    supported = require_object(value, "credential_configurations_supported", what=_METADATA)
    return IssuerDescription(
        issuer=offer.issuer,
        credential_endpoint=require_url(value, "credential_endpoint", what=_METADATA),
        nonce_endpoint=(
            require_url(value, "nonce_endpoint", what=_METADATA)
            if "nonce_endpoint" in value
            else None
        ),
        authorization_server=authorization_server_of(value, offer),
        batch_size=_batch_size(value),
        types={name: _type_of(supported, name) for name in offer.configuration_ids},
    )


def read_token_endpoint(answer: Answer, authorization_server: str) -> str:
    """Read the token endpoint from the metadata of an authorization server (RFC 8414)."""
    what = "the authorization server metadata"
    value = answer.json(what)
    if value.get("issuer") != authorization_server:
        raise OfferRefused(f"issuer in {what} is not the authorization server it was fetched from")
    return require_url(value, "token_endpoint", what=what)


def token_request(offer: CredentialOffer, endpoint: str, tx_code: str | None = None) -> Message:
    """Redeem the offer's code. Raises `OfferRefused` when a transaction code is needed."""
    fields = {
        "grant_type": PRE_AUTHORIZED_CODE_GRANT,
        "pre-authorized_code": offer.pre_authorized_code,
    }
    if offer.tx_code is not None:
        if not tx_code:
            raise OfferRefused("this offer needs the transaction code that was sent separately")
        fields["tx_code"] = tx_code
    return Message.post_form(endpoint, fields)


def read_token(answer: Answer, *, bound: bool = False) -> AccessToken:
    """Read the token answer (section 6.2); one that was to be bound to a key has to be."""
    what = "the token answer"
    value = answer.json(what)
    wanted = "dpop" if bound else "bearer"
    if require_text(value, "token_type", what=what).lower() != wanted:
        raise OfferRefused(f"this wallet takes a token of type {wanted} here")
    identifiers: dict[str, tuple[str, ...]] = {}
    details = value.get("authorization_details", [])
    for detail in details if isinstance(details, list) else []:
        if not isinstance(detail, dict) or detail.get("type") != "openid_credential":
            continue
        name = require_text(detail, "credential_configuration_id", what=what)
        identifiers[name] = require_strings(detail, "credential_identifiers", what=what)
    return AccessToken(
        value=require_text(value, "access_token", what=what, max_length=8_192),
        identifiers=identifiers,
    )


def read_nonce(answer: Answer) -> str:
    """Read the answer of the nonce endpoint (section 7.2)."""
    return require_text(answer.json("the nonce answer"), "c_nonce", what="the nonce answer")


def credential_request(
    description: IssuerDescription,
    configuration_id: str,
    *,
    token: AccessToken,
    c_nonce: str | None,
    keys: Sequence[SoftwareKey],
    now: int,
) -> Message:
    """Ask for one credential for each key, proving each key (section 8.2, appendix F.1)."""
    claims = {"aud": description.issuer, "iat": now}
    if c_nonce is not None:
        claims["nonce"] = c_nonce
    proofs = [
        sign_jws(key, {"typ": PROOF_TYPE, "jwk": key.public_jwk()}, dict(claims)) for key in keys
    ]
    body: dict[str, object] = {"proofs": {"jwt": proofs}}
    if configuration_id in token.identifiers:
        body["credential_identifier"] = token.identifiers[configuration_id][0]
    else:
        body["credential_configuration_id"] = configuration_id
    return Message.post_json(description.credential_endpoint, body, token.value)


def read_credentials(
    answer: Answer,
    *,
    description: IssuerDescription,
    configuration_id: str,
    keys: Sequence[SoftwareKey],
    anchors: Sequence[bytes],
    now: int,
) -> list[HeldCredential]:
    """Check the credentials that came: each by itself, and each bound to a key of its own.

    Raises `CredentialRefused` or another leaf of `WalletProtocolError`.
    """
    value = answer.json("the credential answer")
    entries = value.get("credentials")
    if not isinstance(entries, list) or not 0 < len(entries) <= len(keys):
        raise CredentialRefused("the answer needs credentials, at most one for each key")
    unbound = {thumbprint(key.public_jwk()): key for key in keys}
    held: list[HeldCredential] = []
    for entry in entries:
        text = entry.get("credential") if isinstance(entry, dict) else None
        if not isinstance(text, str):
            raise CredentialRefused("each entry of credentials needs credential, a string")
        held.append(_check(text, description, configuration_id, unbound, anchors, now))
    batch = secrets.token_hex(BATCH_BYTES)
    return [replace(one, batch=batch) for one in held]


def _check(
    text: str,
    description: IssuerDescription,
    configuration_id: str,
    unbound: dict[str, SoftwareKey],
    anchors: Sequence[bytes],
    now: int,
) -> HeldCredential:
    try:
        # It must end in a tilde: without one it is an SD-JWT+KB, which nobody issues.
        # Its status is the verifier's concern: no list need be published yet.
        verified = verify_credential(
            text,
            anchors=anchors,
            now=now,
            vct=description.types[configuration_id],
            status=StatusCheck.BY_CALLER,
        )
        bound = "" if verified.holder_jwk is None else thumbprint(verified.holder_jwk)
    except CredentialError as problem:
        raise CredentialRefused(f"the credential does not verify: {problem}") from problem
    key = unbound.pop(bound, None)
    if key is None:
        raise CredentialRefused(
            "the credential is bound to no key of this request, or to one twice"
        )
    return HeldCredential(
        credential=text,
        holder_key=key.private_jwk(),
        issuer=verified.issuer or "",
        vct=verified.vct,
        configuration_id=configuration_id,
    )


def authorization_server_of(value: Mapping[str, object], offer: CredentialOffer) -> str:
    """The authorization server of an offer, by its issuer's metadata."""
    if "authorization_servers" not in value:
        if offer.authorization_server is not None:
            raise OfferRefused("the offer names an authorization server that the metadata lacks")
        return offer.issuer
    servers = require_strings(value, "authorization_servers", what=_METADATA)
    chosen = offer.authorization_server or servers[0]
    if chosen not in servers or not is_url(chosen):
        raise OfferRefused("the offer's authorization server is not one of the metadata")
    return chosen


def _batch_size(value: Mapping[str, object]) -> int:
    if "batch_credential_issuance" not in value:
        return 1
    size = require_object(value, "batch_credential_issuance", what=_METADATA).get("batch_size")
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise Malformed(f"batch_size in {_METADATA} is a positive number")
    return size


def _type_of(supported: Mapping[str, object], configuration_id: str) -> str:
    if configuration_id not in supported:
        raise OfferRefused("the offer names a configuration that the metadata lacks")
    configuration = require_object(supported, configuration_id, what=_METADATA)
    if configuration.get("format") != FORMAT:
        raise OfferRefused(f"this wallet takes credentials of format {FORMAT} only")
    proof_types = configuration.get("proof_types_supported")
    proof = parse_json_object(
        proof_types if isinstance(proof_types, dict) else {}, what="proof_types_supported"
    ).get("jwt")
    algorithms = proof.get("proof_signing_alg_values_supported") if isinstance(proof, dict) else []
    if not isinstance(algorithms, list) or ALGORITHM not in algorithms:
        raise OfferRefused(f"this wallet proves keys by jwt with {ALGORITHM} only")
    return require_text(configuration, "vct", what=_METADATA)
