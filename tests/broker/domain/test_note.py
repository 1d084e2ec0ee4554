"""Signed notes and checkpoints against published ones, and against their own mutations."""

import pytest
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from broker.domain.checkpoint import Checkpoint, open_checkpoint, sign_checkpoint
from broker.domain.cosignature import (
    ED25519_COSIGNATURE,
    ML_DSA_44_COSIGNATURE,
    CosignatureSigner,
    cosigned_at,
    verifier,
)
from broker.domain.errors import LogError, MalformedCheckpoint, MalformedNote, UnverifiedNote
from broker.domain.note import (
    ED25519,
    Ed25519Signer,
    Ed25519Verifier,
    VerifierKey,
    encode_signer_key,
    parse_note,
    parse_signer_key,
    sign_note,
    verify_note,
)

# golang.org/x/mod/sumdb/note, package documentation and tests.
GO_TEXT = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
PETER = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETER_SECRET = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
PETER_LINE = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqf"
    "qdngotpRZb6KE6RyyBwJnAM=\n"
)
ENOCH = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
ENOCH_LINE = (
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTG"
    "wnWLox33WWd1RvMc+QQ=\n"
)
# c2sp.org/signed-note, the example.
FOO = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
FOO_NOTE = (
    "This is an example message.\n\n"
    "— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3"
    "mFXmRKuwHjG1Yu72IneyaQM=\n"
)
# A checkpoint of a public Certificate Transparency staging log, cosigned by a public witness.
CT_LOG = (
    "arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f"
)
CT_WITNESS = "remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2"
CT_NOTE = (
    "arche2025h1.staging.ct.transparency.dev\n1432088532\n"
    "U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=\n\n"
    "— arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkz"
    "bC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=\n"
    "— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobW"
    "X9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==\n"
)

SIGNER = Ed25519Signer.from_seed("log.example", bytes(range(32)))
TRUST = Ed25519Verifier(SIGNER.verifier_key)
CHECKPOINT = Checkpoint("log.example", 7, bytes(range(32)))
NOTE = sign_checkpoint(CHECKPOINT, [SIGNER])


@pytest.mark.parametrize("text", [PETER, ENOCH, FOO, CT_LOG, CT_WITNESS])
def test_published_verifier_keys_are_read_and_written_back(text: str) -> None:
    assert VerifierKey.parse(text).encode() == text
    assert verifier(text).name == text.split("+", maxsplit=1)[0]


def test_go_s_key_signs_go_s_note_to_the_byte() -> None:
    signer = parse_signer_key(PETER_SECRET)
    assert signer.verifier_key.encode() == PETER
    assert sign_note(GO_TEXT, [signer]) == f"{GO_TEXT}\n{PETER_LINE}"


@pytest.mark.parametrize(
    ("note", "key"),
    [
        (f"{GO_TEXT}\n{PETER_LINE}{ENOCH_LINE}", PETER),
        (f"{GO_TEXT}\n{PETER_LINE}{ENOCH_LINE}", ENOCH),
        (FOO_NOTE, FOO),
        (CT_NOTE, CT_LOG),
        (CT_NOTE, CT_WITNESS),
    ],
)
def test_published_notes_verify(note: str, key: str) -> None:
    trusted = verifier(key)
    parsed = parse_note(note.encode())
    [line] = verify_note(parsed, [trusted])
    assert (line.name, line.key_id) == (trusted.name, trusted.key_id)
    assert parsed.encode() == note


def test_a_public_log_s_checkpoint_opens_and_its_witness_gives_a_time() -> None:
    checkpoint = open_checkpoint(CT_NOTE, verifier(CT_LOG))
    assert checkpoint.size == 1_432_088_532
    witness = parse_note(CT_NOTE).signatures[1]
    assert cosigned_at(witness.signature) == 1_779_573_024


def test_each_part_of_a_verifier_key_counts() -> None:
    for start in range(len(PETER) + 1):
        for end in range(start, len(PETER) + 1):
            if (start, end) != (0, len(PETER)):
                refuse_key(PETER[start:end])
    for at, character in enumerate(PETER):
        refuse_key(PETER[:at] + chr(ord(character) + 1) + PETER[at + 1 :])
    # The right ID over a key of the wrong length, and over an unknown type.
    refuse_key("PeterNeumann+cc469956+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TWBADKEY==")
    refuse_key("PeterNeumann+173116ae+ZRpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW")


def refuse_key(text: str) -> None:
    with pytest.raises(MalformedNote):
        verifier(text)


