"""A model as it is handed out: files that whoever has the trust file verifies without a server.

    model.json          what the model is (`domain.model_facts`)
    MODEL_CARD.md       the same, for people
    model.safetensors   the weights, where they go along
    model.jws           the broker's word on these (`domain.word`, of type `TYPE`)

The word says, besides by whom and when it was given, `model`, `state`, and `files`: by name
the SHA-256 of each, the weights' too where these are elsewhere.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar

from broker.domain.campaign import LARGEST_BOARD, read_told
from broker.domain.errors import BrokerError, EvidenceInvalid
from broker.domain.model_facts import FACTS, STATES, Facts, read_facts
from broker.domain.trust import Trust
from broker.domain.word import Word, file_hash, give_word, read_word
from credentials.errors import CredentialError
from credentials.json_reader import read_json_object
from credentials.jws import Signer
from federation import reading
from federation.board import Board, SignedCampaign, approvals
from federation.errors import FederationError
from federation.rollout import STAGES
from federation.unlearning import Lineage

T = TypeVar("T")
TYPE: Final = "model+jwt"
CARD, WEIGHTS, WORD = "MODEL_CARD.md", "model.safetensors", "model.jws"
PASSED: Final[Mapping[str, str]] = {"pilot": "pilot", "consortium": "active"}
"""What a candidate becomes by passing its stage; nothing else makes it so."""
_PASSED: Final = frozenset(PASSED.values())


def vouch(
    facts: Mapping[str, Any], files: Mapping[str, bytes], *, signer: Signer, x5c: Sequence[str]
) -> str:
    """The broker's word on the files of a model with these facts."""
    model = facts["model"]
    hashes = {name: file_hash(data) for name, data in files.items()} | {WEIGHTS: model["id"]}
    said = {"model": model["id"], "state": model["state"], "files": hashes}
    return give_word(TYPE, Word(facts["iss"], facts["made_at"], said), signer=signer, x5c=x5c)


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: a stable code, whether it holds, and what was found."""

    code: str
    holds: bool
    found: str


@dataclass(frozen=True)
class ModelReport:
    """What a verification came to.

    `issuer`, `made_at` and `state` are the word's, None where that does not hold: a later state
    nobody can tell without the broker. `boards` are thumbprints of the board's keys.
    `weights_checked`: they were there, and are those that were signed.
    """

    findings: tuple[Finding, ...]
    model: str | None
    state: str | None
    issuer: str | None
    made_at: int | None
    boards: tuple[str, ...]
    weights_checked: bool

    @property
    def verified(self) -> bool:
        """Whether all of it holds."""
        return all(one.holds for one in self.findings)


def verify_model(
    files: Mapping[str, bytes],
    weights: str | None,
    trust: Trust,
    board: bytes | None = None,
    *,
    without_weights: bool = False,
) -> ModelReport:
    """Verify the files of a model offline; each thing is looked at, whatever else fails.

    `files` are those that were found, by name, `weights` the SHA-256 of the weights where they are
    there (they have to be, unless `without_weights`), `board` the file of the board that the reader
    knows: else the one that the broker names decides, whose keys are then to be compared.

    1. `signature`: the broker's word verifies (`domain.word`), and is about such files.
    2. `model.json`, `MODEL_CARD.md`, `model.safetensors`: each is the one that was signed.
    3. `facts`: they are of this schema, and say what the word says.
    4. `lineage`: the line leads from the model to where it began, each version behind its parent.
    5. `campaign`: its board signed it, and its versions are of its bundle, parameters and stages.
    6. `approvals`: a round gave each version that is in use, and its stage leads to its state; of
       the campaign's versions each approval is of the board for that model and stage, and the gates
       of each stage that was passed hold by them and by the metrics. Approvals of ancestors from
       other campaigns are not looked at: their boards are not here (docs/decisions/0153).

    Raises nothing: what fails is a finding.
    """
    looked = _Looked([])
    # 1.
    word = looked.at("signature", lambda: _word(files, trust))
    named: Mapping[str, Any] = {} if word is None else word.said["files"]
    # 2.
    for name in (FACTS, CARD):
        looked.at(name, partial(_file, name, files.get(name), named.get(name)))
    looked.at(WEIGHTS, lambda: _weights(weights, named.get(WEIGHTS), without=without_weights))
    # 3.
    facts = looked.at("facts", lambda: _facts(files, word))
    signed = None
    if facts is not None:
        # 4.
        looked.at("lineage", lambda: _lineage(facts))
        # 5.
        signed = looked.at("campaign", lambda: _campaign(facts, board))
        # 6.
        if signed is not None:
            looked.at("approvals", partial(_approvals, facts, *signed))
    return ModelReport(
        findings=tuple(looked.findings),
        model=None if word is None else str(word.said["model"]),
        state=None if word is None else str(word.said["state"]),
        issuer=None if word is None else word.issuer,
        made_at=None if word is None else word.made_at,
        boards=() if signed is None else tuple(sorted(signed[1].keys)),
        weights_checked=weights is not None and weights == named.get(WEIGHTS),
    )


@dataclass(frozen=True)
class _Looked:
    findings: list[Finding]

    def at(self, code: str, step: Callable[[], tuple[T, str]]) -> T | None:
        """What a step gives, None where it fails; both become findings."""
        try:
            found, told = step()
        except (BrokerError, CredentialError, FederationError) as error:
            self.findings.append(Finding(code, holds=False, found=str(error)))
            return None
        self.findings.append(Finding(code, holds=True, found=told))
        return found


# 1.
def _word(files: Mapping[str, bytes], trust: Trust) -> tuple[Word, str]:
    if WORD not in files:
        raise EvidenceInvalid(f"there is no {WORD}: nobody vouches for these files")
    word = read_word(files[WORD].decode("ascii", "replace").strip(), TYPE, trust)
    said = reading.members(dict(word.said), WORD, frozenset({"model", "state", "files"}))
    hashes = reading.members(said["files"], "files", frozenset({FACTS, CARD, WEIGHTS}))
    for name in hashes:
        reading.digest(hashes, name)
    reading.choice(said, "state", STATES)
    if hashes[WEIGHTS] != said["model"]:
        raise EvidenceInvalid("the model is named by other weights than its own")
    return word, f"by {word.issuer}"


# 2.
def _file(name: str, data: bytes | None, named: str | None) -> tuple[None, str]:
    if data is None:
        raise EvidenceInvalid(f"there is no {name}")
    if named is None:
        raise EvidenceInvalid("nobody has signed it")
    if file_hash(data) != named:
        raise EvidenceInvalid(f"{name} was changed: it is not the file that was signed")
    return None, "as it was signed"


def _weights(weights: str | None, named: str | None, *, without: bool) -> tuple[None, str]:
    if named is None:
        raise EvidenceInvalid("nobody has signed them")
    if weights is None and without:
        return None, f"not checked; their SHA-256 is {named}"
    if weights is None:
        raise EvidenceInvalid(f"there is no {WEIGHTS}")
    if weights != named:
        raise EvidenceInvalid("these are the weights of another model")
    return None, f"exactly those, SHA-256 {named}"


# 3.
def _facts(files: Mapping[str, bytes], word: Word | None) -> tuple[Facts, str]:
    if FACTS not in files:
        raise EvidenceInvalid(f"there is no {FACTS}")
    facts = read_facts(files[FACTS])
    about = (facts.issuer, facts.made_at, facts.model, facts.state)
    if word and about != (word.issuer, word.made_at, word.said["model"], word.said["state"]):
        raise EvidenceInvalid("they are not about the model, the state, the time that were signed")
    return facts, f"of a model that is {facts.state}"


# 4.
def _lineage(facts: Facts) -> tuple[None, str]:
    if Lineage(facts.line).line(facts.model) != facts.line:
        raise EvidenceInvalid("the versions of the line do not follow one another")
    return None, f"{len(facts.line)} versions, from {facts.line[-1].id} on"


# 5.
def _campaign(facts: Facts, board: bytes | None) -> tuple[tuple[SignedCampaign, Board], str]:
    told = facts.campaign
    known = told["board"] if board is None else read_json_object(board, max_bytes=LARGEST_BOARD)
    signed, decides = read_told(told["document"], known)
    if told["hash"] != signed.campaign_hash or facts.line[0].campaign != told["id"]:
        raise EvidenceInvalid("the campaign is not the model's")
    stated = (signed.campaign.bundle_hash, signed.campaign.parameters_hash)
    stages = {one.stage for one in signed.campaign.rollout}
    for one in facts.line:
        if one.campaign != told["id"]:
            continue
        if (one.bundle_hash, one.parameters_hash) != stated:
            raise EvidenceInvalid(f"{one.id} is of another bundle, or of other parameters")
        if one.stage not in stages:
            raise EvidenceInvalid(f"{one.id} is of stage {one.stage}, which the campaign has not")
    signers = f"{len(signed.signers)} of {len(decides.keys)} keys"
    whose = "the board that the broker names" if board is None else "your board"
    return (signed, decides), f"{signed.campaign.id}, signed by {signers} of {whose}"


# 6.
def _approvals(facts: Facts, signed: SignedCampaign, board: Board) -> tuple[None, str]:
    for one in facts.line:
        if one.state in _PASSED and not (one.round and one.state == PASSED[one.stage]):
            made = f"round {one.round} of stage {one.stage}"
            raise EvidenceInvalid(f"{one.id} is said to be {one.state}, not what {made} gives")
    own = [one for one in facts.line if one.campaign == facts.campaign["id"] and one.round]
    counted = {}
    for one in own:
        given = facts.approvals[one.id]
        counted[one.id] = approvals(signed, one.stage, one.id, given, board)
        if len(counted[one.id]) != len(given):
            holds = f"{len(counted[one.id])} hold, and {len(given)} are given"
            raise EvidenceInvalid(f"of the approvals of {one.id} {holds}")
    stages = {one.stage: one for one in signed.campaign.rollout}
    passed = [one for one in own if one.id == facts.model and one.state in _PASSED]
    if own and own[0].stage == STAGES[1] and STAGES[0] in stages:
        # A consortium's first round begins with the model that passed the pilot.
        passed += [one for one in own if one.stage == STAGES[0]][:1]
        if len(passed) < 1 or passed[-1].stage != STAGES[0]:
            raise EvidenceInvalid("no model in its line has passed the pilot")
    for one in passed:
        shut = stages[one.stage].shut_gates(one.metrics, counted[one.id])
        if shut:
            why = f"stage {one.stage}: {', '.join(shut)} does not hold"
            raise EvidenceInvalid(f"{one.id} is not shown to have passed {why}")
    told = ", ".join(f"{one.stage} by {len(counted[one.id])} approvals" for one in passed)
    return None, f"it has passed {told or 'no stage'}"
