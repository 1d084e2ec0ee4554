"""An exported model is verified by somebody who has the trust file and nothing else."""

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from broker.domain.campaign import read_board
from broker.domain.model_card import (
    CARD,
    WEIGHTS,
    WORD,
    ModelReport,
    verify_model,
    vouch,
)
from broker.domain.model_facts import FACTS, facts_file
from broker.domain.trust import CompromisedKey, Trust
from broker.store import campaigns, model_versions
from broker.store.acting import acting_for_all
from broker.usecases.model_card import export_model, word_of
from broker.usecases.rollout import promote, retire
from broker.usecases.trust import trust
from broker.web.model_card import card
from credentials.jcs import b64url
from credentials.keys import SoftwareKey
from federation.board import approvals, approve_model, sign_campaign, signed_campaign
from federation.campaign import Campaign
from tests.broker.domain import dishonest_broker
from tests.broker.flow_world import world
from tests.broker.training import BEGAN, BOARD_KEYS, Training, board_file, invented, model, training

PILOT, ACTIVE = model(1), model(2)
ALL = ["signature", FACTS, CARD, WEIGHTS, "facts", "lineage", "campaign", "approvals"]


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Training]:
    """A pilot that two approved, and what came of it in the consortium, which one approved."""
    with world(tmp_path_factory.mktemp("card") / "home") as broker:
        named = [broker.partner]
        gates = [{"metric": "auc", "relation": "at_least", "bound": "0.8"}]
        pilot = {"stage": "pilot", "members": named, "gates": gates, "approvals": 2}
        consortium = {"stage": "consortium", "members": named, "gates": [], "approvals": 1}
        made = training(broker, rollout=[pilot, consortium])
        for stage, before, after in (("pilot", BEGAN, PILOT), ("consortium", PILOT, ACTIVE)):
            opened = made.open(1, before, stage)
            assert made.hand_in(opened, invented(made, opened)).status_code == 200
            assert made.close(opened, after, metrics={"auc": "0.85"}).status_code == 200
            keys = (0, 1) if stage == "pilot" else (1,)
            given = [made.approval(stage, after, key) for key in keys]
            promote(broker.ctx, "demo", after, ["no.approval.x", *given, given[0]])
        yield made


def exported(at: Training, named: str = ACTIVE) -> dict[str, bytes]:
    told = export_model(at.world.ctx, "demo", named)
    text = card(told).encode()
    word = word_of(at.world.ctx, "demo", told, text)
    return {FACTS: facts_file(told), CARD: text, WORD: f"{word}\n".encode()}


def looked(
    at: Training, files: dict[str, bytes], weights: str | None = None, *, board: bool = True
) -> ModelReport:
    known = board_file() if board else None
    return verify_model(files, weights, trust(at.world.ctx), known, without_weights=weights is None)


def failed(report: ModelReport) -> dict[str, str]:
    return {one.code: one.found for one in report.findings if not one.holds}


def changed(data: bytes, change: Callable[[Any], object]) -> bytes:
    facts = json.loads(data)
    change(facts)
    return facts_file(facts)


def resigned(at: Training, change: Callable[[Any], object]) -> dict[str, bytes]:
    """What a broker that lies would hand out: its word is genuine, and other things are said."""
    files = exported(at)
    files[FACTS] = changed(files[FACTS], change)
    key, told = at.world.ctx.keys.issuer("demo"), {n: files[n] for n in (FACTS, CARD)}
    word = vouch(json.loads(files[FACTS]), told, signer=key.signer, x5c=key.x5c)
    return files | {WORD: word.encode()}


@pytest.mark.parametrize(("weights", "told"), [(None, "not checked"), (ACTIVE, "exactly those")])
def test_whoever_has_the_trust_file_verifies_all_of_it(
    at: Training, weights: str | None, told: str
) -> None:
    report = looked(at, exported(at), weights, board=False)
    assert report.verified, failed(report)
    found = {one.code: one.found for one in report.findings}
    assert list(found) == ALL
    assert told in found[WEIGHTS]
    assert report.weights_checked is (weights is not None)
    assert ACTIVE in found[WEIGHTS]
    assert found["lineage"] == f"3 versions, from {BEGAN} on"
    assert found["approvals"] == "it has passed consortium by 1 approvals, pilot by 2 approvals"
    assert (report.model, report.state) == (ACTIVE, "active")
    assert report.issuer == at.world.ctx.settings.public_url
    assert report.made_at == at.world.time[0]
    assert sorted(report.boards) == sorted(at.signed.signers)
    known = looked(at, exported(at), weights)
    assert known.verified
    assert "your board" in next(one.found for one in known.findings if one.code == "campaign")


def test_what_was_never_promoted_says_so(at: Training) -> None:
    report = looked(at, exported(at, BEGAN))
    assert report.verified, failed(report)
    assert (report.state, report.findings[-1].found) == ("candidate", "it has passed no stage")


