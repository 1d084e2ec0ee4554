"""A witness by the letter of C2SP tlog-witness, over HTTP, with one key of either kind."""

import base64
import re
import socket
import threading
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

from broker.domain.checkpoint import Checkpoint
from broker.domain.cosignature import (
    ED25519_COSIGNATURE,
    ML_DSA_44_COSIGNATURE,
    CosignatureSigner,
    Cosigner,
)
from broker.domain.errors import LogError
from broker.domain.merkle import verify_consistency
from broker.domain.note import NoteSignature, NoteVerifier, VerifierKey, parse_note, verify_note
from tests.faults.hostile import answering

SUBMISSION = re.compile(rb"old (0|[1-9][0-9]*)\n((?:[A-Za-z0-9+/]{43}=\n){0,63})\n(.*)", re.DOTALL)


@dataclass
class StrictWitness:
    """Knows one log by its key; remembers the newest checkpoint that it has cosigned."""

    log: NoteVerifier
    name: str = "witness.example/w1"
    post_quantum: bool = False
    time: int = 1_795_000_000
    cosigned: Checkpoint | None = None
    answers: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        key = MLDSA44PrivateKey.generate() if self.post_quantum else Ed25519PrivateKey.generate()
        kind = ML_DSA_44_COSIGNATURE if self.post_quantum else ED25519_COSIGNATURE
        self._sign = key.sign
        self.verifier_key = VerifierKey(self.name, kind, key.public_key().public_bytes_raw())

    @property
    def key(self) -> Cosigner:
        return Cosigner(self.verifier_key)

    def __call__(self, connection: socket.socket, request: bytes) -> None:
        head, _, body = request.partition(b"\r\n\r\n")
        media_type = "text/plain"
        if not head.startswith(b"POST /w/add-checkpoint HTTP/1.1"):
            status, answer = "404 Not Found", b""
        else:
            with self._lock:
                status, answer = self._add(body)
        if status == "409 Conflict" and answer:
            media_type = "text/x.tlog.size"
        self.answers.append(status)
        answering(answer, status=status, media_type=media_type)(connection, request)

    def _add(self, body: bytes) -> tuple[str, bytes]:
        match = SUBMISSION.fullmatch(body)
        if match is None:
            return "400 Bad Request", b""
        old, note = int(match[1]), parse_note(match[3])
        proof = [base64.b64decode(line) for line in match[2].split()]
        checkpoint = Checkpoint.parse(note.text)
        if checkpoint.origin != self.log.name:
            return "404 Not Found", b""
        try:
            verify_note(note, [self.log])
        except LogError:
            return "403 Forbidden", b""
        refusal = self._refusal(old, proof, checkpoint)
        if refusal is not None:
            return refusal
        self.cosigned = checkpoint
        signer = CosignatureSigner(self.verifier_key, self._sign, self.time)
        line = NoteSignature(signer.name, signer.key_id, signer.sign(note.text)).encode()
        stranger = NoteSignature("stranger.example", 7, b"x" * 72).encode()
        return "200 OK", (stranger + line).encode()

    def _refusal(
        self, old: int, proof: list[bytes], checkpoint: Checkpoint
    ) -> tuple[str, bytes] | None:
        if old > checkpoint.size:
            return "400 Bad Request", b""
        known = self.cosigned
        if old != (known.size if known else 0):
            return "409 Conflict", b"%d\n" % (known.size if known else 0)
        if known is None:
            return ("422 Unprocessable Entity", b"") if proof else None
        if old == checkpoint.size and known.root != checkpoint.root:
            return "409 Conflict", b""
        try:
            verify_consistency(old, checkpoint.size, known.root, checkpoint.root, proof)
        except LogError:
            return "422 Unprocessable Entity", b""
        return None
