"""k of n decide, each once, over exactly this campaign; what does not count is named."""

import json
from decimal import Decimal

import pytest

from credentials.keys import SoftwareKey, sign_jws, thumbprint
from federation.board import (
    CAMPAIGN_TYPE,
    MOST_FAULTS,
    Board,
    PassedStage,
    approvals,
    approve_model,
    pass_stage,
    read_signed_campaign,
    sign_campaign,
    signed_campaign,
    verify_campaign,
)
from federation.campaign import Campaign
from federation.errors import (
    BoardDisagrees,
    BoardInvalid,
    CampaignInvalid,
    FederationError,
    Malformed,
    StageShut,
)
from federation.rollout import MetricGate
from tests.federation.world import BOARD, BOARD_KEYS, CAMPAIGN, campaign_json, signed

THIS = Campaign.from_json(CAMPAIGN)
OTHER = Campaign.from_json(campaign_json(rounds=21))
GOOD = [sign_campaign(key, THIS) for key in BOARD_KEYS]
STRANGER = SoftwareKey.generate()


def test_two_of_three_are_enough_in_any_order_and_one_is_not() -> None:
    for chosen in (GOOD[:2], GOOD[1:], GOOD[::-1], GOOD):
        found = verify_campaign(THIS, chosen, BOARD)
        assert found.campaign_hash == THIS.hash()
        assert len(found.signers) == len(chosen)
    with pytest.raises(BoardDisagrees):
        verify_campaign(THIS, GOOD[:1], BOARD)
    with pytest.raises(BoardDisagrees):
        verify_campaign(THIS, [], BOARD)


def forged() -> dict[str, str]:
    header, payload, _ = GOOD[1].split(".")
    kid = thumbprint(BOARD_KEYS[1].public_jwk())
    return {
        "of a key that signed already": sign_campaign(BOARD_KEYS[0], THIS),
        "no key of the board": sign_campaign(STRANGER, THIS),
        "signature_invalid": sign_jws(
            STRANGER, {"typ": CAMPAIGN_TYPE, "kid": kid}, {"campaign": THIS.hash()}
        ),
        "signs something else": sign_campaign(BOARD_KEYS[1], OTHER),
        "type_mismatch": approve_model(BOARD_KEYS[1], THIS, "pilot", "m"),
        "malformed": f"{header}.{payload}",
        "algorithm_not_allowed": sign_jws(
            SoftwareKey.generate("EdDSA"), {"typ": CAMPAIGN_TYPE, "kid": kid}, {"campaign": "x"}
        ),
    }


@pytest.mark.parametrize("fault", forged())
def test_a_signature_that_does_not_count_is_named_and_stops_nothing(fault: str) -> None:
    with pytest.raises(BoardDisagrees) as refused:
        verify_campaign(THIS, [GOOD[0], forged()[fault]], BOARD)
    assert refused.value.faults == (f"signature 2: {fault}",)
    assert (refused.value.counted, refused.value.needed) == (1, 2)
    assert len(verify_campaign(THIS, [GOOD[0], forged()[fault], GOOD[2]], BOARD).signers) == 2


def test_the_file_of_a_signed_campaign_is_read_and_verified_at_once() -> None:
    document = signed_campaign(THIS, GOOD[:2])
    assert read_signed_campaign(json.dumps(document).encode(), BOARD).campaign == THIS
    with pytest.raises(BoardDisagrees):
        read_signed_campaign(json.dumps(signed_campaign(OTHER, GOOD)).encode(), BOARD)
    for broken in (document | {"signatures": [1]}, document | {"signatures": "x"}, {"campaign": 1}):
        with pytest.raises(Malformed):
            read_signed_campaign(json.dumps(broken).encode(), BOARD)


def test_lines_of_others_do_not_crowd_out_good_ones() -> None:
    foreign = [sign_campaign(STRANGER, THIS)] * 300
    document = signed_campaign(THIS, [*foreign, *GOOD[:2]])
    assert len(read_signed_campaign(json.dumps(document).encode(), BOARD).signers) == 2
    with pytest.raises(BoardDisagrees) as refused:
        verify_campaign(THIS, foreign, BOARD)
    assert len(refused.value.faults) == MOST_FAULTS


def test_a_stage_is_passed_by_its_gates_and_approvals() -> None:
    given = [approve_model(BOARD_KEYS[0], THIS, "pilot", "model-1")]
    passed = pass_stage(
        signed(), "pilot", "model-1", metrics={"auc": "0.81"}, given=given, board=BOARD
    )
    assert passed == PassedStage(THIS.hash(), "pilot", "model-1")
    for model, metrics, approved in (
        ("model-1", {"auc": "0.79"}, given),
        ("model-2", {"auc": "0.81"}, given),
        ("model-1", {"auc": "0.81"}, []),
    ):
        with pytest.raises(StageShut):
            pass_stage(signed(), "pilot", model, metrics=metrics, given=approved, board=BOARD)
    with pytest.raises(CampaignInvalid):
        pass_stage(signed(), "everybody", "model-1", metrics={}, given=given, board=BOARD)


def test_a_board_that_cannot_decide_is_none() -> None:
    keys = [key.public_jwk() for key in BOARD_KEYS]
    for jwks, threshold in ((keys, 0), (keys, 4), ([], 0), ([], 1), ([keys[0], keys[0]], 1)):
        with pytest.raises(BoardInvalid):
            Board.of(jwks, threshold)
    with pytest.raises(BoardInvalid):
        Board.of([{"kty": "oct", "k": "AAAA"}], 1)


def test_approvals_are_of_one_model_in_one_stage_by_the_board() -> None:
    given = [
        approve_model(BOARD_KEYS[0], THIS, "consortium", "model-1"),
        approve_model(BOARD_KEYS[0], THIS, "consortium", "model-1"),
        approve_model(BOARD_KEYS[1], THIS, "pilot", "model-1"),
        approve_model(BOARD_KEYS[1], THIS, "consortium", "model-2"),
        approve_model(BOARD_KEYS[1], OTHER, "consortium", "model-1"),
        approve_model(STRANGER, THIS, "consortium", "model-1"),
        GOOD[1],
    ]
    found = approvals(signed(), "consortium", "model-1", given, BOARD)
    assert found == {thumbprint(BOARD_KEYS[0].public_jwk()): given[0]}
    stage = THIS.rollout[1]
    assert stage.shut_gates({}, found) == ("approvals 1 of 2",)
    given.append(approve_model(BOARD_KEYS[2], THIS, "consortium", "model-1"))
    assert not stage.shut_gates({}, approvals(signed(), "consortium", "model-1", given, BOARD))


@pytest.mark.parametrize(
    ("auc", "shut_gates"),
    [("0.8", 0), ("0.80", 0), ("0.95", 0), ("0.7999", 1), ("NaN", 1), ("Infinity", 1), ("x", 1)],
)
def test_a_metric_is_on_the_right_side_or_the_gate_is_shut(auc: str, shut_gates: int) -> None:
    pilot = THIS.rollout[0]
    assert len(pilot.shut_gates({"auc": auc}, {"a"})) == shut_gates
    assert pilot.shut_gates({}, {"a"}) == ("auc at_least 0.8",)


def test_at_most_is_the_other_side() -> None:
    gate = MetricGate("loss", "at_most", "0.5")
    assert gate.holds(Decimal("0.5"))
    assert not gate.holds(Decimal("0.51"))
    with pytest.raises(FederationError):
        MetricGate.from_json({"metric": "loss", "relation": "about", "bound": "0.5"})
