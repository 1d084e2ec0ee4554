"""Token requests and answers (OpenID4VCI 1.0, section 6; RFC 6749; RFC 7523).

Three grants: wallets bring a pre-authorized code or an authorization code, partners authenticate
by `private_key_jwt` for client credentials. What a code or a client is worth is the caller's to
decide.
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from wallet_adapters.errors import Malformed
from wallet_adapters.oauth.par import AuthorizationCodeRequest, parse_code_request
from wallet_adapters.openid4vci.client_assertion import (
    CLIENT_ASSERTION_TYPE,
    UnverifiedClientAssertion,
    read_client_assertion,
)
from wallet_adapters.openid4vci.errors import (
    ClientAssertionInvalid,
    ClientAuthenticationRequired,
    TxCodeRequired,
    TxCodeUnexpected,
    TxCodeWrong,
    UnsupportedGrantType,
)
from wallet_adapters.wire import optional_text, parse_json, require_text

PRE_AUTHORIZED_CODE_GRANT: Final = "urn:ietf:params:oauth:grant-type:pre-authorized_code"
CLIENT_CREDENTIALS_GRANT: Final = "client_credentials"
AUTHORIZATION_CODE_GRANT: Final = "authorization_code"
MAX_CODE: Final = 512
MAX_TX_CODE: Final = 64
MAX_DETAILS_BYTES: Final = 8_192
MAX_SCOPES: Final = 32
_WHAT: Final = "the token request"


@dataclass(frozen=True)
class PreAuthorizedCodeRequest:
    """A wallet redeems an offer's code.

    `configuration_ids` are those it asks for by `authorization_details`, none when it did not;
    the answer must then name credential identifiers.
    """

    pre_authorized_code: str = field(repr=False)
    tx_code: str | None = field(default=None, repr=False)
    client_id: str | None = None
    configuration_ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClientCredentialsRequest:
    """A partner asks for a token of its own; the assertion is still to be verified."""

    client_assertion: UnverifiedClientAssertion
    scopes: tuple[str, ...] = ()

    @property
    def client_id(self) -> str:
        """The client that the assertion claims to be."""
        return self.client_assertion.client_id


def parse_token_request(
    form: Mapping[str, str],
) -> PreAuthorizedCodeRequest | AuthorizationCodeRequest | ClientCredentialsRequest:
    """Read the form of a token request; nothing in it is verified yet.

    Raises leaves of `WalletProtocolError`, among them `UnsupportedGrantType`.
    """
    grant_type = require_text(form, "grant_type", what=_WHAT, max_length=128)
    assertion = read_client_assertion(form)
    if assertion is not None and grant_type != CLIENT_CREDENTIALS_GRANT:
        # What is not checked must not look as if it had been (RFC 6749, section 3.2.1).
        raise ClientAssertionInvalid("wallets have no key registered here: send no assertion")
    if grant_type == PRE_AUTHORIZED_CODE_GRANT:
        return PreAuthorizedCodeRequest(
            pre_authorized_code=require_text(
                form, "pre-authorized_code", what=_WHAT, max_length=MAX_CODE
            ),
            tx_code=optional_text(form, "tx_code", what=_WHAT, max_length=MAX_TX_CODE),
            client_id=optional_text(form, "client_id", what=_WHAT),
            configuration_ids=requested_configurations(form.get("authorization_details")),
        )
    if grant_type == AUTHORIZATION_CODE_GRANT:
        return parse_code_request(form)
    if grant_type == CLIENT_CREDENTIALS_GRANT:
        if assertion is None:
            raise ClientAuthenticationRequired(
                "client_credentials needs client_assertion and client_assertion_type "
                f"{CLIENT_ASSERTION_TYPE}"
            )
        scope = optional_text(form, "scope", what=_WHAT) or ""
        scopes = tuple(scope.split(" ")) if scope else ()
        if not all(scopes) or len(set(scopes)) != len(scopes) or len(scopes) > MAX_SCOPES:
            raise Malformed(
                "scope is a list of different names with one space between", error="invalid_scope"
            )
        return ClientCredentialsRequest(client_assertion=assertion, scopes=scopes)
    raise UnsupportedGrantType(
        f"grant_type must be {PRE_AUTHORIZED_CODE_GRANT}, {AUTHORIZATION_CODE_GRANT} or "
        f"{CLIENT_CREDENTIALS_GRANT}"
    )


def require_tx_code(presented: str | None, expected: str | None) -> None:
    """Compare transaction codes in constant time (OpenID4VCI 1.0, section 6.3).

    The caller counts wrong tries and ends the offer after a few. A caller that keeps a hash of
    the code passes the hash of the presented one. Raises `TxCodeRequired`, `TxCodeUnexpected` or
    `TxCodeWrong`.
    """
    if expected is None:
        if presented is not None:
            raise TxCodeUnexpected("this offer has no transaction code; send none")
        return
    if not presented:
        raise TxCodeRequired("this offer needs the transaction code that was sent separately")
    if not hmac.compare_digest(presented.encode("utf-8", "replace"), expected.encode("utf-8")):
        raise TxCodeWrong("the transaction code is not the one that was sent")


def token_response(
    *,
    access_token: str,
    expires_in: int,
    scopes: Sequence[str] = (),
    credential_identifiers: Mapping[str, Sequence[str]] | None = None,
    bound: bool = False,
) -> dict[str, object]:
    """The body of a successful answer, to be sent with `Cache-Control: no-store`.

    `expires_in` is in seconds; `bound` says that the token goes with the key of a DPoP proof.
    `credential_identifiers` maps a configuration id to the identifiers granted for it; where it is
    given, the wallet must request by identifier. There is no `c_nonce` here: the final version has
    the nonce endpoint for that.
    """
    body: dict[str, object] = {
        "access_token": access_token,
        "token_type": "DPoP" if bound else "Bearer",
        "expires_in": expires_in,
    }
    if scopes:
        body["scope"] = " ".join(scopes)
    if credential_identifiers:
        body["authorization_details"] = [
            {
                "type": "openid_credential",
                "credential_configuration_id": configuration_id,
                "credential_identifiers": list(identifiers),
            }
            for configuration_id, identifiers in credential_identifiers.items()
        ]
    return body


def requested_configurations(text: str | None) -> tuple[str, ...]:
    """The configuration ids of `authorization_details` (OpenID4VCI 1.0, section 5.1.1).

    None was sent: none is named. Raises leaves of `WalletProtocolError`.
    """
    if text is None:
        return ()
    error = "invalid_authorization_details"  # RFC 9396, section 14.6
    details = parse_json(
        text, what="authorization_details", max_bytes=MAX_DETAILS_BYTES, error=error
    )
    if not isinstance(details, list) or not details:
        raise Malformed("authorization_details is a non-empty array", error=error)
    found: list[str] = []
    for detail in details:
        if not isinstance(detail, dict) or detail.get("type") != "openid_credential":
            raise Malformed("authorization_details hold objects of openid_credential", error=error)
        found.append(
            require_text(
                detail, "credential_configuration_id", what="authorization_details", error=error
            )
        )
    return tuple(dict.fromkeys(found))