def test_approvals_are_kept_and_the_log_names_their_keys(at: Training) -> None:
    [first, second, *_] = json.loads(exported(at)[FACTS])["line"]
    board = read_board(board_file())
    # As they were given: whoever knows the board counts them by the library alone.
    for told, stage, keys in ((first, "consortium", 1), (second, "pilot", 2)):
        counted = approvals(at.signed, stage, told["id"], told["approvals"], board)
        assert list(counted.values()) == told["approvals"]
        assert len(counted) == keys
    names = {one.body["stage"]: one.body["approvals"] for one in at.world.logged("model.promoted")}
    thumbprints = [b64url(key_thumbprint(key)) for key in BOARD_KEYS]
    assert names == {"pilot": sorted(thumbprints), "consortium": [thumbprints[1]]}
    told = [one.body["sha256"] for one in at.world.logged("model.exported")]
    assert b64url(hashlib.sha256(exported(at)[FACTS]).digest()) in told


def key_thumbprint(key: SoftwareKey) -> bytes:
    """RFC 7638, by hand."""
    jwk = key.public_jwk()
    required = {name: jwk[name] for name in ("crv", "kty", "x", "y")}
    return hashlib.sha256(json.dumps(required, separators=(",", ":")).encode()).digest()


def test_other_weights_are_refused_and_the_rest_holds(at: Training) -> None:
    report = looked(at, exported(at), model(7))
    assert failed(report) == {WEIGHTS: "these are the weights of another model"}
    assert not report.weights_checked


def test_weights_that_are_not_there_are_not_verified(at: Training) -> None:
    report = verify_model(exported(at), None, trust(at.world.ctx), board_file())
    assert failed(report) == {WEIGHTS: "there is no model.safetensors"}
    assert not report.weights_checked


def kept(at: Training, **columns: str | None) -> None:
    """What a broker of another version kept of approvals: of the pilot, with version, campaign."""
    with acting_for_all(), at.world.ctx.db.transaction() as tx:
        if "passed" in columns:
            campaigns.change(tx, at.campaign, passed=columns["passed"])
        model_versions.change(tx, "demo", PILOT, approvals=columns["approvals"])


def test_approvals_as_older_brokers_kept_them_verify(at: Training) -> None:
    with acting_for_all(), at.world.ctx.db.transaction() as tx:
        passed = campaigns.find(tx, "demo", at.campaign).passed
    assert passed is not None
    told = json.loads(passed)
    good = told["approvals"]
    assert len(good) == 2
    older = ["no.approval.x", good[0], *good, at.approval("consortium", ACTIVE)]
    for columns in (
        {"approvals": json.dumps(older)},
        {"approvals": None, "passed": json.dumps(told | {"approvals": older})},
    ):
        kept(at, **columns)
        assert json.loads(exported(at)[FACTS])["line"][1]["approvals"] == good
        assert looked(at, exported(at), ACTIVE).verified
    kept(at, approvals=None, passed=None)
    assert "approvals 0 of 2" in failed(looked(at, exported(at), ACTIVE))["approvals"]
    kept(at, approvals=json.dumps(good), passed=passed)
    assert looked(at, exported(at), ACTIVE).verified


TAMPERED: dict[str, tuple[Callable[[Any], object], set[str]]] = {
    "a metric": (lambda facts: facts["model"]["metrics"].update(auc="0.99"), {FACTS, "facts"}),
    "the state": (
        lambda facts: (
            facts["model"].update(state="pilot"),
            facts["line"][0].update(state="pilot"),
        ),
        {FACTS, "facts"},
    ),
    "the lineage": (lambda facts: facts["line"].pop(), {FACTS, "lineage"}),
    "a receipts root": (lambda facts: facts["line"][1].update(receipts_root=BEGAN), {FACTS}),
    "the campaign": (
        lambda facts: facts["campaign"]["document"]["campaign"].update(rounds=9),
        {FACTS, "campaign"},
    ),
    "an approval": (
        lambda facts: facts["line"][0].update(approvals=facts["line"][1]["approvals"][:1]),
        {FACTS, "approvals"},
    ),
    "no approvals": (lambda facts: facts["line"][1].update(approvals=[]), {FACTS, "approvals"}),
    "the time": (lambda facts: facts.update(made_at=1), {FACTS, "facts"}),
    "a member more": (lambda facts: facts.update(more=1), {FACTS, "facts"}),
}


@pytest.mark.parametrize("name", TAMPERED)
def test_each_thing_that_was_altered_is_named(at: Training, name: str) -> None:
    change, fails = TAMPERED[name]
    files = exported(at)
    files[FACTS] = changed(files[FACTS], change)
    assert failed(looked(at, files, ACTIVE)).keys() == fails


def test_an_altered_card_and_missing_files_are_named(at: Training) -> None:
    files = exported(at)
    lied = files | {CARD: files[CARD].replace(b"0.85", b"0.95")}
    assert lied != files
    assert failed(looked(at, lied)).keys() == {CARD}
    assert failed(looked(at, {FACTS: files[FACTS], WORD: files[WORD]})).keys() == {CARD}
    assert failed(looked(at, {CARD: files[CARD], WORD: files[WORD]})).keys() == {FACTS, "facts"}
    unsigned = looked(at, {FACTS: files[FACTS], CARD: files[CARD]}, ACTIVE)
    assert failed(unsigned).keys() == {"signature", FACTS, CARD, WEIGHTS}
    assert (unsigned.verified, unsigned.state, unsigned.made_at) == (False, None, None)
    both = files | {FACTS: changed(files[FACTS], lambda facts: facts["line"].pop()), CARD: b"#"}
    assert failed(looked(at, both, model(7))).keys() == {FACTS, CARD, WEIGHTS, "lineage"}


