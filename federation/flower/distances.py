"""How far members' updates lie from the median of them all, where each of them is seen."""

from collections.abc import Mapping
from typing import Final

import numpy as np
from flwr.app import Message

from federation.flower.models import Model
from federation.flower.strategy import ARRAYS

AT_ONCE: Final = 2**20
"""How many numbers of each member are compared at a time: 8 MiB of each."""


def distances(replies: Mapping[str, Message], model: Model) -> dict[str, float]:
    """By member, the Euclidean distance of its update to the median of all, number by number.

    The replies count (`replies.fault_of`): each has the model's tensors, finite. Beyond the replies
    one tensor of each member is in memory, and 8 MiB each as they are compared. What is too far
    for a number is infinity.
    """
    squares = np.zeros(len(replies))
    with np.errstate(over="ignore"):
        for name in model if replies else ():
            given = [reply.content[ARRAYS][name].numpy().ravel() for reply in replies.values()]
            for begin in range(0, given[0].size, AT_ONCE):
                part = np.stack([one[begin : begin + AT_ONCE] for one in given]).astype(np.float64)
                part -= np.median(part, axis=0)
                squares += (part * part).sum(axis=1)
        return dict(zip(replies, np.sqrt(squares).tolist(), strict=True))
