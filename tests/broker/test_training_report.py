"""A campaign for people: pictures and page of its rounds, and the card of a model."""

import copy
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import pytest

from broker.domain.errors import StateConflict
from broker.usecases.model_card import export_model
from broker.usecases.training_report import reports
from broker.usecases.unlearning import search
from broker.web.model_card import card
from broker.web.training_report import MOST_PICTURES, not_drawn, page, pictures
from tests.broker.builders import Broker
from tests.broker.flow_world import world
from tests.broker.training import BEGAN, PRIVACY, Training, invented, model, training

SVG = "{http://www.w3.org/2000/svg}"
AUC = ("0.61", "0.72")


@pytest.fixture(scope="module")
def at(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Training]:
    """Two rounds with a failed one between; a row of the first was withdrawn before the second."""
    with world(tmp_path_factory.mktemp("report") / "home") as broker:
        made = training(broker, unlearning="exclude", privacy=PRIVACY, rounds=9)
        seeds = Broker(broker.ctx, broker.time)
        consent = seeds.consent(broker.partner, "crm-0")
        opened = made.open(1)
        sent = invented(made, opened, named=(consent, "c-0"))
        assert made.hand_in(opened, sent).status_code == 200
        assert made.close(opened, model(1), metrics={"auc": AUC[0]}).status_code == 200
        assert broker.withdrawal(consent, broker.officer, json={}).status_code == 200
        broker.advance(1)
        made.open(2, model(1))
        made.call("POST", "/rounds/consortium/2/fail", {"code": "superlink_lost"})
        opened = made.open(3, model(1))
        assert made.hand_in(opened, invented(made, opened)).status_code == 200
        assert made.close(opened, model(3), metrics={"auc": AUC[1]}).status_code == 200
        search(broker.ctx, "demo")
        yield made


def test_pictures_have_each_figure_and_say_what_they_show(at: Training) -> None:
    [told] = reports(at.world.ctx, "demo", at.campaign)
    found = {name: ET.fromstring(text) for name, text in pictures(told)}  # noqa: S314 (our own)
    assert list(found) == ["metric-01.svg", "epsilon.svg"]
    auc = found["metric-01.svg"]
    titles = [one.findtext(f"{SVG}title") for one in auc.iter(f"{SVG}circle")]
    assert titles == [f"consortium 1: {AUC[0]}", f"consortium 3: {AUC[1]}"]
    heights = [float(one.attrib["cy"]) for one in auc.iter(f"{SVG}circle")]
    assert heights[0] > heights[1]
    for picture in found.values():
        assert picture.attrib["role"] == "img"
        assert picture.findtext(f"{SVG}title")
        assert "Values by round" in (picture.findtext(f"{SVG}desc") or "")
    assert f"Budget {PRIVACY['epsilon']}" in "".join(found["epsilon.svg"].itertext())


def test_the_page_has_the_same_figures_in_a_table(at: Training) -> None:
    [told] = reports(at.world.ctx, "demo", at.campaign)
    text = page(told, at.world.time[0])
    cells = [re.sub("<[^>]*>", "", one) for one in re.findall("<t[dh][ >].*?</t[dh]>", text)]
    for figure in (*AUC, told["models"][-1]["epsilon"]):
        assert figure in cells, figure
    for part in ("superlink_lost", model(3), "Tainted"):
        assert any(part in one for one in cells), part
    assert "residual" not in text
    assert "<script" not in text
    assert text.count('<th scope="row"') == len(told["rounds"]) + len(told["models"])


def test_the_page_says_how_a_residual_came_about(at: Training) -> None:
    [told] = reports(at.world.ctx, "demo", at.campaign)
    done = told["tasks"][0] | {"state": "done", "model": model(3), "taint": "descends"}
    files = {"before": model(1), "after": model(3), "reference": model(9)}
    for residual, said in (
        (None, "residual not measured"),
        (
            {"before": "0.5", "after": "0.2", "measured": None},
            "→ 0.2, 据称，未经测量 as was said",
        ),
        ({"before": "0.5", "after": "0.2", "measured": files}, f"against <code>{model(9)}</code>"),
    ):
        text = page(told | {"tasks": [done | {"residual": residual}]}, at.world.time[0])
        assert said in text, residual
        assert (model(9) in text) is (residual is not None and residual["measured"] is not None)


def test_one_round_is_a_point_with_its_figure(at: Training) -> None:
    [told] = reports(at.world.ctx, "demo", at.campaign)
    one = told | {"rounds": told["rounds"][:1]}
    [(_, text), _] = pictures(one)
    auc = ET.fromstring(text)  # noqa: S314 (our own)
    assert len(list(auc.iter(f"{SVG}circle"))) == 1
    assert not list(auc.iter(f"{SVG}polyline"))
    assert [each.text for each in auc.iter(f"{SVG}text") if each.attrib.get("class") == "last"] == [
        f"consortium 1: {AUC[0]}"
    ]


def test_of_many_metrics_some_are_drawn_and_the_page_says_so(at: Training) -> None:
    [told] = reports(at.world.ctx, "demo", at.campaign)
    many = {f"m-{number:03}": "0.5" for number in range(MOST_PICTURES + 3)}
    models = [one | {"metrics": many} for one in told["models"]]
    drawn = [name for name, _ in pictures(told | {"models": models})]
    assert len(drawn) == MOST_PICTURES + 1
    assert drawn[-1] == "epsilon.svg"
    assert not_drawn(told | {"models": models}) == sorted(many)[MOST_PICTURES:]
    text = page(told | {"models": models}, at.world.time[0])
    assert "3 more metrics are in the table below alone" in text
    assert all(name in text for name in many)
    assert "more metrics" not in page(told, at.world.time[0])


def test_a_campaign_without_rounds_has_a_page_too(at: Training) -> None:
    [told] = reports(at.world.ctx, "demo", at.campaign)
    text = page(told | {"rounds": [], "models": [], "tasks": []}, at.world.time[0])
    assert "No round yet" in text


def test_a_card_says_what_is_left_in_a_model(at: Training) -> None:
    told = export_model(at.world.ctx, "demo", model(3))
    text = card(told)
    assert [one["id"] for one in told["line"]] == [model(3), model(1), BEGAN]
    assert told["line"][0]["buckets"] == {at.world.partner: 64}
    for part in (
        "Something of withdrawn rows is left in it",
        "`dpv:ServicePersonalisation`",
        "`churn-v3@1`",
        f"| `{at.world.partner}` | 64 |",
        f"| `auc` | {AUC[1]} |",
        told["model"]["receipts_root"],
        told["model"]["epsilon"],
        "Descends from one that did",
        "| 业务线 Business line | 全部 All |",
    ):
        assert part in text, part
    of_line = copy.deepcopy(told)
    [stage] = of_line["campaign"]["document"]["campaign"]["rollout"]
    stage["business_line"] = "retail"
    assert "| 业务线 Business line | 仅 `retail` alone |" in card(of_line)
    tainted = card(export_model(at.world.ctx, "demo", model(1)))
    assert "**Tainted: not to be used.**" in tainted
    with pytest.raises(StateConflict, match="tainted"):
        export_model(at.world.ctx, "demo", model(1), weights=True)
    began = card(export_model(at.world.ctx, "demo", BEGAN, weights=True))
    assert "withdrawn rows is left" not in began
    entries = [
        (one.body["model"], one.body["weights"]) for one in at.world.logged("model.exported")
    ]
    assert sorted(entries) == sorted([(model(3), False), (model(1), False), (BEGAN, True)])