def test_another_models_word_is_none(at: Training) -> None:
    files = exported(at) | {WORD: exported(at, PILOT)[WORD]}
    assert failed(looked(at, files, ACTIVE)).keys() == {FACTS, CARD, WEIGHTS, "facts"}
    files[WORD] = b"no.word.x"
    assert "signature" in failed(looked(at, files))


STRANGER = SoftwareKey.generate()
FORGED: dict[str, tuple[Callable[[Any], object], str, str]] = {
    "an approval by a stranger": (
        lambda facts: facts["line"][0].update(approvals=[stranger_approves(facts)]),
        "approvals",
        "0 hold, and 1 are given",
    ),
    "a gate that does not hold": (
        lambda facts: facts["line"][1]["metrics"].update(auc="0.7"),
        "approvals",
        "auc at_least 0.8",
    ),
    "a pilot that one approved": (
        lambda facts: facts["line"][1]["approvals"].pop(),
        "approvals",
        "approvals 1 of 2",
    ),
    "no pilot": (
        lambda facts: (
            facts["line"].pop(1),
            facts["line"][0].update(parent=BEGAN),
            facts["model"].update(parent=BEGAN),
        ),
        "approvals",
        "no model in its line has passed the pilot",
    ),
    "a first model in use": (
        lambda facts: (facts.update(line=facts["line"][2:]), in_use(facts)),
        "approvals",
        "said to be active, not what round 0 of stage pilot",
    ),
    "a pilot in use by all": (
        lambda facts: (
            facts.update(line=facts["line"][1:]),
            facts["line"][0]["approvals"].pop(),
            in_use(facts),
        ),
        "approvals",
        "said to be active, not what round 1 of stage pilot",
    ),
    "another bundle": (
        lambda facts: facts["line"][1].update(bundle_hash=BEGAN),
        "campaign",
        "another bundle",
    ),
}


def in_use(facts: Any) -> object:  # noqa: ANN401 (the facts as JSON)
    facts["line"][0]["state"] = "active"
    return facts.update(model={name: facts["line"][0][name] for name in facts["model"]})


def stranger_approves(facts: Any) -> str:  # noqa: ANN401 (the facts as JSON)
    campaign = Campaign.from_json(facts["campaign"]["document"]["campaign"])
    return approve_model(STRANGER, campaign, "consortium", ACTIVE)


@pytest.mark.parametrize("name", FORGED)
def test_not_even_the_broker_makes_it_pass_what_its_board_did_not(at: Training, name: str) -> None:
    change, code, why = FORGED[name]
    files = resigned(at, change)
    found = failed(looked(at, files, json.loads(files[FACTS])["model"]["id"]))
    assert found.keys() == {code}
    assert why in found[code]


def test_a_stage_that_the_campaign_has_not_is_named(at: Training) -> None:
    [stage] = at.signed.campaign.rollout[1:]
    alone = replace(at.signed.campaign, rollout=(stage,))
    document = signed_campaign(alone, [sign_campaign(key, alone) for key in BOARD_KEYS])

    def change(facts: Any) -> None:  # noqa: ANN401 (the facts as JSON)
        facts["campaign"].update(document=document, hash=alone.hash())

    report = looked(at, resigned(at, change), ACTIVE)
    assert failed(report) == {"campaign": f"{PILOT} is of stage pilot, which the campaign has not"}


def test_a_board_that_is_not_known_decides_nothing(at: Training) -> None:
    stranger = {"keys": [SoftwareKey.generate().public_jwk()], "threshold": 1}
    for board in (json.dumps(stranger).encode(), b"{}", b"\xff"):
        report = verify_model(exported(at), ACTIVE, trust(at.world.ctx), board)
        assert failed(report).keys() == {"campaign"}


def test_another_broker_and_a_stolen_key_are_not_believed(at: Training) -> None:
    files = exported(at)
    report = verify_model(files, ACTIVE, dishonest_broker.TRUST, None)
    assert failed(report).keys() == {"signature", FACTS, CARD, WEIGHTS}
    known = trust(at.world.ctx)
    leaf = at.world.ctx.keys.issuer("demo").x5c[0]
    stolen = hashlib.sha256(base64.b64decode(leaf)).hexdigest()
    spoilt: Trust = replace(known, compromised=(CompromisedKey(stolen, 1, 1),))
    assert "somebody else" in failed(verify_model(files, ACTIVE, spoilt, None))["signature"]


def test_a_model_that_was_retired_is_told_so_from_then_on(at: Training) -> None:
    before = exported(at)
    retire(at.world.ctx, "demo", ACTIVE)
    assert looked(at, before).state == "active"
    after = looked(at, exported(at))
    assert (after.verified, after.state) == (True, "retired"), failed(after)
