"""An evidence bundle: what is in it, and how anybody checks it with no server and no network.

The files of the canonical zip (`bundle.py`):

    README.txt                      what this is and how to check it, Chinese and English
    manifest.jws                    all other files with their SHA-256, signed by the issuer
    terms.json                      the terms, canonical JSON: what was signed
    grant/, withdrawal/             details.json, presentation.txt, request-object-NN.jwt
    credential/consent.txt, receipt.txt
    log/checkpoint.txt              the log's signed head
    log/NNN.json, NNN.tlog-proof    each log entry of the period with its salt and its proof
    origin.json                     the roots and log key that the broker claims, not believed

A partner's bundle leaves out grant/ and withdrawal/: it holds their hashes, in the credential and
in the log. How it evolves: `schema` in the manifest counts up; what is not known is refused.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from broker.domain.bundle import unpack
from broker.domain.entry import Entry, leaf_data
from broker.domain.errors import BrokerError, EvidenceInvalid
from broker.domain.merkle import leaf_hash
from broker.domain.signed_content import Kind, bound_text, holds
from broker.domain.terms import Terms
from broker.domain.tlog_proof import LogProof, verify_log_proof
from broker.domain.trust import Trust
from credentials.chain import verify_chain
from credentials.errors import CredentialError
from credentials.jcs import b64url, b64url_decode, canonical
from credentials.json_reader import read_json_object
from credentials.jws import PublicKey, parse_jws
from credentials.status import StatusCheck
from credentials.verify import verify_credential, verify_presentation
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.openid4vp.request import REQUEST_OBJECT_TYPE, x509_hash_client_id
from wallet_adapters.openid4vp.transaction_data import (
    decode_transaction_data,
    verify_fallback_nonce,
)

SCHEMA = "urn:consent-broker:evidence:1"
MANIFEST_TYPE = "consent-evidence+jwt"
LARGEST_MANIFEST = 16_777_216
LARGEST_JSON = 1_048_576


@dataclass(frozen=True)
class Check:
    """One thing that was checked: a stable code and what was found, for people."""

    code: str
    found: str


@dataclass(frozen=True)
class Report:
    """What a verification came to. `origin_established` is false when no trust file was given."""

    checks: tuple[Check, ...]
    failure: Check | None
    origin_established: bool
    manifest: Mapping[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> str:
        """`verified`, `consistent_origin_not_established` or `failed`."""
        if self.failure is not None:
            return "failed"
        return "verified" if self.origin_established else "consistent_origin_not_established"


def file_hash(data: bytes) -> str:
    """SHA-256, base64url: how manifest, credential and log name a file."""
    return b64url(hashlib.sha256(data).digest())


def verify_evidence(data: bytes, trust: Trust | None) -> Report:
    """Check a bundle: against `trust`, or, without it, only for being consistent in itself.

    1. The zip is canonical: not a bit of its frame or files differs from what was packed.
    2. The manifest names every file and its hash, and is signed below a trusted root.
    3. The terms are of a known schema, complete, and in canonical form.
    4. Each request object was signed below a trusted root for that address and showed these terms.
    5. Each presentation is the customer's own signature, at its time, over exactly these terms.
    6. Consent credential and receipt are signed below a trusted root and name these terms
       and signatures.
    7. Each log entry is in the tree whose checkpoint a trusted log key has signed.
    8. The story holds: the log tells of these files, and of no permit after a withdrawal.

    Certificates are judged at the time of each signature, which the log bears out. The report
    names each thing checked; it stops at the first that fails.
    """
    checks: list[Check] = []
    manifest: dict[str, Any] = {}
    steps: tuple[tuple[str, Callable[[_Bundle], str]], ...] = (
        ("manifest", _manifest),
        ("terms", _terms),
        ("request_objects", _request_objects),
        ("signatures", _signatures),
        ("credentials", _credentials),
        ("log", _log),
        ("story", _story),
    )
    current = "bundle"
    try:
        bundle = _Bundle(unpack(data), trust)
        checks.append(Check(current, f"{len(bundle.files)} files, canonical"))
        for code, step in steps:
            current = code
            checks.append(Check(code, step(bundle)))
        manifest = dict(bundle.manifest)
    except (BrokerError, CredentialError, WalletProtocolError) as error:
        return Report(tuple(checks), Check(current, str(error)), trust is not None)
    return Report(tuple(checks), None, trust is not None, manifest)


class _Bundle:
    """The files, whom to trust about them, and what earlier steps have read."""

    def __init__(self, files: dict[str, bytes], trust: Trust | None) -> None:
        self.files = files
        self.trust = trust if trust is not None else Trust.parse(self.file("origin.json"))
        self.manifest: Mapping[str, Any] = {}
        self.terms: Terms
        self.details: dict[Kind, Mapping[str, Any]] = {}
        self.entries: list[Entry] = []

    def file(self, name: str) -> bytes:
        """A file that must be there."""
        if name not in self.files:
            raise EvidenceInvalid(f"{name} is missing")
        return self.files[name]

    def text(self, name: str) -> str:
        """A file of UTF-8 text."""
        try:
            return self.file(name).decode()
        except UnicodeDecodeError:
            raise EvidenceInvalid(f"{name} is not text") from None

    def names(self, prefix: str, suffix: str) -> list[str]:
        """The names of a folder's files, sorted."""
        return sorted(
            name for name in self.files if name.startswith(prefix) and name.endswith(suffix)
        )


