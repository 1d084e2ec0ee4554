"""Models on disk and by hash: safetensors, which hold numbers and no code.

A model's hash is base64url SHA-256 over its file's bytes: tensors by name, in the form that the
library writes for them (which depends on names, types and numbers alone).
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from tokenize import TokenError
from typing import Any, Final, Self

import numpy as np
from flwr.app import Array, ArrayRecord
from safetensors import SafetensorError
from safetensors.numpy import load, save

from federation.errors import FederationError, Malformed
from federation.flower.places import write_private
from federation.rollout import STAGES

Model = Mapping[str, Any]
"""Tensors (NumPy arrays) by name."""

KINDS: Final = frozenset({"float32", "float64"})
RAISED: Final = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TokenError,
    TypeError,
    ValueError,
)
"""What reading a tensor raises: its header is parsed as Python."""
OPENED: Final = "opened.json"
NPY: Final = b"\x93NUMPY"


class CheckpointBroken(FederationError):
    """A kept model is not the one that was kept: take it from a copy, or begin anew."""

    code = "checkpoint_broken"


def model_bytes(model: Model) -> bytes:
    """A model as a safetensors file."""
    # The order of a mapping must not tell two equal models apart.
    data: bytes = save({name: np.ascontiguousarray(model[name]) for name in sorted(model)})
    return data


def model_hash(model: Model) -> str:
    """The hash of a model, base64url."""
    return _hash(model_bytes(model))


def read_model(data: bytes) -> dict[str, Any]:
    """Read a safetensors file. Raises `Malformed`."""
    try:
        return dict(load(data))
    except SafetensorError as error:
        raise Malformed(f"no model as safetensors: {error}") from None


def of_record(record: ArrayRecord) -> dict[str, Any]:
    """The model in one of Flower's records, which came from elsewhere. Raises `Malformed`."""
    if not all(array.data.startswith(NPY) for array in record.values()):
        raise Malformed("no tensors: not as NumPy writes them")
    try:
        return {name: array.numpy() for name, array in record.items()}
    except RAISED as error:
        raise Malformed(f"no tensors: {type(error).__name__}") from None


def to_record(model: Model) -> ArrayRecord:
    """A model as one of Flower's records."""
    return ArrayRecord({name: Array(np.ascontiguousarray(model[name])) for name in sorted(model)})


def misfit(update: Model, model: Model) -> str:
    """Why an update is none of a model: "" where names, shapes and types agree, and all is finite.

    One that holds an infinity or no number would make the whole mean so.
    """
    if set(update) != set(model):
        return "other_tensors"
    for name, tensor in model.items():
        given = update[name]
        if given.shape != tensor.shape or given.dtype != tensor.dtype:
            return "other_shapes"
        if str(given.dtype) not in KINDS or not np.isfinite(given).all():
            return "not_finite"
    return ""


@dataclass(frozen=True)
class Checkpoint:
    """What is kept of a round. Hashes are base64url; `metrics` decimals in text.

    `left_out` and `notices` are what is remarked of members (`federation.remarks`).
    """

    campaign: str
    stage: str
    number: int
    model_in: str
    model_out: str
    members: tuple[str, ...]
    metrics: Mapping[str, str]
    epsilon: str | None
    left_out: Mapping[str, str] = field(default_factory=dict)
    notices: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Read what `Checkpoints` wrote."""
        return cls(**{**value, "members": tuple(value["members"])})


class Checkpoints:
    """The models of one campaign's rounds, in a directory: the last one is where a run goes on."""

    def __init__(self, directory: Path, campaign: str) -> None:
        """Keep them below `directory`, by the campaign's hash."""
        self._directory = directory / campaign
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._campaign = campaign

    def keep(self, checkpoint: Checkpoint, model: Model) -> None:
        """Keep a round; durable when it returns. The model first: its notes make it count."""
        write_private(self._model(checkpoint), model_bytes(model))
        notes = json.dumps(asdict(checkpoint), sort_keys=True).encode()
        write_private(self._model(checkpoint).with_suffix(".json"), notes)

    def discard(self, checkpoint: Checkpoint) -> None:
        """Keep a round no longer: no model came of it. What made it count goes first."""
        self._model(checkpoint).with_suffix(".json").unlink(missing_ok=True)
        self._model(checkpoint).unlink(missing_ok=True)

    def opened(self) -> dict[str, int]:
        """The highest number that a round of each stage had, as far as this directory knows."""
        try:
            told = json.loads((self._directory / OPENED).read_bytes())
            return {stage: int(told.get(stage, 0)) for stage in STAGES}
        except FileNotFoundError:
            return dict.fromkeys(STAGES, 0)
        except (AttributeError, TypeError, ValueError):
            raise CheckpointBroken(f"{self._directory / OPENED} counts no rounds") from None

    def count(self, stage: str, number: int) -> None:
        """Take down that a round was opened; durable when it returns."""
        told = self.opened()
        if number > told[stage]:
            write_private(self._directory / OPENED, json.dumps(told | {stage: number}).encode())

    def last(self) -> Checkpoint | None:
        """The newest round that was kept. Raises `CheckpointBroken`."""
        found = self._kept()
        newest = max(found, key=lambda one: (STAGES.index(one.stage), one.number), default=None)
        if newest is not None and newest.campaign != self._campaign:
            raise CheckpointBroken(f"{self._directory} holds rounds of another campaign")
        return newest

    def of_model(self, model: str) -> Checkpoint | None:
        """The round that gave a model, by its hash. Raises `CheckpointBroken`."""
        return next((one for one in self._kept() if one.model_out == model), None)

    def _kept(self) -> list[Checkpoint]:
        found = []
        for file in self._directory.glob("*-*.json"):
            try:
                found.append(Checkpoint.from_json(json.loads(file.read_bytes())))
            except (KeyError, TypeError, ValueError):
                raise CheckpointBroken(f"{file} holds no checkpoint") from None
        return found

    def model(self, checkpoint: Checkpoint) -> dict[str, Any]:
        """The model of a round that was kept, checked by its hash. Raises `CheckpointBroken`."""
        file = self._model(checkpoint)
        data = file.read_bytes() if file.exists() else b""
        if _hash(data) != checkpoint.model_out:
            raise CheckpointBroken(f"{file} is not the model of round {checkpoint.number}")
        return read_model(data)

    def _model(self, checkpoint: Checkpoint) -> Path:
        return self._directory / f"{checkpoint.stage}-{checkpoint.number:06}.safetensors"


def kept_model(directory: Path, model: str) -> dict[str, Any]:
    """A model by its hash, of whichever campaign's rounds. Raises `CheckpointBroken`."""
    for file in sorted(directory.glob("*/*.safetensors")):
        data = file.read_bytes()
        if _hash(data) == model:
            return read_model(data)
    raise CheckpointBroken(f"the model {model} is not kept in {directory}")


def _hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
