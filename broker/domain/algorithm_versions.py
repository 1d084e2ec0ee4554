"""Versions of an algorithm, and which of them are minor versions of another.

Minor versions of `1` are `1.1`, `1.2.3` and whatever else begins with `1.`; never `2` or `10`.
"""


def covers_version(signed: str, asked: str, *, minor_versions: bool) -> bool:
    """Whether terms that name a version, with or without its minor versions, cover another."""
    return asked == signed or (minor_versions and asked.startswith(f"{signed}."))


def line(version: str) -> str:
    """The name of a version together with its minor versions; none is registered under such."""
    return f"{version}.*"


def lines_of(version: str) -> list[str]:
    """The lines that a version is in: for `1.2`, those of `1` and of `1.2`."""
    parts = version.split(".")
    return [line(".".join(parts[:count])) for count in range(1, len(parts) + 1)]
