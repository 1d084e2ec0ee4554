"""The broker's word on a file: a compact JWS by a tenant's key for credentials.

Its header says by `typ` what it is about and brings the certificates (`x5c`). Its payload:

    iss     the tenant's address, a name of the certificate
    iat     when it was given, Unix seconds
    ...     what is said of the file; the modules that give it say which members
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from broker.domain.errors import EvidenceInvalid
from broker.domain.trust import Trust
from credentials.chain import verify_chain
from credentials.errors import CredentialError
from credentials.jcs import b64url
from credentials.json_reader import read_json_object
from credentials.jws import Signer, parse_jws, sign_jws

_OF_ALL = frozenset({"iss", "iat"})


@dataclass(frozen=True)
class Word:
    """A word that was verified: by whom, when (Unix seconds), and what it says besides."""

    issuer: str
    made_at: int
    said: Mapping[str, Any]


def file_hash(data: bytes) -> str:
    """SHA-256, base64url: how words, manifests, credentials and the log name a file."""
    return b64url(hashlib.sha256(data).digest())


def give_word(typ: str, word: Word, *, signer: Signer, x5c: Sequence[str]) -> str:
    """The word, as a compact JWS."""
    claims = {"iss": word.issuer, "iat": word.made_at, **word.said}
    return sign_jws(signer, {"typ": typ, "x5c": list(x5c)}, claims)


def read_word(token: str, typ: str, trust: Trust) -> Word:
    """Verify a word.

    1. It is a JWS of this type, and its payload has `iss` and `iat`.
    2. Its certificates lead to a trusted root at its `iat`.
    3. Its certificate is none of those whose key somebody else may hold: they can date it back.
    4. Its signature holds, and its issuer is a name of the certificate.

    What it says is the caller's to compare. Raises `EvidenceInvalid`, which says what fails.
    """
    try:
        # 1.
        jws = parse_jws(token, typ=typ)
        claims = read_json_object(jws.payload)
        issuer, made_at = claims.get("iss"), claims.get("iat")
        if not isinstance(issuer, str) or type(made_at) is not int:
            raise EvidenceInvalid("the signature does not say by whom it is, and since when")
        # 2.
        chain = verify_chain(jws.header.get("x5c", ()), trust.roots, made_at)
        # 3.
        if any(one.is_of(chain.leaf) for one in trust.compromised):
            raise EvidenceInvalid("the key that signed it is one that somebody else may hold")
        # 4.
        jws.verify(chain.key)
        chain.check_issuer(issuer)
    except CredentialError as error:
        raise EvidenceInvalid(f"the signature does not hold: {error}") from None
    said = {name: one for name, one in claims.items() if name not in _OF_ALL}
    return Word(issuer, made_at, said)
