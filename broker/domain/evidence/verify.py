"""Check a bundle, step by step, and say what was found."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from broker.domain.bundle import unpack
from broker.domain.errors import BrokerError, EvidenceInvalid
from broker.domain.evidence.credentials import verify_credentials
from broker.domain.evidence.log import verify_log
from broker.domain.evidence.opened import (
    COPIES,
    LARGEST_JSON,
    MANIFEST,
    MANIFEST_TYPE,
    NOTICE,
    REISSUED_SCHEMA,
    SCHEMA,
    TERMS,
    OpenedBundle,
    SignedPart,
    integer,
    require_canonical,
    text,
    texts,
)
from broker.domain.evidence.signatures import verify_request_objects, verify_signatures
from broker.domain.evidence.stolen_keys import verify_keys
from broker.domain.evidence.story import verify_story
from broker.domain.evidence.times import has_times, verify_times
from broker.domain.terms import Terms
from broker.domain.trust import Trust
from broker.domain.word import file_hash
from credentials.chain import verify_chain
from credentials.errors import CredentialError
from credentials.json_reader import read_json_object
from credentials.jws import parse_jws
from wallet_adapters.errors import WalletProtocolError

LARGEST_MANIFEST = 16_777_216


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


def verify_evidence(data: bytes, trust: Trust | None) -> Report:
    """Check a bundle: against `trust`, or, without it, only for being consistent in itself.

    1. The zip is canonical: not a bit of its frame or files differs from what was packed.
    2. The manifest names every file and its hash, and is signed below a trusted root by the issuer
       that everything else has to be of. There is no file of an unknown name.
    3. The terms are of a known schema, complete, in canonical form, grant something, and name the
       very notice in the bundle.
    4. Each request object was signed below a trusted root for that address and showed these terms.
    5. Each presentation is the customer's own signature, by a customer credential of this issuer,
       at its time, over exactly these terms. Only a partner's copy may lack the grant's.
    6. Consent credential and receipt are of their types, signed by this issuer, and say what
       follows from the terms, no less and no more; the receipt is bound to no key.
    7. Each log entry is in the tree whose checkpoint a trusted log key has signed.
    8. The story holds: the log tells of exactly these files; acts follow one another as they can;
       each permit is of these terms and their time; none stands after the end, and no denial tells
       of an end that is left out (`story.py`).
    9. If there are timestamps of others: they are of this log, and no act is dated later than the
       one above it (`times.py`).
    10. If the trust file names stolen keys: what they signed is dated before the theft, and the log
       bears that out (`stolen_keys.py`).

    Certificates are judged at the time of each signature, which the log bears out. The report
    names each thing checked; it stops at the first that fails.

    What no bundle can show: that the broker has left out none of the decisions of the period, and
    that its clock was right. Both are for whoever keeps the log's checkpoints.
    """
    checks: list[Check] = []
    manifest: dict[str, Any] = {}
    steps: tuple[tuple[str, Callable[[OpenedBundle], str]], ...] = (
        ("manifest", _manifest),
        ("terms", _terms),
        ("request_objects", verify_request_objects),
        ("signatures", verify_signatures),
        ("credentials", verify_credentials),
        ("log", verify_log),
        ("story", verify_story),
    )
    current = "bundle"
    try:
        bundle = OpenedBundle(unpack(data), trust)
        checks.append(Check(current, f"{len(bundle.files)} files, canonical"))
        for code, step in steps:
            current = code
            checks.append(Check(code, step(bundle)))
        if has_times(bundle):
            current = "time"
            checks.append(Check(current, verify_times(bundle)))
        if bundle.trust.compromised:
            current = "keys"
            checks.append(Check(current, verify_keys(bundle)))
        manifest = dict(bundle.manifest)
    except (BrokerError, CredentialError, WalletProtocolError) as error:
        return Report(tuple(checks), Check(current, str(error)), trust is not None)
    return Report(tuple(checks), None, trust is not None, manifest)


# 2.
def _manifest(bundle: OpenedBundle) -> str:
    jws = parse_jws(bundle.text(MANIFEST), typ=MANIFEST_TYPE, max_characters=LARGEST_MANIFEST)
    manifest = read_json_object(jws.payload, max_bytes=LARGEST_MANIFEST)
    require_canonical(manifest, jws.payload, MANIFEST)
    chain = verify_chain(
        texts(jws.header.get("x5c"), "x5c"), bundle.trust.roots, integer(manifest, "created_at")
    )
    jws.verify(chain.key)
    if manifest.get("schema") not in {SCHEMA, REISSUED_SCHEMA}:
        raise EvidenceInvalid("the bundle is of a schema that this version does not know")
    bundle.issuer = text(manifest, "issuer")
    chain.check_issuer(bundle.issuer)
    dated = integer(manifest, "created_at")
    bundle.signed_parts.append(SignedPart(MANIFEST, chain.leaf, dated, None))
    if manifest.get("copy") not in COPIES:
        raise EvidenceInvalid("the manifest does not say whose copy this is")
    listed = manifest.get("files")
    if not isinstance(listed, dict):
        raise EvidenceInvalid("the manifest names no files")
    for name in sorted(set(listed) | (set(bundle.files) - {MANIFEST})):
        if name not in listed:
            raise EvidenceInvalid(f"{name} is not in the manifest")
        if listed[name] != file_hash(bundle.file(name)):
            raise EvidenceInvalid(f"{name} was changed: its hash is not the manifest's")
    bundle.manifest = manifest
    return f"{len(listed)} files, signed by {chain.subject}"


# 3.
def _terms(bundle: OpenedBundle) -> str:
    data = bundle.file(TERMS)
    terms = Terms.from_json(read_json_object(data, max_bytes=LARGEST_JSON))
    if terms.canonical() != data:
        raise EvidenceInvalid(f"{TERMS} is not in canonical form")
    if terms.consent_id != bundle.manifest.get("consent_id"):
        raise EvidenceInvalid("the terms are of another consent than the manifest")
    if not terms.attributes or not terms.actions:
        raise EvidenceInvalid("the terms grant no use of any attribute")
    notice = bundle.json(NOTICE)
    if (notice.get("id"), file_hash(bundle.file(NOTICE))) != (
        terms.notice.template,
        terms.notice.hash,
    ):
        raise EvidenceInvalid(f"{NOTICE} is not the notice that the terms name")
    bundle.terms = terms
    return f"{terms.purpose_wire}, {len(terms.attributes)} attributes, hash {terms.hash()}"
