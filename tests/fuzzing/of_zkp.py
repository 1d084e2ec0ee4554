"""The parsers of `zkp`: requests, headers, keys, signatures, commitments and proofs."""

from typing import Any

from tests.fuzzing.parser import Parser, dumped, members, value
from tests.zkp.world import EPOCH, LI, PERSON, TODAY, World, of, request
from zkp import bbs
from zkp.batch import ToVerify, verify, verify_batch
from zkp.bbs import Signature
from zkp.errors import ZkpError
from zkp.holder import HolderCommitment, commit
from zkp.keys import PublicKey, SecretKey
from zkp.presentation import Presentation
from zkp.request import ProofRequest
from zkp.schema import TYPED, Attribute, Schema
from zkp.statements import (
    AtLeast,
    Between,
    Equal,
    MemberOf,
    NotMemberOf,
    NotRevoked,
    OlderThan,
    Reveal,
    read_statement,
)

FAMILY = (ZkpError,)
WORLD = World.make()
HELD = WORLD.held["id"]
HEADER = HELD.header
ASKED, SHOWN = WORLD.show(OlderThan(of("birth_date"), 18, TODAY), Reveal(of("name")))
COMMITMENT = commit(WORLD.key.public, HEADER, PERSON, b"nonce")[0].to_bytes()
MESSAGES = PERSON.scalars(LI)
PROOF = bbs.prove(WORLD.key.public, HELD.signature, HEADER, MESSAGES, [1], interface=TYPED)
STATEMENTS = (
    AtLeast(of("income"), 1),
    Between(of("balance"), -3, 5),
    Equal(of("name"), of("employer")),
    MemberOf(of("city"), ("Paris",)),
    NotMemberOf(of("city"), ("Paris",)),
    NotRevoked(of("revocation_id"), "st", EPOCH),
    *ASKED.statements,
)


def _proof(data: bytes) -> object:
    shown = Presentation(SHOWN.credentials, data)
    try:
        return verify(ASKED, shown, WORLD.issuers)
    finally:
        verify_batch([ToVerify(ASKED, shown, WORLD.issuers)])


def _plain_proof(data: bytes) -> None:
    bbs.verify_proof(WORLD.key.public, data, HEADER, {1: MESSAGES[1]}, interface=TYPED)


def _attribute(told: dict[str, Any]) -> object:
    return Attribute.from_json(told)


PARSERS = (
    Parser(
        "request for a proof",
        ("zkp.request.ProofRequest.from_json", "zkp.statements.read_text"),
        lambda data: ProofRequest.from_json(members(data)),
        (dumped(request(*STATEMENTS).to_json()), dumped(ASKED.to_json())),
        FAMILY,
    ),
    Parser(
        "statement",
        ("zkp.statements.read_statement",),
        lambda data: read_statement(value(data)),
        tuple(dumped(one.to_json()) for one in STATEMENTS),
        FAMILY,
    ),
    Parser(
        "header of attributes",
        ("zkp.schema.Schema.from_header",),
        Schema.from_header,
        (HEADER,),
        FAMILY,
    ),
    Parser(
        "attribute",
        ("zkp.schema.Attribute.from_json",),
        lambda data: _attribute(members(data)),
        tuple(dumped(one.to_json()) for one in PERSON.attributes),
        FAMILY,
    ),
    Parser(
        "BBS key",
        ("zkp.keys.PublicKey.from_bytes",),
        PublicKey.from_bytes,
        (WORLD.key.public.data,),
        FAMILY,
    ),
    Parser(
        "BBS secret key",
        ("zkp.keys.SecretKey.from_bytes", "zkp.keys.SecretKey.from_material"),
        lambda data: (SecretKey.from_bytes(data), SecretKey.from_material(data, data)),
        (bytes(31) + b"\7",),
        FAMILY,
    ),
    Parser(
        "BBS signature",
        ("zkp.bbs.Signature.from_bytes",),
        Signature.from_bytes,
        (HELD.signature.to_bytes(),),
        FAMILY,
    ),
    Parser("BBS proof", ("zkp.bbs.verify_proof",), _plain_proof, (PROOF,), FAMILY),
    Parser(
        "holder's commitment",
        ("zkp.holder.HolderCommitment.from_bytes",),
        HolderCommitment.from_bytes,
        (COMMITMENT,),
        FAMILY,
    ),
    Parser(
        "proof of statements",
        ("zkp.batch.verify", "zkp.batch.verify_batch"),
        _proof,
        (SHOWN.proof,),
        FAMILY,
    ),
)
EXCLUDED = {"zkp.bbs.verify": "takes a signature that `Signature.from_bytes` has read"}
