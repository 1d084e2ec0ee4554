"""Zero-knowledge proofs as a credential format of OpenID4VP: what is asked, what comes back.

One credential query (OpenID4VP 1.0, section 6.1) of the format `consent-broker-proof+1` asks for
one proof of all statements over all credentials; its `meta` holds

    version      "consent-broker-proof/1"
    credentials  by the names that the statements give them: `schema`, the id of a kind of
                 credential, and `issuers`, each with its `issuer` (address) and `key` (96 bytes of
                 a BBS key, base64url), by whose credentials the statements may be proven
    statements   as in `zkp/schemas/proof-request-1.json`

The proof's request (`zkp.ProofRequest`) follows from the parameters of the authorization request:
the nonce is the ASCII text of `nonce`, the audience is the whole `client_id`, and the request hash
is the SHA-256 of the canonical JSON (RFC 8785) of `client_id`, `dcql_query`, `nonce`,
`response_uri` and `state`. The answer, one JSON object in `vp_token`, has

    version      "consent-broker-proof/1"
    request      SHA-256 of the canonical bytes of the proof's request, base64url
    credentials  by name: `issuer_key` (96 bytes), `header` (base64url), `bound`, `revealed`
    proof        base64url

Nothing here computes on a curve: sizes and forms are checked before anybody does. A later version
takes another name beside this one; whoever does not know a format leaves the query unanswered.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from credentials.errors import CredentialError
from credentials.jcs import b64url, canonical
from wallet_adapters.errors import Malformed, TooLarge
from wallet_adapters.openid4vp.dcql import CredentialQuery, DcqlQuery
from wallet_adapters.openid4vp.errors import InvalidQuery, UnknownQuery
from wallet_adapters.wire import decode_base64url, require_object, require_text
from zkp import Presentation as ZkpPresentation
from zkp import PresentedCredential, ProofRequest, PublicKey, Statement, Value, ZkpError
from zkp.request import VERSION
from zkp.statements import read_statement

FORMAT: Final = "consent-broker-proof+1"
QUERY: Final = "proof"
KEY_BYTES: Final = 96
MAX_ISSUERS: Final = 16
MAX_CREDENTIALS: Final = 8
MAX_META_BYTES: Final = 32_768
MAX_PROOF_BYTES: Final = 98_304
MAX_HEADERS_BYTES: Final = 131_072
MAX_REVEALED: Final = 128
MAX_VALUE: Final = 4_096
MAX_NAME: Final = 64
_HASH_BYTES: Final = 32
_WHAT: Final = "a proof"
_META: Final = "meta of a proof query"


@dataclass(frozen=True)
class TrustedIssuer:
    """An issuer by its address, as its credentials' headers name it, and one of its BBS keys."""

    issuer: str
    key: bytes

    def as_dict(self) -> dict[str, str]:
        """The JSON object of the query."""
        return {"issuer": self.issuer, "key": b64url(self.key)}


@dataclass(frozen=True)
class AskedCredential:
    """A kind of credential, by the id of its schema, and who may have issued it."""

    schema: str
    issuers: tuple[TrustedIssuer, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.issuers) <= MAX_ISSUERS or len(set(self.issuers)) != len(self.issuers):
            raise InvalidQuery(f"a credential has 1 to {MAX_ISSUERS} trusted issuers, none twice")
        if any(len(one.key) != KEY_BYTES or not one.issuer for one in self.issuers):
            raise InvalidQuery(f"a trusted issuer has an address and a key of {KEY_BYTES} bytes")

    @property
    def keys(self) -> frozenset[bytes]:
        """The keys of all of them."""
        return frozenset(one.key for one in self.issuers)

    def as_dict(self) -> dict[str, object]:
        """The JSON object of the query."""
        return {"schema": self.schema, "issuers": [one.as_dict() for one in self.issuers]}


