"""A campaign's rounds for people: metrics and epsilon as pictures, and all of it as one page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from broker.web.documents import document

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 560, 220, 64, 16, 36, 44
TICKS, MOST_LABELS = 5, 12
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


@dataclass(frozen=True)
class Point:
    """What a round reached; `place` counts rounds of both stages from 0."""

    place: int
    label: str
    value: float
    text: str


def metrics_of(models: Sequence[Mapping[str, Any]]) -> list[str]:
    """The names of all metrics that models have, ascending."""
    return sorted({name for one in models for name in one["metrics"]})


def plot(
    told: Mapping[str, Any], of: str, *, epsilon: bool = False, bound: str | None = None
) -> str:
    """A metric, or epsilon, by round as an SVG document without script or network.

    `bound` is drawn as a line, such as a privacy budget.
    """
    found = _points(told, of, epsilon=epsilon)
    limits = [one.value for one in found] + ([] if bound is None else [float(bound)])
    low, high = _range(limits, from_zero=epsilon)
    rounds = told["rounds"]
    step = (WIDTH - LEFT - RIGHT) / max(1, len(rounds))
    every = math.ceil(len(rounds) / MOST_LABELS) or 1

    def y(value: float) -> float:
        return round(TOP + HEIGHT * (1 - (value - low) / (high - low)), 1)

    def x(place: float) -> float:
        return round(LEFT + step * (place + 0.5), 1)

    ticks = [low + (high - low) * number / (TICKS - 1) for number in range(TICKS)]
    first = next((at for at, one in enumerate(rounds) if one["stage"] == "consortium"), 0)
    last = f"{found[-1].label}: {found[-1].text}" if found else "尚无 none yet"
    view = {
        "width": WIDTH,
        "height": TOP + HEIGHT + BOTTOM,
        "left": LEFT,
        "right": WIDTH - RIGHT,
        "top": TOP,
        "end": TOP + HEIGHT,
        "name": "ε" if epsilon else of,
        "title": f"{'ε' if epsilon else of} · {told['document']['campaign']['id']}",
        "description": f"按轮次的数值，共 {len(found)} 个，最后 {last}。"
        f"Values by round: {len(found)}; the last is {last}.",
        "points": [{"x": x(one.place), "y": y(one.value), "told": one} for one in found],
        "path": " ".join(f"{x(one.place)},{y(one.value)}" for one in found),
        "ticks": [{"y": y(one), "text": f"{one:.3g}"} for one in ticks],
        "labels": [
            {"x": x(at), "text": one["number"]} for at, one in enumerate(rounds) if at % every == 0
        ],
        "divider": x(first - 0.5) if first else None,
        "bound": None if bound is None else {"y": y(float(bound)), "text": bound},
    }
    return document("training.svg", view)


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
        "rounds": [(one, models.get(one["model_out"])) for one in told["rounds"]],
        "registered": {one["member"]: one["state"] for one in told["members"]},
        "stages": STAGES,
        "states": STATES,
        "taints": TAINTS,
        "policies": POLICIES,
        "made_at": moment(made_at),
        "moment": moment,
    }
    return document("training.html", view)


def pictures(told: Mapping[str, Any]) -> list[tuple[str, str]]:
    """All pictures of a campaign, each with a name for its file."""
    privacy = told["document"]["campaign"]["privacy"]
    found = [
        (f"metric-{number:02}.svg", plot(told, name))
        for number, name in enumerate(metrics_of(told["models"]), start=1)
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
            label = f"{one['stage']} {one['number']}"
            found.append(Point(place, label, float(text), text))
    return found


def _range(values: Sequence[float], *, from_zero: bool) -> tuple[float, float]:
    low, high = min(values, default=0.0), max(values, default=1.0)
    if from_zero:
        low = 0.0
    room = (high - low) * 0.08 or max(abs(high) * 0.08, 0.05)
    return (low if from_zero else low - room), high + room
