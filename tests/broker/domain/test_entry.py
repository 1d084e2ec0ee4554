"""Audit entries: the salted hash, the sealed body, and what no key or a wrong one may see."""

import hmac
from dataclasses import replace
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from hypothesis import given
from hypothesis import strategies as st

from broker.domain.checkpoint import Checkpoint, sign_checkpoint
from broker.domain.entry import Entry, LogKey, SealedEntry, leaf_data
from broker.domain.errors import (
    InvalidProof,
    LogError,
    MalformedEntry,
    MalformedProof,
    UnreadableEntry,
    UnverifiedNote,
)
from broker.domain.merkle import EMPTY_ROOT, Frontier, leaf_hash
from broker.domain.note import Ed25519Signer, Ed25519Verifier
from broker.domain.tlog_proof import LogProof, verify_log_proof

SECRET = bytes(range(32))
KEY = LogKey(SECRET)
ENTRY = Entry(
    id="e-1",
    tenant_id="demo",
    type="consent.granted",
    time=1_700_000_000,
    body={"terms": "hash", "list": [1, None, True]},
    subject_id="s-1",
    consent_id="c-1",
)


def test_the_keys_are_derived_as_the_format_says() -> None:
    salt_key = HKDFExpand(SHA256(), 32, b"consent-broker/audit/salt/1").derive(SECRET)
    salt = hmac.digest(salt_key, b"e-1", "sha256")
    assert KEY.salt("e-1") == salt
    assert KEY.seal(ENTRY).leaf_data == sha256(salt + ENTRY.canonical()).digest()


def test_the_canonical_form_is_fixed() -> None:
    assert ENTRY.canonical() == (
        b'{"body":{"list":[1,null,true],"terms":"hash"},"consent":"c-1","id":"e-1",'
        b'"tenant":"demo","time":1700000000,"type":"consent.granted","v":1}'
    )
    alone = replace(ENTRY, subject_id=None, consent_id=None)
    assert b'"consent"' not in alone.canonical()
    assert Entry.parse(alone.canonical()) == alone


def test_what_partners_are_handed_does_not_name_the_customer() -> None:
    assert b"s-1" not in ENTRY.canonical()
    assert ENTRY.canonical() == replace(ENTRY, subject_id="s-2").canonical()
    assert Entry.parse(ENTRY.canonical()).subject_id is None


def test_an_entry_opens_with_its_key() -> None:
    sealed = KEY.seal(ENTRY)
    assert KEY.open(sealed) == ENTRY
    assert KEY.seal(ENTRY).sealed_body != sealed.sealed_body
    assert KEY.seal(ENTRY).leaf_data == sealed.leaf_data


def test_another_key_opens_nothing() -> None:
    with pytest.raises(UnreadableEntry):
        LogKey(bytes(32)).open(KEY.seal(ENTRY))


@pytest.mark.parametrize(
    "change",
    [
        {"id": "e-2"},
        {"tenant_id": "other"},
        {"type": "consent.refused"},
        {"time": 1},
        {"subject_id": "s-2"},
        {"subject_id": None},
        {"consent_id": None},
        {"leaf_data": bytes(32)},
        {"sealed_body": b""},
        {"sealed_body": b"\x01short"},
    ],
)
def test_a_row_that_tells_another_story_does_not_open(change: dict[str, object]) -> None:
    sealed: SealedEntry = replace(KEY.seal(ENTRY), **change)  # type: ignore[arg-type]
    with pytest.raises(UnreadableEntry):
        KEY.open(sealed)


