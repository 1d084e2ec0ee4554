"""For one customer: in which rounds of training their consents were used, by what members said.

A file is one JSON object: `evidence`, and `signature`, the broker's word on it (`domain.word`, of
type `TYPE`), over the SHA-256 of the canonical JSON (RFC 8785) of `evidence`:

    schema      `SCHEMA`
    iss         the tenant's address
    made_at     Unix seconds
    consents    the customer's consents that were looked for
    only        where it is there, the one campaign (its id) in which they were looked for
    campaigns   each with `id`, `document` and `board` as the board signed it, `salt` or null
    rounds      each receipt that a member could have named them in: `campaign` (its hash), `stage`,
                `number`, `member`, `receipt` (JWS), `receipt_key` (JWK), `key` (of the member's
                leaves in that round), `log`, `model_out` of the round or null, and `proofs`: by
                consent, as `federation.presence` writes them. `log` is the receipt's `entry` of the
                log with its `salt` and `index`, and the `path` from there to the checkpoint: hashes
                one behind the other, base64url
    checkpoint  of the log, a signed note, above all of these; null where there is no round

Receipts are their members' word, and so are the leaves; a proof of absence holds as the broker has
seen all leaves ascend. Which key a round has is the broker's word where `salt` is null. With the
salt it is computed; whoever has that can test any consent number against leaves, so it is in
the file only where somebody asked for it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from broker.domain.addresses import tenant_named
from broker.domain.campaign import read_told
from broker.domain.checkpoint import Checkpoint, open_checkpoint_of
from broker.domain.entry import Entry, leaf_data
from broker.domain.errors import EvidenceInvalid, LogError
from broker.domain.merkle import HASH_BYTES, leaf_hash, verify_inclusion
from broker.domain.training_errors import TrainingEvidenceTooLarge
from broker.domain.training_round import CLOCKS_APART, receipt_hash
from broker.domain.trust import Trust
from broker.domain.word import Word, file_hash, give_word, read_word
from credentials.errors import CredentialError
from credentials.jcs import b64url_decode, canonical
from credentials.jws import Signer
from federation import reading
from federation.board import Board, SignedCampaign
from federation.errors import FederationError, Malformed
from federation.presence import CampaignSalt, PresenceProof, RoundKey, Shows, leaf_of
from federation.receipt import Asked, Receipt, read_receipt

SCHEMA: Final = "urn:consent-broker:training-evidence:2"
OLD_SCHEMA: Final = "urn:consent-broker:training-evidence:1"
TYPE: Final = "training-evidence+jwt"
ENTRY: Final = "training.receipt"
LARGEST_FILE: Final = 64 * 1_048_576
MOST: Final = 100_000
LARGEST_MADE: Final = LARGEST_FILE // 2
"""So many bytes of rounds does a file have: written for people it is half as large again."""
_CONTAINERS: Final = 2_000_000
_FILE = frozenset({"evidence", "signature"})
_EVIDENCE = frozenset({"schema", "iss", "made_at", "consents", "campaigns", "rounds", "checkpoint"})
_LOG = frozenset({"entry", "salt", "index", "path"})
_CAMPAIGN = frozenset({"id", "document", "board", "salt"})
_ROUND = frozenset(
    {
        *("campaign", "stage", "number", "member", "receipt", "receipt_key", "key", "log"),
        *("model_out", "proofs"),
    }
)


@dataclass(frozen=True)
class Shown:
    """What a proof shows of one consent in one round of one member.

    The receipt says that it was signed at `signed_at`, and the log has it since `logged_at` at
    `index`. A second entry for the same member and round is not in the file: whoever reads the log
    sees it.
    """

    campaign: str
    stage: str
    number: int
    member: str
    consent: str
    shows: Shows
    model_out: str | None
    signed_at: int
    logged_at: int
    index: int


@dataclass(frozen=True)
class TrainingEvidence:
    """A file that was verified: by whom, when, about whom, and what it shows.

    `keys_computed` says that each round's key follows from its campaign's salt, rather than being
    the broker's word. `boards` are thumbprints of the boards' keys: compare them with those that
    you know.
    """

    issuer: str
    made_at: int
    consents: tuple[str, ...]
    shown: tuple[Shown, ...]
    keys_computed: bool
    boards: tuple[str, ...]
    only: str | None = None
    checkpoint: Checkpoint | None = None


def check_size(rounds: int, size: int) -> None:
    """Raise `TrainingEvidenceTooLarge` for more than is read again: rounds, and their bytes."""
    if rounds > MOST or size > LARGEST_MADE:
        raise TrainingEvidenceTooLarge(
            f"evidence has at most {MOST} receipts and {LARGEST_MADE >> 20} MiB of proofs: ask for "
            "one campaign at a time (--campaign, or ?campaign=)"
        )


def digest_of(evidence: Mapping[str, Any]) -> str:
    """SHA-256 over the canonical JSON of evidence, base64url."""
    return file_hash(canonical(dict(evidence)))


def vouch(evidence: Mapping[str, Any], *, signer: Signer, x5c: Sequence[str]) -> dict[str, Any]:
    """The file: the evidence, and the broker's word on it."""
    word = Word(evidence["iss"], evidence["made_at"], {"sha256": digest_of(evidence)})
    signature = give_word(TYPE, word, signer=signer, x5c=x5c)
    return {"evidence": dict(evidence), "signature": signature}


