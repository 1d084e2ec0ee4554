"""The parsers of the broker: terms, templates, the log's files, evidence, requests, settings."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from broker.api.authzen import (
    parse_access_request,
    parse_evaluation,
    parse_evaluations,
    parse_search,
)
from broker.api.limits import deeper_than
from broker.domain import cosignature, model_card, model_facts, webhook
from broker.domain.access import read_terms
from broker.domain.agent import ACTION_TYPE, claimed_agent, read_action
from broker.domain.backup import DATABASE, BackupFile
from broker.domain.backup import Manifest as BackupManifest
from broker.domain.bundle import pack, unpack
from broker.domain.campaign import read_board, read_node_key
from broker.domain.checkpoint import (
    Checkpoint,
    open_checkpoint,
    open_checkpoint_of,
    sign_checkpoint,
)
from broker.domain.cross_border_export import TYPE, verify_register, vouch
from broker.domain.deletion import RECEIPT_TYPE, Asked, read_receipt, sign_receipt
from broker.domain.demand import read_demand
from broker.domain.entry import Entry, LogKey, SealedEntry
from broker.domain.errors import BrokerError
from broker.domain.event import MEDIA_TYPE
from broker.domain.evidence import MANIFEST_TYPE, file_hash, verify_evidence
from broker.domain.fee import Charge, read_month, read_rate, read_value
from broker.domain.guardian import GuardianTerms
from broker.domain.incoming import BATCH_TYPE, read_events
from broker.domain.masking import read_maskings
from broker.domain.merkle import leaf_hash, root_of, verify_consistency, verify_inclusion
from broker.domain.note import (
    NoteSignature,
    VerifierKey,
    decode_base64,
    encode_signer_key,
    parse_note,
    parse_signer_key,
    verify_note,
)
from broker.domain.policies import CONSENT_POLICIES
from broker.domain.policy import policies_with
from broker.domain.template import read_template
from broker.domain.terms import Label, Party, Terms, parse_purpose
from broker.domain.tiles import entry_bundle, parse_entry_bundle, parse_tile_path
from broker.domain.timestamp import verify_timestamp
from broker.domain.tlog_proof import LogProof, verify_log_proof
from broker.domain.training_evidence import verify_training_evidence
from broker.domain.training_evidence import vouch as word
from broker.domain.training_round import receipt_hash
from broker.domain.trust import CompromisedKey, RetiredLogKey, Trust
from broker.domain.vault import read_range
from broker.domain.webhook import read_secret, verify
from broker.domain.witnessing import cosignatures, known_size
from broker.outbound.pkcs11 import KeyAddress
from broker.outbound.public_address import is_public, read_address
from broker.settings import SettingsError, read_settings
from broker.store import outside_copies
from broker.store.head_file import FILE_NAME, HeadFile
from credentials.errors import CredentialError
from credentials.jcs import b64url, b64url_decode, canonical
from credentials.jws import sign_jws
from credentials.keys import SoftwareKey
from federation.board import sign_campaign, signed_campaign
from federation.presence import PresenceTree, leaf_of, leaves_of
from federation.receipt import Receipt
from federation.receipt import sign_receipt as sign_training
from tests.broker import builders
from tests.broker.domain import dishonest_broker as honest
from tests.federation.world import BOARD_KEYS, KEY, MEMBER_KEY, SALT
from tests.federation.world import signed as signed_by_board
from tests.fuzzing.parser import Parser, dumped, form, members, text, value

FAMILY = (BrokerError,)
LOG = honest.LOG
LOG_KEY = LogKey(bytes(range(32)))
ENTRY = Entry("e-1", "demo", "consent.granted", 1, {"partner": "p-1"}, consent_id="c-1")
SEALED = LOG_KEY.seal(ENTRY)
BUNDLE = honest.bundle()
FILES = unpack(BUNDLE)
NAMES = sorted(set(FILES) - {"manifest.jws"})
MANIFEST: dict[str, Any] = json.loads(b64url_decode(FILES["manifest.jws"].decode().split(".")[1]))
PROOF = next(data for name, data in FILES.items() if name.endswith(".tlog-proof"))
NOTE = FILES["log/checkpoint.txt"]
WITNESS = cosignature.Cosigner(
    VerifierKey("witness.example", cosignature.ED25519_COSIGNATURE, LOG.public_key)
)
COSIGNED = cosignature.CosignatureSigner(WITNESS.key, LOG.sign_bytes, 1_790_000_000)
TEMPLATE = json.loads(
    (Path(builders.__file__).parents[2] / "broker/usecases/demonstration.json").read_text("utf-8")
)["templates"][0]
OWN_POLICIES = """
@id("own.far") @law("contract") @code("own_far") @obligation("stop") @zh("远。") @en("\\u{1f600}")
forbid (principal is Agent, action in [Action::"train", Action::"share"], resource)
when { context.consent has usesLeft && [1, 2].contains(context.consent.usesLeft) } // few
unless { if context has proof then context.proof.maxAge > 60 else resource.name like "home*" };
""".encode()
DEMAND = {
    "schema": "person/1",
    "statements": [
        {"type": "older_than", "attribute": "birth_date", "years": 18},
        {"type": "member_of", "attribute": "city", "values": ["Berlin", "Paris"]},
    ],
    "max_age_seconds": 600,
}
EVALUATION = {
    "subject": {"type": "agent", "id": "bot", "properties": {"partner": "p-1"}},
    "action": {"name": "read"},
    "resource": {"type": "attribute", "id": "home_city", "properties": {"subject_ref": "crm-1"}},
    "context": {"purpose": builders.WIRE, "territory": "CN"},
}
EVENT = {
    "specversion": "1.0",
    "id": "a",
    "source": "https://loyalty.example",
    "type": "member.moved",
    "subject": "member-1",
    "time": "2026-11-27T12:00:00Z",
    "ext": 7,
    "data": {"a": [1]},
}
SETTINGS = {
    "PUBLIC_URL": "https://consent.example/broker",
    "PORT": "8000",
    "WORKERS": "1",
    "BROKER_MASTER_KEY": "A" * 43,
    "BROKER_PROFILE": "strict",
    "BROKER_WALLETS": "w https://wallet.example/cb",
    "BROKER_WITNESSES": f"{LOG.verifier_key.encode()} https://witness.example",
}
ROTATED = Trust(
    honest.TRUST.roots,
    honest.TRUST.logs,
    retired_logs=(RetiredLogKey(LOG.verifier_key, 9),),
    compromised=(CompromisedKey("0" * 64, 1, 1),),
)
ASKED = Asked("dt-1", "p-1", "c-1", ("home_city",), "https://consent.example", 1_790_000_000)
RECEIPT = sign_receipt(
    honest.PARTNER, ASKED, deleted_at=1_790_000_050, method="deleted", now=1_790_000_060
)
BACKUP = BackupManifest(
    "sqlite", 1, "0001", "log", 5, "https://consent.example", {DATABASE: BackupFile(1, "00")}
)
REGISTER = vouch(
    b"register",
    signer=honest.LEAF,
    x5c=honest.CHAIN,
    issuer=honest.ISSUER,
    year=2026,
    form="json",
    now=honest.GRANTED_AT,
    checkpoint=NOTE.decode(),
)
SIGNED = signed_by_board()
LEAVES = PresenceTree(leaves_of(KEY, ["c-1", "c-2"]))
TRAINED = Receipt(
    member="p-north",
    signed_at=honest.GRANTED_AT,
    campaign=SIGNED.campaign_hash,
    stage="consortium",
    round=3,
    model_in=b64url(bytes(32)),
    model_out=b64url(bytes(32)),
    lists=(),
    bucket=LEAVES.size - 2,
    root=LEAVES.root(),
)
RECEIPT_TOKEN = sign_training(MEMBER_KEY, TRAINED)
RECEIPT_ENTRY = Entry(
    "e-2",
    "demo",
    "training.receipt",
    1,
    {
        "campaign_hash": SIGNED.campaign_hash,
        "stage": "consortium",
        "number": 3,
        "member": "p-north",
        "receipt": receipt_hash(RECEIPT_TOKEN),
        "root": b64url(LEAVES.root()),
    },
)
TRAINING = {
    "schema": "urn:consent-broker:training-evidence:2",
    "checkpoint": sign_checkpoint(
        Checkpoint(LOG.name, 1, root_of([leaf_hash(LOG_KEY.seal(RECEIPT_ENTRY).leaf_data)])), [LOG]
    ),
    "iss": honest.ISSUER,
    "made_at": honest.GRANTED_AT,
    "consents": ["c-1"],
    "campaigns": [
        {
            "id": "fc-1",
            "document": signed_campaign(
                SIGNED.campaign, [sign_campaign(key, SIGNED.campaign) for key in BOARD_KEYS[:2]]
            ),
            "board": {"keys": [key.public_jwk() for key in BOARD_KEYS], "threshold": 2},
            "salt": b64url(SALT),
        }
    ],
    "rounds": [
        {
            "campaign": SIGNED.campaign_hash,
            "stage": "consortium",
            "number": 3,
            "member": "p-north",
            "receipt": RECEIPT_TOKEN,
            "receipt_key": MEMBER_KEY.public_jwk(),
            "key": b64url(KEY),
            "log": {
                "entry": json.loads(RECEIPT_ENTRY.canonical()),
                "salt": b64url(LOG_KEY.salt("e-2")),
                "index": 0,
                "path": "",
            },
            "model_out": None,
            "proofs": {"c-1": LEAVES.prove(leaf_of(KEY, "c-1")).to_json()},
        }
    ],
}
VERSION: dict[str, Any] = {
    "id": b64url(bytes(32)),
    "parent": None,
    "campaign": "fc-1",
    "stage": "consortium",
    "number": 0,
    "bundle_hash": SIGNED.campaign.bundle_hash,
    "parameters_hash": SIGNED.campaign.parameters_hash,
    "receipts_root": None,
    "members": [],
    "epsilon": None,
    "metrics": {"auc": "0.8"},
    "state": "candidate",
    "taint": None,
    "created_at": 1,
}
SAID = {"task": "ut-1", "before": "0.5", "after": "0.25", "measured": None}
_HASH = b64url(bytes(32))
RESIDUAL = SAID | {"measured": dict.fromkeys(("before", "after", "reference"), _HASH)}
MODEL: dict[str, Any] = {
    "schema": model_facts.SCHEMA,
    "iss": honest.ISSUER,
    "made_at": honest.GRANTED_AT,
    "model": VERSION,
    "campaign": {
        "id": "fc-1",
        "hash": SIGNED.campaign_hash,
        "document": TRAINING["campaigns"][0]["document"],  # type: ignore[index]
        "board": TRAINING["campaigns"][0]["board"],  # type: ignore[index]
    },
    "line": [
        VERSION | {"buckets": {"p-1": 64}, "approvals": ["a.b.c"], "residuals": [RESIDUAL, SAID]}
    ],
    "looked_through": True,
}
# A model of a pilot, in a campaign that has none.
ALONE = signed_by_board(rollout=SIGNED.campaign.to_json()["rollout"][1:])
BEGAN = VERSION | {"id": b64url(bytes(31) + b"1")}
PILOT = VERSION | {"parent": BEGAN["id"], "number": 1, "stage": "pilot", "state": "pilot"}
NO_PILOT: dict[str, Any] = MODEL | {
    "model": PILOT,
    "campaign": MODEL["campaign"]
    | {
        "hash": ALONE.campaign_hash,
        "document": signed_campaign(
            ALONE.campaign, [sign_campaign(key, ALONE.campaign) for key in BOARD_KEYS[:2]]
        ),
    },
    "line": [one | {"buckets": {}, "approvals": []} for one in (PILOT, BEGAN)],
}
_FOLDER = Path(tempfile.gettempdir())


def _answer(note: bytes) -> bytes:
    """What a witness answers to a checkpoint: its signature line."""
    signed = COSIGNED.sign(parse_note(note).text)
    return NoteSignature(COSIGNED.name, COSIGNED.key_id, signed).encode().encode()


def _register_claims(data: bytes) -> object:
    """Claims that are signed all the same: by a broker that lies, or writes what it should not."""
    token = sign_jws(honest.LEAF, {"typ": TYPE, "x5c": honest.CHAIN}, data)
    return verify_register(b"register", token, honest.TRUST)


def _training_evidence(data: bytes) -> object:
    """Evidence that is signed all the same."""
    evidence = members(data)
    evidence["iss"], evidence["made_at"] = honest.ISSUER, honest.GRANTED_AT
    try:
        file = word(evidence, signer=honest.LEAF, x5c=honest.CHAIN)
    except CredentialError:
        return None  # it has no canonical form, so nobody could sign it
    return verify_training_evidence(dumped(file), honest.TRUST)


def word_on_model(facts: dict[str, Any]) -> str:
    files = {model_facts.FACTS: dumped(facts), model_card.CARD: b"# card"}
    return model_card.vouch(facts, files, signer=honest.LEAF, x5c=honest.CHAIN)


def _model(data: bytes, facts: dict[str, Any] = MODEL) -> object:
    """Facts that nobody signed: each thing is looked at all the same, and nothing is raised."""
    files = {model_facts.FACTS: data, model_card.WORD: word_on_model(facts).encode()}
    return model_card.verify_model(files, b64url(bytes(32)), honest.TRUST)


def _model_claims(data: bytes) -> object:
    """Claims that are signed all the same."""
    token = sign_jws(honest.LEAF, {"typ": model_card.TYPE, "x5c": honest.CHAIN}, data)
    files = {model_facts.FACTS: dumped(MODEL), model_card.WORD: token.encode()}
    return model_card.verify_model(files, None, honest.TRUST)


def _note(data: bytes) -> object:
    note = parse_note(data)
    return note.encode(), verify_note(note, [LOG_VERIFIER])


def _log_proof(data: bytes) -> object:
    proof = LogProof.parse(data)
    return proof.encode(), verify_log_proof(proof, bytes(32), LOG_VERIFIER)


def _merkle(data: bytes) -> object:
    """A path and sizes that whoever serves a proof chooses."""
    told = members(data)
    sizes = [size if type(size) is int else 0 for size in (told.get("index"), told.get("size"))]
    listed = told.get("path")
    path = [text_hash(one) for one in listed] if isinstance(listed, list) else []
    verify_consistency(sizes[0], sizes[1], bytes(32), bytes(32), path)
    verify_inclusion(bytes(32), sizes[0], sizes[1], path, bytes(32))
    return None


def text_hash(found: object) -> bytes:
    """Some bytes, by what a member of JSON says."""
    return str(found).encode("utf-8", "replace")[:32].ljust(32, b"\x00")


def _evidence_file(data: bytes) -> object:
    """A bundle whose file is another one, under a manifest that is signed by the right key."""
    name = NAMES[data[0] % len(NAMES)] if data else NAMES[0]
    made = FILES | {name: data[1:]}
    said = MANIFEST | {"files": MANIFEST["files"] | {name: file_hash(data[1:])}}
    header = {"typ": MANIFEST_TYPE, "x5c": honest.CHAIN}
    made["manifest.jws"] = sign_jws(honest.LEAF, header, canonical(said)).encode()
    return verify_evidence(pack(made), honest.TRUST)


def _manifest(data: bytes) -> object:
    header = {"typ": MANIFEST_TYPE, "x5c": honest.CHAIN}
    made = FILES | {"manifest.jws": sign_jws(honest.LEAF, header, data).encode()}
    return verify_evidence(pack(made), honest.TRUST)


def _receipt(data: bytes) -> object:
    """Claims behind the signature of the recipient's own key."""
    token = sign_jws(honest.PARTNER, {"typ": RECEIPT_TYPE}, data)
    return read_receipt(token, ASKED, honest.PARTNER.public_jwk(), 1_790_000_100)


