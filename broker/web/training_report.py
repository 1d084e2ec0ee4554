"""A campaign's rounds for people: metrics and epsilon as pictures, and all of it as one page."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from broker.web.documents import document
from broker.web.plot import Bound, Line, Mark, Picture, Point, draw
from broker.web.training_remarks import ended, remarks_of

MOST_LABELS, MOST_PICTURES = 12, 24
STAGES = {"pilot": "试点 Pilot", "consortium": "联盟 Consortium"}
STATES = {
    "draft": "草案 Draft",
    "running": "运行中 Running",
    "paused": "已暂停 Paused",
    "finished": "已完成 Finished",
    "stopped": "已终止 Stopped",
    "open": "进行中 Open",
    "closed": "已结束 Closed",
    "failed": "失败 Failed",
    "candidate": "候选 Candidate",
    "pilot": "试点 Pilot",
    "active": "在用 Active",
    "tainted": "受污染，勿用 Tainted",
    "retired": "已退役 Retired",
    "invited": "已邀请 Invited",
    "admitted": "已接纳 Admitted",
    "revoked": "已撤销 Revoked",
    "done": "已处理 Done",
}
TAINTS = {
    "used": "用过已撤回的数据 Used withdrawn rows",
    "descends": "源自用过已撤回数据的模型 Descends from one that did",
}
POLICIES = {
    "exclude": "后续轮次排除 Exclude from later rounds",
    "rollback_replay": "回退并重做 Roll back and replay",
    "retrain": "重新训练 Retrain",
}


def business_lines(campaign: Mapping[str, Any]) -> dict[str, str | None]:
    """The business line that each stage of a campaign is of, None for all, by stage."""
    return {one["stage"]: one.get("business_line") for one in campaign["rollout"]}


def metrics_of(models: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of all metrics that models have, ascending."""
    return sorted({name for one in models for name in one["metrics"]})


def plot(
    told: Mapping[str, Any], of: str, *, epsilon: bool = False, bound: str | None = None
) -> str:
    """A metric, or epsilon, by round as an SVG document without script or network.

    `bound` is drawn as a line, such as a privacy budget.
    """
    rounds = told["rounds"]
    name = "ε" if epsilon else of
    found = _points(told, of, epsilon=epsilon)
    every = math.ceil(len(rounds) / MOST_LABELS) or 1
    first = next((at for at, one in enumerate(rounds) if one["stage"] == "consortium"), 0)
    last = found[-1].told if found else "尚无 none yet"
    return draw(
        Picture(
            name=name,
            title=f"{name} · {told['document']['campaign']['id']}",
            description=f"按轮次的数值，共 {len(found)} 个，最后 {last}。"
            f"Values by round: {len(found)}; the last is {last}.",
            lines=[Line(found)],
            axis="轮次 Round",
            labels=[
                Mark(_at(place, rounds), str(one["number"]))
                for place, one in enumerate(rounds)
                if place % every == 0
            ],
            divider=Mark(first / len(rounds), STAGES["consortium"]) if first else None,
            bound=None if bound is None else Bound(float(bound), f"预算 Budget {bound}"),
            from_zero=epsilon,
        )
    )


def page(told: Mapping[str, Any], made_at: int) -> str:
    """The campaign as one page: pictures, and beside them every figure in tables."""
    models = {one["id"]: one for one in told["models"]}
    campaign = told["document"]["campaign"]
    names = metrics_of(told["models"])
    view = {
        "told": told,
        "campaign": campaign,
        "pictures": [picture for _, picture in pictures(told)],
        "metrics": names,
        "not_drawn": not_drawn(told),
        "rounds": [(one, models.get(one["model_out"])) for one in told["rounds"]],
        "registered": {one["member"]: one["state"] for one in told["members"]},
        "business_lines": business_lines(campaign),
        "stages": STAGES,
        "states": STATES,
        "taints": TAINTS,
        "policies": POLICIES,
        "ended": ended(told),
        "remarks": [(one, *remark) for one in told["rounds"] for remark in remarks_of(one)],
        "made_at": moment(made_at),
        "moment": moment,
    }
    return document("training.html", view)


def not_drawn(told: Mapping[str, Any]) -> list[str]:
    """The metrics that are in the page's table alone: beyond so many pictures nobody looks."""
    return metrics_of(told["models"])[MOST_PICTURES:]


def pictures(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Pictures of a campaign, each with a name for its file: of some metrics, and of epsilon."""
    privacy = told["document"]["campaign"]["privacy"]
    found = [
        (f"metric-{number:02}.svg", plot(told, name))
        for number, name in enumerate(metrics_of(told["models"])[:MOST_PICTURES], start=1)
    ]
    if privacy is not None:
        found.append(("epsilon.svg", plot(told, "", epsilon=True, bound=privacy["epsilon"])))
    return found


def moment(time: int) -> str:
    """A time as a person reads it."""
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _points(told: Mapping[str, Any], of: str, *, epsilon: bool) -> list[Point]:
    models = {one["id"]: one for one in told["models"]}
    found = []
    for place, one in enumerate(told["rounds"]):
        model = models.get(one["model_out"])
        text = None if model is None else model["epsilon"] if epsilon else model["metrics"].get(of)
        if text is not None:
            label = f"{one['stage']} {one['number']}: {text}"
            found.append(Point(_at(place, told["rounds"]), float(text), label))
    return found


def _at(place: int, rounds: Sequence[object]) -> float:
    """Where on the axis a round is: in the middle of its part."""
    return (place + 0.5) / len(rounds)
