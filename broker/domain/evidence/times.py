"""Step 9: others say by when the acts were in the log, if the bundle holds what they said.

Each `log/time/NNN.tsr` is an RFC 3161 timestamp over the text of the checkpoint of NNN entries;
`log/time/NNN.checkpoint` holds that checkpoint, after the proof that the bundle's own checkpoint
extends it: base64 lines and a blank line.
"""

import base64
from collections.abc import Sequence
from datetime import UTC, datetime

from broker.domain.checkpoint import Checkpoint, open_checkpoint_of
from broker.domain.errors import BrokerError, EvidenceInvalid, MalformedNote
from broker.domain.evidence.opened import CHECKPOINT, TIMES, OpenedBundle
from broker.domain.evidence.story import GRANTED, SAME_ACT_SECONDS
from broker.domain.merkle import verify_consistency
from broker.domain.note import decode_base64
from broker.domain.timestamp import TimeStamp, verify_timestamp

TOKEN, EARLIER = ".tsr", ".checkpoint"


def time_files(
    size: int, token: bytes, note: str, consistency: Sequence[bytes]
) -> dict[str, bytes]:
    """The two files of a timestamp on the checkpoint of `size` entries."""
    name = f"{TIMES}{size:012d}"
    lines = "".join(f"{base64.b64encode(node).decode()}\n" for node in consistency)
    return {name + TOKEN: token, name + EARLIER: f"{lines}\n{note}".encode()}


def has_times(bundle: OpenedBundle) -> bool:
    """Whether there is anything for this step."""
    return any(name.startswith(TIMES) for name in bundle.files)


def verify_times(bundle: OpenedBundle) -> str:
    """Step 9; says by when the grant was in the log.

    1. Each timestamp stands beside an earlier checkpoint of its size, signed by a trusted log key.
    2. The bundle's checkpoint extends it.
    3. The timestamp verifies over its text, by a root of the trust file.
    4. No act below it is dated later than the timestamp.

    Without timestamp roots in the trust file, steps 3 and 4 are left out, and it says so. Raises a
    `BrokerError`.
    """
    names = [name.removesuffix(TOKEN) for name in bundle.names(TIMES, TOKEN)]
    if names != [name.removesuffix(EARLIER) for name in bundle.names(TIMES, EARLIER)]:
        raise EvidenceInvalid("timestamps and their checkpoints are not the same in number")
    stamps: dict[int, TimeStamp] = {}
    for name in names:
        # 1. and 2.
        checkpoint = _earlier(bundle, name)
        if bundle.trust.timestamps:
            # 3.
            stamp = verify_timestamp(
                bundle.file(name + TOKEN),
                checkpoint.text().encode(),
                roots=bundle.trust.timestamps,
            )
            # 4.
            _check_dates(bundle, checkpoint.size, stamp)
            stamps[checkpoint.size] = stamp
    if not bundle.trust.timestamps:
        return f"{len(names)} timestamps, not judged: the trust file names no authority for them"
    granted = next(act.index for act in bundle.acts if act.entry.type == GRANTED)
    covering = [stamp for size, stamp in stamps.items() if size > granted]
    if not covering:
        return f"{len(names)} timestamps, none of them after the grant"
    first = min(covering, key=lambda stamp: stamp.time)
    told = datetime.fromtimestamp(first.time, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"the grant was in the log by {told}, says {first.authority}"


def _earlier(bundle: OpenedBundle, name: str) -> Checkpoint:
    text = bundle.text(name + EARLIER)
    # Without a proof the blank line comes first; the note has one of its own.
    lines, _, note = ("", "", text[1:]) if text.startswith("\n") else text.partition("\n\n")
    try:
        proof = [decode_base64(line) for line in lines.split("\n") if line]
    except MalformedNote:
        raise EvidenceInvalid(f"{name}: its proof is not base64") from None
    earlier = _of_a_trusted_log(bundle, note, name)
    whole = _of_a_trusted_log(bundle, bundle.text(CHECKPOINT), CHECKPOINT)
    if time_files(earlier.size, b"", note, proof).get(name + EARLIER) != text.encode():
        raise EvidenceInvalid(f"{name}: not a proof and the checkpoint of that size")
    if earlier.origin != whole.origin:
        raise EvidenceInvalid(f"{name} is of another log")
    verify_consistency(earlier.size, whole.size, earlier.root, whole.root, proof)
    return earlier


def _of_a_trusted_log(bundle: OpenedBundle, note: str, name: str) -> Checkpoint:
    try:
        return open_checkpoint_of(note, bundle.trust.verifiers())
    except BrokerError as error:
        raise EvidenceInvalid(f"{name}: {error}") from None


def _check_dates(bundle: OpenedBundle, size: int, stamp: TimeStamp) -> None:
    for act in bundle.acts:
        if act.index < size and act.entry.time > stamp.time + SAME_ACT_SECONDS:
            raise EvidenceInvalid("an act is dated later than the timestamp above it")
