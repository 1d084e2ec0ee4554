"""A broker that holds every key of its own and may lie at each step of making a bundle.

What it cannot do is sign for the customer. `bundle` tells the truth; each of its keyword arguments
is a lie: it gets what that step has made, changes it in place, and all later steps (hashes,
signatures, the log, the manifest) follow the lie.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from broker.domain.bundle import pack
from broker.domain.checkpoint import Checkpoint, sign_checkpoint
from broker.domain.credential_types import CONSENT, CUSTOMER, RECEIPT
from broker.domain.entry import Entry, LogKey, leaf_data
from broker.domain.evidence import MANIFEST_TYPE, SCHEMA, file_hash
from broker.domain.issued_claims import coarse, consent_claims, receipt_claims
from broker.domain.merkle import Subtree, inclusion_proof, leaf_hash, root_of
from broker.domain.note import Ed25519Signer
from broker.domain.signed_content import bound_text, consent_content, withdrawal_content
from broker.domain.terms import (
    AlgorithmTerms,
    AttributeTerms,
    Label,
    Notice,
    Party,
    PurposeTerms,
    Terms,
    Territories,
)
from broker.domain.tlog_proof import LogProof
from broker.domain.trust import Trust
from credentials.issue import issue_sd_jwt_vc
from credentials.jcs import b64url, canonical
from credentials.jws import Signer, sign_jws
from credentials.keys import SoftwareKey
from credentials.model import StatusReference
from credentials.pki import create_root, issue_leaf, x5c
from credentials.sdjwt import bind, parse
from wallet_adapters.openid4vp.request import (
    redirect_uri_client_id,
    sign_request,
    x509_hash_client_id,
)
from wallet_adapters.openid4vp.transaction_data import encode_transaction_data, fallback_nonce

ISSUER = "https://consent.example"
OTHER_ISSUER = "https://elsewhere.example"
REQUESTED_AT = 1_795_478_400
GRANTED_AT = REQUESTED_AT + 60
PERMITTED_AT = GRANTED_AT + 100
WITHDRAWN_AT = GRANTED_AT + 200
DENIED_AT = GRANTED_AT + 300
CREATED_AT = GRANTED_AT + 400
DAY = 86_400

ROOT, LEAF, PARTNER, CUSTOMER_KEY, OTHER_KEY = (SoftwareKey.generate("ES256") for _ in range(5))
LOG = Ed25519Signer.from_key("consent.example/log", SoftwareKey.generate("Ed25519"))
LOG_KEY = LogKey(bytes(32))
ROOT_DER = create_root("Root", ROOT, REQUESTED_AT - DAY)
TRUST = Trust((ROOT_DER,), (LOG.verifier_key,))

Lie = Callable[[Any], None]


def certified(uri: str) -> tuple[bytes, list[str]]:
    """A leaf for the broker's key under a name, and its chain."""
    leaf = issue_leaf(ROOT_DER, ROOT, LEAF.public_jwk(), name="Leaf", now=REQUESTED_AT, uri=(uri,))
    return leaf, x5c([leaf])


LEAF_DER, CHAIN = certified(ISSUER)
CLIENT_ID = x509_hash_client_id(LEAF_DER)
NOTICE = {"id": "loyalty", "title": {"zh": "会员", "en": "Loyalty"}}


def _both(text: str) -> Label:
    return Label(zh=text, en=text)


TERMS = Terms(
    consent_id="c-1",
    controller=Party("demo", _both("Retail"), "privacy@retail.example", "CN"),
    partner=Party("p-1", _both("Brand"), "privacy@brand.example", "CN"),
    purpose=PurposeTerms("dpv:ServicePersonalisation", _both("P"), necessary_for_service=False),
    algorithm=AlgorithmTerms(
        id="churn-v3",
        version="1",
        label=_both("Churn"),
        explanation=_both("Why"),
        automated_decision=False,
        risk_tier="limited",
    ),
    actions=("read",),
    attributes=(
        AttributeTerms(
            "home_city", _both("City"), "home", sensitive=False, required=True, stored_in="CN"
        ),
    ),
    separate=("third_party",),
    territories=Territories(("CN",), ("CN",), ("CN",)),
    retention_days=180,
    valid_from=REQUESTED_AT,
    valid_until=REQUESTED_AT + 180 * DAY,
    max_uses=2,
    refusal=_both("Nothing changes"),
    notice=Notice("loyalty", 1, "zh", file_hash(canonical(NOTICE))),
    withdrawal=f"{ISSUER}/c/page",
)


