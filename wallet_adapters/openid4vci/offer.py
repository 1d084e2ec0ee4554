"""Credential offers (OpenID4VCI 1.0, section 4.1): made by the issuer, read by a wallet."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import quote

from wallet_adapters.errors import ConflictingParameters, Malformed, MissingParameter
from wallet_adapters.openid4vci.token import AUTHORIZATION_CODE_GRANT, PRE_AUTHORIZED_CODE_GRANT
from wallet_adapters.wire import (
    is_url,
    optional_text,
    parse_json_object,
    parse_query,
    require_object,
    require_strings,
    require_text,
    require_url,
)

OFFER_SCHEME: Final = "openid-credential-offer://"
MAX_OFFER_BYTES: Final = 16_384
MAX_DESCRIPTION: Final = 300
MAX_TX_CODE: Final = 64


@dataclass(frozen=True)
class TxCode:
    """What a wallet must know to ask for the transaction code; the code itself goes another way.

    `length` is in characters, `description` has at most 300 of them.
    """

    input_mode: Literal["numeric", "text"] = "numeric"
    length: int | None = None
    description: str | None = None

    def __post_init__(self) -> None:
        if self.input_mode not in {"numeric", "text"}:
            raise Malformed("input_mode of a tx_code is numeric or text")
        if self.length is not None and not 0 < self.length <= MAX_TX_CODE:
            raise Malformed(f"length of a tx_code is 1 to {MAX_TX_CODE}")
        if self.description is not None and len(self.description) > MAX_DESCRIPTION:
            raise Malformed(f"description of a tx_code has at most {MAX_DESCRIPTION} characters")

    def as_dict(self) -> dict[str, object]:
        """The `tx_code` object of the offer."""
        value: dict[str, object] = {"input_mode": self.input_mode}
        if self.length is not None:
            value["length"] = self.length
        if self.description is not None:
            value["description"] = self.description
        return value


@dataclass(frozen=True)
class CredentialOffer:
    """An offer by pre-authorized code; whoever has it can fetch the credential, so guard it.

    With `issuer_state` the wallet may take the way of the authorization code instead.
    """

    issuer: str
    configuration_ids: tuple[str, ...]
    pre_authorized_code: str = field(repr=False)
    tx_code: TxCode | None = None
    authorization_server: str | None = None
    issuer_state: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not is_url(self.issuer):
            raise Malformed("credential_issuer of an offer is an absolute http or https address")
        ids = self.configuration_ids
        if not ids or len(set(ids)) != len(ids):
            raise Malformed("an offer names at least one configuration, each once")
        if not self.pre_authorized_code:
            raise MissingParameter("an offer needs its pre-authorized code")

    def as_dict(self) -> dict[str, object]:
        """The JSON object of the offer, served as `application/json` when offered by reference."""
        grant: dict[str, object] = {"pre-authorized_code": self.pre_authorized_code}
        if self.tx_code is not None:
            grant["tx_code"] = self.tx_code.as_dict()
        if self.authorization_server is not None:
            grant["authorization_server"] = self.authorization_server
        grants: dict[str, object] = {PRE_AUTHORIZED_CODE_GRANT: grant}
        if self.issuer_state is not None:
            grants[AUTHORIZATION_CODE_GRANT] = {"issuer_state": self.issuer_state}
        return {
            "credential_issuer": self.issuer,
            "credential_configuration_ids": list(self.configuration_ids),
            "grants": grants,
        }

    def by_value(self, scheme: str = OFFER_SCHEME) -> str:
        """The link that holds the whole offer, for a wallet on the same device."""
        text = json.dumps(self.as_dict(), separators=(",", ":"), ensure_ascii=False)
        return f"{scheme}?credential_offer={quote(text, safe='')}"

    def by_reference(self, uri: str, scheme: str = OFFER_SCHEME) -> str:
        """The link that names where the offer is, short enough for a QR code.

        `uri` must hold an unguessable part of its own. Raises `Malformed` when it is no address.
        """
        if not is_url(uri):
            raise Malformed("credential_offer_uri is an absolute http or https address")
        return f"{scheme}?credential_offer_uri={quote(uri, safe='')}"


def parse_offer_link(link: str) -> CredentialOffer | str:
    """Read an offer link: the offer itself, or the address that it is to be fetched from.

    Raises leaves of `WalletProtocolError`.
    """
    what = "the credential offer link"
    fields = parse_query(link, what=what, max_bytes=MAX_OFFER_BYTES)
    if "credential_offer" in fields and "credential_offer_uri" in fields:
        raise ConflictingParameters(f"{what} holds an offer and a reference; it may hold one")
    if "credential_offer_uri" in fields:
        return require_url(fields, "credential_offer_uri", what=what)
    text = require_text(fields, "credential_offer", what=what, max_length=MAX_OFFER_BYTES)
    return parse_offer(text)


def parse_offer(data: bytes | str | Mapping[str, object]) -> CredentialOffer:
    """Read the JSON object of an offer that has a pre-authorized code.

    Unknown members are ignored, as the specification demands. Raises leaves of
    `WalletProtocolError`.
    """
    what = "the credential offer"
    value = parse_json_object(data, what=what, max_bytes=MAX_OFFER_BYTES)
    grants = require_object(value, "grants", what=what)
    grant = require_object(grants, PRE_AUTHORIZED_CODE_GRANT, what=what)
    tx_code = grant.get("tx_code")
    other = (
        require_object(grants, AUTHORIZATION_CODE_GRANT, what=what)
        if AUTHORIZATION_CODE_GRANT in grants
        else {}
    )
    return CredentialOffer(
        issuer=require_url(value, "credential_issuer", what=what),
        configuration_ids=require_strings(value, "credential_configuration_ids", what=what),
        pre_authorized_code=require_text(grant, "pre-authorized_code", what=what),
        tx_code=None if tx_code is None else _parse_tx_code(grant),
        authorization_server=optional_text(grant, "authorization_server", what=what),
        issuer_state=optional_text(other, "issuer_state", what=what),
    )


def _parse_tx_code(grant: Mapping[str, object]) -> TxCode:
    what = "the tx_code of the offer"
    value = require_object(grant, "tx_code", what=what)
    mode = value.get("input_mode", "numeric")
    length = value.get("length")
    if mode not in ("numeric", "text"):
        raise Malformed(f"input_mode in {what} is numeric or text")
    if length is not None and (isinstance(length, bool) or not isinstance(length, int)):
        raise Malformed(f"length in {what} is a whole number")
    return TxCode(
        input_mode="text" if mode == "text" else "numeric",
        length=length,
        description=optional_text(value, "description", what=what),
    )
