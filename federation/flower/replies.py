"""What a member's reply has to be before it counts: its parts, and metrics that a broker keeps."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from federation.flower.strategy import ARRAYS, WEIGHT

METRIC_DIGITS: Final = 12
LARGEST_METRIC: Final = 10**12
MOST_METRICS: Final = 100
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")


def updates(replies: Sequence[Message]) -> list[Message]:
    """Replies as strategies take them: the update, and the metrics that all of them tell.

    Strategies give up where two members tell different ones: one member could end every round.
    """
    told = [set(reply.content["metrics"]) for reply in replies]
    names = sorted(set.intersection(*told))
    for reply in replies:
        metrics = MetricRecord({name: reply.content["metrics"][name] for name in names})
        reply.content = RecordDict({ARRAYS: reply.content[ARRAYS], "metrics": metrics})
    return list(replies)


def whole(content: RecordDict, shown: object, metrics: object) -> bool:
    """Whether a reply has each part, and in its form."""
    return (
        isinstance(content.get(ARRAYS), ArrayRecord)
        and isinstance(metrics, MetricRecord)
        and WEIGHT in metrics
        and isinstance(shown, ConfigRecord)
        and isinstance(shown.get("token"), str)
        and isinstance(shown.get("leaves"), bytes)
    )


def metrics_fault(metrics: Mapping[str, Any]) -> str:
    """Why metrics count for nothing, "" where they do: a broker keeps these, and no others.

    What it refuses at closing would end a round that other members have trained in.
    """
    # No infinity is within the bound, and no comparison with what is no number holds.
    bounded = (
        isinstance(one, (int, float)) and -LARGEST_METRIC <= one <= LARGEST_METRIC
        for one in metrics.values()
    )
    if not all(bounded):
        return "not_finite"
    if len(metrics) > MOST_METRICS or not all(_NAME.fullmatch(name) for name in metrics):
        return "metrics_malformed"
    return ""


def decimals(metrics: Mapping[str, Any] | None) -> dict[str, str]:
    """Metrics as decimals in text, without the weight."""
    if metrics is None:
        return {}
    return {
        name: f"{value:.{METRIC_DIGITS}f}".rstrip("0").rstrip(".")
        for name, value in metrics.items()
        if name != WEIGHT
    }