@dataclass(frozen=True)
class ProofQuery:
    """Statements over credentials by name. It cannot be built so that nobody could answer it."""

    credentials: Mapping[str, AskedCredential]
    statements: tuple[Statement, ...]

    def __post_init__(self) -> None:
        """Raise `InvalidQuery` for what no proof can show, `TooLarge`."""
        try:
            # What cannot be asked of a prover at all, whatever the occasion.
            ProofRequest(tuple(sorted(self.credentials)), self.statements, b"." * 16, "anybody")
        except ZkpError as problem:
            raise InvalidQuery(f"the statements cannot be asked: {problem}") from problem
        if any(len(name) > MAX_NAME for name in self.credentials):
            raise InvalidQuery(f"a credential's name has at most {MAX_NAME} letters")
        try:
            size = len(canonical(self.meta()))
        except CredentialError as problem:
            raise InvalidQuery(f"the statements cannot be written as JSON: {problem}") from problem
        if size > MAX_META_BYTES:
            raise TooLarge(f"{_META} has more than {MAX_META_BYTES} bytes: ask for less at once")

    def meta(self) -> dict[str, object]:
        """The query's `meta`."""
        return {
            "version": VERSION,
            "credentials": {name: one.as_dict() for name, one in self.credentials.items()},
            "statements": [statement.to_json() for statement in self.statements],
        }

    def dcql(self) -> DcqlQuery:
        """The whole query that asks for this proof and nothing else."""
        return DcqlQuery((CredentialQuery(QUERY, (), format=FORMAT, meta=self.meta()),))

    @classmethod
    def of(cls, dcql: DcqlQuery) -> Self:
        """The proof that a query asks for. Raises leaves of `WalletProtocolError`."""
        if len(dcql.credentials) != 1 or dcql.credentials[0].format != FORMAT:
            raise InvalidQuery(f"a query for a proof is one credential query of format {FORMAT}")
        meta = dcql.credentials[0].meta
        if meta.get("version") != VERSION:
            raise InvalidQuery(f"a proof of version {VERSION} is asked for, no other is known")
        asked = require_object(meta, "credentials", what=_META)
        statements = meta.get("statements")
        if not isinstance(statements, list):
            raise Malformed(f"statements in {_META} must be an array")
        return cls(
            {name: _asked(asked, name) for name in asked},
            tuple(_statement(one) for one in statements),
        )


def proof_request(
    *, client_id: str, response_uri: str, nonce: str, state: str | None, dcql: DcqlQuery
) -> ProofRequest:
    """What a prover answers, by the parameters of the authorization request.

    Raises leaves of `WalletProtocolError`.
    """
    query = ProofQuery.of(dcql)
    carried = {
        "client_id": client_id,
        "dcql_query": dcql.as_dict(),
        "nonce": nonce,
        "response_uri": response_uri,
        "state": state or "",
    }
    try:
        digest = hashlib.sha256(canonical(carried)).digest()
        names = tuple(sorted(query.credentials))
        return ProofRequest(names, query.statements, nonce.encode("ascii"), client_id, digest)
    except (ZkpError, CredentialError, UnicodeEncodeError) as problem:
        raise InvalidQuery(f"no proof can answer this request: {problem}") from problem


def digest_of(request: ProofRequest) -> bytes:
    """The SHA-256 by which an answer says which request it answers."""
    return hashlib.sha256(request.canonical()).digest()


@dataclass(frozen=True)
class ReceivedCredential:
    """What an answer says of a credential: nothing of it is checked but its form."""

    key: bytes
    header: bytes
    bound: bool
    revealed: Mapping[str, Value]


@dataclass(frozen=True)
class ReceivedProof:
    """An answer as it came. `request` is the digest of the request that it says to answer."""

    request: bytes
    credentials: Mapping[str, ReceivedCredential]
    proof: bytes

    def presentation(self) -> ZkpPresentation:
        """As `zkp` verifies it; check whose keys these are first: reading one takes time.

        Raises `ZkpError`.
        """
        return ZkpPresentation(
            {
                name: PresentedCredential(
                    PublicKey.from_bytes(one.key), one.header, one.bound, one.revealed
                )
                for name, one in self.credentials.items()
            },
            self.proof,
        )


def write_proof(request: ProofRequest, presentation: ZkpPresentation) -> dict[str, object]:
    """The JSON object by which a wallet answers."""
    return {
        "version": VERSION,
        "request": b64url(digest_of(request)),
        "credentials": {
            name: {
                "issuer_key": b64url(one.key.data),
                "header": b64url(one.header),
                "bound": one.bound,
                "revealed": dict(one.revealed),
            }
            for name, one in presentation.credentials.items()
        },
        "proof": b64url(presentation.proof),
    }


