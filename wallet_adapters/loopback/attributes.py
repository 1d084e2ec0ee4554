"""Taking a credential of attributes from an offer, bound to a secret that nobody else learns."""

from dataclasses import dataclass

from credentials.jcs import b64url
from credentials.keys import SoftwareKey
from wallet_adapters.loopback.dpop import bound_to
from wallet_adapters.loopback.errors import CredentialRefused, OfferRefused
from wallet_adapters.loopback.issuance import (
    authorization_server_of,
    read_nonce,
    read_token,
    read_token_endpoint,
    token_request,
)
from wallet_adapters.loopback.state import Carry, HeldAttributes, Message, Wallet
from wallet_adapters.openid4vci import parse_offer_link, well_known_url
from wallet_adapters.openid4vci.attributes import (
    PROOF_TYPE,
    AttributesConfiguration,
    read_attributes_response,
    read_configuration,
)
from wallet_adapters.openid4vci.metadata import AUTHORIZATION_SERVER_METADATA, ISSUER_METADATA
from wallet_adapters.wire import require_object, require_url
from zkp import TYPED, HeldCredential, HolderCommitment, PublicKey, Schema, ZkpError, commit
from zkp.bbs import verify
from zkp.curve import Scalar

_WHAT = "the issuer metadata"


@dataclass(frozen=True)
class _Committed:
    """A commitment to a fresh secret, for one credential."""

    configuration: AttributesConfiguration
    schema: Schema
    nonce: str
    commitment: HolderCommitment
    secret: Scalar


def accept_attributes(
    wallet: Wallet,
    link: str,
    *,
    carry: Carry,
    now: int,
    tx_code: str,
    dpop_key: SoftwareKey | None = None,
) -> HeldAttributes:
    """Follow an offer of attributes, which goes by value, to its end and keep the credential.

    The secret that it is bound to is fresh: one that two issuers sign would link them. Raises
    leaves of `WalletProtocolError`; the wallet is unchanged then.
    """
    offer = parse_offer_link(link)
    if isinstance(offer, str) or len(offer.configuration_ids) != 1:
        raise OfferRefused("an offer of attributes holds itself, with one configuration")
    (name,) = offer.configuration_ids
    metadata = carry(Message.get(well_known_url(offer.issuer, ISSUER_METADATA))).json(_WHAT)
    if metadata.get("credential_issuer") != offer.issuer:
        raise OfferRefused(f"credential_issuer in {_WHAT} is not the one of the offer")
    supported = require_object(metadata, "credential_configurations_supported", what=_WHAT)
    configuration = read_configuration(supported, name)
    server = authorization_server_of(metadata, offer)
    address = well_known_url(server, AUTHORIZATION_SERVER_METADATA)
    endpoint = read_token_endpoint(carry(Message.get(address)), server)
    if dpop_key is not None:
        carry = bound_to(dpop_key, carry, now=now)
    token = read_token(carry(token_request(offer, endpoint, tx_code)), bound=dpop_key is not None)
    nonce_address = require_url(metadata, "nonce_endpoint", what=_WHAT)
    nonce = read_nonce(carry(Message("POST", nonce_address)))
    committed = _commit(configuration, nonce)
    body = {
        "credential_configuration_id": name,
        "proofs": {
            PROOF_TYPE: [{"nonce": nonce, "commitment": b64url(committed.commitment.to_bytes())}]
        },
    }
    credential_address = require_url(metadata, "credential_endpoint", what=_WHAT)
    answer = carry(Message.post_json(credential_address, body, token.value))
    held = _check(committed, answer.json("the credential answer"))
    wallet.attributes.append(held)
    return held


def _commit(configuration: AttributesConfiguration, nonce: str) -> _Committed:
    try:
        schema, _ = Schema.from_header(configuration.header)
        key = PublicKey.from_bytes(configuration.keys[0])
        commitment, secret = commit(key, configuration.header, schema, nonce.encode())
    except ZkpError as problem:
        raise OfferRefused(f"{_WHAT} describe no credential of attributes: {problem}") from problem
    return _Committed(configuration, schema, nonce, commitment, secret)


def _check(committed: _Committed, answer: dict[str, object]) -> HeldAttributes:
    """What came is signed, over these attributes and the wallet's own secret."""
    found = read_attributes_response(answer, committed.configuration)
    held = HeldCredential(found.key, found.header, found.signature, found.values, committed.secret)
    try:
        verify(found.key, found.signature, found.header, held.messages(committed.schema), TYPED)
    except ZkpError as problem:
        raise CredentialRefused(f"the credential does not verify: {problem}") from problem
    return HeldAttributes.of(held)