def test_every_changed_bit_of_a_sealed_body_is_noticed() -> None:
    sealed = KEY.seal(ENTRY)
    for bit in range(len(sealed.sealed_body) * 8):
        blob = bytearray(sealed.sealed_body)
        blob[bit // 8] ^= 1 << bit % 8
        with pytest.raises(UnreadableEntry):
            KEY.open(replace(sealed, sealed_body=bytes(blob)))


@pytest.mark.parametrize("body", [{"x": 1.5}, {"x": object()}, {"x": "\ud800"}, {"x": 2**60}])
def test_a_body_without_canonical_form_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(MalformedEntry):
        KEY.seal(replace(ENTRY, body=body))


@given(st.binary())
def test_arbitrary_entries_raise_log_errors_only(data: bytes) -> None:
    with pytest.raises(LogError):
        Entry.parse(data)


@pytest.mark.parametrize(
    "text",
    [
        b'{"body":{},"id":"e","tenant":"t","time":1,"type":"x","v":2}',
        b'{"body":{},"id":"e","tenant":"t","time":true,"type":"x","v":1}',
        b'{"body":[],"id":"e","tenant":"t","time":1,"type":"x","v":1}',
        b'{"body":{},"id":1,"tenant":"t","time":1,"type":"x","v":1}',
        b'{"body":{},"id":"e","tenant":"t","time":1,"type":"x","v":1,"y":1}',
        b'{"body": {},"id":"e","tenant":"t","time":1,"type":"x","v":1}',
        b'{"body":{},"consent":null,"id":"e","tenant":"t","time":1,"type":"x","v":1}',
    ],
)
def test_what_is_almost_an_entry_is_refused(text: bytes) -> None:
    with pytest.raises(MalformedEntry):
        Entry.parse(text)


def test_a_log_key_of_another_length_is_refused() -> None:
    with pytest.raises(MalformedEntry):
        LogKey(b"short")


SIGNER = Ed25519Signer.from_seed("log.example", SECRET)
TRUST = Ed25519Verifier(SIGNER.verifier_key)
LEAF = KEY.seal(ENTRY).leaf_data
SIBLING = leaf_hash(b"sibling")
TREE = Frontier().extend([leaf_hash(LEAF), SIBLING])
PROOF = LogProof(
    index=0,
    path=(SIBLING,),
    checkpoint=sign_checkpoint(Checkpoint("log.example", 2, TREE.root()), [SIGNER]),
    extra=KEY.salt("e-1"),
)


def test_one_file_and_the_entry_show_that_it_is_in_the_log() -> None:
    proof = LogProof.parse(PROOF.encode().encode())
    assert proof == PROOF
    leaf = leaf_hash(leaf_data(proof.extra, ENTRY.canonical()))
    assert verify_log_proof(proof, leaf, TRUST).size == 2
    other = leaf_hash(leaf_data(proof.extra, replace(ENTRY, time=1).canonical()))
    with pytest.raises(InvalidProof):
        verify_log_proof(proof, other, TRUST)


def test_a_tree_of_one_has_an_empty_path() -> None:
    root = leaf_hash(LEAF)
    note = sign_checkpoint(Checkpoint("log.example", 1, root), [SIGNER])
    proof = LogProof.parse(LogProof(0, (), note).encode())
    assert proof.extra == b""
    assert verify_log_proof(proof, root, TRUST).root == root


def test_an_empty_tree_proves_nothing() -> None:
    note = sign_checkpoint(Checkpoint("log.example", 0, EMPTY_ROOT), [SIGNER])
    with pytest.raises(MalformedProof):
        verify_log_proof(LogProof(0, (), note), EMPTY_ROOT, TRUST)


def test_a_witness_that_is_asked_for_must_be_there() -> None:
    other = Ed25519Verifier(Ed25519Signer.from_seed("w.example", b"w" * 32).verifier_key)
    with pytest.raises(UnverifiedNote):
        verify_log_proof(PROOF, leaf_hash(LEAF), TRUST, [other])
    with pytest.raises(UnverifiedNote):
        verify_log_proof(PROOF, leaf_hash(LEAF), TRUST, [TRUST, other])


def test_every_changed_bit_of_a_proof_file_is_noticed() -> None:
    data = PROOF.encode().encode()
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(LogError):
            verify_file(bytes(changed))


def verify_file(data: bytes) -> None:
    proof = LogProof.parse(data)
    verify_log_proof(proof, leaf_hash(leaf_data(proof.extra, ENTRY.canonical())), TRUST)


@given(st.binary() | st.text().map(lambda text: f"c2sp.org/tlog-proof@v1\nindex 0\n\n{text}"))
def test_arbitrary_proof_files_raise_log_errors_only(data: bytes | str) -> None:
    with pytest.raises(LogError):
        verify_log_proof(LogProof.parse(data), leaf_hash(LEAF), TRUST)
