"""`federation status` and `report` over campaigns with rounds that closed, failed and are open."""

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Playwright

from broker.cli.federation_report import BAR_WIDTH
from broker.usecases.rollout import promote
from broker.usecases.unlearning import search
from credentials.jcs import b64url
from federation.privacy import RowPrivacy, epsilon_after
from tests.broker.builders import Broker
from tests.broker.cli.commands import Commands, environment
from tests.broker.flow_world import world
from tests.broker.training import (
    BEGAN,
    PRIVACY,
    Training,
    another,
    invented,
    model,
    training,
)
from tests.conftest import CHROMIUM_FLAGS
from tests.e2e.browsing import inspect, watched
from tests.programs import require

COMMANDS = Commands("federation")
run, told = COMMANDS.run, COMMANDS.told
SVG = "{http://www.w3.org/2000/svg}"
Scheme = Literal["light", "dark"]
ROUNDS, SPARE = 6, 2
BUDGET = "8"
CLOSED = [
    ("pilot", 1, "0.61", "0.70"),
    ("pilot", 3, "0.74", "0.61"),
    ("consortium", 1, "0.79", "0.52"),
    ("consortium", 4, "0.83", "0.47"),
]


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Training]:
    """A pilot of one member and a consortium of two: four rounds closed, three failed, one open.

    A row of the consortium's first round was withdrawn since.
    """
    folder = tmp_path_factory.mktemp("reported")
    with world(folder) as broker, pytest.MonkeyPatch.context() as patch:
        environment(folder, patch)
        patch.setenv("BROKER_MASTER_KEY", b64url(broker.ctx.master.to_bytes()))
        other = broker.second_partner()
        named = sorted([broker.partner, other])
        stages = [
            {"stage": stage, "members": members, "gates": [], "approvals": 1}
            for stage, members in (("pilot", [broker.partner]), ("consortium", named))
        ]
        stages[0]["business_line"] = "retail"
        privacy = PRIVACY | {"epsilon": BUDGET}
        made = training(
            broker,
            *named,
            rollout=stages,
            privacy=privacy,
            rounds=ROUNDS,
            unlearning="exclude",
            spare_rounds=SPARE,
        )
        consent = Broker(broker.ctx, broker.time).consent(broker.partner, "crm-0")
        close(made, "pilot", 1, BEGAN, model(1))
        fail(made, "pilot", 2, model(1))
        close(made, "pilot", 3, model(1), model(3))
        promote(broker.ctx, "demo", model(3), [made.approval("pilot", model(3))])
        close(made, "consortium", 1, model(3), model(11), consent)
        fail(made, "consortium", 2, model(11))
        fail(made, "consortium", 3, model(11))
        close(made, "consortium", 4, model(11), model(14))
        assert broker.withdrawal(consent, broker.officer, json={}).status_code == 200
        broker.advance(1)
        search(broker.ctx, "demo")
        made.open(5, model(14))
        yield made


def close(at: Training, stage: str, number: int, begins: str, gives: str, *named: str) -> None:
    """A round in which every member hands in a receipt and that gives a model."""
    opened = at.open(number, begins, stage)
    for member in opened["taking_part"]:
        mine = named if member == at.world.partner else ()
        sent = invented(at, opened, member, named=("c-0", "c-1", *mine))
        assert at.hand_in(opened, sent).status_code == 200
    auc, loss = next(one[2:] for one in CLOSED if one[:2] == (stage, number))
    answer = at.close(opened, gives, metrics={"auc": auc, "loss": loss})
    assert answer.status_code == 200, answer.text


def fail(at: Training, stage: str, number: int, begins: str) -> None:
    at.open(number, begins, stage)
    answer = at.call("POST", f"/rounds/{stage}/{number}/fail", {"code": "too_few_updates"})
    assert answer.status_code == 200, answer.text


def test_status_tells_all_of_it_to_machines(at: Training) -> None:
    answer = told("status", "--campaign", at.campaign)
    assert answer["not_looked_for"] == 0
    [campaign] = answer["campaigns"]
    assert (campaign["state"], campaign["stage"]) == ("running", "consortium")
    rounds = [(one["stage"], one["number"], one["state"]) for one in campaign["rounds"]]
    assert rounds == [
        ("pilot", 1, "closed"),
        ("pilot", 2, "failed"),
        ("pilot", 3, "closed"),
        ("consortium", 1, "closed"),
        ("consortium", 2, "failed"),
        ("consortium", 3, "failed"),
        ("consortium", 4, "closed"),
        ("consortium", 5, "open"),
    ]
    assert [one["code"] for one in campaign["rounds"] if one["state"] == "failed"] == [
        "too_few_updates"
    ] * 3
    assert [len(one["receipts"]) for one in campaign["rounds"]] == [1, 0, 1, 2, 0, 0, 2, 0]
    models = [one for one in campaign["models"] if one["parent"] is not None]
    assert [(one["stage"], one["number"]) for one in models] == [one[:2] for one in CLOSED]
    for one, (_, _, auc, loss) in zip(models, CLOSED, strict=True):
        assert {name: float(value) for name, value in one["metrics"].items()} == {
            "auc": float(auc),
            "loss": float(loss),
        }
    spent = [float(one["epsilon"]) for one in models]
    assert spent == sorted(set(spent))
    assert 0 < spent[0] < spent[-1] < float(BUDGET)
    assert [one["taint"] for one in models] == [None, None, "used", "descends"]
    assert [one["state"] for one in campaign["tasks"]] == ["open"]


