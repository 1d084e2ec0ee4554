"""Cells of tables that somebody opens in a spreadsheet."""

from typing import Final

# The full-width forms too: with a Chinese or Japanese locale they begin a formula as well.
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def plain(value: object) -> object:
    """A cell that no spreadsheet takes for a formula: such a text begins with an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
