"""Zero-knowledge proofs: presentations and BBS, against their floor and against other makers.

A credential of eight attributes, one of them shown, one statement over 16 bits: 18 or older. The
probe of a figure is what proofs are made of, in the backend alone: a multiplication, nine points
decoded, a product of two pairings, 1.64 ms where the bounds were set, so that
"prove in 2.6 ms" is 1.59 of it. The floor of a batch is what its 128 proofs cannot
do without in this backend: nine points decoded and 27 scalars read of each, its hashes, and the
sums and pairings of all together. Peers are installed for the run, by the locks under `peers/`, and
measured in turns with everything else. CPU time of each process.
"""

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from benchmarks.figure import Figure, ratio_at_most, value_at_most
from benchmarks.peers import Peer, anoncreds_and_bbs
from benchmarks.probe import Measurement, interleaved, seconds_per_call
from zkp import bbs
from zkp.batch import ToVerify, verify, verify_batch
from zkp.bbs import Signature, sign
from zkp.curve import (
    G1_GENERATOR,
    G2_GENERATOR,
    G1Point,
    Scalar,
    expand_message_xmd,
    pairing_product_is_one,
    random_scalars,
    random_weights,
    scalar_from_bytes,
    sum_of_products,
)
from zkp.holder import commit, sign_bound
from zkp.keys import SecretKey
from zkp.presentation import HeldCredential, Presentation, prove
from zkp.request import ProofRequest
from zkp.schema import TYPED, Attribute, Schema, Value
from zkp.statements import OlderThan, Place, Reveal, Statement
from zkp.suite import SHA_256

ISSUER = "https://issuer.example"
PERSON: Final = Schema(
    "person/1",
    (
        Attribute("birth_date", "date"),
        Attribute("name", "text"),
        Attribute("city", "code", codes=("Beijing", "Berlin")),
        Attribute("income", "number", 0, 65_535, "CNY"),
        Attribute("balance", "number", -500, 500, "EUR"),
        Attribute("revocation_id", "identifier"),
        Attribute("employer", "text"),
        Attribute("country", "code", codes=("CN", "DE")),
    ),
)
LI: Final[dict[str, Value]] = {
    "birth_date": "2008-11-26",
    "name": "李雷",
    "city": "Berlin",
    "income": 30_000,
    "balance": -20,
    "revocation_id": "91823640172364019283640198236409123",
    "employer": "Example GmbH",
    "country": "DE",
}
OLDER: Final = OlderThan(Place("id", "birth_date"), 18, "2026-11-26")
COUNTRY: Final = Reveal(Place("id", "country"))
BATCHES = (8, 32, 128)
ROUNDS, CALLS = 15, 10
BACKEND = 0.130 + 9 * 0.053 + 1.030  # ms, where the bounds were set
POINTS, SCALARS, TRANSCRIPT = 9, 27, 4096  # of one proof; bytes that are hashed, about


@dataclass(frozen=True)
class _World:
    key: SecretKey
    held: HeldCredential
    bound: HeldCredential

    def show(self, *statements: Statement, bound: bool = False) -> ToVerify:
        nonce = secrets.token_bytes(16)
        request = ProofRequest(("id",), statements, nonce, "https://verifier.example")
        shown = prove(request, {"id": self.bound if bound else self.held})
        return self.asked(request, shown)

    def asked(self, request: ProofRequest, shown: Presentation) -> ToVerify:
        return ToVerify(request, shown, {"id": frozenset({self.key.public.data})})


def run() -> list[Figure]:
    """Measure presentations, batches and BBS in turns with the floor and the peers."""
    world = _world()
    with anoncreds_and_bbs() as (anoncreds, others):
        taken = interleaved(
            {
                "backend": _backend(),
                **_presentations(world),
                **_bbs(world.key),
                **_of_peers(anoncreds, others),
            },
            rounds=ROUNDS,
        )
        size = anoncreds.measure("bytes", 1)
    return [
        *_sizes(world, size),
        *_against_the_backend(taken),
        *_against_peers(taken),
    ]


def _world() -> _World:
    key, header, nonce = SecretKey.generate(), PERSON.header(ISSUER), secrets.token_bytes(16)
    signature = sign(key, header, PERSON.scalars(LI), TYPED)
    commitment, secret = commit(key.public, header, PERSON, nonce)
    bound = sign_bound(key, header, PERSON, LI, commitment=commitment, nonce=nonce)
    return _World(
        key,
        HeldCredential(key.public, header, signature, LI),
        HeldCredential(key.public, header, bound, LI, secret),
    )


def _milliseconds(call: Callable[[], object], calls: int, share: int = 1) -> Measurement:
    seconds = seconds_per_call(call, calls=calls, clock=time.process_time)
    return lambda: seconds() * 1000 / share


def _backend() -> Measurement:
    [scalar, other] = random_scalars(2)
    point = G1_GENERATOR * other
    data = bytes(point.to_compressed_bytes())

    def act() -> None:
        _ = point * scalar
        for _ in range(POINTS):
            G1Point.from_compressed_bytes(data)
        pairing_product_is_one([(point, G2_GENERATOR), (G1_GENERATOR, G2_GENERATOR)])

    return _milliseconds(act, CALLS)