def test_status_counts_the_rounds_that_gave_a_model(at: Training) -> None:
    """A round that failed used its number up; it is no progress."""
    [campaign] = told("status", "--campaign", at.campaign)["campaigns"]
    text = run("status", "--campaign", at.campaign).output
    head, bar, members, epsilon, *_ = text.splitlines()
    # Whole, however narrow the terminal: other commands ask for it.
    assert head.startswith(f"{at.campaign}  churn-2026  running  consortium")
    assert bar.rstrip().endswith("2/6 rounds, 2 failed, 2/2 spare used")
    assert bar.count("━") / BAR_WIDTH == pytest.approx(2 / 6, abs=0.1)
    assert campaign["progress"] == {
        "rounds": ROUNDS,
        "closed": 2,
        "failed": 2,
        "spare_rounds": SPARE,
        "spare_used": 2,
    }
    assert members.count(" admitted") == 2
    # With the round that is open, which no model tells of yet.
    spent = epsilon_after(RowPrivacy.from_json(PRIVACY | {"epsilon": BUDGET}), 8)
    assert campaign["epsilon"] == str(spent)
    assert spent > Decimal(campaign["models"][-1]["epsilon"])
    assert epsilon == f"  epsilon  {spent} of {BUDGET}"
    for line in (
        r"round    pilot 2 +failed  0 of 1 receipts  too_few_updates",
        rf"round    consortium 4 +closed  2 of 2 receipts  {model(14)}",
        r"round    consortium 5 +open    0 of 2 receipts",
        rf"model    {model(3)}  pilot 3 +pilot  epsilon \S+  auc 0.74  loss 0.61  from {model(1)}",
        rf"model    {model(14)}  consortium 4 +tainted  comes of one that used withdrawn rows",
        rf"model    {BEGAN}  began with",
    ):
        assert re.search(line, text), (line, text)


def test_a_pilot_on_one_business_line_says_which(at: Training) -> None:
    stages = [
        {"stage": stage, "members": list(at.members), "gates": [], "approvals": 1}
        for stage in ("pilot", "consortium")
    ]
    stages[0]["business_line"] = "credit-cards"
    pilot = another(at, rollout=stages)
    text = run("status", "--campaign", pilot.campaign).output
    head, bar, *_ = text.splitlines()
    assert head == f"{pilot.campaign}  churn-2026  running  pilot (business line credit-cards)"
    assert bar.strip().endswith("0/3 rounds")
    shown = json.loads(run("campaign", "show", pilot.campaign).stdout)
    assert [one.get("business_line") for one in shown["document"]["campaign"]["rollout"]] == [
        "credit-cards",
        None,
    ]
    assert shown["hash"] == pilot.signed.campaign_hash


def test_a_picture_of_each_metric_and_of_epsilon_is_written(at: Training, tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    answer = told("report", at.campaign, "--out", str(out))
    names = ["metric-01.svg", "metric-02.svg", "epsilon.svg", "report.html"]
    assert answer == {"files": [str(out / name) for name in names], "not_drawn": []}
    assert run("report", at.campaign, "--out", str(out)).output.split() == answer["files"]
    drawn = {name: ET.fromstring((out / name).read_text("utf-8")) for name in names[:3]}  # noqa: S314 (our own)
    for name, column in (("metric-01.svg", 2), ("metric-02.svg", 3)):
        points = [one.findtext(f"{SVG}title") or "" for one in drawn[name].iter(f"{SVG}circle")]
        assert points == [f"{one[0]} {one[1]}: {one[column]}" for one in CLOSED]
    [campaign] = told("status", "--campaign", at.campaign)["campaigns"]
    epsilons = [
        one.findtext(f"{SVG}title") or "" for one in drawn["epsilon.svg"].iter(f"{SVG}circle")
    ]
    assert [one.partition(": ")[2] for one in epsilons] == [
        one["epsilon"] for one in campaign["models"] if one["epsilon"] is not None
    ]
    assert f"Budget {BUDGET}" in "".join(drawn["epsilon.svg"].itertext())
    page = (out / "report.html").read_text("utf-8")
    for name in names[:3]:
        picture = (out / name).read_text("utf-8")
        assert picture.strip() in page
    assert "试点 Pilot: 1 个成员 members, 业务线 business line <code>retail</code>" in page
    assert "联盟 Consortium: 2 个成员 members, 全部业务线 all business lines" in page
    for part in ("too_few_updates", *(one[2] for one in CLOSED), "Consortium", "联盟"):
        assert part in page, part


def test_a_folder_that_cannot_be_made_is_named(at: Training, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = run("report", at.campaign, "--out", str(tmp_path / "file" / "out"))
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "cannot write" in refused.stderr


@pytest.mark.parametrize(
    ("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)]
)
def test_the_page_can_be_read_by_everybody(
    at: Training, tmp_path: Path, playwright: Playwright, scheme: Scheme, width: int
) -> None:
    told("report", at.campaign, "--out", str(tmp_path))
    path = require("chromium", "look at the report of a training in a real browser")
    browser = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM_FLAGS))
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 844})
    page, problems = watched(context)
    page.goto((tmp_path / "report.html").as_uri())
    inspect(page, tmp_path, f"report-{scheme}-{width}")
    assert page.locator("svg.plot").count() == 3
    assert problems == []
    browser.close()
