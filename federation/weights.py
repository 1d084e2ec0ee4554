"""The weights in a safetensors file, without NumPy: enough to measure how far two models lie apart.

The form (github.com/huggingface/safetensors): 8 bytes, the header's length, little-endian; the
header, JSON with `dtype`, `shape` and `data_offsets` of each tensor by name; then the numbers,
little-endian. Models here are of 32- or 64-bit floats.
"""

import math
import sys
from array import array
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

from federation import reading
from federation.errors import Malformed, TooLarge

LARGEST_WEIGHTS: Final = 64 * 1_048_576
LARGEST_HEADER: Final = 1_048_576
_LENGTH_BYTES: Final = 8
_KINDS: Final = {"F32": ("f", 4), "F64": ("d", 8)}
_TENSOR: Final = frozenset({"dtype", "shape", "data_offsets"})


def read_weights(data: bytes) -> dict[str, tuple[tuple[int, ...], Sequence[float]]]:
    """Shape and numbers of each tensor, by name in ascending order. Raises `Malformed`, `TooLarge`.

    1. The header is within the file, and is JSON.
    2. Each tensor has as many bytes as its shape says.
    3. The tensors fill the rest of the file, one behind the other.
    """
    if len(data) > LARGEST_WEIGHTS:
        raise TooLarge(f"weights are measured up to {LARGEST_WEIGHTS >> 20} MiB")
    # 1.
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    start = _LENGTH_BYTES + length
    if len(data) < _LENGTH_BYTES or length > LARGEST_HEADER or start > len(data):
        raise Malformed("no safetensors file: its header is not within it")
    header = reading.json_object(data[_LENGTH_BYTES:start], largest=LARGEST_HEADER)
    header.pop("__metadata__", None)
    found: dict[str, tuple[tuple[int, ...], Sequence[float]]] = {}
    places = [(0, 0)]
    for name in sorted(header):
        source = reading.members(header[name], "a tensor", _TENSOR)
        code, width = _KINDS[reading.choice(source, "dtype", tuple(_KINDS))]
        shape, (begin, end) = _wholes(source, "shape", 16), _wholes(source, "data_offsets", 2, 2)
        # 2.
        if end - begin != math.prod(shape) * width or start + end > len(data):
            raise Malformed("a tensor has other bytes than its shape says")
        numbers = array(code, data[start + begin : start + end])
        if sys.byteorder == "big":
            numbers.byteswap()
        found[name] = (shape, numbers)
        places.append((begin, end))
    # 3.
    places = [*sorted(places), (len(data) - start, 0)]
    if any(before[1] != after[0] for before, after in pairwise(places)):
        raise Malformed("the tensors do not fill the file")
    return found


def flat(model: dict[str, tuple[tuple[int, ...], Sequence[float]]]) -> list[float]:
    """All numbers of a model, tensor behind tensor."""
    return [number for _, numbers in model.values() for number in numbers]


def _wholes(source: Any, member: str, most: int, least: int = 0) -> tuple[int, ...]:  # noqa: ANN401 (untrusted JSON)
    listed = reading.items(source, member, most)
    if len(listed) < least or not all(type(one) is int and 0 <= one < 2**40 for one in listed):
        raise Malformed(f"{member} holds whole numbers")
    return tuple(listed)
