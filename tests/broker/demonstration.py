"""What the demonstration registers: purposes, algorithms, templates, as its file says it."""

import json
from importlib.resources import files
from typing import Any

DEMONSTRATION: dict[str, Any] = json.loads(
    files("broker.usecases").joinpath("demonstration.json").read_text("utf-8")
)
