"""`consent-broker demo`: the whole way over HTTP against a running broker."""

import json
from pathlib import Path

import pytest

from broker.domain.evidence import verify_evidence
from broker.domain.trust import Trust
from dev.running import Broker, free_port

STEPS = [
    *("invitation", "customer_credential", "consent_request", "signed", "credential"),
    *("permit", "deny_version", "deny_abroad", "deny_attribute", "sealed", "data"),
    *("data_request", "data_shown", "withdrawal", "deny_withdrawn", "deny_data"),
    *("data_request_closed", "deletion", "evidence", "tampered"),
    *("attribute_credential", "status_tokens", "proof_request", "proven"),
    *("attribute_revoked", "revoked_proves_nothing"),
]
KEPT = {"consent-credential.txt", "evidence.zip", "receipt.txt", "transcript.json", "trust.json"}


def test_it_drives_the_whole_way_and_keeps_what_it_leaves(
    broker_server: Broker, tmp_path: Path
) -> None:
    out = tmp_path / "kept"
    done = broker_server.run("demo", "--json", "--out", str(out))
    assert done.returncode == 0, done.stderr
    transcript = json.loads(done.stdout)
    steps = {step["id"]: step for step in transcript["steps"]}
    assert list(steps) == STEPS
    assert all(step["milliseconds"] > 0 for step in transcript["steps"])
    assert steps["signed"]["shown"]["signed"]["for"].endswith("#algo:churn-v3@1")
    assert steps["signed"]["shown"]["states"] == {
        "base": "granted",
        "visits": "refused",
        "singapore": "refused",
    }
    assert steps["permit"]["shown"]["decision"] is True
    for name in ("deny_version", "deny_abroad", "deny_attribute", "deny_withdrawn"):
        assert steps[name]["shown"]["decision"] is False
        assert all(reason["law"] for reason in steps[name]["shown"]["reasons"])
    opened = steps["data"]["shown"]["opened_by_the_partner"]
    assert opened == {"count": 12, "since": "2025-11"}
    shown = steps["data_shown"]["shown"]
    assert (shown["opened_by_the_partner"], shown["once_more"]) == (37, "gone")
    assert steps["data_request_closed"]["shown"] == {
        "decision": False,
        "state": "closed",
        "asked_again": "consent_not_live",
    }
    assert steps["deny_data"]["shown"] == {
        "decision": False,
        "status": 403,
        "code": "consent_withdrawn",
    }
    assert steps["proven"]["shown"]["statements"][0]["years"] == 18
    assert "birth_date" in steps["attribute_credential"]["shown"]["in_the_wallet"]
    born = steps["attribute_credential"]["shown"]["in_the_wallet"]["birth_date"]
    after = [*STEPS[STEPS.index("attribute_credential") + 1 :]]
    assert born not in json.dumps([steps[name] for name in after])
    assert [steps[name]["shown"]["tokens"] for name in ("status_tokens", "attribute_revoked")] == [
        *(1, 0)
    ]
    assert [steps[name]["shown"]["state"] for name in ("proven", "revoked_proves_nothing")] == [
        *("proven", "refused")
    ]
    assert steps["withdrawal"]["shown"] == {"state": "withdrawn", "grade": "same_key"}

    assert {path.name for path in out.iterdir()} >= KEPT
    assert json.loads((out / "transcript.json").read_text()) == transcript
    trust = Trust.parse((out / "trust.json").read_bytes())
    assert verify_evidence((out / "evidence.zip").read_bytes(), trust).verdict == "verified"


def test_operators_see_what_lies_in_vaults(broker_server: Broker) -> None:
    assert broker_server.run("demo", "--json").returncode == 0
    swept = broker_server.run("vault", "sweep", "--json")
    assert swept.returncode == 0, swept.stderr
    listed = broker_server.run("vault", "list", "--json")
    (local,) = json.loads(listed.stdout)
    assert local["vault"] == "local"
    assert local["deleted"]["envelopes"] >= 1
    assert "ending" not in local
    assert "deleted" in broker_server.run("vault", "list").stdout
    assert json.loads(broker_server.run("vault", "init", "--json").stdout) == {"vault": "local"}
    strays = broker_server.run("vault", "sweep", "--strays", "7", "--json")
    assert json.loads(strays.stdout) == {"deleted": 0, "strays": 0}
    checked = broker_server.run("vault", "check", "--json")
    assert (checked.returncode, json.loads(checked.stdout)) == (
        0,
        {"checked": 0, "damaged": [], "strays": [], "unreachable": []},
    )


def test_it_shows_people_each_step_in_both_languages(broker_server: Broker) -> None:
    done = broker_server.run("demo")
    assert done.returncode == 0, done.stderr
    for number, words in (
        (1, "商家邀请客户"),
        (4, "钱包展示条款，客户只签其中一项"),
        (6, "按约使用：允许"),
        (13, "钱包出示：核验后加密给商家，仅交付一次"),
        (17, "尚未应答的询问随即关闭，也不能再问"),
        (20, "改动一位即不通过"),
        (24, "零知识证明：年满18岁，出生日期未离开钱包"),
        (26, "再次询问：没有令牌便无从证明，钱包也不说明原因"),
    ):
        line = next(line for line in done.stdout.splitlines() if words in line)
        assert line.startswith(f"{number}. ")
    assert "permit 允许" in done.stdout
    assert "consent_withdrawn" in done.stdout
    assert "['" not in done.stdout, "values are shown as JSON"


def test_without_a_broker_it_says_how_to_start_one(broker_server: Broker) -> None:
    done = broker_server.run("demo", "--url", f"http://127.0.0.1:{free_port()}")
    assert done.returncode == 2
    assert "make run" in done.stderr


@pytest.mark.parametrize("arguments", [["--nonsense"], ["--out"]])
def test_wrong_use_is_told_apart(broker_server: Broker, arguments: list[str]) -> None:
    assert broker_server.run("demo", *arguments).returncode == 2
