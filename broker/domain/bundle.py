"""One canonical zip: the same files give the same bytes, and no bit changes unnoticed.

A third of single-bit flips in an ordinary zip (dates, attributes, unused fields) go unnoticed by
readers. So a bundle is stored without compression, names sorted, dates fixed, and reading one
means building it again from its files and comparing every byte.
"""

import io
import zipfile
import zlib
from collections.abc import Mapping

from broker.domain.errors import BundleDamaged

EPOCH = (1980, 1, 1, 0, 0, 0)
PLAIN_FILE = 0o100644 << 16
UNIX = 3
LARGEST_BUNDLE = 256 * 1024 * 1024
MOST_FILES = 50_000
LONGEST_NAME = 200


def pack(files: Mapping[str, bytes]) -> bytes:
    """The canonical zip of `files` (name to content)."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        for name in sorted(files):
            info = zipfile.ZipInfo(name, EPOCH)
            info.create_system = UNIX
            info.external_attr = PLAIN_FILE
            archive.writestr(info, files[name])
    return buffer.getvalue()


def unpack(data: bytes) -> dict[str, bytes]:
    """The files of a canonical zip.

    Raises `BundleDamaged` that names the file at or around which the bytes are not what `pack`
    writes.
    """
    if len(data) > LARGEST_BUNDLE:
        raise BundleDamaged("the file is larger than an evidence bundle may be")
    files: dict[str, bytes] = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            infos = archive.infolist()
            if len(infos) > MOST_FILES:
                raise BundleDamaged("the zip holds more files than an evidence bundle may")
            # Files that overlap (each quoting the next) would unpack to thousands of times this.
            if sum(max(info.file_size, info.compress_size) for info in infos) > len(data):
                raise BundleDamaged("the zip's files overlap: they claim more than the zip holds")
            for info in infos:
                if (
                    info.compress_type != zipfile.ZIP_STORED
                    or info.filename in files
                    or len(info.filename) > LONGEST_NAME
                ):
                    raise BundleDamaged(
                        f"{_shown(info.filename)}: not stored as an evidence bundle stores it"
                    )
                files[info.filename] = _content(archive, info)
    except BundleDamaged:
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        ValueError,
        NotImplementedError,
        EOFError,
        OSError,
        RuntimeError,
    ) as error:
        raise BundleDamaged(f"this is not a readable zip ({type(error).__name__})") from None
    again = pack(files)
    if again != data:
        raise BundleDamaged(f"the zip's frame was changed near {_near(data, again)}")
    return files


def _content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    try:
        return archive.read(info)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise BundleDamaged(f"{_shown(info.filename)}: the content was changed ({error})") from None


def _near(data: bytes, again: bytes) -> str:
    """The name of the file whose region holds the first byte that differs."""
    common = min(len(data), len(again))
    at = next((index for index in range(common) if data[index] != again[index]), common)
    name = "its end"
    with zipfile.ZipFile(io.BytesIO(again)) as archive:
        for info in archive.infolist():
            if info.header_offset <= at:
                name = info.filename
    return f"{_shown(name)} (byte {at})"


def _shown(name: str) -> str:
    return "".join(
        character if character.isprintable() else "?" for character in name[:LONGEST_NAME]
    )
