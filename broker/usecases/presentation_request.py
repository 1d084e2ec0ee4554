"""A presentation request as it is kept, and the forms in which a wallet meets it."""

from dataclasses import dataclass
from typing import Any, Protocol, Self

import orjson

from broker.domain.addresses import tenant_url
from broker.usecases.context import Context
from credentials.jcs import b64url, b64url_decode
from wallet_adapters.openid4vp.dcql import parse_dcql
from wallet_adapters.openid4vp.encrypted_response import new_response_key, public_response_key
from wallet_adapters.openid4vp.proof import FORMAT, client_metadata_of_proofs
from wallet_adapters.openid4vp.request import (
    build_request,
    redirect_uri_client_id,
    request_link,
    request_link_by_value,
)


class Kept(Protocol):
    """What a stored wallet request has, for signatures or for a proof."""

    @property
    def id(self) -> str:
        """Its id, which is also the `state`."""

    @property
    def tenant_id(self) -> str:
        """Whose it is."""

    @property
    def nonce(self) -> str:
        """What one answer is good for."""

    @property
    def document(self) -> str:
        """A `Document` as JSON text."""

    @property
    def created_at(self) -> int:
        """Unix seconds."""

    @property
    def expires_at(self) -> int:
        """Unix seconds."""


@dataclass(frozen=True)
class Question:
    """One credential query of a request: what its signature will stand for.

    `terms` is the canonical JSON text; `transaction_data` the string as sent, None in the fallback.
    """

    query: str
    consent_id: str
    terms: str
    terms_hash: str
    transaction_data: str | None


@dataclass(frozen=True)
class Document:
    """The parts of a presentation request that its answer is checked against.

    `response_key` is the private JWK that the answer may be encrypted to, sealed, in base64url
    (None in requests of before); `clear` says that an answer in the clear is taken too. `signer`
    is whose wallet is asked: the customer's, or that of a minor's guardian.
    """

    client_id: str
    dcql: dict[str, Any]
    questions: tuple[Question, ...]
    grade: str
    random: str | None
    response_key: str | None = None
    clear: bool = False
    signer: str = "customer"

    @property
    def transaction_data(self) -> tuple[str, ...]:
        """The `transaction_data` of the request, in the order of its queries."""
        return tuple(
            one.transaction_data for one in self.questions if one.transaction_data is not None
        )

    @property
    def format(self) -> str:
        """The format of the credentials that it asks for."""
        return parse_dcql(self.dcql).credentials[0].format

    def dump(self) -> str:
        """The document as the JSON text of its row."""
        return orjson.dumps(self).decode()

    @classmethod
    def load(cls, text: str) -> Self:
        """The document of a row."""
        parts = orjson.loads(text)
        # Requests of before had a key only where answers had to be encrypted.
        parts.setdefault("clear", parts.get("response_key") is None)
        parts["questions"] = tuple(Question(**question) for question in parts["questions"])
        return cls(**parts)


@dataclass(frozen=True)
class Asked:
    """A wallet request: its id, the links that start a wallet, when it ends (Unix seconds).

    `development_link` holds the same request unsigned and by value, for wallets in development
    that do not trust the broker's root yet; None in production.
    """

    id: str
    wallet_link: str
    development_link: str | None
    expires_at: int

    @classmethod
    def of(cls, ctx: Context, row: Kept) -> Self:
        """What a stored request looks like to whoever starts the wallet."""
        link = request_link(
            client_id=Document.load(row.document).client_id,
            request_uri=request_uri(ctx, row.tenant_id, row.id),
        )
        unsigned = unsigned_client_id(ctx, row) if ctx.settings.development else None
        return cls(
            id=row.id,
            wallet_link=link,
            development_link=None
            if unsigned is None
            else request_link_by_value(request_parameters(ctx, row, client_id=unsigned)),
            expires_at=row.expires_at,
        )


def seal_response_key(ctx: Context, presentation_request_id: str) -> str:
    """A fresh key for the answers to one request, sealed.

    Every request has one: also where answers may come in the clear, a wallet may encrypt its own.
    """
    key = orjson.dumps(new_response_key())
    return b64url(ctx.master.seal(key, f"response_key:{presentation_request_id}"))


def response_key(ctx: Context, row: Kept) -> dict[str, Any] | None:
    """The private JWK that answers to a request may be encrypted to; None where there is none."""
    sealed = Document.load(row.document).response_key
    if sealed is None:
        return None
    opened = ctx.master.open(b64url_decode(sealed), f"response_key:{row.id}")
    key: dict[str, Any] = orjson.loads(opened)
    return key


def unsigned_client_id(ctx: Context, row: Kept) -> str:
    """The client id of a request's unsigned form (prefix `redirect_uri`)."""
    return redirect_uri_client_id(response_uri(ctx, row.tenant_id, row.id))


def request_uri(ctx: Context, tenant_id: str, presentation_request_id: str) -> str:
    """Where a wallet fetches the request object."""
    base = tenant_url(ctx.settings.public_url, tenant_id)
    return f"{base}/openid4vp/request/{presentation_request_id}"


def response_uri(ctx: Context, tenant_id: str, presentation_request_id: str) -> str:
    """Where a wallet posts its answer (`direct_post`)."""
    base = tenant_url(ctx.settings.public_url, tenant_id)
    return f"{base}/openid4vp/response/{presentation_request_id}"


def request_parameters(
    ctx: Context,
    row: Kept,
    *,
    client_id: str | None = None,
    wallet_nonce: str | None = None,
    encrypted: bool | None = None,
) -> dict[str, Any]:
    """The parameters of a request (OpenID4VP 1.0, section 5), under another client id if given.

    `encrypted` says whether the answer is to be; as the request demands when None.
    """
    document = Document.load(row.document)
    signed = client_id is None
    asked = not document.clear if encrypted is None else encrypted
    key = response_key(ctx, row) if asked else None
    return build_request(
        client_id=document.client_id if client_id is None else client_id,
        response_uri=response_uri(ctx, row.tenant_id, row.id),
        nonce=row.nonce,
        state=row.id,
        dcql=parse_dcql(document.dcql),
        transaction_data=document.transaction_data,
        metadata=client_metadata_of_proofs() if document.format == FORMAT else None,
        wallet_nonce=wallet_nonce,
        issued_at=row.created_at if signed else None,
        expires_at=row.expires_at if signed else None,
        response_key=None if key is None else public_response_key(key),
    )
