"""Selective Disclosure for JWTs (RFC 9901), compact form: build, take apart, present, bind.

Nothing here decides whether to believe a credential; `credentials.verify` does. What an issuer
and a holder need is here, and the form that everyone agrees on:

    <issuer-signed JWT>~<disclosure>~...~<disclosure>~            SD-JWT
    <issuer-signed JWT>~<disclosure>~...~<disclosure>~<KB-JWT>    SD-JWT+KB
"""

import hashlib
import secrets
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import orjson

from credentials.disclosures import (
    CONCEALED,
    Path,
    Tree,
    conceal,
    open_disclosures,
    resolve,
)
from credentials.errors import (
    DisclosureInvalid,
    KeyBindingUnexpected,
    Malformed,
    TooLarge,
)
from credentials.jcs import b64url, b64url_decode
from credentials.json_reader import JsonObject, read_json_object
from credentials.jws import Signer, encode_header, sign_encoded, sign_jws
from credentials.suites import digest_function

MAX_CHARACTERS = 524_288
MAX_DISCLOSURES = 512
KEY_BINDING_TYPE = "kb+jwt"

ClaimPath: TypeAlias = str | Sequence[str | int | None]
"""A claim by its name, or by its path; `None` in a path stands for every element of an array."""


@dataclass(frozen=True, slots=True)
class UnverifiedPresentation:
    """An SD-JWT or SD-JWT+KB taken apart. Form is checked, content is not to be believed."""

    raw: str
    issuer_jwt: str
    disclosures: tuple[str, ...]
    kb_jwt: str | None

    @property
    def bound_part(self) -> str:
        """What `sd_hash` covers: everything up to and with the last tilde (section 4.3.1)."""
        return self.raw if self.kb_jwt is None else self.raw[: -len(self.kb_jwt)]

    def payload(self) -> JsonObject:
        """Read the issuer-signed payload, unverified. Raises `Malformed` or `TooLarge`."""
        parts = self.issuer_jwt.split(".", 3)
        if len(parts) != 3:  # noqa: PLR2004  RFC 7515, section 3.1
            raise Malformed("issuer-signed JWT does not have three parts")
        return read_json_object(b64url_decode(parts[1]))

    def claims(self) -> JsonObject:
        """Resolve the disclosed claims, unverified: for a holder that looks at its own.

        Raises `Malformed`, `TooLarge`, `DisclosureInvalid` or `AlgorithmNotAllowed`.
        """
        payload = self.payload()
        return resolve(payload, open_disclosures(self.disclosures, payload))

    def disclosable(self) -> dict[Path, str]:
        """Give the disclosures by the path of the claim that each of them holds, unverified."""
        payload = self.payload()
        opened = open_disclosures(self.disclosures, payload)
        # Dictionaries keep order: digests stand in the order of their disclosures.
        by_digest = dict(zip(opened, self.disclosures, strict=True))
        found: dict[Path, str] = {}
        resolve(payload, opened, found)
        return {path: by_digest[key] for path, key in found.items()}


def parse(text: str | bytes) -> UnverifiedPresentation:
    """Take the compact form apart (section 4). Caps come before anything else.

    The separators are strict: a credential without key binding ends in a tilde, and there are
    no empty parts. Raises `TooLarge` or `Malformed`.
    """
    if len(text) > MAX_CHARACTERS:
        raise TooLarge(f"presentation exceeds {MAX_CHARACTERS} characters")
    if isinstance(text, bytes):
        try:
            text = text.decode("ascii")
        except UnicodeDecodeError:
            raise Malformed("presentation is not ASCII") from None
    elif not text.isascii():
        raise Malformed("presentation is not ASCII")
    issuer_jwt, *disclosures = text.split("~", MAX_DISCLOSURES + 2)
    if not disclosures:
        raise Malformed("SD-JWT has no tilde: without key binding it ends in one")
    kb_jwt = disclosures.pop()
    if len(disclosures) > MAX_DISCLOSURES:
        raise TooLarge(f"presentation has more than {MAX_DISCLOSURES} disclosures")
    if not issuer_jwt or not all(disclosures):
        raise Malformed("SD-JWT has an empty part: no JWT, or two tildes in a row")
    return UnverifiedPresentation(text, issuer_jwt, tuple(disclosures), kb_jwt or None)