# 2.
def _manifest(bundle: _Bundle) -> str:
    jws = parse_jws(bundle.text("manifest.jws"), typ=MANIFEST_TYPE, max_characters=LARGEST_MANIFEST)
    manifest = read_json_object(jws.payload, max_bytes=LARGEST_MANIFEST)
    chain = verify_chain(
        _texts(jws.header.get("x5c"), "x5c"), bundle.trust.roots, _integer(manifest, "created_at")
    )
    jws.verify(PublicKey(chain.public_jwk))
    if manifest.get("schema") != SCHEMA:
        raise EvidenceInvalid("the bundle is of a schema that this version does not know")
    listed = manifest.get("files")
    if not isinstance(listed, dict):
        raise EvidenceInvalid("the manifest names no files")
    for name in sorted(set(listed) | (set(bundle.files) - {"manifest.jws"})):
        if name not in listed:
            raise EvidenceInvalid(f"{name} is not in the manifest")
        if listed[name] != file_hash(bundle.file(name)):
            raise EvidenceInvalid(f"{name} was changed: its hash is not the manifest's")
    bundle.manifest = manifest
    return f"{len(listed)} files, signed by {chain.subject}"


# 3.
def _terms(bundle: _Bundle) -> str:
    data = bundle.file("terms.json")
    bundle.terms = Terms.from_json(read_json_object(data, max_bytes=LARGEST_JSON))
    if bundle.terms.canonical() != data:
        raise EvidenceInvalid("terms.json is not in canonical form")
    if bundle.terms.consent_id != bundle.manifest.get("consent_id"):
        raise EvidenceInvalid("the terms are of another consent than the manifest")
    terms = bundle.terms
    return f"{terms.purpose_wire}, {len(terms.attributes)} attributes, hash {terms.hash()}"


# 4.
def _request_objects(bundle: _Bundle) -> str:
    count = 0
    for kind in _kinds(bundle):
        details = read_json_object(bundle.file(f"{kind}/details.json"), max_bytes=LARGEST_JSON)
        bundle.details[kind] = details
        names = bundle.names(f"{kind}/request-object-", ".jwt")
        for name in names:
            _request_object(bundle, details, name)
        if not names and not str(details.get("client_id", "")).startswith("redirect_uri:"):
            raise EvidenceInvalid(f"{kind}: no request object was kept")
        count += len(names)
    return (
        f"{count} request objects showed these terms" if count else "not in this copy of the bundle"
    )


def _request_object(bundle: _Bundle, details: Mapping[str, Any], name: str) -> None:
    jws = parse_jws(bundle.text(name), typ=REQUEST_OBJECT_TYPE, max_characters=LARGEST_JSON)
    chain = verify_chain(
        _texts(jws.header.get("x5c"), "x5c"), bundle.trust.roots, _integer(details, "accepted_at")
    )
    jws.verify(PublicKey(chain.public_jwk))
    asked = read_json_object(jws.payload, max_bytes=LARGEST_JSON)
    leaf = x509_hash_client_id(chain.leaf)
    if asked.get("client_id") != leaf:
        raise EvidenceInvalid(f"{name}: signed by another key than its client id names")
    if asked.get("nonce") != details.get("nonce"):
        raise EvidenceInvalid(f"{name}: it asked with another nonce")
    data = details.get("transaction_data")
    if data is not None and data not in asked.get("transaction_data", []):
        raise EvidenceInvalid(f"{name}: it did not show these terms")


# 5.
def _signatures(bundle: _Bundle) -> str:
    for kind, details in bundle.details.items():
        accepted = _integer(details, "accepted_at")
        data = details.get("transaction_data")
        if data is None:
            random = b64url_decode(str(details.get("bound_random", "")))
            text = bound_text(kind, bundle.terms)
            verify_fallback_nonce(str(details.get("nonce")), text, random)
        elif not holds(kind, decode_transaction_data(str(data)).content, bundle.terms):
            raise EvidenceInvalid(f"{kind}: what was signed is not about these terms")
        verified = verify_presentation(
            bundle.text(f"{kind}/presentation.txt"),
            anchors=bundle.trust.roots,
            audience=str(details.get("client_id")),
            nonce=str(details.get("nonce")),
            now=accepted,
            transaction_data=() if data is None else (str(data),),
            status=StatusCheck.BY_CALLER,
        )
        if verified.signed_at != _integer(details, "signed_at"):
            raise EvidenceInvalid(f"{kind}: the time of signing is not the signature's")
    if not bundle.details:
        return "not in this copy of the bundle: it holds their hashes"
    return ", ".join(f"{kind} signed with the customer's key" for kind in bundle.details)


