"""Screenshots as palette PNGs: a page has few colours, and a third of the bytes are enough."""

import struct
import zlib
from collections import Counter

SIGNATURE = b"\x89PNG\r\n\x1a\n"
PALETTE_COLOURS = 256
RGB, RGBA = 2, 6


def with_palette(png: bytes) -> bytes:
    """The same picture with at most 256 colours (rarer ones move to the nearest kept one)."""
    width, height, pixels = _read(png)
    counted = Counter(pixels)
    kept = [colour for colour, _ in counted.most_common(PALETTE_COLOURS)]
    index = {colour: place for place, colour in enumerate(kept)}
    for colour in counted:
        if colour not in index:
            index[colour] = min(range(len(kept)), key=lambda place: _far(kept[place], colour))
    rows = bytearray()
    for start in range(0, width * height, width):
        rows.append(0)
        rows += bytes(index[colour] for colour in pixels[start : start + width])
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    return SIGNATURE + b"".join(
        (
            _chunk(b"IHDR", header),
            _chunk(b"PLTE", b"".join(kept)),
            _chunk(b"IDAT", zlib.compress(bytes(rows), 9)),
            _chunk(b"IEND", b""),
        )
    )


def _far(one: bytes, other: bytes) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def _chunk(kind: bytes, data: bytes) -> bytes:
    body = kind + data
    return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))


def _read(png: bytes) -> tuple[int, int, list[bytes]]:
    """Width, height and the RGB pixels of an 8-bit PNG without interlacing."""
    assert png.startswith(SIGNATURE)
    place, data, width, height, channels = len(SIGNATURE), b"", 0, 0, 3
    while place < len(png):
        length, kind = struct.unpack(">I4s", png[place : place + 8])
        content = png[place + 8 : place + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", content)
            assert (depth, interlaced) == (8, 0)
            assert colour in {RGB, RGBA}
            channels = 3 if colour == RGB else 4
        elif kind == b"IDAT":
            data += content
        place += 12 + length
    raw, stride = zlib.decompress(data), width * channels
    pixels: list[bytes] = []
    above = bytes(stride)
    for row in range(height):
        start = row * (stride + 1)
        above = _unfiltered(raw[start], raw[start + 1 : start + 1 + stride], above, channels)
        pixels += [above[at : at + 3] for at in range(0, stride, channels)]
    return width, height, pixels


def _unfiltered(kind: int, line: bytes, above: bytes, step: int) -> bytes:
    """A row without its filter (PNG specification, section 9)."""
    done = bytearray(line)
    for at in range(len(done)):
        left = done[at - step] if at >= step else 0
        corner = above[at - step] if at >= step else 0
        match kind:
            case 1:
                guess = left
            case 2:
                guess = above[at]
            case 3:
                guess = (left + above[at]) // 2
            case 4:
                guess = _paeth(left, above[at], corner)
            case _:
                guess = 0
        done[at] = (done[at] + guess) & 0xFF
    return bytes(done)


def _paeth(left: int, up: int, corner: int) -> int:
    guess = left + up - corner
    return min((left, up, corner), key=lambda value: abs(guess - value))
