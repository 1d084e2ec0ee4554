"""How far members' updates lie from the median of them all, where each of them is seen."""

from collections.abc import Mapping

import numpy as np
from flwr.app import Message

from federation.flower.models import Model
from federation.flower.strategy import ARRAYS


def distances(replies: Mapping[str, Message], model: Model) -> dict[str, float]:
    """By member, the Euclidean distance of its update to the median of all, number by number.

    The replies count (`replies.fault_of`): each has the model's tensors, finite. One tensor of all
    members is in memory at a time. What is too far for a number is infinity.
    """
    squares = np.zeros(len(replies))
    with np.errstate(over="ignore"):
        for name in model if replies else ():
            given = [reply.content[ARRAYS][name].numpy().ravel() for reply in replies.values()]
            tensors = np.stack(given).astype(np.float64, copy=False)
            apart = tensors - np.median(tensors, axis=0)
            squares += (apart * apart).sum(axis=1)
        return dict(zip(replies, np.sqrt(squares).tolist(), strict=True))