# 6.
def _credentials(bundle: _Bundle) -> str:
    for name in ("credential/consent.txt", "credential/receipt.txt"):
        if (
            name == "credential/receipt.txt"
            and name not in bundle.files
            and bundle.manifest.get("copy") == "partner"
        ):
            continue  # the receipt is bound to the customer's key: not for a partner
        credential = verify_credential(
            bundle.text(name),
            anchors=bundle.trust.roots,
            now=_granted_at(bundle),
            status=StatusCheck.BY_CALLER,
        )
        claims = credential.claims
        if (claims.get("consent_id"), claims.get("terms_hash")) != (
            bundle.terms.consent_id,
            bundle.terms.hash(),
        ):
            raise EvidenceInvalid(f"{name} is about other terms")
        if "grant" in bundle.details and claims.get("evidence") != _evidence_hashes(
            bundle, "grant"
        ):
            raise EvidenceInvalid(f"{name} names other signatures")
    return "consent credential and receipt name these terms and signatures"


# 7.
def _log(bundle: _Bundle) -> str:
    names = bundle.names("log/", ".json")
    if not names:
        raise EvidenceInvalid("the bundle holds no log entry")
    checkpoint = bundle.text("log/checkpoint.txt")
    for name in names:
        held = read_json_object(bundle.file(name), max_bytes=LARGEST_JSON)
        body = canonical(held.get("entry"))
        entry = Entry.parse(body)
        proof = LogProof.parse(bundle.file(name.removesuffix(".json") + ".tlog-proof"))
        if proof.checkpoint != checkpoint or f"log/{proof.index:012d}.json" != name:
            raise EvidenceInvalid(f"{name}: its proof is for another place or checkpoint")
        leaf = leaf_hash(leaf_data(b64url_decode(str(held.get("salt", ""))), body))
        _in_a_trusted_log(bundle, proof, leaf, name)
        bundle.entries.append(entry)
    origin, size = checkpoint.splitlines()[:2]
    return f"{len(names)} entries under checkpoint {size} of {origin}"


def _in_a_trusted_log(bundle: _Bundle, proof: LogProof, leaf: bytes, name: str) -> None:
    failure: BrokerError | None = None
    for verifier in bundle.trust.verifiers():
        try:
            verify_log_proof(proof, leaf, verifier)
        except BrokerError as error:
            failure = error
        else:
            return
    raise EvidenceInvalid(f"{name}: {failure}")


# 8.
def _story(bundle: _Bundle) -> str:
    granted = [entry for entry in bundle.entries if entry.type == "consent.granted"]
    withdrawn = [entry for entry in bundle.entries if entry.type == "consent.withdrawn"]
    decisions = [entry for entry in bundle.entries if entry.type == "decision"]
    for entry in bundle.entries:
        if entry.consent_id != bundle.terms.consent_id:
            raise EvidenceInvalid("a log entry is about another consent")
    if len(granted) != 1:
        raise EvidenceInvalid("the log entries tell of no grant, or of more than one")
    body = granted[0].body
    if body.get("terms_hash") != bundle.terms.hash():
        raise EvidenceInvalid("the log tells of a grant of other terms")
    if body.get("consent_credential") != file_hash(bundle.file("credential/consent.txt")):
        raise EvidenceInvalid("the log tells of another consent credential")
    told: tuple[tuple[Kind, list[Entry]], ...] = (("grant", granted), ("withdrawal", withdrawn))
    for kind, entries in told:
        if kind in bundle.details and (
            not entries or entries[0].body.get("evidence") != _evidence_hashes(bundle, kind)
        ):
            raise EvidenceInvalid(f"the log tells of another signature of the {kind}")
    for entry in decisions:
        if entry.body.get("decision") is True and withdrawn and entry.time > withdrawn[0].time:
            raise EvidenceInvalid("the log holds a permit after the withdrawal")
    state = "withdrawn" if withdrawn else "not withdrawn"
    return f"granted, {state}, {len(decisions)} decisions in the period"


def _kinds(bundle: _Bundle) -> list[Kind]:
    kinds: tuple[Kind, ...] = ("grant", "withdrawal")
    return [kind for kind in kinds if bundle.names(f"{kind}/", "details.json")]


def _granted_at(bundle: _Bundle) -> int:
    return _integer(bundle.manifest, "granted_at")


def _evidence_hashes(bundle: _Bundle, kind: str) -> dict[str, Any]:
    return {
        "presentation": file_hash(bundle.file(f"{kind}/presentation.txt")),
        "request_objects": [
            file_hash(bundle.files[name])
            for name in bundle.names(f"{kind}/request-object-", ".jwt")
        ],
        "terms": bundle.terms.hash(),
    }


def _integer(source: Mapping[str, Any], name: str) -> int:
    value = source.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise EvidenceInvalid(f"{name} must be a time in Unix seconds")
    return value


def _texts(value: Any, name: str) -> list[str]:  # noqa: ANN401 (untrusted JSON)
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise EvidenceInvalid(f"{name} must be a list of texts")
    return value
