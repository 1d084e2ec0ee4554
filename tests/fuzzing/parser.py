"""What a parser is to the tests: what it takes, from where it starts, what it may raise."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

Act = Callable[[bytes], object]


@dataclass(frozen=True)
class Parser:
    """One way in for untrusted bytes.

    `covers` are the functions whose input it is, by their full names; `act` reads the bytes and
    may raise leaves of `families` and nothing else; `samples` are inputs that it accepts, or that
    get far; `largest` is how many bytes it has to be able to refuse or read in no time.
    """

    name: str
    covers: tuple[str, ...]
    act: Act
    samples: tuple[bytes, ...]
    families: tuple[type[Exception], ...]
    largest: int = 1_048_576


def text(data: bytes) -> str:
    """Any bytes as text: what is not UTF-8 becomes half of a surrogate pair."""
    return data.decode("utf-8", "surrogateescape")


def value(data: bytes) -> Any:  # noqa: ANN401
    """Any bytes as a JSON value, as a lenient reader takes it; the text itself where it is none.

    Numbers beyond what a float or a decimal conversion takes, lone surrogates, NaN: all are in.
    """
    try:
        return json.loads(text(data))
    except (ValueError, RecursionError):
        return text(data)


def members(data: bytes) -> dict[str, Any]:
    """Any bytes as a JSON object: one of the value alone where it is none."""
    found = value(data)
    return found if isinstance(found, dict) else {"value": found}


def form(data: bytes) -> dict[str, str]:
    """Any bytes as the fields of a form, all of them text."""
    return {
        name: found if isinstance(found, str) else json.dumps(found)
        for name, found in members(data).items()
    }


def dumped(found: object) -> bytes:
    """A JSON value as a sample."""
    return json.dumps(found).encode()
