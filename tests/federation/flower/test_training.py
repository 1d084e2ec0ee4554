"""Rounds of real strategies and applications in one process: `training.py`, in its environment."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.federation.flower.running import told_by

GUARDED = {"consent_ended": 1, "difference_guard": 4}

EXPECTED: Mapping[str, Any] = {
    # A process that ended before the third round, and a customer who withdrew meanwhile: the next
    # one begins with the model that was kept, and trains without that customer and four more.
    "withdrawn_and_resumed": {
        "said": [f"{verb} {number}" for number in (1, 2, 3, 4) for verb in ("open", "close")],
        "kept_half": 2,
        "rows": [24, 24, 19, 19],
        "notes": [GUARDED, GUARDED],
        "in_the_leaves": {"2": True, "3": False},
        "resumed_from": True,
        "model_is_the_file": True,
        "learnt": True,
    },
    "ended": {
        "closing": ["open 1", "close 1", "open 2", "close 2"],
        "opening": ["open 1", "fail 1 interrupted", "open 2", "close 2", "open 3", "close 3"],
    },
    # In the middle of a round its number is used up, and the next one gives the model instead;
    # before it, or when its model was kept, none is.
    "ended_at_each_step": {
        step: [f"close {last}", 3, True, True]
        for last, steps in (
            (3, ("open 2", "close 2", "after 2")),
            (
                4,
                (
                    *(f"{verb} 2 p-{n}" for verb in ("receipt", "received") for n in range(3)),
                    "member",
                ),
            ),
        )
        for step in steps
    },
    "left_out": {
        "another model than in the receipt": "receipt_mismatch",
        "no numbers": "not_finite",
        "another shape": "other_shapes",
        "another tensor": "other_tensors",
        "a forged receipt": "receipt_forged",
        "leaves left away": "leaves_differ",
        "the weight of more rows": "weight_without_rows",
        "the weight of its very rows": "weight_without_rows",
        "an infinite metric": "not_finite",
        "a metric of its own": None,
        "a record of another kind": "not_whole",
        "a receipt of another kind": "not_whole",
        "a header cut short": "malformed",
        "a header too deep": "malformed",
        "a header of nothing": "malformed",
        "more numbers than there is room": "malformed",
        "more numbers than can be counted": "malformed",
        "an archive": "malformed",
        "a metric beyond all": "not_finite",
        "a metric with a space": "metrics_malformed",
        "a hundred metrics": "metrics_malformed",
        "no receipt": "not_whole",
        "refused by the broker": "broker_member_revoked",
        "another bundle": "refused_bundle_differs",
        "a board that did not sign": "refused_board_disagrees",
        "lists of before the round": "refused_lists_unavailable",
        "a key that is not registered": "receipt_forged",
    },
    "failed": {
        "why": {"p-2": "refused_lists_unavailable"},
        "said": ["open 1", "fail 1 too_few_updates", "open 2", "close 2"],
        "remarked": [{"p-2": "refused_lists_unavailable"}, {}],
    },
    # Of what two rounds and two spare ones are: four updates, whatever is said of them.
    "hostile": {
        "trained": [4, 4, 4],
        "answers": ["trained"] * 4
        + ["refused_campaign_invalid"] * 3
        + ["refused_round_repeated"] * 4,
    },
    "not_closed": {
        "said": [
            ["open 1", "refuse 1", "fail 1 close_refused", "open 2", "close 2"],
            ["open 1", "refuse 1", "fail 1 close_refused", "open 2", "close 2"],
            ["open 1", "fail 1 stopped", "open 2", "close 2"],
            ["open 1", "fail 1 model_not_finite"],
        ],
        "kept": None,
        "began_with_the_first": [True, True, True],
        "why": dict.fromkeys((f"p-{number}" for number in range(5)), "sum_not_finite"),
    },
    "without_node": {
        "left_out": [{"p-3": "no_node"}, {"p-2": "no_node"}],
        "said": [["open 1", "close 1"], ["open 1", "fail 1 no_node"]],
    },
    "of_one_line": {
        "left_out": {"p-3": "refused_business_lines_missing"},
        "rows": [8],
        "noted": [{"other_business_line": 16}],
        "asked": [["pilot", "retail"]],
    },
    "poisoned": {
        "fedavg": ["right", "wrong"],
        "fedprox": ["right", "wrong"],
        "fedavg_clipped": ["right", "right"],
        "fedprox_clipped": ["right", "right"],
        "krum": ["right", "right"],
        "trimmed_mean": ["right", "right"],
        "mu_holds_back": True,
        # In each round the one that is hostile is noticed, and no other; the honest never.
        "noticed": {
            method: [[{}] * 3, [{"p-4": "far_out"}] * 3]
            for method in (
                *("fedavg", "fedprox", "fedavg_clipped", "fedprox_clipped"),
                *("krum", "trimmed_mean"),
            )
        },
    },
    "shortening": {
        "float32": {"within": True, "left_alone": True, "one_direction": True},
        "float64": {"within": True, "left_alone": True, "one_direction": True},
        "ends": True,
    },
    "refusals": {
        "running": "done",
        "changed": "bundle_differs",
        "checkpoint": "checkpoint_broken",
        "announcement": "malformed",
        "bundle": "same",
        "named": "refused_wrong_shares, refused_, refused_wrong_shares of p-1",
        "memory": "bounded",
    },
}


def _told(accuracy: float) -> str:
    return "right" if accuracy > 0.9 else "wrong" if accuracy < 0.5 else "between"


def test_rounds_of_gate_training_receipt_and_aggregation(tmp_path: Path) -> None:
    seen = told_by("training.py", tmp_path)
    # Of four members, the one that cheats is left out and the others train.
    seen["left_out"] = {how: told.get("p-3") for how, told in seen["left_out"].items()}
    # Seen on 2026-11-27, honest and with one of five hostile: FedAvg .973 and .123, FedProx .972
    # and .121, Krum .987 and .986, trimmed mean .978 and .992.
    for method, scores in seen["poisoned"].items():
        if method not in {"mu_holds_back", "noticed"}:
            seen["poisoned"][method] = [_told(score) for score in scores]
    for part, expected in EXPECTED.items():
        assert seen[part] == expected, part
    assert seen.keys() == EXPECTED.keys()
