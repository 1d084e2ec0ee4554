"""Read members of untrusted JSON, one type each; anything else is refused by name."""

from collections.abc import Mapping
from typing import Any

from broker.domain.errors import InvalidTerms


def read_object(value: Any, what: str) -> Mapping[str, Any]:  # noqa: ANN401
    """An object; `what` names it in the message. Raises `InvalidTerms`."""
    if not isinstance(value, dict):
        raise InvalidTerms(f"{what} must be a JSON object")
    return value


def read_list(source: Mapping[str, Any], name: str) -> list[Any]:
    """A list member. Raises `InvalidTerms`."""
    value = source.get(name)
    if not isinstance(value, list):
        raise InvalidTerms(f"{name} must be a list")
    return value


def read_text(source: Mapping[str, Any], name: str) -> str:
    """A text member. Raises `InvalidTerms`."""
    value = source.get(name)
    if not isinstance(value, str):
        raise InvalidTerms(f"{name} must be text")
    return value


def read_texts(source: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """A member that is a list of texts. Raises `InvalidTerms`."""
    values = read_list(source, name)
    if not all(isinstance(value, str) for value in values):
        raise InvalidTerms(f"{name} must be a list of texts")
    return tuple(values)


def read_integer(source: Mapping[str, Any], name: str) -> int:
    """A whole number member; true and false are none. Raises `InvalidTerms`."""
    value = source.get(name)
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidTerms(f"{name} must be a whole number")
    return value


def read_flag(source: Mapping[str, Any], name: str) -> bool:
    """A true or false member. Raises `InvalidTerms`."""
    value = source.get(name)
    if not isinstance(value, bool):
        raise InvalidTerms(f"{name} must be true or false")
    return value
