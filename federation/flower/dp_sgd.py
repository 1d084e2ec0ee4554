"""DP-SGD by rows (Abadi et al., "Deep learning with differential privacy", 2016), as accounted for.

One step, with the board's figures and no others (`federation.privacy.RowPrivacy`):

1. Each row that may train enters with probability q, by itself (Poisson): `noise.sampled`.
2. The gradient of each row that entered, over all tensors together, is cut to the norm C. In
   steps of C / 2^24, towards zero: from there on all is whole numbers, and no row moves the sum by
   more than C, not by a rounding either. One that is not finite counts as none.
3. The sum, and for each number of it one of the discrete Gaussian of sigma * C.
4. That over q * `minimum_rows` of the campaign is the gradient: divided by the number of rows it
   would tell them. The proximal term of FedProx, which no row has a part in, is added behind.

Why the accounting of `federation.privacy` holds for it: the Renyi divergence of two discrete
Gaussians a whole vector apart is at most that of the continuous ones (Canonne, Kamath, Steinke,
2020, proposition 5, for each coordinate); the formula there, of whole orders, takes nothing else
of the noise than this and its symmetry. Neighbours are tables with one row more or less.
"""

import secrets
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

import numpy as np

from federation import reading
from federation.campaign import Campaign
from federation.errors import CampaignInvalid, Malformed
from federation.flower.models import Model
from federation.flower.noise import Draw, discrete_gaussian, sampled
from federation.privacy import RowPrivacy

PARTS: Final = 2**24
"""Whole numbers up to the clipping norm."""
_MOST_AT_ONCE: Final = 1 << 22
"""Numbers of gradients that are looked at together: 32 MiB."""
_BELOW: Final = 1 - 2.0**-40

Gradients = Callable[[Model, Sequence[int]], Mapping[str, Any]]
"""`gradients(model, rows)`: the loss's gradient of each row by itself. Of each tensor one array
with one more axis in front, which counts the rows."""


def private_training(
    campaign: Campaign,
    begun: Model,
    rows: Sequence[int],
    gradients: Gradients,
    draw: Draw = secrets.token_bytes,
) -> Model:
    """The model after one round's steps of a campaign with `privacy`.

    `parameters.learning_rate`, a decimal in text, is the campaign's too. Raises `CampaignInvalid`
    where the campaign lacks it, `Malformed` for gradients that do not fit the model.
    """
    privacy, rate = campaign.privacy, learning_rate(campaign)
    if privacy is None:
        raise CampaignInvalid("the campaign has no privacy: train as usual")
    mu = float(Fraction(campaign.aggregation.mu or "0"))
    model = {name: np.array(tensor) for name, tensor in begun.items()}
    for _ in range(privacy.steps_per_round):
        slope = noisy_gradient(privacy, model, rows, gradients, campaign.minimum_rows, draw)
        for name, tensor in model.items():
            held = mu * (tensor.astype(np.float64) - begun[name])
            model[name] = (tensor - rate * (slope[name] + held)).astype(tensor.dtype)
    return model


def noisy_gradient(
    privacy: RowPrivacy,
    model: Model,
    rows: Sequence[int],
    gradients: Gradients,
    usual: int,
    draw: Draw = secrets.token_bytes,
) -> dict[str, Any]:
    """The gradient of one step, by tensor (float64); `usual` is the public number of rows."""
    norm, rate = float(Fraction(privacy.clip_norm)), Fraction(privacy.sampling_rate)
    size = sum(tensor.size for tensor in model.values())
    entered = sampled(rows, rate, draw)
    total = np.zeros(size, np.int64)
    together = max(1, _MOST_AT_ONCE // max(1, size))
    for first in range(0, len(entered), together):
        some = entered[first : first + together]
        total += clipped(_flat(gradients(model, some), model, len(some)), norm).sum(axis=0)
    sigma = float(Fraction(privacy.noise_multiplier)) * PARTS
    noisy = (total + discrete_gaussian(size, sigma, draw)) * (norm / PARTS / float(rate * usual))
    return _by_tensor(noisy, model)


def clipped(flat: Any, norm: float) -> Any:  # noqa: ANN401 (arrays)
    """Gradients, one a line, in whole numbers of norm / 2^24: the norm of none is above 2^24."""
    flat = np.where(np.isfinite(flat).all(axis=1, keepdims=True), flat, 0.0)
    # The largest first: squares of what is above 1e154 would be infinite.
    largest = np.abs(flat).max(axis=1, keepdims=True, initial=0.0)
    unit = np.divide(flat, largest, out=np.zeros_like(flat), where=largest > 0)
    spread = np.sqrt((unit * unit).sum(axis=1, keepdims=True))
    # min(largest, norm / spread) is the largest coordinate of what is left of the row.
    left = np.minimum(largest, np.divide(norm, spread, out=np.zeros_like(spread), where=spread > 0))
    whole = np.trunc(unit * (left / norm * (PARTS * _BELOW))).astype(np.int64)
    within = (whole * whole).sum(axis=1, keepdims=True) <= PARTS**2
    return np.where(within, whole, 0)


def _flat(given: Mapping[str, Any], model: Model, count: int) -> Any:  # noqa: ANN401
    """Gradients by tensor as one line a row, in the order of the tensors' names."""
    lines = []
    for name in sorted(model):
        found = np.asarray(given.get(name), dtype=np.float64)
        if found.shape != (count, *model[name].shape):
            raise Malformed(f"gradients of {name} are one for each row, in the tensor's shape")
        lines.append(found.reshape(count, -1))
    if set(given) != set(model):
        raise Malformed("gradients are of the model's tensors and of no others")
    return np.concatenate(lines, axis=1)


def _by_tensor(flat: Any, model: Model) -> dict[str, Any]:  # noqa: ANN401
    found, first = {}, 0
    for name in sorted(model):
        found[name] = flat[first : first + model[name].size].reshape(model[name].shape)
        first += model[name].size
    return found


def learning_rate(campaign: Campaign) -> float:
    """The campaign's `parameters.learning_rate`. Raises `CampaignInvalid`."""
    try:
        rate = float(Fraction(reading.decimal(campaign.parameters, "learning_rate")))
    except Malformed:
        rate = 0.0
    if rate <= 0:
        raise CampaignInvalid(
            'with privacy, parameters hold learning_rate, a decimal in text above 0: "0.05"'
        )
    return rate
