"""Metadata documents of the issuer and of its authorization server, and where they are served.

OpenID4VCI 1.0, section 12.2, and RFC 8414. Credentials are SD-JWT VCs bound to a key that the
wallet proves by a `jwt` proof.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol
from urllib.parse import urlsplit

from wallet_adapters.errors import Malformed
from wallet_adapters.oauth.pkce import METHOD as PKCE_METHOD
from wallet_adapters.openid4vci.token import (
    AUTHORIZATION_CODE_GRANT,
    CLIENT_CREDENTIALS_GRANT,
    PRE_AUTHORIZED_CODE_GRANT,
)
from wallet_adapters.wire import is_url

FORMAT: Final = "dc+sd-jwt"
ISSUER_METADATA: Final = "openid-credential-issuer"
AUTHORIZATION_SERVER_METADATA: Final = "oauth-authorization-server"
MIN_BATCH_SIZE: Final = 2


class Described(Protocol):
    """A kind of credential of any format, as metadata describe it."""

    def as_dict(self) -> dict[str, object]:
        """The value for `credential_configurations_supported`."""


@dataclass(frozen=True)
class CredentialConfiguration:
    """One kind of credential on offer (OpenID4VCI 1.0, sections 12.2.4 and A.3).

    `names` maps a language tag to the display name, `claims` a claim name to its display names.
    """

    vct: str
    scope: str
    names: Mapping[str, str]
    description: str = ""
    claims: Mapping[str, Mapping[str, str]] | None = None
    signing_algorithms: Sequence[str] = ("ES256",)
    proof_algorithms: Sequence[str] = ("ES256",)

    def as_dict(self) -> dict[str, object]:
        """The value for `credential_configurations_supported`."""
        display = [
            {
                "name": name,
                "locale": locale,
                **({"description": self.description} if self.description else {}),
            }
            for locale, name in self.names.items()
        ]
        claims = [
            {
                "path": [claim],
                **({"display": _display(names)} if names else {}),
            }
            for claim, names in (self.claims or {}).items()
        ]
        # Wallets tell the final version from drafts by the presence of credential_metadata.
        metadata: dict[str, object] = {"display": display}
        if claims:
            metadata["claims"] = claims
        return {
            "format": FORMAT,
            "vct": self.vct,
            "scope": self.scope,
            "cryptographic_binding_methods_supported": ["jwk"],
            "credential_signing_alg_values_supported": list(self.signing_algorithms),
            "proof_types_supported": {
                "jwt": {"proof_signing_alg_values_supported": list(self.proof_algorithms)}
            },
            "credential_metadata": metadata,
        }


def issuer_metadata(
    *,
    issuer_url: str,
    credential_endpoint: str,
    nonce_endpoint: str,
    credential_configurations: Mapping[str, Described],
    notification_endpoint: str | None = None,
    deferred_credential_endpoint: str | None = None,
    authorization_servers: Sequence[str] = (),
    names: Mapping[str, str] | None = None,
    batch_size: int | None = None,
) -> dict[str, object]:
    """The document of `/.well-known/openid-credential-issuer`.

    `authorization_servers` stays empty when the issuer is its own. `batch_size` is the number of
    key proofs, hence of copies, in one request; None or 1 offers no batch. `names` maps a
    language tag to the issuer's display name. Raises `Malformed` for addresses that are none.
    """
    endpoints = [issuer_url, credential_endpoint, nonce_endpoint, *authorization_servers]
    optional = {
        "deferred_credential_endpoint": deferred_credential_endpoint,
        "notification_endpoint": notification_endpoint,
    }
    offered = {name: address for name, address in optional.items() if address is not None}
    endpoints += offered.values()
    _require_urls(endpoints)
    if not credential_configurations:
        raise Malformed("issuer metadata needs at least one credential configuration")
    document: dict[str, object] = {"credential_issuer": issuer_url}
    if authorization_servers:
        document["authorization_servers"] = list(authorization_servers)
    document |= {"credential_endpoint": credential_endpoint, "nonce_endpoint": nonce_endpoint}
    document |= offered
    if batch_size is not None and batch_size >= MIN_BATCH_SIZE:
        document["batch_credential_issuance"] = {"batch_size": batch_size}
    if names:
        document["display"] = _display(names)
    document["credential_configurations_supported"] = {
        name: configuration.as_dict() for name, configuration in credential_configurations.items()
    }
    return document


def authorization_server_metadata(
    *,
    issuer_url: str,
    token_endpoint: str,
    jwks_uri: str | None = None,
    scopes: Sequence[str] = (),
    client_assertion_algorithms: Sequence[str] = ("ES256", "Ed25519", "EdDSA"),
    dpop_algorithms: Sequence[str] = (),
    authorization_endpoint: str | None = None,
    pushed_request_endpoint: str | None = None,
    revocation_endpoint: str | None = None,
) -> dict[str, object]:
    """The document of `/.well-known/oauth-authorization-server` (RFC 8414).

    Wallets come anonymously with a pre-authorized code (`none`), partners with `private_key_jwt`.
    `dpop_algorithms` are those of DPoP proofs (RFC 9449, section 5.1), none where tokens are
    never bound. With an authorization endpoint goes the endpoint where requests are pushed, which
    is required (RFC 9126); without one there is no `response_types_supported` (OpenID4VCI 1.0,
    section 12.3, allows its absence). `revocation_endpoint` takes tokens back (RFC 7009). Raises
    `Malformed`.
    """
    optional = (jwks_uri, authorization_endpoint, pushed_request_endpoint, revocation_endpoint)
    _require_urls([issuer_url, token_endpoint, *(one for one in optional if one is not None)])
    if (authorization_endpoint is None) != (pushed_request_endpoint is None):
        raise Malformed(
            "requests to the authorization endpoint are pushed: both are there, or none"
        )
    document: dict[str, object] = {"issuer": issuer_url, "token_endpoint": token_endpoint}
    if jwks_uri is not None:
        document["jwks_uri"] = jwks_uri
    if scopes:
        document["scopes_supported"] = list(scopes)
    if dpop_algorithms:
        document["dpop_signing_alg_values_supported"] = list(dpop_algorithms)
    grants = [PRE_AUTHORIZED_CODE_GRANT, CLIENT_CREDENTIALS_GRANT]
    if authorization_endpoint is not None:
        grants.append(AUTHORIZATION_CODE_GRANT)
        document |= {
            "authorization_endpoint": authorization_endpoint,
            "pushed_authorization_request_endpoint": pushed_request_endpoint,
            "require_pushed_authorization_requests": True,
            "authorization_response_iss_parameter_supported": True,
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "code_challenge_methods_supported": [PKCE_METHOD],
        }
    authentication = {
        "auth_methods_supported": ["none", "private_key_jwt"],
        "auth_signing_alg_values_supported": list(client_assertion_algorithms),
    }
    document |= {f"token_endpoint_{name}": value for name, value in authentication.items()}
    if revocation_endpoint is not None:
        document["revocation_endpoint"] = revocation_endpoint
        document |= {f"revocation_endpoint_{name}": value for name, value in authentication.items()}
    return document | {
        "grant_types_supported": grants,
        "pre-authorized_grant_anonymous_access_supported": True,
    }


def well_known_url(identifier: str, name: str) -> str:
    """Where the metadata document `name` of `identifier` is (RFC 8414, section 3).

    The well-known part goes between host and path: `https://host/.well-known/{name}/path`.
    Raises `Malformed` when the identifier is no address or has a query or fragment.
    """
    _require_urls([identifier])
    parts = urlsplit(identifier)
    if parts.query or parts.fragment or identifier.endswith(("?", "#")):
        raise Malformed("an issuer identifier has neither query nor fragment")
    return f"{parts.scheme}://{parts.netloc}/.well-known/{name}{parts.path.rstrip('/')}"


def _display(names: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "locale": locale} for locale, name in names.items()]


def _require_urls(addresses: Sequence[str]) -> None:
    for address in addresses:
        if not is_url(address):
            raise Malformed(f"{address!r} is no absolute http or https address")
