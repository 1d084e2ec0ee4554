"""Inputs that are small to send and cost whoever reads them carelessly."""

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator

GIBIBYTE = 1_073_741_824
CRC_OF_A_GIBIBYTE = 0x5B64C2B0  # of zeros
DEEP = 90_000
BODY = 1_048_576
_BLOCK = 64 * 1_048_576


def deflated() -> tuple[bytes, int]:
    """1 GiB of zeros as a raw deflate stream, and their CRC-32; one block is repeated."""
    one = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = one.compress(bytes(_BLOCK)) + one.flush(zlib.Z_FULL_FLUSH)
    times = GIBIBYTE // _BLOCK
    return block * times + b"\x03\x00", CRC_OF_A_GIBIBYTE


def gzipped() -> bytes:
    """An honest gzip file."""
    stream, crc = deflated()
    return b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\xff" + stream + struct.pack("<II", crc, GIBIBYTE)


def zlibbed() -> bytes:
    """The same as a zlib stream, as status lists have it."""
    # Adler-32 of zeros: the first sum stays 1, the second grows by 1 for each (RFC 1950).
    return b"\x78\xda" + deflated()[0] + struct.pack(">I", (GIBIBYTE % 65_521) << 16 | 1)


def zipped() -> bytes:
    """A zip with one file of 1 GiB of zeros, compressed."""
    stream, crc = deflated()
    name = b"terms.json"
    common = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 33, crc, len(stream), GIBIBYTE, len(name), 0)
    local = b"PK\x03\x04" + common + name + stream
    central = b"PK\x01\x02" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, 0)
    end = struct.pack("<HHHHIIH", 0, 0, 1, 1, len(central) + len(name), len(local), 0)
    return local + central + name + b"PK\x05\x06" + end


def overlapping(files: int = 10_000) -> bytes:
    """A zip whose directory names one stored file again and again."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("terms.json", bytes(BODY))
    data = bytearray(buffer.getvalue())
    at = data.index(b"PK\x01\x02")
    entry = bytes(data[at : data.index(b"PK\x05\x06")])
    directory = entry * files
    end = struct.pack("<HHHHIIH", 0, 0, files, files, len(directory), at, 0)
    return bytes(data[:at]) + directory + b"PK\x05\x06" + end


def nested() -> Iterator[tuple[str, bytes]]:
    """JSON of 90,000 levels, closed and open."""
    yield "arrays", b"[" * DEEP + b"]" * DEEP
    yield "open arrays", b"[" * DEEP
    yield "objects", b'{"a":' * DEEP + b"1" + b"}" * DEEP
    yield "open objects", b'{"a":' * DEEP
    yield "escaped quotes", b'["\\"' * DEEP


def at_the_limit(size: int = BODY) -> Iterator[tuple[str, bytes]]:
    """JSON bodies as large as they may be, of many small things or one great one."""

    def filled(head: bytes, item: bytes, tail: bytes) -> bytes:
        return head + item * ((size - len(head) - len(tail)) // len(item)) + tail

    yield "zeros", filled(b"[", b"0,", b"0]")
    yield "texts", filled(b'["', b'","', b'"]')
    yield "objects", filled(b"[", b'{"a":1},', b"{}]")
    yield "flat objects", filled(b'{"a":[', b"{},", b"{}]}")
    yield "wide", filled(b"[", b"[[[[[[]]]]]],", b"1]")
    yield "digits", filled(b"[", b"9", b"]")
    yield "escapes", filled(b'["', b"\\u00e9", b'"]')
    yield "backslashes", filled(b'["', b"\\\\", b'"]')
    yield "quotes", filled(b'{"a":"', b'\\"', b'"}')
    yield "spaces", filled(b"", b" ", b"{}")
    yield "one name", filled(b'{"', b"a", b'":1}')
    names = b",".join(b'"n%06d":1' % number for number in range(size // 12))
    yield "names", b"{" + names + b"}"
    texts = b",".join(b'"n%06d":"v"' % number for number in range(size // 14))
    yield "fields", b'{"fields":{' + texts + b"}}"
    yield "numbered fields", b'{"fields":{' + names[: size - 40].rpartition(b",")[0] + b"}}"
    yield "items", filled(b'{"items":[', b"{},", b"{}]}")
    yield "evaluations", filled(b'{"evaluations":[', b"{},", b"{}]}")
    yield "proofs", filled(b'{"proofs":{"jwt":["', b'a.b.c","', b'"]}}')