def verify_training_evidence(data: bytes, trust: Trust) -> TrainingEvidence:
    """Verify a file offline.

    1. It is of this schema.
    2. The broker's word on it verifies (`domain.word`), and is about these very contents.
    3. Each campaign is signed by its board.
    4. Each receipt is by its member's key and of its campaign, stage, round and member.
    5. Each round's key follows from the campaign's salt, where that is there.
    6. Of each consent there is a proof in each round, and it leads to the receipt's root.
    7. The log has an entry of this very receipt, of the broker's tenant and from before the file
       was made, below a checkpoint that a trusted log key signed.
    8. Of a member there is one receipt for a round, and rounds are in the log in their order: one
       is open at a time, and takes receipts while it is.

    Raises `EvidenceInvalid`, which says what fails.
    """
    try:
        # 1.
        source = reading.json_object(data, largest=LARGEST_FILE, containers=_CONTAINERS)
        file = reading.members(source, "a file", _FILE)
        evidence = _evidence(file["evidence"])
        reading.choice(evidence, "schema", (SCHEMA,))
        made_at = reading.whole(evidence, "made_at", 0, 2**53 - 1)
        consents = reading.names(evidence, "consents", most=MOST)
        if not consents:
            raise EvidenceInvalid("the evidence is about no consent")
        # 2.
        issuer = _broker(evidence, file["signature"], made_at, trust)
        # 3.
        campaigns = {
            found.signed.campaign_hash: found
            for found in (_campaign(one) for one in reading.items(evidence, "campaigns", MOST))
        }
        # 4. to 7.
        rounds, checkpoint = reading.items(evidence, "rounds", MOST), None
        shown: tuple[Shown, ...] = ()
        if rounds:
            checkpoint = _checkpoint(evidence["checkpoint"], trust)
            log = _Log(tenant_named(issuer), made_at, checkpoint)
            shown = tuple(one for told in rounds for one in _round(told, campaigns, consents, log))
        # 8.
        _check_order(shown, campaigns)
    except (FederationError, CredentialError, LogError) as error:
        raise EvidenceInvalid(f"the evidence does not hold: {error}") from None
    boards = {key for one in campaigns.values() for key in one.board.keys}
    # Of no campaign nothing was computed.
    salts = [one.salt for one in campaigns.values()]
    computed = bool(salts) and None not in salts
    only = evidence.get("only")
    return TrainingEvidence(
        issuer, made_at, consents, shown, computed, tuple(sorted(boards)), only, checkpoint
    )


def _evidence(value: object) -> Mapping[str, Any]:
    if isinstance(value, dict) and value.get("schema") == OLD_SCHEMA:
        raise EvidenceInvalid(
            "it is of an earlier version, without proofs that its receipts are in the log: ask the "
            "broker for it anew"
        )
    one = isinstance(value, dict) and "only" in value
    evidence = reading.members(value, "evidence", _EVIDENCE | ({"only"} if one else set()))
    if one:
        reading.name(evidence, "only")
    return evidence


@dataclass(frozen=True)
class _Campaign:
    signed: SignedCampaign
    board: Board
    salt: CampaignSalt | None


def _broker(evidence: Mapping[str, Any], token: object, made_at: int, trust: Trust) -> str:
    if not isinstance(token, str):
        raise Malformed("signature is a compact JWS")
    word = read_word(token, TYPE, trust)
    if word != Word(evidence["iss"], made_at, {"sha256": digest_of(evidence)}):
        raise EvidenceInvalid("the evidence is not what the broker signed")
    return word.issuer


def _campaign(value: object) -> _Campaign:
    source = reading.members(value, "a campaign of the evidence", _CAMPAIGN)
    signed, board = read_told(source["document"], source["board"])
    salt = source["salt"]
    kept = None if salt is None else CampaignSalt(signed, reading.hash_bytes(salt, "salt"))
    return _Campaign(signed, board, kept)


