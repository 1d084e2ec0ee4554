"""What a member's reply has to be before it counts: its parts, and metrics that a broker keeps."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict

from federation.campaign import Campaign
from federation.errors import FederationError, Malformed
from federation.flower.models import Model, misfit, model_hash, of_record
from federation.flower.secure_member import MASKED, SECURE
from federation.flower.strategy import ARRAYS, WEIGHT, weight_of
from federation.receipt import Asked, check_leaves, read_receipt

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


@dataclass(frozen=True)
class Due:
    """What a member's reply has to be of; `key` is its registered receipt key (JWK).

    `model` is the model that was sent, `size` how many numbers a masked vector has: None where
    aggregation is not secure.
    """

    campaign: Campaign
    of: Asked
    key: Mapping[str, Any]
    model: Model
    size: int | None


def fault_of(reply: Message, due: Due) -> str:
    """Why a reply counts for nothing, "" where it counts: step 3 of `rounds`."""
    if reply.has_error():
        return f"flower_error_{reply.error.code}"
    content = reply.content
    if "refused" in content:
        # Without masks there are no shares, and nobody to say it of.
        return refusal_of(reply) if due.size is not None else _refused(reply)[0]
    shown, metrics = content.get("receipt"), content.get("metrics")
    if not _whole(content, shown, metrics):
        return "not_whole"
    try:
        update = of_record(content[ARRAYS])
    except Malformed as error:
        return error.code
    fault = misfit(update, due.model) if due.size is None else _unmasked(update, content, due.size)
    if fault:
        return fault
    asked = replace(due.of, model_in=model_hash(due.model), model_out=model_hash(update))
    try:
        receipt = read_receipt(shown["token"], due.key, asked)
        check_leaves(receipt, shown["leaves"])
    except FederationError as error:
        return error.code
    fault = metrics_fault(metrics)
    if fault:
        return fault
    weight = weight_of(due.campaign, receipt.bucket)
    return "" if metrics[WEIGHT] == weight > 0 else "weight_without_rows"


def _unmasked(update: Model, content: RecordDict, size: int) -> str:
    """Why an update is no masked vector of so many numbers, "" where it is."""
    if size < 0:
        return "not_masked"
    told = content[SECURE]
    if not all(isinstance(name, str) and _NAME.fullmatch(name) for name in told["metrics"]):
        return "metrics_malformed"
    if not isinstance(told.get("commitment"), bytes) or set(update) != {MASKED}:
        return "not_masked"
    vector = update[MASKED]
    return "" if vector.shape == (size,) and str(vector.dtype) == "uint64" else "other_shapes"


def refusal_of(reply: Message) -> str:
    """Why a member refuses, by its code, and of whom it says so."""
    why, of = _refused(reply)
    return f"{why} of {of}" if isinstance(of, str) and _NAME.fullmatch(of) else why


def _refused(reply: Message) -> tuple[str, object]:
    """A refusal's code, which names nobody whatever was written into it, and of whom it is."""
    refused = reply.content.get("refused")
    told = refused if isinstance(refused, ConfigRecord) else {}
    code = told.get("code")
    named = code if isinstance(code, str) and _NAME.fullmatch(code) else ""
    return f"refused_{named}"[:64], told.get("of")


def _whole(content: RecordDict, shown: object, metrics: object) -> bool:
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
