"""Settings other than the campaign's are refused by the member: `run_settings.py`."""

from pathlib import Path

from tests.federation.flower.running import told_by

REFUSED = "refused_parameters_differ"
SIGNED = {"local_epochs": 2, "rate": "0.05", "layers.width": 8, "layers.on": True}


def test_what_a_run_says_is_what_the_board_signed(tmp_path: Path) -> None:
    seen = told_by("run_settings.py", tmp_path)
    # The parameters that the bundle declares, and nothing else, beside the campaign's id.
    assert seen["started with"] == {"campaign": "fc-1", **SIGNED}
    # Of which no parameter stands in the place.
    assert seen["a parameter of that name"] == "fc-1"
    assert seen["coordinator"] == {
        "why": "the run's setting campaign is no id of the broker's",
        "made": False,
    }
    declared = {"rounds": 1, "members": 1, "report": "", "temperature": 0.5}
    assert seen["read"] == {"campaign": "fc-1", **SIGNED, **declared}
    taken = ("as a coordinator starts it", "no settings")
    assert {name: why for name, why in seen["members"].items() if name in taken} == dict.fromkeys(
        taken, ""
    )
    others = {name: why for name, why in seen["members"].items() if name not in taken}
    assert len(others) == 10
    assert set(others.values()) == {REFUSED}
    files = seen["files"]
    for name, setting in (("another value", "local_epochs"), ("what no parameter is", "temperat")):
        code, noted, hint = files[name]
        assert (code, noted) == ("parameters_differ", "parameters_differ")
        assert setting in hint
        assert "the coordinator started the run" in hint
    # With the signed ones it comes to the next thing that is wrong here.
    assert files["as a coordinator starts it"][0] == "rows_differ"
