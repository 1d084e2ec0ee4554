"""Stylesheet, script and icon: held in memory, named by their content, cached for good."""

import base64
import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parent / "static"
MEDIA_TYPES: Mapping[str, str] = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
HASH_CHARACTERS = 12


@dataclass(frozen=True)
class Asset:
    """A static file: its name with a hash of its content in it, its bytes plain and compressed."""

    name: str
    media_type: str
    content: bytes
    compressed: bytes


@cache
def assets() -> Mapping[str, Asset]:
    """Every static file by its plain name, such as `app.css`."""
    return {
        path.name: _read(path) for path in sorted(FOLDER.iterdir()) if path.suffix in MEDIA_TYPES
    }


@cache
def by_hashed_name() -> Mapping[str, Asset]:
    """Every static file by the name under which it is served."""
    return {asset.name: asset for asset in assets().values()}


def _read(path: Path) -> Asset:
    content = path.read_bytes()
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode()
    return Asset(
        name=f"{path.stem}.{digest[:HASH_CHARACTERS]}{path.suffix}",
        media_type=MEDIA_TYPES[path.suffix],
        content=content,
        # mtime=0: the same file compresses to the same bytes in every process.
        compressed=gzip.compress(content, mtime=0),
    )