def test_a_signer_key_is_written_as_it_is_read() -> None:
    text = encode_signer_key("log.example", bytes(range(32)))
    assert parse_signer_key(text).verifier_key == SIGNER.verifier_key
    for wrong in (text[:-4], text.removeprefix("PRIVATE+"), text.replace("log.example", "other")):
        with pytest.raises(MalformedNote):
            parse_signer_key(wrong)


def test_a_note_without_a_trusted_signature_is_refused() -> None:
    with pytest.raises(UnverifiedNote):
        verify_note(parse_note(NOTE), [])
    with pytest.raises(UnverifiedNote):
        verify_note(parse_note(NOTE), [verifier(PETER)])


def test_unknown_signatures_are_ignored_and_a_wrong_known_one_is_not() -> None:
    other = Ed25519Signer.from_seed("log.example", b"x" * 32)
    note = sign_checkpoint(CHECKPOINT, [other, SIGNER])
    assert open_checkpoint(note, TRUST) == CHECKPOINT
    forged = NOTE + PETER_LINE
    with pytest.raises(UnverifiedNote):
        verify_note(parse_note(forged), [TRUST, verifier(PETER)])


def test_a_note_that_nobody_signs_is_not_made() -> None:
    with pytest.raises(MalformedNote):
        sign_note("text\n", [])
    for text in ("text", "", "tab\t\n"):
        with pytest.raises(MalformedNote):
            sign_note(text, [SIGNER])


def test_every_changed_bit_of_a_checkpoint_is_noticed() -> None:
    data = NOTE.encode()
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(LogError):
            open_checkpoint(bytes(changed), TRUST)


@given(st.one_of(st.binary(), st.text().map(lambda text: f"{text}\n\n— a b\n")))
def test_arbitrary_notes_raise_log_errors_only(data: bytes | str) -> None:
    with pytest.raises(LogError):
        open_checkpoint(data, TRUST)


@given(st.text())
def test_arbitrary_checkpoint_texts_are_refused_or_written_back(text: str) -> None:
    try:
        assert Checkpoint.parse(text).text() == text
    except MalformedCheckpoint:
        return


@pytest.mark.parametrize(
    "text",
    [
        "log.example\n07\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "log.example\n-7\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "log.example\n9223372036854775808\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        "log.example\n7\nAAAA\n",
        "log.example\n7\n",
        "log.example\n7\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        "log.example\n7\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n\nextension\n",
        "\n7\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
    ],
)
def test_what_is_almost_a_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(MalformedCheckpoint):
        Checkpoint.parse(text)


def test_a_checkpoint_keeps_its_extension_lines() -> None:
    checkpoint = Checkpoint("log.example", 0, bytes(32), ("one", "two"))
    assert Checkpoint.parse(checkpoint.text()) == checkpoint


def test_a_checkpoint_of_another_log_by_the_same_key_is_refused() -> None:
    other = Checkpoint("other.example", 7, bytes(32))
    note = sign_checkpoint(other, [SIGNER])
    with pytest.raises(UnverifiedNote):
        open_checkpoint(note, TRUST)
    assert open_checkpoint(note, TRUST, "other.example") == other


def test_witnesses_of_both_kinds_cosign_and_a_changed_time_fails() -> None:
    private = MLDSA44PrivateKey.generate()
    quantum_key = VerifierKey(
        "witness.example/q", ML_DSA_44_COSIGNATURE, private.public_key().public_bytes_raw()
    )
    seed = Ed25519Signer.from_seed("witness.example/e", b"w" * 32)
    plain_key = VerifierKey("witness.example/e", ED25519_COSIGNATURE, seed.public_key)
    assert plain_key.key_id != VerifierKey(plain_key.name, ED25519, seed.public_key).key_id
    for key, sign in ((quantum_key, private.sign), (plain_key, seed.sign_bytes)):
        note = sign_checkpoint(CHECKPOINT, [SIGNER, CosignatureSigner(key, sign, 1_700_000_000)])
        trusted = verifier(key.encode())
        [line] = verify_note(parse_note(note), [trusted])
        assert cosigned_at(line.signature) == 1_700_000_000
        later = (1_700_000_001).to_bytes(8, "big") + line.signature[8:]
        with pytest.raises(UnverifiedNote):
            trusted.verify(CHECKPOINT.text(), later)
        with pytest.raises(UnverifiedNote):
            trusted.verify(CHECKPOINT.text(), b"short")
        with pytest.raises(MalformedCheckpoint):
            trusted.verify("no checkpoint\n", line.signature)
