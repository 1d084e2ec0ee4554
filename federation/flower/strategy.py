"""A campaign's aggregation as one of Flower's strategies, and a round's nodes as its grid."""

from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any, Final

from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, FedProx, FedTrimmedAvg, Krum, Strategy

from federation.aggregation import Aggregation
from federation.campaign import Campaign
from federation.errors import CombinationImpossible

WEIGHT: Final = "num-examples"
ARRAYS: Final = "arrays"
CONFIG: Final = "config"


def strategy_of(aggregation: Aggregation, members: int) -> Strategy:
    """The strategy for a round of so many members; all of them train.

    Of a secure aggregation it says what members are sent; the sum is made by `secure`.

    Raises `CombinationImpossible` for what no strategy here carries out.
    """
    if aggregation.server_clip is not None:
        raise CombinationImpossible(
            "clipping at the server is not carried out here yet: the campaign would be trained "
            "otherwise than the board signed"
        )
    usual: dict[str, Any] = {
        "fraction_evaluate": 0.0,
        "min_train_nodes": members,
        "min_available_nodes": members,
        "weighted_by_key": WEIGHT,
        "arrayrecord_key": ARRAYS,
        "configrecord_key": CONFIG,
    }
    if aggregation.mu is not None:
        return FedProx(**usual, proximal_mu=float(Fraction(aggregation.mu)))
    if aggregation.trim is not None:
        return FedTrimmedAvg(**usual, beta=float(Fraction(aggregation.trim)))
    if aggregation.byzantine is not None:
        return Krum(**usual, num_malicious_nodes=aggregation.byzantine)
    return FedAvg(**usual)


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