def _checkpoint(note: object, trust: Trust) -> Checkpoint:
    if not isinstance(note, str):
        raise Malformed("checkpoint is a signed note, as text")
    return open_checkpoint_of(note, trust.verifiers())


@dataclass(frozen=True)
class _Log:
    """Where entries are looked for: of which tenant, until when, and below which checkpoint."""

    tenant: str
    until: int
    tree: Checkpoint


def _in_log(
    value: object, asked: Asked, token: str, receipt: Receipt, log: _Log
) -> tuple[int, int]:
    """When the log took in this very receipt, as its entry says, and the entry's index."""
    source = reading.members(value, "the log of a round", _LOG)
    body = canonical(source["entry"])
    entry = Entry.parse(body)
    stated = {
        "campaign_hash": asked.campaign,
        "stage": asked.stage,
        "number": asked.round,
        "member": asked.member,
        "receipt": receipt_hash(token),
        "root": reading.encoded(receipt.root),
    }
    if entry.type != ENTRY or {name: entry.body.get(name) for name in stated} != stated:
        raise EvidenceInvalid("an entry of the log is of another receipt than its round's")
    if entry.tenant_id != log.tenant:
        raise EvidenceInvalid("an entry of the log is of another tenant than the evidence's")
    # As `check_receipt` has it. A round is open as long as its coordinator likes, so how long after
    # its signing a receipt is taken in has no bound but the file's own time.
    if not receipt.signed_at - CLOCKS_APART <= entry.time <= log.until:
        raise EvidenceInvalid(
            "a receipt is in the log from before it was signed or from after the evidence was made"
        )
    salt = reading.hash_bytes(source["salt"], "salt")
    index = reading.whole(source, "index", 0, 2**53 - 1)
    if not isinstance(source["path"], str):
        raise Malformed("path is base64url")
    joined = b64url_decode(source["path"])
    path = [joined[at : at + HASH_BYTES] for at in range(0, len(joined), HASH_BYTES)]
    leaf = leaf_hash(leaf_data(salt, body))
    verify_inclusion(leaf, index, log.tree.size, path, log.tree.root)
    return entry.time, index


def _check_order(shown: Sequence[Shown], campaigns: Mapping[str, _Campaign]) -> None:
    stages = {
        name: [one.stage for one in of.signed.campaign.rollout] for name, of in campaigns.items()
    }
    places: dict[tuple[str, int, int], dict[str, int]] = {}
    for one in shown:
        if one.stage not in stages[one.campaign]:
            raise EvidenceInvalid("a round is of a stage that its campaign does not have")
        place = (one.campaign, stages[one.campaign].index(one.stage), one.number)
        if places.setdefault(place, {}).setdefault(one.member, one.index) != one.index:
            raise EvidenceInvalid("there are two receipts of one member for one round")
    for before, after in pairwise(sorted(places)):
        earlier, later = places[before].values(), places[after].values()
        if before[0] == after[0] and max(earlier) >= min(later):
            raise EvidenceInvalid("a receipt is in the log behind those of a later round")


def _round(
    value: object,
    campaigns: Mapping[str, _Campaign],
    consents: Sequence[str],
    log: _Log,
) -> list[Shown]:
    source = reading.members(value, "a round of the evidence", _ROUND)
    campaign = campaigns.get(str(source["campaign"]))
    if campaign is None:
        raise EvidenceInvalid("a round is of a campaign that is not in the evidence")
    stage, member = reading.name(source, "stage"), reading.name(source, "member")
    number = reading.whole(source, "number", 1, MOST)
    token, key = source["receipt"], source["receipt_key"]
    if not isinstance(token, str) or not isinstance(key, dict):
        raise Malformed("a receipt is a compact JWS, its key a JWK")
    asked = Asked(campaign.signed.campaign_hash, stage, number, member)
    receipt = read_receipt(token, key, asked)
    logged_at, index = _in_log(source["log"], asked, token, receipt, log)
    own = RoundKey(reading.hash_bytes(source["key"], "key"))
    if campaign.salt is not None and campaign.salt.key(stage, number, member) != own:
        raise EvidenceInvalid("the key of a round does not follow from its campaign's salt")
    proofs = source["proofs"]
    if not isinstance(proofs, dict) or proofs.keys() != set(consents):
        raise EvidenceInvalid("a round lacks the proof about a consent")
    model_out = None if source["model_out"] is None else reading.digest(source, "model_out")
    return [
        Shown(
            asked.campaign,
            stage,
            number,
            member,
            consent,
            PresenceProof.parse(canonical(proof)).check(
                leaf_of(own, consent), receipt.size, receipt.root
            ),
            model_out,
            receipt.signed_at,
            logged_at,
            index,
        )
        for consent, proof in sorted(proofs.items())
    ]
