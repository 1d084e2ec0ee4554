"""The canonical zip: what was packed comes out, and nothing else is read."""

import io
import struct
import zipfile
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.domain.bundle import MOST_FILES, PLAIN_FILE, pack, unpack
from broker.domain.errors import BundleDamaged

FILES = {"b/two.txt": b"two", "a.txt": b"", "b/one.txt": bytes(range(256))}
LOCAL, DIRECTORY, END = struct.Struct("<L5H3L2H"), struct.Struct("<L6H3L5H2L"), "<L4H2LH"


def test_what_was_packed_comes_out() -> None:
    assert unpack(pack(FILES)) == FILES
    assert pack(dict(reversed(FILES.items()))) == pack(FILES)
    assert unpack(pack({})) == {}


def _overlapping(count: int, payload: bytes) -> bytes:
    """Each file's content is all that follows it: `count` times the payload out of one zip."""
    tail, directory = payload, b""
    sizes = []
    for number in reversed(range(count)):
        name = f"{number:04d}".encode()
        crc, size = zlib.crc32(tail), len(tail)
        tail = LOCAL.pack(0x04034B50, 20, 0, 0, 0, 33, crc, size, size, 4, 0) + name + tail
        sizes.append((name, crc, size))
    offset = 0
    for name, crc, size in reversed(sizes):
        entry = (
            0x02014B50,
            0x0314,
            20,
            0,
            0,
            0,
            33,
            crc,
            size,
            size,
            4,
            0,
            0,
            0,
            0,
            PLAIN_FILE,
            offset,
        )
        directory += DIRECTORY.pack(*entry) + name
        offset += LOCAL.size + len(name)
    end = struct.pack(END, 0x06054B50, 0, 0, count, count, len(directory), len(tail), 0)
    return tail + directory + end


def test_files_that_overlap_are_refused_before_one_is_read() -> None:
    bomb = _overlapping(100, bytes(10_000))
    with zipfile.ZipFile(io.BytesIO(bomb)) as archive:
        assert sum(info.file_size for info in archive.infolist()) > 50 * len(bomb)
    with pytest.raises(BundleDamaged, match="overlap"):
        unpack(bomb)


def test_a_compressed_file_is_refused() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.txt", bytes(1_000))
    with pytest.raises(BundleDamaged, match=r"a\.txt|overlap"):
        unpack(buffer.getvalue())


def test_too_many_files_are_refused() -> None:
    with pytest.raises(BundleDamaged, match="more files"):
        unpack(pack({f"{number}": b"" for number in range(MOST_FILES + 1)}))


@settings(deadline=None)
@given(st.binary(max_size=400))
def test_arbitrary_bytes_raise_one_error(data: bytes) -> None:
    with pytest.raises(BundleDamaged):
        unpack(data)


@settings(deadline=None, max_examples=300)
@given(st.integers(0, len(pack(FILES)) * 8 - 1))
def test_every_changed_bit_is_noticed(bit: int) -> None:
    changed = bytearray(pack(FILES))
    changed[bit // 8] ^= 1 << bit % 8
    with pytest.raises(BundleDamaged):
        unpack(bytes(changed))
