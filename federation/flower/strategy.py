"""A campaign's aggregation as one of Flower's strategies, and a round's nodes as its grid."""

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, Final

import numpy as np
from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, FedProx, FedTrimmedAvg, Krum, Strategy

from federation.aggregation import Aggregation
from federation.campaign import Campaign
from federation.flower.models import Model, of_record, to_record

WEIGHT: Final = "num-examples"
ARRAYS: Final = "arrays"
CONFIG: Final = "config"


def strategy_of(aggregation: Aggregation, members: int) -> Strategy:
    """The strategy for a round of so many members; all of them train.

    Of a secure aggregation it says what members are sent; the sum is made by `secure`.
    """
    usual: dict[str, Any] = {
        "fraction_evaluate": 0.0,
        "min_train_nodes": members,
        "min_available_nodes": members,
        "weighted_by_key": WEIGHT,
        "arrayrecord_key": ARRAYS,
        "configrecord_key": CONFIG,
    }
    clip = aggregation.server_clip
    if clip is not None:
        usual["largest"] = float(Fraction(clip))
    if aggregation.mu is not None:
        proximal = FedProx if clip is None else ClippedFedProx
        return proximal(**usual, proximal_mu=float(Fraction(aggregation.mu)))
    if aggregation.trim is not None:
        return FedTrimmedAvg(**usual, beta=float(Fraction(aggregation.trim)))
    if aggregation.byzantine is not None:
        return Krum(**usual, num_malicious_nodes=aggregation.byzantine)
    return FedAvg(**usual) if clip is None else ClippedFedAvg(**usual)


class _Clipping(FedAvg):
    """A mean of updates none of which is longer than `largest` (`aggregation.server_clip`)."""

    def __init__(self, *, largest: float, **usual: Any) -> None:  # noqa: ANN401 (of Flower's)
        super().__init__(**usual)
        self._largest = largest
        self._begun: Model = {}

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Send the model, and remember it: an update is what differs from it."""
        self._begun = of_record(arrays)
        sent: Iterable[Message] = super().configure_train(server_round, arrays, config, grid)
        return sent

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Clip each update, then take the mean."""
        clipped = list(replies)
        for reply in clipped:
            near = shortened(of_record(reply.content[ARRAYS]), self._begun, self._largest)
            reply.content = RecordDict({**reply.content, ARRAYS: to_record(near)})
        made: tuple[ArrayRecord | None, MetricRecord | None] = super().aggregate_train(
            server_round, clipped
        )
        return made


class ClippedFedAvg(_Clipping):
    """FedAvg of clipped updates."""


class ClippedFedProx(_Clipping, FedProx):
    """FedProx of clipped updates."""


def shortened(trained: Model, begun: Model, largest: float) -> Model:
    """The model towards `trained` whose distance from `begun` is `largest` at most.

    The distance is the Euclidean norm over all tensors together, but for rounding to their types;
    what is no farther away is left as it is.
    """
    # Halves, and by the farthest number: of finite tensors nothing is infinite on the way.
    half = {name: _half(trained[name]) - _half(begun[name]) for name in begun}
    farthest = max((float(np.abs(one).max(initial=0.0)) for one in half.values()), default=0.0)
    if farthest == 0.0:
        return trained
    spread = math.sqrt(sum(float(np.square(one / farthest).sum()) for one in half.values()))
    share = largest / 2.0 / farthest / spread
    if share >= 1.0:
        return trained
    return {
        name: (begun[name] + 2.0 * (share * half[name])).astype(begun[name].dtype) for name in begun
    }


def _half(tensor: Any) -> Any:  # noqa: ANN401 (arrays)
    return tensor.astype(np.float64) / 2.0


def weight_of(campaign: Campaign, bucket: int) -> int:
    """What a member's update weighs: the bucket that its receipt covers, which tells no count.

    Under row-level accounting not that either: nothing may follow the number of rows.
    """
    return bucket if campaign.privacy is None else 1


class Chosen:
    """A grid that shows a strategy the nodes of this round and no others."""

    def __init__(self, grid: Grid, nodes: Sequence[int]) -> None:
        self._grid = grid
        self._nodes = list(nodes)

    def get_node_ids(self) -> Iterable[int]:
        """The nodes that take part."""
        return self._nodes

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 (whatever else a grid has)
        return getattr(self._grid, name)