def _agents_action(data: bytes) -> object:
    """Claims behind the signature of the agent's own key."""
    token = sign_jws(honest.PARTNER, {"typ": ACTION_TYPE}, data)
    key = honest.PARTNER.public_jwk()
    return read_action(token, key, "https://broker.example", 1_790_000_100)


def _event_type(data: bytes) -> str:
    return BATCH_TYPE if data[:1] == b"[" else MEDIA_TYPE


def _event_headers(data: bytes) -> object:
    names = (webhook.ID, webhook.TIMESTAMP, webhook.SIGNATURE)
    given = dict(zip(names, text(data).split("\n"), strict=False))
    verify([bytes(32)], given, data, 1_790_000_000)
    return given


def _sealed_entry(data: bytes) -> object:
    told = vars(SEALED) | {"sealed_body": data}
    return LOG_KEY.open(SealedEntry(**told))


def _in_file(name: str, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    def act(data: bytes) -> object:
        with tempfile.TemporaryDirectory(dir=_FOLDER) as folder:
            path = Path(folder) / name
            path.write_bytes(data)
            return read(path)

    return act


def _address(data: bytes) -> object:
    found = read_address(text(data))
    return None if found is None else is_public(found)


def _p(
    name: str,
    covers: str,
    act: Callable[[bytes], object],
    *samples: bytes,
    families: tuple[type[Exception], ...] = FAMILY,
) -> Parser:
    return Parser(name, tuple(f"broker.{one}" for one in covers.split()), act, samples, families)


BOARD_KEY = SoftwareKey.generate()
LOG_VERIFIER = cosignature.verifier(LOG.verifier_key.encode())

PARSERS = (
    _p(
        "terms",
        "domain.terms.Terms.from_json domain.terms.Party.from_json domain.terms.Label.from_json "
        "domain.guardian.GuardianTerms.from_json",
        lambda data: Terms.from_json(value(data)),
        canonical(honest.TERMS.to_json()),
        canonical(replace(honest.TERMS, guardian=GuardianTerms("parent", alone=False)).to_json()),
        b'{"schema": []}',
    ),
    _p(
        "party",
        "domain.terms.Party.from_json",
        lambda data: (Label.from_json(members(data).get("name")), Party.from_json(value(data))),
        dumped(honest.TERMS.partner.to_json()),
    ),
    _p(
        "stored terms",
        "domain.access.read_terms",
        lambda data: read_terms(text(data)),
        canonical(honest.TERMS.to_json()),
    ),
    _p(
        "purpose",
        "domain.terms.parse_purpose",
        lambda data: parse_purpose(text(data)),
        builders.WIRE.encode(),
    ),
    _p(
        "template",
        "domain.template.read_template domain.template.parse_template",
        lambda data: read_template(value(data)),
        dumped(TEMPLATE),
    ),
    _p(
        "demand",
        "domain.demand.read_demand",
        lambda data: read_demand(value(data)),
        dumped(DEMAND),
    ),
    _p(
        "board",
        "domain.campaign.read_board",
        read_board,
        dumped({"keys": [BOARD_KEY.public_jwk()], "threshold": 1}),
    ),
    _p(
        "node key",
        "domain.campaign.read_node_key",
        read_node_key,
        dumped(BOARD_KEY.public_jwk()),
        read_node_key(dumped(BOARD_KEY.public_jwk())).encode(),
    ),
    _p(
        "access request",
        "api.authzen.parse_access_request",
        parse_access_request,
        dumped(
            {
                **EVALUATION,
                "denial": {
                    "evaluation_id": "e-1",
                    "expires_at": "2026-11-27T00:00:00Z",
                    "template": "loyalty/base",
                    "binding_token": "t",
                },
            }
        ),
    ),
    _p(
        "evaluation",
        "api.authzen.parse_evaluation api.authzen.parse_evaluations api.authzen.parse_search "
        "domain.own_attribute.read_own",
        lambda data: (
            parse_evaluations(data),
            parse_evaluation(data),
            parse_search(data, "resource"),
        ),
        dumped(EVALUATION),
        dumped({"evaluations": [EVALUATION] * 2, "options": {}}),
        dumped(EVALUATION | {"context": {"own": {"tier": 2, "channel": "app", "sets": ["a"]}}}),
    ),
    _p(
        "own policies",
        "domain.policy_set.read_own_conditions",
        lambda data: policies_with(text(data) or "x"),
        OWN_POLICIES,
        b'// own: [["partner","tier","long",[]]]\n' + OWN_POLICIES,
        CONSENT_POLICIES.encode()[:30_000],
    ),
    _p("depth of a body", "", lambda data: deeper_than(data, 32), dumped(TEMPLATE)),
    _p(
        "note",
        "domain.note.parse_note domain.note.verify_note domain.note.Ed25519Verifier.verify",
        _note,
        NOTE,
    ),
    _p(
        "checkpoint",
        "domain.checkpoint.Checkpoint.parse",
        lambda data: Checkpoint.parse(text(data)),
        parse_note(NOTE).text.encode(),
    ),
    _p(
        "signed checkpoint",
        "domain.checkpoint.open_checkpoint domain.checkpoint.open_checkpoint_of "
        "domain.note.verify_ed25519 domain.trust.RetiredVerifier.verify",
        lambda data: (
            open_checkpoint(data, LOG_VERIFIER),
            open_checkpoint_of(data, ROTATED.verifiers()[1:]),
        ),
        NOTE,
    ),
    _p(
        "signed checkpoint as text",
        "domain.checkpoint.open_checkpoint",
        lambda data: open_checkpoint(text(data), LOG_VERIFIER),
        NOTE,
    ),
    _p(
        "log proof",
        "domain.tlog_proof.LogProof.parse domain.tlog_proof.verify_log_proof",
        _log_proof,
        PROOF,
    ),
    _p(
        "log proof as text",
        "domain.tlog_proof.LogProof.parse",
        lambda data: verify_log_proof(LogProof.parse(text(data)), bytes(32), LOG_VERIFIER),
        PROOF,
    ),
    _p(
        "path in the tree",
        "domain.merkle.verify_inclusion domain.merkle.verify_consistency",
        _merkle,
        dumped({"index": 3, "size": 9, "path": ["a", "b", "c"]}),
    ),
    _p(
        "verifier key",
        "domain.note.VerifierKey.parse",
        lambda data: (VerifierKey.parse(text(data)), cosignature.verifier(text(data))),
        LOG.verifier_key.encode().encode(),
        WITNESS.key.encode().encode(),
    ),
    _p(
        "signer key",
        "domain.note.parse_signer_key domain.note.Ed25519Signer.from_seed",
        lambda data: parse_signer_key(text(data)),
        encode_signer_key("a", bytes(32)).encode(),
    ),
    _p(
        "base64 of a note",
        "domain.note.decode_base64",
        lambda data: decode_base64(text(data)),
        b"AAAA",
        b"AA==",
    ),
    _p(
        "witness's answer",
        "",
        lambda data: cosignatures(NOTE.decode(), data, WITNESS),
        _answer(NOTE),
    ),
    _p(
        "cosignature",
        "domain.cosignature.Cosigner.verify",
        lambda data: WITNESS.verify(parse_note(NOTE).text, data),
        COSIGNED.sign(parse_note(NOTE).text),
    ),
    _p(
        "cosigned text",
        "domain.cosignature.Cosigner.verify",
        lambda data: WITNESS.verify(text(data), bytes(72)),
        parse_note(NOTE).text.encode(),
    ),
    _p("witness's size", "", known_size, b"12\n"),
    _p(
        "tile address",
        "domain.tiles.parse_tile_path",
        lambda data: parse_tile_path(*text(data).partition("/")[::2]),
        b"0/x001/234.p/17",
        b"entries/000",
    ),
    _p(
        "entry bundle",
        "domain.tiles.parse_entry_bundle",
        parse_entry_bundle,
        entry_bundle([b"a" * 32, b""]),
    ),
    _p("entry", "domain.entry.Entry.parse", Entry.parse, ENTRY.canonical()),
    _p("sealed entry", "domain.entry.LogKey.open", _sealed_entry, SEALED.sealed_body),
    _p(
        "trust file",
        "domain.trust.Trust.parse domain.trust.Trust.from_json",
        Trust.parse,
        dumped(honest.TRUST.to_json()),
        dumped(ROTATED.to_json()),
    ),
    _p(
        "timestamp",
        "domain.timestamp.verify_timestamp",
        lambda data: verify_timestamp(data, b"text", roots=[honest.ROOT_DER]),
        bytes.fromhex("3003020100"),
        bytes.fromhex("30053003020102"),
    ),
    _p("zip", "domain.bundle.unpack", unpack, pack({"a": b"1", "b/c": b"2"}), BUNDLE),
    _p(
        "evidence",
        "domain.evidence.verify.verify_evidence",
        lambda data: verify_evidence(data, None),
        BUNDLE,
    ),
    _p(
        "file of a bundle",
        "domain.evidence.verify.verify_evidence",
        _evidence_file,
        *(bytes([at]) + FILES[name] for at, name in enumerate(NAMES)),
    ),
    _p(
        "manifest of a bundle",
        "domain.evidence.verify.verify_evidence",
        _manifest,
        canonical(MANIFEST),
    ),
    _p(
        "word on a register of transfers",
        "domain.cross_border_export.verify_register domain.word.read_word",
        lambda data: verify_register(b"register", text(data), honest.TRUST),
        REGISTER.encode(),
    ),
    _p(
        "claims of a word on a register",
        "domain.cross_border_export.verify_register",
        _register_claims,
        b64url_decode(REGISTER.split(".")[1]),
    ),
    _p(
        "evidence of training",
        "domain.training_evidence.verify_training_evidence domain.campaign.read_told",
        _training_evidence,
        dumped(TRAINING),
    ),
    _p(
        "file of evidence of training",
        "domain.training_evidence.verify_training_evidence",
        lambda data: verify_training_evidence(data, honest.TRUST),
        dumped(word(TRAINING, signer=honest.LEAF, x5c=honest.CHAIN)),
    ),
    _p(
        "facts of a model",
        "domain.model_card.verify_model domain.model_facts.read_facts",
        _model,
        dumped(MODEL),
    ),
    _p(
        "facts of a model in use",
        "domain.model_card.verify_model",
        lambda data: _model(data, NO_PILOT),
        dumped(NO_PILOT),
    ),
    _p(
        "word on a model",
        "domain.model_card.verify_model domain.word.read_word",
        lambda data: model_card.verify_model({model_card.WORD: data}, None, honest.TRUST, data),
        word_on_model(MODEL).encode(),
    ),
    _p(
        "claims of a word on a model",
        "domain.model_card.verify_model domain.word.read_word",
        _model_claims,
        b64url_decode(word_on_model(MODEL).split(".")[1]),
    ),
    _p(
        "IP address",
        "outbound.public_address.read_address",
        _address,
        b"::ffff:127.0.0.1",
        b"1.1.1.1",
    ),
    _p(
        "PKCS#11 address",
        "outbound.pkcs11.KeyAddress.parse",
        lambda data: KeyAddress.parse(text(data)),
        b"pkcs11:token=a;object=b?module-path=/x.so&pin-value=1",
        families=(SettingsError,),
    ),
    _p(
        "settings",
        "settings.read_settings",
        lambda data: read_settings(
            {
                name: str(one)
                for name, one in members(data).items()
                if name != "BROKER_TIMESTAMP_ROOTS"
            }
        ),
        dumped(SETTINGS),
        families=(SettingsError,),
    ),
    _p(
        "manifest of a backup",
        "domain.backup.Manifest.parse",
        BackupManifest.parse,
        dumped(BACKUP.to_json()),
    ),
    _p(
        "deletion receipt",
        "domain.deletion.read_receipt",
        _receipt,
        b64url_decode(RECEIPT.split(".")[1]),
    ),
    _p(
        "range",
        "domain.vault.read_range",
        lambda data: read_range(text(data), 1_000),
        b"bytes=0-99",
        b"bytes=-5",
    ),
    _p(
        "agent's action",
        "domain.agent.read_action",
        _agents_action,
        dumped(
            {
                "iss": "ag-" + "a" * 20,
                "aud": "https://broker.example",
                "iat": 1_790_000_000,
                "jti": "an-action-1",
                "action": "read",
                "decisions": ["e-" + "a" * 20],
                "consents": ["c-" + "a" * 20],
            }
        ),
    ),
    _p(
        "agent's action as it comes",
        "domain.agent.claimed_agent",
        lambda data: claimed_agent(text(data)),
        RECEIPT.encode(),
    ),
    _p(
        "events of others",
        "domain.incoming.read_events",
        lambda data: read_events(data, _event_type(data), max_bytes=100_000),
        dumped(EVENT),
        dumped([EVENT, EVENT | {"id": "b", "time": "2026-11-27T12:00:00.5+08:00"}]),
    ),
    _p(
        "headers of an event",
        "domain.webhook.verify",
        _event_headers,
        b"m-1\n1790000000\nv1,AAAA v1,BBBB",
    ),
    _p(
        "secret of a webhook",
        "domain.webhook.read_secret",
        lambda data: read_secret(text(data)),
        b"whsec_" + b"QUFB" * 10,
    ),
    _p(
        "declared value",
        "domain.fee.read_value domain.fee.read_currency",
        lambda data: read_value(value(data), "context.value"),
        dumped({"amount": "12.50", "currency": "CNY"}),
    ),
    _p("rate", "domain.fee.read_rate", lambda data: read_rate(text(data)), b"0.3"),
    _p("month", "domain.fee.read_month", lambda data: read_month(text(data)), b"2026-11"),
    _p(
        "entry of a fee",
        "domain.fee.Charge.from_body",
        lambda data: Charge.from_body("e-1", 1, members(data)),
        dumped(
            {
                **dict.fromkeys(("decision", "partner", "purpose", "currency"), "x"),
                **dict.fromkeys(("debit", "credit"), "x"),
                **dict.fromkeys(("value", "rate", "amount"), 1),
            }
        ),
    ),
    _p(
        "maskings",
        "domain.masking.read_maskings",
        lambda data: read_maskings(form(data)),
        dumped({"*": "phone", "support": "none"}),
    ),
    _p(
        "erasures file",
        "store.outside_copies.read_erasures",
        _in_file(outside_copies.FILE_NAME, lambda path: outside_copies.read_erasures([path])),
        b'\n{"type":"subject.erased","tenant":"demo","contacts":["a"],"at":1}\n',
    ),
    _p(
        "head file",
        "store.head_file.HeadFile.read",
        _in_file(FILE_NAME, lambda path: HeadFile(path).read()),
        NOTE,
    ),
    _p(
        "withdrawals file",
        "store.outside_copies.read",
        _in_file(outside_copies.FILE_NAME, lambda path: outside_copies.read([path])),
        b'\n{"type":"consent.withdrawn","tenant":"demo","consent":"c-1","at":1}\n',
    ),
)
EXCLUDED = {
    "broker.domain.access_request.verify_denial": "compares a MAC over what was read before",
    "broker.domain.decision.Decision.load": "reads what `dump` wrote, under a seal",
    "broker.domain.data_source.Checklist.load": "reads what `dump` wrote into the row",
    "broker.domain.conditions.read_conditions": "reads the policies that are shipped",
    "broker.domain.note.Ed25519Signer.from_key": "takes a key of the broker's own",
    "broker.domain.evidence.log.verify_log": "a step of verify_evidence",
    "broker.domain.evidence.times.verify_times": "a step of verify_evidence",
    "broker.domain.evidence.stolen_keys.verify_keys": "a step of verify_evidence",
    "broker.domain.evidence.story.verify_story": "a step of verify_evidence",
    "broker.domain.evidence.signatures.verify_signatures": "a step of verify_evidence",
    "broker.domain.evidence.signatures.verify_request_objects": "a step of verify_evidence",
    "broker.domain.evidence.credentials.verify_credentials": "a step of verify_evidence",
    **{
        f"broker.domain.json_values.read_{kind}": "reads members for terms, templates and others"
        for kind in ("object", "list", "text", "texts", "integer", "flag")
    },
}
