"""Documents that are kept as files: HTML in both languages that needs no network and no script."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from broker.web.rendering import TEMPLATES


def document(template: str, view: Mapping[str, Any]) -> str:
    """A template below `documents/`, filled in; everything is escaped."""
    return _environment().get_template(f"documents/{template}").render(view)


@cache
def _environment() -> Environment:
    return Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
