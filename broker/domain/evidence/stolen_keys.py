"""Step 10: what a stolen key has signed counts only where it was there before the theft.

The trust file says of each stolen key since when, and how many entries the log had then. The thief
can date a signature back, and has neither the log's key nor a place in the log before that size.

- A request object and the credentials about the consent: dated before, and the entry that names
  their hash (which step 8 has compared) is below that size.
- A customer credential: dated before. That it was the broker's own, the entry of the presentation
  bears out, at whatever time: the broker takes only copies that it finds among its own rows.
- The manifest: dated before, and the bundle's checkpoint is at most of that size. No entry names a
  manifest, so what such a bundle leaves out is the thief's to choose: the finding says so.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from broker.domain.checkpoint import Checkpoint
from broker.domain.errors import EvidenceInvalid
from broker.domain.evidence.opened import (
    CHECKPOINT,
    CUSTOMER_CREDENTIAL,
    ISSUED,
    MANIFEST,
    OpenedBundle,
    SignedPart,
)
from broker.domain.evidence.story import ENDS, GRANTED, SIGNED, newest_issue
from broker.domain.note import parse_note
from broker.domain.trust import CompromisedKey


def verify_keys(bundle: OpenedBundle) -> str:
    """Step 10; says what stolen keys have signed here. Raises `EvidenceInvalid`."""
    found: list[str] = []
    for part in bundle.signed_parts:
        key = next((one for one in bundle.trust.compromised if one.is_of(part.leaf)), None)
        if key is not None:
            _check(bundle, part, key)
            found.append(part.name)
    if not found:
        return "nothing in it is signed by a key that was stolen"
    told = f"{len(found)} parts are signed by a key that was stolen later; they are older"
    if MANIFEST in found:
        return (
            f"{told}. The list of files is one: get a newer copy to know that nothing is left out"
        )
    return told


def _check(bundle: OpenedBundle, part: SignedPart, key: CompromisedKey) -> None:
    size = _SIZES[part.act](bundle) if part.act in _SIZES else 0
    if part.dated < key.since and size <= key.log_size:
        return
    since = datetime.fromtimestamp(key.since, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    raise EvidenceInvalid(
        f"{part.name} is signed by a key ({key.certificate[:16]}) that was stolen: nothing bears "
        f"out that it was there before {since}; get a newer copy from the operator"
    )


def _of_checkpoint(bundle: OpenedBundle) -> int:
    return Checkpoint.parse(parse_note(bundle.text(CHECKPOINT)).text).size


def _of_end(bundle: OpenedBundle) -> int:
    return max(act.index + 1 for act in bundle.acts if act.entry.type in ENDS)


def _of_grant(bundle: OpenedBundle) -> int:
    return max(act.index + 1 for act in bundle.acts if act.entry.type == GRANTED)


def _of_first(bundle: OpenedBundle) -> int:
    """Of what grants it: the entry of a minor's signature, where the guardian's came after."""
    first = [act.index + 1 for act in bundle.acts if act.entry.type == SIGNED]
    return max(first, default=_of_grant(bundle))


# How large the log was at least when a part was there.
_SIZES: dict[str | None, Callable[[OpenedBundle], int]] = {
    None: _of_checkpoint,
    "grant": _of_first,
    "guardian": _of_grant,
    "withdrawal": _of_end,
    ISSUED: lambda bundle: newest_issue(bundle).index + 1,
    CUSTOMER_CREDENTIAL: lambda _bundle: 0,
}
