"""C2SP tlog-witness: what is sent to a witness, and what its answer must be.

A witness keeps the newest checkpoint that it has cosigned of each log, asks for a proof that the
next one extends it, and gives a cosignature with its own time. Once a partner witnesses the log,
the broker can neither backdate it nor show two people two logs without that partner noticing.
Source: https://c2sp.org/tlog-witness.
"""

import base64
import re
from collections.abc import Sequence

from broker.domain.cosignature import Cosigner, cosigned_at
from broker.domain.errors import MalformedNote, UnverifiedNote, WitnessRefused
from broker.domain.merkle import LARGEST_SIZE
from broker.domain.note import Note, NoteSignature, parse_note, verify_note

SIZE_TYPE = "text/x.tlog.size"
MOST_PROOF_LINES = 63

_SIZE = re.compile(rb"(0|[1-9][0-9]{0,18})\n")


def submission(old: int, proof: Sequence[bytes], note: str) -> bytes:
    """The body of `add-checkpoint`: the size cosigned last, the consistency proof, the note.

    `proof` is empty when `old` is 0 or the note's own size.
    """
    lines = [f"old {old}", *(base64.b64encode(node).decode() for node in proof), ""]
    return "".join(f"{line}\n" for line in lines).encode() + note.encode()


def known_size(body: bytes) -> int:
    """The size that a witness says it has cosigned last (409). Raises `WitnessRefused`."""
    match = _SIZE.fullmatch(body)
    if match is None or int(match[1]) > LARGEST_SIZE:
        raise WitnessRefused("the witness named no size that it has cosigned")
    return int(match[1])


def cosignatures(note: str, body: bytes, witness: Cosigner) -> tuple[NoteSignature, ...]:
    """The signature lines of `witness` in its answer, verified over the note's text.

    Lines of other keys are ignored. Raises `WitnessRefused`.
    """
    text = parse_note(note).text
    try:
        answered = parse_note(text.encode() + b"\n" + body)
        if answered.text != text:
            raise WitnessRefused("the witness's answer is not signature lines")
        return verify_note(answered, [witness])
    except (MalformedNote, UnverifiedNote) as error:
        raise WitnessRefused(f"the witness's answer is no cosignature: {error}") from None


def cosigned_time(lines: Sequence[NoteSignature]) -> int:
    """The latest time that verified cosignatures name, in Unix seconds."""
    return max(cosigned_at(line.signature) for line in lines)


def with_cosignatures(note: str, lines: Sequence[str]) -> str:
    """The note with witnesses' signature lines after its own."""
    parsed = parse_note(note)
    more = tuple(
        signature for line in lines for signature in parse_note(f"{parsed.text}\n{line}").signatures
    )
    return Note(parsed.text, (*parsed.signatures, *more)).encode()