def read_proof(value: object) -> ReceivedProof:
    """Read what `write_proof` gives. Raises leaves of `WalletProtocolError`."""
    if not isinstance(value, dict) or set(value) != {"version", "request", "credentials", "proof"}:
        raise Malformed(f"{_WHAT} has version, request, credentials and proof, and no more")
    if value["version"] != VERSION:
        raise Malformed(f"{_WHAT} is of version {VERSION}")
    request = _bytes(value, "request", _HASH_BYTES)
    if len(request) != _HASH_BYTES:
        raise Malformed(f"request in {_WHAT} is a SHA-256, base64url")
    shown = require_object(value, "credentials", what=_WHAT)
    if not 0 < len(shown) <= MAX_CREDENTIALS:
        raise TooLarge(f"{_WHAT} has 1 to {MAX_CREDENTIALS} credentials")
    credentials = {name: _credential(one) for name, one in shown.items()}
    if sum(len(one.header) for one in credentials.values()) > MAX_HEADERS_BYTES:
        raise TooLarge(f"the headers of {_WHAT} have more than {MAX_HEADERS_BYTES} bytes")
    return ReceivedProof(request, credentials, _bytes(value, "proof", MAX_PROOF_BYTES))


def answered_proof(token: Mapping[str, object]) -> ReceivedProof:
    """The proof in a `vp_token`. Raises leaves of `WalletProtocolError`."""
    if set(token) != {QUERY}:
        raise UnknownQuery("the response answers other queries than the request has")
    found = token[QUERY]
    if not isinstance(found, list) or len(found) != 1:
        raise Malformed("a query for a proof is answered by an array of one proof")
    return read_proof(found[0])


def client_metadata_of_proofs() -> dict[str, object]:
    """The `client_metadata` of a request for a proof."""
    return {"vp_formats_supported": {FORMAT: {"suite_values": ["BLS12-381-SHA-256"]}}}


def _asked(credentials: Mapping[str, object], name: str) -> AskedCredential:
    one = require_object(credentials, name, what=_META)
    issuers = one.get("issuers")
    if not isinstance(issuers, list) or not all(isinstance(issuer, dict) for issuer in issuers):
        raise Malformed(f"issuers in {_META} must be an array of objects")
    return AskedCredential(
        require_text(one, "schema", what=_META),
        tuple(
            TrustedIssuer(
                require_text(issuer, "issuer", what=_META), _bytes(issuer, "key", KEY_BYTES)
            )
            for issuer in issuers
        ),
    )


def _statement(value: object) -> Statement:
    try:
        return read_statement(value)
    except ZkpError as problem:
        raise InvalidQuery(f"a statement cannot be read: {problem}") from problem


def _credential(value: object) -> ReceivedCredential:
    members = {"issuer_key", "header", "bound", "revealed"}
    if not isinstance(value, dict) or set(value) != members or type(value["bound"]) is not bool:
        raise Malformed("a shown credential has issuer_key, header, bound and revealed")
    key = _bytes(value, "issuer_key", KEY_BYTES)
    if len(key) != KEY_BYTES:
        raise Malformed(f"issuer_key has {KEY_BYTES} bytes, base64url")
    return ReceivedCredential(
        key, _bytes(value, "header", MAX_HEADERS_BYTES), value["bound"], _revealed(value)
    )


def _revealed(value: Mapping[str, object]) -> dict[str, Value]:
    found = require_object(value, "revealed", what=_WHAT)
    if len(found) > MAX_REVEALED:
        raise TooLarge(f"a credential reveals at most {MAX_REVEALED} attributes")
    revealed: dict[str, Value] = {}
    for name, one in found.items():
        if type(one) is int or (isinstance(one, str) and len(one) <= MAX_VALUE):
            revealed[name] = one
        else:
            raise Malformed("a revealed attribute is a whole number or a text")
    return revealed


def _bytes(value: Mapping[str, Any], name: str, most: int) -> bytes:
    text = require_text(value, name, what=_WHAT, max_length=(most + 2) // 3 * 4)
    return decode_base64url(text, what=f"{name} in {_WHAT}")
