"""Step 7: every entry of the bundle is in the log whose key is trusted."""

from broker.domain.entry import SALT_BYTES, Entry, leaf_data
from broker.domain.errors import BrokerError, EvidenceInvalid
from broker.domain.evidence.opened import CHECKPOINT, LoggedAct, OpenedBundle, text
from broker.domain.merkle import leaf_hash
from broker.domain.note import parse_note, signer_of
from broker.domain.tlog_proof import FILE_SUFFIX, LogProof, verify_log_proof
from credentials.jcs import b64url_decode, canonical


def verify_log(bundle: OpenedBundle) -> str:
    """Step 7; says how many entries, below which checkpoint. Raises a `BrokerError`."""
    names = bundle.names("log/", ".json")
    if not names:
        raise EvidenceInvalid("the bundle holds no log entry")
    proofs = [name.removesuffix(".json") + FILE_SUFFIX for name in names]
    if proofs != bundle.names("log/", FILE_SUFFIX):
        raise EvidenceInvalid("log entries and proofs are not the same in number")
    checkpoint = bundle.text(CHECKPOINT)
    log = signer_of(parse_note(checkpoint), bundle.trust.verifiers())
    for name, proof_name in zip(names, proofs, strict=True):
        held = bundle.json(name)
        body = canonical(held.get("entry"))
        entry = Entry.parse(body)
        proof = LogProof.parse(bundle.file(proof_name))
        if (
            proof.checkpoint != checkpoint
            or proof.extra
            or held.get("index") != proof.index
            or f"log/{proof.index:012d}.json" != name
        ):
            raise EvidenceInvalid(f"{name}: its proof is for another place or checkpoint")
        salt = b64url_decode(text(held, "salt"))
        if len(salt) != SALT_BYTES or held.keys() != {"entry", "index", "salt"}:
            raise EvidenceInvalid(f"{name} is not in the form of a log entry")
        try:
            verify_log_proof(proof, leaf_hash(leaf_data(salt, body)), log)
        except BrokerError as error:
            raise EvidenceInvalid(f"{name}: {error}") from None
        bundle.acts.append(LoggedAct(proof.index, entry))
    if len({act.entry.id for act in bundle.acts}) != len(bundle.acts):
        raise EvidenceInvalid("the log holds an entry twice")
    origin, size = checkpoint.splitlines()[:2]
    return f"{len(names)} entries under checkpoint {size} of {origin}"
