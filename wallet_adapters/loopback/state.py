"""What the wallet remembers, and the messages it exchanges."""

import json
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Self, TypeAlias
from urllib.parse import urlencode

from credentials.errors import CredentialError
from credentials.jcs import b64url, b64url_decode
from credentials.json_reader import read_json_object
from credentials.keys import SoftwareKey
from credentials.sdjwt import parse
from wallet_adapters.errors import Malformed
from wallet_adapters.loopback.errors import PeerRefused
from wallet_adapters.wire import parse_json_object
from zkp import HeldCredential as TypedCredential
from zkp import PublicKey, Schema, Signature, Value, ZkpError
from zkp.curve import scalar_from_bytes

OK: Final = 200
FORM: Final = "application/x-www-form-urlencoded"
JSON: Final = "application/json"


@dataclass(frozen=True)
class Message:
    """A request to be sent as it is: method, address, headers, body. Redirects are not followed."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)

    @classmethod
    def get(cls, url: str, accept: str = JSON) -> Self:
        """A GET that accepts one media type."""
        return cls("GET", url, {"accept": accept})

    @classmethod
    def post_form(cls, url: str, fields: Mapping[str, str], accept: str = JSON) -> Self:
        """A POST of a form."""
        body = urlencode(dict(fields)).encode("ascii")
        return cls("POST", url, {"accept": accept, "content-type": FORM}, body)

    @classmethod
    def post_json(cls, url: str, value: Mapping[str, Any], token: str) -> Self:
        """A POST of JSON with a bearer token."""
        headers = {"accept": JSON, "content-type": JSON, "authorization": f"Bearer {token}"}
        return cls("POST", url, headers, json.dumps(value).encode("utf-8"))


@dataclass(frozen=True)
class Answer:
    """What came back: HTTP status, body, and headers by their names in lower case."""

    status: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    def json(self, what: str) -> dict[str, object]:
        """The body as a JSON object, if the peer did not refuse.

        Raises `PeerRefused` with the peer's error value, also when a status of 200 carries an
        error body, and other leaves of `WalletProtocolError`.
        """
        if not OK <= self.status < OK + 100:
            raise self._refused(what)
        value = parse_json_object(self.body, what=what)
        if "error" in value:
            raise self._refused(what)
        return value

    def text(self, what: str) -> str:
        """The body as ASCII text, if the peer did not refuse. Raises like `json`."""
        if self.status != OK:
            raise self._refused(what)
        try:
            return self.body.decode("ascii")
        except UnicodeDecodeError as problem:
            raise Malformed(f"{what} is not ASCII") from problem

    def _refused(self, what: str) -> PeerRefused:
        try:
            error = parse_json_object(self.body, what=what).get("error")
        except Malformed:
            error = None
        known = error if isinstance(error, str) else None
        return PeerRefused(
            f"{what} was refused with status {self.status}, error {known or 'unknown'}",
            error=known,
            status=self.status,
        )


Carry: TypeAlias = Callable[[Message], Answer]
"""Sends a message and waits for its answer."""


@dataclass
class HeldCredential:
    """One copy of a credential and the private JWK that it is bound to.

    `credential` is the SD-JWT as issued; `uses` counts how often this copy was shown. Copies that
    came together have one `batch`.
    """

    credential: str
    holder_key: dict[str, Any] = field(repr=False)
    issuer: str = ""
    vct: str = ""
    configuration_id: str = ""
    uses: int = 0
    batch: str = ""

    @property
    def key(self) -> SoftwareKey:
        """The signing key of this copy. Raises `Malformed` when the state was tampered with."""
        try:
            return SoftwareKey.from_private_jwk(self.holder_key)
        except CredentialError as problem:
            raise Malformed("the key of a held credential is broken") from problem

    def claims(self) -> dict[str, Any]:
        """All claims, disclosed; they were verified when the credential came."""
        try:
            return parse(self.credential).claims()
        except CredentialError as problem:
            raise Malformed("a held credential is broken") from problem

    def chain(self) -> list[object]:
        """The certificates (base64 DER) of who issued it, leaf first; none where it has none."""
        try:
            header = read_json_object(b64url_decode(self.credential.partition(".")[0]))
        except CredentialError as problem:
            raise Malformed("a held credential is broken") from problem
        chain = header.get("x5c")
        return chain if isinstance(chain, list) else []


@dataclass
class HeldAttributes:
    """A BBS credential of typed attributes, or a status token: what statements are proven of.

    `key`, `signature` and `holder_secret` are base64url; `header` is its canonical JSON.
    """

    key: str
    header: str
    signature: str
    values: dict[str, Value] = field(repr=False)
    holder_secret: str | None = field(default=None, repr=False)

    @property
    def kind(self) -> tuple[str, str]:
        """The id of its schema, and its issuer. Raises `Malformed`."""
        try:
            schema, issuer = Schema.from_header(self.header.encode())
        except ZkpError as problem:
            raise Malformed("the header of a held credential is broken") from problem
        return schema.id, issuer

    def opened(self) -> TypedCredential:
        """As a prover takes it. Raises `Malformed`."""
        try:
            return TypedCredential(
                PublicKey.from_bytes(b64url_decode(self.key)),
                self.header.encode(),
                Signature.from_bytes(b64url_decode(self.signature)),
                self.values,
                None
                if self.holder_secret is None
                else scalar_from_bytes(b64url_decode(self.holder_secret)),
            )
        except (CredentialError, ZkpError) as problem:
            raise Malformed("a held credential of attributes is broken") from problem

    @classmethod
    def of(cls, held: TypedCredential) -> Self:
        """As the wallet keeps it."""
        secret = held.holder_secret
        return cls(
            b64url(held.key.data),
            held.header.decode(),
            b64url(held.signature.to_bytes()),
            dict(held.values),
            None if secret is None else b64url(bytes(secret.to_be_bytes())),
        )


@dataclass
class Wallet:
    """The whole state: trusted root certificates (DER), credentials, and attributes to prove of."""

    anchors: list[bytes]
    credentials: list[HeldCredential] = field(default_factory=list)
    attributes: list[HeldAttributes] = field(default_factory=list)

    def to_json(self) -> str:
        """The state as JSON text. It holds private keys in the clear: guard it."""
        return json.dumps(
            {
                "anchors": [b64encode(anchor).decode("ascii") for anchor in self.anchors],
                "credentials": [asdict(held) for held in self.credentials],
                "attributes": [asdict(held) for held in self.attributes],
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote. Raises leaves of `WalletProtocolError`."""
        value = parse_json_object(text, what="the wallet state", max_bytes=len(text) * 4)
        try:
            anchors = [b64decode(anchor, validate=True) for anchor in _list(value, "anchors")]
            held = [_held(entry) for entry in _list(value, "credentials")]
            # Wallets of before had none.
            told = _list(value, "attributes") if "attributes" in value else []
            attributes = [_attributes(entry) for entry in told]
        except (TypeError, ValueError) as problem:
            raise Malformed("the wallet state is not what this version writes") from problem
        return cls(anchors=anchors, credentials=held, attributes=attributes)


def _held(entry: Any) -> HeldCredential:  # noqa: ANN401 (untrusted JSON)
    """Raises `TypeError` where a member is of another type than it has to be."""
    held = HeldCredential(**entry)
    if type(entry["credential"]) is not str or type(entry["holder_key"]) is not dict:
        raise TypeError("a held credential is a text, and its key an object")
    return held


def _attributes(entry: Any) -> HeldAttributes:  # noqa: ANN401 (untrusted JSON)
    """Raises `TypeError` like `_held`."""
    held = HeldAttributes(**entry)
    texts = (held.key, held.header, held.signature, held.holder_secret or "")
    if any(type(one) is not str for one in texts) or type(held.values) is not dict:
        raise TypeError("held attributes are texts, and their values an object")
    return held


def _list(value: Mapping[str, object], name: str) -> list[Any]:
    found = value.get(name)
    if not isinstance(found, list):
        raise Malformed(f"the wallet state needs the array {name}")
    return found