def issue_sd_jwt(
    payload: Mapping[str, Any],
    disclosable: Collection[ClaimPath],
    signer: Signer,
    header: Mapping[str, Any],
    *,
    decoys: int = 0,
) -> str:
    """Sign a payload, with the claims at `disclosable` moved into disclosures; ends in a tilde.

    A path may lead into objects and arrays; a claim inside another disclosable claim makes
    nested disclosures (section 4.2.6). `decoys` adds that many digests of nothing at the top
    (section 4.2.5). Raises `DisclosureInvalid` if a path leads nowhere or a claim uses a
    reserved name, `Malformed` if the payload is not JSON.
    """
    tree: Tree = {}
    for path in disclosable:
        node = tree
        for step in (path,) if isinstance(path, str) else path:
            if step is None:
                raise DisclosureInvalid("a path for issuing names each element by its index")
            node = node.setdefault(step, {})
        node[CONCEALED] = {}
    disclosures: list[str] = []
    try:
        body = conceal(payload, tree, disclosures)
        if decoys:
            extra = [b64url(secrets.token_bytes(32)) for _ in range(decoys)]
            body["_sd"] = sorted([*body.get("_sd", []), *extra])
        if "_sd" in body or disclosures:
            body["_sd_alg"] = "sha-256"
        token = sign_encoded(signer, encode_header(signer, header), orjson.dumps(body))
    except orjson.JSONEncodeError as error:
        raise Malformed(f"SD-JWT payload is not JSON: {error}") from None
    return "~".join((token, *disclosures, ""))


def present(
    sd_jwt: str | UnverifiedPresentation, disclose: Collection[ClaimPath] | None = None
) -> UnverifiedPresentation:
    """Choose what to show of a credential as issued: the claims at `disclose`, or all.

    With a claim come the disclosures it is nested in and those within it. A path that leads to
    nothing disclosable adds nothing: the claim is open or absent.
    Raises `KeyBindingUnexpected` for an SD-JWT+KB, and what `parse` and `claims` raise.
    """
    held = parse(sd_jwt) if isinstance(sd_jwt, str) else sd_jwt
    if held.kb_jwt is not None:
        raise KeyBindingUnexpected("a credential to present from carries no KB-JWT")
    if disclose is None:
        return held
    wanted = [(path,) if isinstance(path, str) else tuple(path) for path in disclose]
    chosen = {
        disclosure
        for path, disclosure in held.disclosable().items()
        if any(_overlap(path, want) for want in wanted)
    }
    kept = [disclosure for disclosure in held.disclosures if disclosure in chosen]
    return parse("~".join((held.issuer_jwt, *kept, "")))


def bind(
    presentation: UnverifiedPresentation,
    holder_signer: Signer,
    *,
    nonce: str,
    audience: str,
    now: int,
    transaction_data: Sequence[str] = (),
) -> str:
    """Append a KB-JWT (section 4.3) and give the SD-JWT+KB.

    `transaction_data` are the base64url strings of the request exactly as received; their
    SHA-256 hashes are signed in `transaction_data_hashes` (OpenID4VP 1.0, appendix B.3.3.1).
    Raises `KeyBindingUnexpected` if there is a KB-JWT already.
    """
    if presentation.kb_jwt is not None:
        raise KeyBindingUnexpected("the presentation is already bound")
    claims: JsonObject = {
        "iat": now,
        "aud": audience,
        "nonce": nonce,
        "sd_hash": sd_hash(presentation, presentation.payload()),
    }
    if transaction_data:
        claims["transaction_data_hashes"] = [transaction_data_hash(d) for d in transaction_data]
        claims["transaction_data_hashes_alg"] = "sha-256"
    return presentation.raw + sign_jws(holder_signer, {"typ": KEY_BINDING_TYPE}, claims)


def sd_hash(presentation: UnverifiedPresentation, payload: JsonObject) -> str:
    """Hash what a KB-JWT covers, with the credential's own hash function (section 4.3.1)."""
    hash_of = digest_function(payload.get("_sd_alg", "sha-256"))
    return b64url(hash_of(presentation.bound_part.encode("ascii")).digest())


def transaction_data_hash(transaction_data: str) -> str:
    """Hash a `transaction_data` string as sent: base64url SHA-256 over its ASCII characters.

    Raises `Malformed` if it is not ASCII.
    """
    try:
        return b64url(hashlib.sha256(transaction_data.encode("ascii")).digest())
    except UnicodeEncodeError:
        raise Malformed("transaction_data is not ASCII") from None


def _overlap(path: Path, wanted: tuple[str | int | None, ...]) -> bool:
    """Say whether one path leads to or through the other; `None` matches any array index."""
    return all(
        step == want or (want is None and isinstance(step, int))
        for step, want in zip(path, wanted, strict=False)
    )