def customer_credential(
    holder: Signer = CUSTOMER_KEY,
    *,
    copy: str = "cc-1",
    vct: str = ISSUER + CUSTOMER.path,
    issuer: str = ISSUER,
) -> str:
    """A copy of the customer credential."""
    return issue_sd_jwt_vc(
        signer=LEAF,
        x5c=CHAIN if issuer == ISSUER else certified(issuer)[1],
        issuer=issuer,
        vct=vct,
        claims={"jti": copy, "binding_grade": "code"},
        disclosable=(),
        holder_jwk=holder.public_jwk(),
        status=None,
        issued_at=REQUESTED_AT,
        expires_at=REQUESTED_AT + 700 * DAY,
    )


@dataclass
class Signed:
    """What the customer was asked, and answered."""

    kind: str
    time: int
    terms: Terms = TERMS
    credential: str = field(default_factory=customer_credential)
    holder: Signer = CUSTOMER_KEY
    displayed: bool = True
    client_id: str = CLIENT_ID
    nonce: str = "n-0"
    asked: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    def files(self) -> dict[str, bytes]:
        """The files of this act."""
        content = (
            consent_content(self.terms) if self.kind == "grant" else withdrawal_content(self.terms)
        )
        protocol = {"credential_ids": ["q"], "transaction_data_hashes_alg": ["sha-256"]}
        data = encode_transaction_data({**content, **protocol}) if self.displayed else None
        random = None
        if data is None:
            kind: Any = self.kind
            committed = fallback_nonce(bound_text(kind, self.terms))
            self.nonce, random = committed.nonce, b64url(committed.random)
        asked: dict[str, Any] = {
            "client_id": CLIENT_ID,
            "response_uri": f"{ISSUER}/openid4vp/response/pr-1",
            "nonce": self.nonce,
        }
        shown = {} if data is None else {"transaction_data": [data]}
        presentation = bind(
            parse(self.credential),
            self.holder,
            nonce=self.nonce,
            audience=self.client_id,
            now=self.time - 5,
            transaction_data=() if data is None else (data,),
        )
        details = {
            "kind": self.kind,
            "consent_id": self.terms.consent_id,
            "client_id": self.client_id,
            "nonce": self.nonce,
            "transaction_data": data,
            "bound_random": random,
            "signature_grade": "signed_and_displayed" if self.displayed else "bound_not_displayed",
            "binding_grade": "code" if self.kind == "grant" else None,
            "signed_at": self.time - 5,
            "accepted_at": self.time,
        }
        request = sign_request({**asked, **shown, **self.asked}, LEAF, CHAIN)
        return {
            f"{self.kind}/presentation.txt": presentation.encode(),
            f"{self.kind}/request-object-01.jwt": request.encode(),
            f"{self.kind}/details.json": canonical({**details, **self.details}),
        }


def _hashes(files: dict[str, bytes], kind: str, terms: Terms) -> dict[str, Any]:
    return {
        "presentation": file_hash(files[f"{kind}/presentation.txt"]),
        "request_objects": [
            file_hash(data)
            for name, data in sorted(files.items())
            if name.startswith(f"{kind}/request-object")
        ],
        "terms": terms.hash(),
    }


def bundle(
    *,
    terms: Terms = TERMS,
    copy: str = "officer",
    grant: Lie | None = None,
    withdrawal: Lie | None = None,
    consent: Lie | None = None,
    receipt: Lie | None = None,
    acts: Lie | None = None,
    files: Lie | None = None,
    manifest: Lie | None = None,
) -> bytes:
    """A bundle of a consent that was granted, used once, withdrawn by the same key, then denied."""
    given, taken = Signed("grant", GRANTED_AT, terms), Signed("withdrawal", WITHDRAWN_AT, terms)
    _apply(grant, given)
    _apply(withdrawal, taken)
    made = {**given.files(), **taken.files()}
    evidence = _hashes(made, "grant", terms)
    grade = "signed_and_displayed" if given.displayed else "bound_not_displayed"
    one = _credential(CONSENT.path, consent_claims(terms, evidence=evidence, grade=grade), PARTNER)
    one |= {"status": StatusReference(f"{ISSUER}/status/sl-1", 7), "expires_at": terms.valid_until}
    one["not_before"] = terms.valid_from
    one["claims"]["sub"] = "pairwise"
    _apply(consent, one)
    other = _credential(RECEIPT.path, receipt_claims(terms, evidence=evidence), None)
    _apply(receipt, other)
    made |= {
        "README.txt": b"?",
        "terms.json": terms.canonical(),
        "notice.json": canonical(NOTICE),
        "origin.json": canonical(TRUST.to_json()),
        "credential/consent.txt": issue_sd_jwt_vc(**one).encode(),
        "credential/receipt.txt": issue_sd_jwt_vc(**other).encode(),
    }
    told = _acts(made, terms, grade)
    _apply(acts, told)
    made |= _log(told)
    if copy == "partner":
        made = {name: data for name, data in made.items() if not _for_officers(name)}
    _apply(files, made)
    said = {
        "schema": SCHEMA,
        "issuer": ISSUER,
        "consent_id": terms.consent_id,
        "tenant": "demo",
        "copy": copy,
        "state": "withdrawn",
        "period": {"since": REQUESTED_AT, "until": CREATED_AT},
        "granted_at": GRANTED_AT,
        "created_at": CREATED_AT,
        "files": {name: file_hash(data) for name, data in made.items()},
    }
    _apply(manifest, said)
    header = {"typ": MANIFEST_TYPE, "x5c": CHAIN}
    made["manifest.jws"] = sign_jws(LEAF, header, canonical(said)).encode()
    return pack(made)


