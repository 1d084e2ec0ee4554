"""Weights are read as safetensors writes them, and what is none is refused."""

import json
import struct

import pytest

from federation.errors import Malformed
from federation.weights import flat, read_weights


def file_of(header: dict[str, object], numbers: bytes) -> bytes:
    """As the form says: length, header, numbers."""
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


def tensor(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


NUMBERS = struct.pack("<4f", 1, 2, 3, 4) + struct.pack("<d", 0.5)
HEADER: dict[str, object] = {
    "__metadata__": {"format": "np"},
    "w": tensor("F32", [2, 2], 0, 16),
    "b": tensor("F64", [1], 16, 24),
}


def test_the_numbers_of_each_tensor() -> None:
    read = read_weights(file_of(HEADER, NUMBERS))
    assert {name: shape for name, (shape, _) in read.items()} == {"b": (1,), "w": (2, 2)}
    assert flat(read) == [0.5, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 8,
        file_of(HEADER, NUMBERS)[:-1],
        file_of(HEADER, NUMBERS + b"\x00"),
        file_of(HEADER | {"b": tensor("F64", [2], 16, 24)}, NUMBERS),
        file_of(HEADER | {"b": tensor("F64", [1], 8, 16)}, NUMBERS),
        file_of(HEADER | {"b": tensor("I64", [1], 16, 24)}, NUMBERS),
        file_of({"w": tensor("F32", [2, 2], 0, 16)}, NUMBERS),
        file_of({"w": [1]}, b""),
    ],
)
def test_what_is_no_such_file_is_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        read_weights(data)
