"""BBS against its published vectors, byte for byte, valid and invalid."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.programs import shared
from zkp.bbs import Signature, prove, sign, verify, verify_proof
from zkp.curve import hash_to_scalar, scalar_from_bytes
from zkp.errors import KeyInvalid, Malformed, ProofInvalid, SignatureInvalid, TooLarge, ZkpError
from zkp.keys import PublicKey, SecretKey
from zkp.suite import SHA_256, SHAKE_256

VECTORS = "vectors/bbs/bls12-381-sha-256"


def load(name: str) -> Any:  # noqa: ANN401 (JSON)
    return json.loads(shared(f"{VECTORS}/{name}").read_text())


def cases(folder: str, count: int) -> list[str]:
    return [f"{folder}/{folder}{number:03d}.json" for number in range(1, count + 1)]


def octets(text: str) -> bytes:
    return bytes.fromhex(text)


def test_key_generators_and_hashing() -> None:
    told = load("keypair.json")
    key = SecretKey.from_material(
        octets(told["keyMaterial"]), octets(told["keyInfo"]), tag=octets(told["keyDst"])
    )
    assert key.to_bytes().hex() == told["keyPair"]["secretKey"]
    assert key.public.data.hex() == told["keyPair"]["publicKey"]
    generators = load("generators.json")
    points = [bytes(point.to_compressed_bytes()).hex() for point in SHA_256.generators(10)]
    assert points == [generators["Q1"], *generators["MsgGenerators"]]
    assert bytes(SHA_256.suite.p1.to_compressed_bytes()).hex() == generators["P1"]
    hashed = load("h2s.json")
    scalar = hash_to_scalar(octets(hashed["message"]), octets(hashed["dst"]))
    assert bytes(scalar.to_be_bytes()).hex() == hashed["scalar"]
    for case in load("MapMessageToScalarAsHash.json")["cases"]:
        message = SHA_256.message_scalar(octets(case["message"]))
        assert bytes(message.to_be_bytes()).hex() == case["scalar"]


@pytest.mark.parametrize("name", cases("signature", 10))
def test_signatures(name: str) -> None:
    told = load(name)
    secret = SecretKey.from_bytes(octets(told["signerKeyPair"]["secretKey"]))
    key = PublicKey.from_bytes(octets(told["signerKeyPair"]["publicKey"]))
    messages = [SHA_256.message_scalar(octets(one)) for one in told["messages"]]
    header, signature = octets(told["header"]), Signature.from_bytes(octets(told["signature"]))
    if told["result"]["valid"]:
        verify(key, signature, header, messages)
        assert sign(secret, header, messages).to_bytes().hex() == told["signature"]
    else:
        with pytest.raises(SignatureInvalid):
            verify(key, signature, header, messages)


@pytest.mark.parametrize("name", cases("proof", 15))
def test_proofs(name: str) -> None:
    told = load(name)
    key = PublicKey.from_bytes(octets(told["signerPublicKey"]))
    messages = [SHA_256.message_scalar(octets(one)) for one in told["messages"]]
    disclosed = {index: messages[index] for index in told["disclosedIndexes"]}
    header, occasion = octets(told["header"]), octets(told["presentationHeader"])
    if not told["result"]["valid"]:
        with pytest.raises(ProofInvalid):
            verify_proof(key, octets(told["proof"]), header, disclosed, occasion)
        return
    verify_proof(key, octets(told["proof"]), header, disclosed, occasion)
    drawn = told["trace"]["random_scalars"]
    names = ("r1", "r2", "e_tilde", "r1_tilde", "r3_tilde")
    made = prove(
        key,
        Signature.from_bytes(octets(told["signature"])),
        header,
        messages,
        told["disclosedIndexes"],
        occasion,
        randoms=[
            scalar_from_bytes(octets(text))
            for text in (*(drawn[name] for name in names), *drawn["m_tilde_scalars"])
        ],
    )
    assert made.hex() == told["proof"]


def test_the_vectors_are_all_here() -> None:
    for folder, count in (("signature", 10), ("proof", 15)):
        files: list[Path] = sorted(shared(f"{VECTORS}/{folder}").iterdir())
        assert [f"{folder}/{file.name}" for file in files] == cases(folder, count)


@pytest.mark.parametrize("interface", [SHA_256, SHAKE_256], ids=["SHA-256", "SHAKE-256"])
def test_the_way_there_and_back(interface: Any) -> None:  # noqa: ANN401
    key = SecretKey.generate()
    messages = [interface.message_scalar(bytes([number])) for number in range(5)]
    signature = sign(key, b"header", messages, interface)
    verify(key.public, signature, b"header", messages, interface)
    proof = prove(key.public, signature, b"header", messages, [1, 3], b"now", interface=interface)
    shown = {1: messages[1], 3: messages[3]}
    verify_proof(key.public, proof, b"header", shown, b"now", interface=interface)
    other = SHAKE_256 if interface is SHA_256 else SHA_256
    for changed in (
        {"header": b"other"},
        {"presentation_header": b"later"},
        {"disclosed": {1: messages[3], 3: messages[1]}},
        {"disclosed": {1: messages[1]}},
        {"disclosed": {1: messages[1], 9: messages[3]}},
        {"proof": proof[:-32]},
        {"key": SecretKey.generate().public},
        {"interface": other},
    ):
        told = {
            "key": key.public,
            "proof": proof,
            "header": b"header",
            "disclosed": shown,
            "presentation_header": b"now",
            "interface": interface,
        } | changed
        with pytest.raises(ProofInvalid):
            verify_proof(**told)
    with pytest.raises(SignatureInvalid):
        verify(key.public, signature, b"header", messages, other)


def test_what_is_no_key_signature_or_index() -> None:
    key = SecretKey.generate()
    messages = [SHA_256.message_scalar(b"m")]
    signature = sign(key, b"", messages)
    for data in (bytes(32), b"\xff" * 32, bytes(31)):
        with pytest.raises(KeyInvalid):
            SecretKey.from_bytes(data)
    for data in (bytes(96), bytes([0xC0]) + bytes(95), key.public.data[:-1]):
        with pytest.raises(KeyInvalid):
            PublicKey.from_bytes(data)
    with pytest.raises(KeyInvalid):
        SecretKey.from_material(bytes(31))
    good = signature.to_bytes()
    for data in (
        good[:-1],
        bytes(80),
        good[:48] + bytes(32),
        bytes([0xC0]) + bytes(47) + good[48:],
    ):
        with pytest.raises(SignatureInvalid):
            Signature.from_bytes(data)
    for indexes in ([0, 0], [1], [-1]):
        with pytest.raises(Malformed):
            prove(key.public, signature, b"", messages, indexes)
    with pytest.raises(TooLarge):
        sign(key, b"", messages * 129)
    assert key.to_bytes().hex() not in repr(key)


def test_proofs_under_the_same_randomness_give_the_signature_away() -> None:
    """Why randomness comes from the operating system alone: two such proofs tell e."""
    key = SecretKey.generate()
    messages = [SHA_256.message_scalar(b"m")]
    signature = sign(key, b"", messages)
    fixed = [SHA_256.message_scalar(bytes([number])) for number in range(6)]
    first, second = (
        prove(key.public, signature, b"", messages, [], occasion, randoms=fixed)
        for occasion in (b"one", b"two")
    )
    (e1, c1), (e2, c2) = (
        (scalar_from_bytes(proof[144:176]), scalar_from_bytes(proof[-32:]))
        for proof in (first, second)
    )
    assert (e1 - e2) * (c1 - c2).inverse() == signature.e


def test_a_proof_says_nothing_that_a_second_one_repeats() -> None:
    key = SecretKey.generate()
    messages = [SHA_256.message_scalar(b"m")]
    signature = sign(key, b"", messages)
    first, second = (prove(key.public, signature, b"", messages, []) for _ in range(2))
    parts = [{proof[at : at + 16] for at in range(0, len(proof), 16)} for proof in (first, second)]
    assert parts[0].isdisjoint(parts[1])


def test_arbitrary_bytes_raise_this_package_s_errors_only() -> None:
    key = SecretKey.generate()
    for size in (0, 1, 143, 144, 272, 304, 305):
        with pytest.raises(ZkpError):
            verify_proof(key.public, bytes(size), b"", {})