def _presentations(world: _World) -> dict[str, Measurement]:
    one = world.show(OLDER, COUNTRY)
    batch = [world.show(OLDER, COUNTRY) for _ in range(max(BATCHES))]

    def check(count: int) -> Callable[[], None]:
        def act() -> None:
            if any(isinstance(found, Exception) for found in verify_batch(batch[:count])):
                raise RuntimeError("a proof of a batch does not verify")

        return act

    return {
        "prove": _milliseconds(lambda: world.show(OLDER, COUNTRY), CALLS),
        "verify": _milliseconds(lambda: verify(one.request, one.presentation, one.issuers), CALLS),
        "floor": _milliseconds(_floor(batch), 1, max(BATCHES)),
        **{f"batch {count}": _milliseconds(check(count), 1, count) for count in BATCHES},
    }


def _floor(batch: list[ToVerify]) -> Callable[[], None]:
    """The backend's own calls for a batch, and nothing of Python's that can be left out."""
    proofs = [one.presentation.proof for one in batch]
    told, tag = secrets.token_bytes(TRANSCRIPT), b"FLOOR"

    def act() -> None:
        points: list[G1Point] = []
        factors: list[Scalar] = []
        for proof in proofs:
            end = 1 + POINTS * 48
            read = [G1Point.from_compressed_bytes(proof[at : at + 48]) for at in range(1, end, 48)]
            points += read
            for at in range(end, end + SCALARS * 32, 32):
                scalar_from_bytes(proof[at : at + 32])
            challenges = [
                Scalar.from_be_bytes_mod_order(expand_message_xmd(told, tag, 48)) for _ in range(2)
            ]
            # Four points are a commitment each, whose factor is its weight alone.
            weights = random_weights(4)
            factors += weights + [weights[0] * challenges[0] for _ in range(POINTS - 4)]
        sum_of_products(points, factors)
        few = random_weights(len(proofs))
        pairs = [sum_of_products(points[at::POINTS], few) for at in range(2)]
        pairing_product_is_one([(pairs[0], G2_GENERATOR), (pairs[1], G2_GENERATOR)])

    return act


def _bbs(key: SecretKey) -> dict[str, Measurement]:
    """Eight messages, two of them shown."""
    messages = [SHA_256.message_scalar(f"message {number}".encode()) for number in range(8)]
    signature: Signature = sign(key, b"header", messages)
    shown = {1: messages[1], 2: messages[2]}

    def make() -> bytes:
        return bbs.prove(key.public, signature, b"header", messages, [1, 2], b"now")

    proof = make()
    calls: dict[str, Callable[[], object]] = {
        "sign": lambda: sign(key, b"header", messages),
        "verify": lambda: bbs.verify(key.public, signature, b"header", messages),
        "prove": make,
        "check": lambda: bbs.verify_proof(key.public, proof, b"header", shown, b"now"),
    }
    return {f"BBS {name}": _milliseconds(call, CALLS) for name, call in calls.items()}


def _of_peers(anoncreds: Peer, others: Peer) -> dict[str, Measurement]:
    found = {f"anoncreds {what}": anoncreds.measurement(what, 1) for what in ("prove", "verify")}
    for name in ("mattr", "digitalbazaar"):
        for what in ("sign", "verify", "prove", "check"):
            found[f"{name} {what}"] = others.measurement(f"{name} {what}", 1)
    return found


def _sizes(world: _World, theirs: float) -> list[Figure]:
    def size(*statements: Statement, bound: bool = False) -> float:
        return float(len(world.show(*statements, bound=bound).presentation.proof))

    shape = "8 attributes, one shown, 16 bits"
    return [
        Figure(
            name=f"proof, {shape}",
            value=size(OLDER, COUNTRY),
            unit="bytes",
            bound=value_at_most(1300),
        ),
        Figure(
            name=f"proof, {shape}, bound to a holder's secret",
            value=size(OLDER, COUNTRY, bound=True),
            unit="bytes",
            bound=value_at_most(1332),
        ),
        Figure(
            name="proof, all 8 attributes hidden", value=size(OLDER), unit="bytes", probe=theirs
        ),
    ]


# What each has to hold, in milliseconds where the bounds were set.
HOLD: Final = {
    "prove": 2.6,
    "verify": 3.3,
    "batch 8": None,
    "batch 32": None,
    "batch 128": 0.84,
    "BBS sign": 0.30,
    "BBS verify": 1.4,
    "BBS prove": 1.6,
    "BBS check": 1.9,
}


def _against_the_backend(taken: dict[str, float]) -> list[Figure]:
    probe = taken["backend"]
    figures = [
        Figure(
            name=name.replace("batch", "verify, each of a batch of"),
            value=taken[name],
            unit="ms",
            probe=probe,
            bound=None if most is None else ratio_at_most(round(most / BACKEND, 3)),
        )
        for name, most in HOLD.items()
    ]
    batch = Figure(
        name="verify, each of a batch of 128, against the backend's floor",
        value=taken["batch 128"],
        unit="ms",
        probe=taken["floor"],
        bound=ratio_at_most(1.25),
    )
    return [*figures, batch]


def _against_peers(taken: dict[str, float]) -> list[Figure]:
    pairs = [
        ("prove", "anoncreds prove", 12),
        ("verify", "anoncreds verify", 12),
        ("batch 128", "anoncreds verify", 50),
        *(
            (f"BBS {what}", f"{peer} {what}", None)
            for peer in ("mattr", "digitalbazaar")
            for what in ("sign", "verify", "prove", "check")
        ),
    ]
    return [
        Figure(
            name=f"{ours} against {theirs}",
            value=taken[ours],
            unit="ms",
            probe=taken[theirs],
            bound=None if times is None else ratio_at_most(1 / times),
        )
        for ours, theirs, times in pairs
    ]
