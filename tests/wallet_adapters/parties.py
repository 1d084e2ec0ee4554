"""A broker in one process: the server side of the protocols behind a function call.

It keeps what the real one keeps in its database (codes, nonces, requests served) in plain
attributes, so that a test can look at it or spoil it: `metadata` overrides members of the issuer
metadata (`...` removes one), `make` issues instead of the authority.
"""

import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from credentials.issue import issue_sd_jwt_vc
from credentials.keys import Jwk, SoftwareKey
from credentials.pki import create_root, issue_leaf, x5c
from credentials.status import StatusCheck
from credentials.verify import VerifiedPresentation
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.loopback import Answer, Message
from wallet_adapters.openid4vci import (
    CredentialConfiguration,
    CredentialOffer,
    PreAuthorizedCodeRequest,
    TxCode,
    authorization_server_metadata,
    credential_response,
    issuer_metadata,
    nonce_response,
    parse_credential_request,
    parse_token_request,
    require_tx_code,
    resolve_configuration,
    token_response,
    verify_key_proofs,
)
from wallet_adapters.openid4vci.errors import InvalidGrant, ProofNonceInvalid
from wallet_adapters.openid4vp import (
    DcqlQuery,
    ExpectedResponse,
    WalletRefusal,
    build_request,
    direct_post_answer,
    parse_authorization_response,
    parse_request_uri_post,
    redirect_uri_client_id,
    request_link,
    request_link_by_value,
    sign_request,
    verify_response,
    x509_hash_client_id,
)
from wallet_adapters.wire import parse_form

NOW = 1_790_000_000
URL = "https://broker.example"
VCT = f"{URL}/vct/customer/1"
CONFIGURATION = "customer"


@dataclass
class Authority:
    """A root and one leaf below it, with the leaf's key."""

    name: str = "Test root"
    root_key: SoftwareKey = field(default_factory=SoftwareKey.generate)
    key: SoftwareKey = field(default_factory=SoftwareKey.generate)

    def __post_init__(self) -> None:
        self.root = create_root(self.name, self.root_key, NOW)
        self.leaf = issue_leaf(
            self.root, self.root_key, self.key.public_jwk(), name="Broker", now=NOW, uri=[URL]
        )
        self.x5c = x5c([self.leaf])

    def issue(self, holder_jwk: Jwk | None, **changes: object) -> str:
        """A customer credential with two disclosable claims; `changes` replace arguments."""
        claims = {"jti": secrets.token_urlsafe(8), "binding_grade": "link", "city": "Ghent"}
        arguments: dict[str, Any] = {
            "signer": self.key,
            "x5c": self.x5c,
            "issuer": URL,
            "vct": VCT,
            "claims": claims,
            "disclosable": ["city", "binding_grade"],
            "holder_jwk": holder_jwk,
            "status": None,
            "issued_at": NOW - 60,
            "expires_at": NOW + 86_400,
        }
        return issue_sd_jwt_vc(**(arguments | changes))


