"""Which version of which specification is spoken, in one place, so that a draft can move.

Numbers of sections, here and elsewhere, of the two drafts are those of their editors' copies (of
August 2026 for SD-JWT VC, April 2026 for Token Status List); of OpenID4VCI and OpenID4VP those of
1.0 with errata.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, Final

from wallet_adapters.errors import WalletProtocolError


class UnknownSpecification(WalletProtocolError):
    """No specification is registered under that name."""

    code: ClassVar[str] = "unknown_specification"


@dataclass(frozen=True)
class Specification:
    """One specification: its title, the version spoken, and whether that version is final."""

    name: str
    title: str
    version: str
    final: bool


_SPOKEN = (
    Specification("sd-jwt", "Selective Disclosure for JWTs", "RFC 9901", final=True),
    Specification("sd-jwt-vc", "SD-JWT-based Verifiable Credentials", "draft-24", final=False),
    Specification("token-status-list", "Token Status List", "draft-21", final=False),
    Specification("openid4vci", "OpenID for Verifiable Credential Issuance", "1.0", final=True),
    Specification("openid4vp", "OpenID for Verifiable Presentations", "1.0", final=True),
    Specification("haip", "OpenID4VC High Assurance Interoperability Profile", "1.0", final=True),
    Specification("jar", "JWT-Secured Authorization Request", "RFC 9101", final=True),
    Specification("as-metadata", "OAuth 2.0 Authorization Server Metadata", "RFC 8414", final=True),
    Specification("pkce", "Proof Key for Code Exchange", "RFC 7636", final=True),
    Specification("par", "OAuth 2.0 Pushed Authorization Requests", "RFC 9126", final=True),
    Specification("iss", "OAuth 2.0 Issuer Identification", "RFC 9207", final=True),
    Specification("dpop", "OAuth 2.0 Demonstrating Proof of Possession", "RFC 9449", final=True),
    Specification("jwt-client-authentication", "JWT Client Authentication", "RFC 7523", final=True),
)

SPECIFICATIONS: Final = MappingProxyType({entry.name: entry for entry in _SPOKEN})
"""Name to specification, read-only."""


def specification(name: str) -> Specification:
    """The specification registered as `name`; raises `UnknownSpecification`."""
    found = SPECIFICATIONS.get(name)
    if found is None:
        known = ", ".join(SPECIFICATIONS)
        raise UnknownSpecification(f"no specification is registered as {name!r}; known: {known}")
    return found
