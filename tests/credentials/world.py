"""An issuer with its CA, a holder, and a verifier that asks: what most tests start from."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from credentials.issue import issue_sd_jwt_vc
from credentials.keys import SoftwareKey
from credentials.model import StatusReference, VerifiedCredential, VerifiedPresentation
from credentials.pki import create_root, issue_leaf, x5c
from credentials.sdjwt import ClaimPath, bind, present
from credentials.status import StatusList, issue_status_token, verify_status_token
from credentials.verify import verify_credential, verify_presentation

NOW = 1_795_000_000
ISSUER = "https://issuer.example/t/1"
VCT = "https://issuer.example/vct/customer/1"
STATUS_URI = "https://issuer.example/status/1"
AUDIENCE = "x509_hash:verifier"
NONCE = "n-0S6_WzA2Mj"
TERMS = "eyJ0eXBlIjoidXJuOmNvbnNlbnQtYnJva2VyOmNvbnNlbnQ6MSJ9"
CLAIMS: dict[str, Any] = {
    "jti": "copy-1",
    "given_name": "Ann",
    "birthdate": "1990-01-01",
    "address": {"city": "Berlin", "country": "DE"},
    "nationalities": ["DE", "FR"],
}
DISCLOSABLE: tuple[ClaimPath, ...] = (
    "given_name",
    "birthdate",
    "address",
    ("address", "city"),
    ("nationalities", 1),
)


@dataclass(frozen=True)
class World:
    """Keys, certificates and a status list of one issuer, and a holder's key."""

    root_key: SoftwareKey
    root: bytes
    issuer_key: SoftwareKey
    chain: list[str]
    holder: SoftwareKey
    statuses: StatusList
    now: int = NOW

    @classmethod
    def make(cls, issuer_alg: str = "ES256", holder_alg: str = "ES256") -> Self:
        """Make one with fresh keys."""
        root_key, issuer_key = SoftwareKey.generate("ES256"), SoftwareKey.generate(issuer_alg)
        root = create_root("Example Root", root_key, NOW)
        leaf = issue_leaf(
            root,
            root_key,
            issuer_key.public_jwk(),
            name="Example Issuer",
            now=NOW,
            uri=["https://issuer.example"],
        )
        holder = SoftwareKey.generate(holder_alg)
        statuses = StatusList.empty(2, 1000)
        return cls(root_key, root, issuer_key, x5c([leaf]), holder, statuses)

    def at(self, now: int) -> Self:
        """The same at another time."""
        return replace(self, now=now)

    def issue(self, **changes: object) -> str:
        """Issue the usual credential, with changed arguments."""
        arguments: dict[str, Any] = {
            "signer": self.issuer_key,
            "x5c": self.chain,
            "issuer": ISSUER,
            "vct": VCT,
            "claims": CLAIMS,
            "disclosable": DISCLOSABLE,
            "holder_jwk": self.holder.public_jwk(),
            "status": StatusReference(STATUS_URI, 7),
            "issued_at": self.now,
            "expires_at": self.now + 86_400,
        }
        arguments.update(changes)
        return issue_sd_jwt_vc(**arguments)

    def show(
        self,
        credential: str | None = None,
        disclose: Collection[ClaimPath] | None = None,
        **changes: object,
    ) -> str:
        """Present a credential with key binding, with changed arguments of `bind`."""
        shown = present(self.issue() if credential is None else credential, disclose)
        arguments: dict[str, Any] = {
            "holder_signer": self.holder,
            "nonce": NONCE,
            "audience": AUDIENCE,
            "now": self.now,
        }
        arguments.update(changes)
        return bind(shown, **arguments)

    def status(self, uri: str) -> StatusList:
        """Publish, fetch and verify the status list."""
        token = issue_status_token(
            self.statuses,
            signer=self.issuer_key,
            x5c=self.chain,
            uri=STATUS_URI,
            now=self.now,
            ttl=300,
            expires_at=self.now + 3600,
        )
        return verify_status_token(token, uri=uri, anchors=[self.root], now=self.now)

    def accept(self, credential: str | bytes, **changes: object) -> VerifiedCredential:
        """Verify a credential as issued."""
        arguments: dict[str, Any] = {
            "anchors": [self.root],
            "now": self.now,
            "status": self.status,
        }
        arguments.update(changes)
        return verify_credential(credential, **arguments)

    def accept_presentation(
        self, presentation: str | bytes, terms: Sequence[str] = (), **changes: object
    ) -> VerifiedPresentation:
        """Verify a presentation as the verifier that asked for it."""
        arguments: dict[str, Any] = {
            "anchors": [self.root],
            "now": self.now,
            "audience": AUDIENCE,
            "nonce": NONCE,
            "transaction_data": terms,
            "vct": VCT,
            "status": self.status,
        }
        arguments.update(changes)
        return verify_presentation(presentation, **arguments)