def _apply(lie: Lie | None, made: Any) -> None:  # noqa: ANN401 (whatever the step makes)
    if lie is not None:
        lie(made)


def _for_officers(name: str) -> bool:
    return name.startswith(("grant/", "withdrawal/")) or name == "credential/receipt.txt"


def _credential(path: str, claims: dict[str, Any], holder: Signer | None) -> dict[str, Any]:
    return {
        "signer": LEAF,
        "x5c": CHAIN,
        "issuer": ISSUER,
        "vct": ISSUER + path,
        "claims": claims,
        "disclosable": (),
        "holder_jwk": None if holder is None else holder.public_jwk(),
        "status": None,
        "issued_at": coarse(GRANTED_AT),
        "expires_at": None,
    }


def decision(time: int, *, permit: bool, **body: Any) -> Entry:  # noqa: ANN401 (a lie)
    """A decision's entry."""
    told = {
        "decision": permit,
        "partner": "p-1",
        "action": "read",
        "attribute": "home_city",
        "purpose": TERMS.purpose_wire,
        "territory": "CN",
        "conditions": [] if permit else ["consent.withdrawn"],
        "policies": "1",
    }
    return Entry(f"e-{time}", "demo", "decision", time, {**told, **body}, "s-1", "c-1")


def _acts(files: dict[str, bytes], terms: Terms, grade: str) -> list[Entry]:
    def entry(kind: str, time: int, **body: Any) -> Entry:  # noqa: ANN401
        named = {"partner": "p-1", "terms_hash": terms.hash()}
        return Entry(f"e-{kind}", "demo", kind, time, {**named, **body}, "s-1", "c-1")

    return [
        entry("consent.requested", REQUESTED_AT, request="cr-1"),
        entry(
            "consent.granted",
            GRANTED_AT,
            request="cr-1",
            signature_grade=grade,
            binding_grade="code",
            evidence=_hashes(files, "grant", terms),
            consent_credential=file_hash(files["credential/consent.txt"]),
            receipt=file_hash(files["credential/receipt.txt"]),
        ),
        decision(PERMITTED_AT, permit=True),
        entry(
            "consent.withdrawn",
            WITHDRAWN_AT,
            grade="same_key",
            signature_grade="signed_and_displayed",
            evidence=_hashes(files, "withdrawal", terms),
        ),
        decision(DENIED_AT, permit=False),
    ]


def _log(told: list[Entry]) -> dict[str, bytes]:
    leaves = [leaf_hash(leaf_data(LOG_KEY.salt(act.id), act.canonical())) for act in told]
    size = len(leaves)
    note = sign_checkpoint(Checkpoint("consent.example/log", size, root_of(leaves)), [LOG])

    def lookup(wanted: Any) -> list[bytes]:  # noqa: ANN401 (a sequence of subtrees)
        return [_root(leaves, subtree) for subtree in wanted]

    files = {"log/checkpoint.txt": note.encode()}
    for index, act in enumerate(told):
        proof = LogProof(index, tuple(inclusion_proof(index, size, lookup)), note)
        held = {"entry": _object(act), "index": index, "salt": b64url(LOG_KEY.salt(act.id))}
        files[f"log/{index:012d}.json"] = canonical(held)
        files[f"log/{index:012d}.tlog-proof"] = proof.encode().encode()
    return files


def _root(leaves: list[bytes], subtree: Subtree) -> bytes:
    start = subtree.position << subtree.level
    return root_of(leaves[start : start + (1 << subtree.level)])


def _object(act: Entry) -> dict[str, Any]:
    value: dict[str, Any] = {"v": 1, "id": act.id, "tenant": act.tenant_id, "type": act.type}
    value |= {"time": act.time, "body": dict(act.body)}
    return value if act.consent_id is None else {**value, "consent": act.consent_id}


def said(position: int, **changes: Any) -> Lie:  # noqa: ANN401 (a lie)
    """A lie about one entry: other fields; `body` is laid over what it says."""

    def lie(told: list[Entry]) -> None:
        body = {**told[position].body, **changes.get("body", {})}
        told[position] = replace(told[position], **{**changes, "body": body})

    return lie


UNSIGNED = redirect_uri_client_id(f"{ISSUER}/openid4vp/response/pr-1")