@dataclass
class Broker:
    """Both servers; `carry` takes a wallet's message and answers it."""

    authority: Authority = field(default_factory=Authority)
    tx_code: str | None = None
    identifiers: bool = False
    batch_size: int = 4
    post: bool = True
    now: int = NOW
    nonces: set[str] = field(default_factory=set)
    tokens: set[str] = field(default_factory=set)
    request: dict[str, Any] = field(default_factory=dict)
    expected: ExpectedResponse | None = None
    verified: dict[str, VerifiedPresentation] = field(default_factory=dict)
    refusal: WalletRefusal | None = None
    messages: list[Message] = field(default_factory=list)
    metadata: dict[str, Any] = field(default_factory=dict)
    make: Callable[[Jwk], str] | None = None

    def __post_init__(self) -> None:
        self.offer = CredentialOffer(
            issuer=URL,
            configuration_ids=(CONFIGURATION,),
            pre_authorized_code=secrets.token_urlsafe(16),
            tx_code=TxCode(length=6, description="by letter") if self.tx_code else None,
        )

    def carry(self, message: Message) -> Answer:
        """Route one message; a protocol error becomes its error body with status 400."""
        self.messages.append(message)
        path = urlsplit(message.url).path
        handler = getattr(self, "_" + path.rsplit("/", 1)[-1].replace("-", "_"))
        try:
            found = handler(message)
        except WalletProtocolError as problem:
            return Answer(400, json.dumps(problem.body()).encode())
        body = found if isinstance(found, str) else json.dumps(found)
        return Answer(200, body.encode())

    # Issuance

    def _offer(self, _message: Message) -> dict[str, object]:
        return self.offer.as_dict()

    def _openid_credential_issuer(self, _message: Message) -> dict[str, object]:
        configuration = CredentialConfiguration(
            vct=VCT, scope="customer", names={"en": "Customer", "nl": "Klant"}
        )
        document = issuer_metadata(
            issuer_url=URL,
            credential_endpoint=f"{URL}/credential",
            nonce_endpoint=f"{URL}/nonce",
            credential_configurations={CONFIGURATION: configuration},
            names={"en": "Broker"},
            batch_size=self.batch_size,
        )
        spoiled = document | self.metadata
        return {name: value for name, value in spoiled.items() if value is not ...}

    def _oauth_authorization_server(self, _message: Message) -> dict[str, object]:
        return authorization_server_metadata(issuer_url=URL, token_endpoint=f"{URL}/token")

    def _token(self, message: Message) -> dict[str, object]:
        request = parse_token_request(parse_form(message.body))
        if (
            not isinstance(request, PreAuthorizedCodeRequest)
            or request.pre_authorized_code != self.offer.pre_authorized_code
        ):
            raise InvalidGrant("the code is unknown or used")
        require_tx_code(request.tx_code, self.tx_code)
        token = secrets.token_urlsafe(16)
        self.tokens.add(token)
        granted = {CONFIGURATION: ["copy-set-1"]} if self.identifiers else None
        return token_response(access_token=token, expires_in=300, credential_identifiers=granted)

    def _nonce(self, _message: Message) -> dict[str, str]:
        nonce = secrets.token_urlsafe(16)
        self.nonces.add(nonce)
        return nonce_response(nonce)

    def _credential(self, message: Message) -> dict[str, object]:
        assert message.headers["authorization"].removeprefix("Bearer ") in self.tokens
        request = parse_credential_request(message.body, max_batch=self.batch_size)
        resolve_configuration(
            request,
            configuration_ids=[CONFIGURATION],
            credential_identifiers={"copy-set-1": CONFIGURATION} if self.identifiers else None,
        )
        proofs = verify_key_proofs(request.proofs, issuer_url=URL, now=self.now)
        for nonce in {proof.nonce for proof in proofs}:
            if nonce not in self.nonces:
                raise ProofNonceInvalid("fetch a new nonce")
            self.nonces.remove(nonce)
        return credential_response(
            [self.issue(proof.holder_jwk) for proof in proofs], notification_id="n-1"
        )

    def issue(self, holder_jwk: Jwk) -> str:
        """One copy bound to a proven key, or whatever a test has it `make` instead."""
        return (self.make or self.authority.issue)(holder_jwk)

    # Presentation

    def ask(
        self,
        dcql: DcqlQuery,
        transaction_data: Sequence[str] = (),
        *,
        nonce: str | None = None,
        unsigned: bool = False,
    ) -> str:
        """Open a request and return its link."""
        response_uri = f"{URL}/response"
        client_id = (
            redirect_uri_client_id(response_uri)
            if unsigned
            else x509_hash_client_id(self.authority.leaf)
        )
        self.request = build_request(
            client_id=client_id,
            response_uri=response_uri,
            nonce=nonce or secrets.token_urlsafe(16),
            state=secrets.token_urlsafe(16),
            dcql=dcql,
            transaction_data=transaction_data,
            issued_at=None if unsigned else self.now,
            expires_at=None if unsigned else self.now + 300,
        )
        self.expected = ExpectedResponse(
            client_id=client_id,
            nonce=self.request["nonce"],
            state=self.request["state"],
            dcql=dcql,
            transaction_data=tuple(transaction_data),
        )
        if unsigned:
            return request_link_by_value(self.request)
        return request_link(client_id=client_id, request_uri=f"{URL}/request", post=self.post)

    def _request(self, message: Message) -> str:
        claims = dict(self.request)
        if message.method == "POST":
            posted = parse_request_uri_post(parse_form(message.body))
            if posted.wallet_nonce is not None:
                claims["wallet_nonce"] = posted.wallet_nonce
        return sign_request(claims, self.authority.key, self.authority.x5c)

    def _response(self, message: Message) -> dict[str, str]:
        response = parse_authorization_response(parse_form(message.body))
        if isinstance(response, WalletRefusal):
            self.refusal = response
            return direct_post_answer()
        assert self.expected is not None
        self.verified = verify_response(
            response,
            expected=self.expected,
            anchors=[self.authority.root],
            now=self.now,
            status=StatusCheck.BY_CALLER,
        )
        return direct_post_answer(f"{URL}/done", "abc123")
