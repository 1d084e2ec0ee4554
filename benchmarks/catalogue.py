"""Which benchmarks there are: found by their files, described by their docstrings, run by name."""

import ast
import importlib
from collections.abc import Iterable
from pathlib import Path

from benchmarks.figure import Figure

FOLDER = Path(__file__).parent
GROUPS = {
    "federation": (
        "consent_gate",
        "member_rows",
        "training_rounds",
        "federated_auc",
        "dp_curve",
        "federated_training",
    )
}
"""Benchmarks that are asked for by one name: all figures of federated training."""


def descriptions() -> dict[str, str]:
    """Return the first line of each benchmark's docstring by name, without importing any."""
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "run" for node in tree.body):
            found[path.stem] = (ast.get_docstring(tree) or "").partition("\n")[0]
    return found


def expanded(names: Iterable[str]) -> list[str]:
    """The benchmarks that names stand for, each once; what is no group stands for itself."""
    return list(dict.fromkeys(one for name in names for one in GROUPS.get(name, (name,))))


def measure(name: str) -> list[Figure]:
    """Run the benchmark `name`, one of `descriptions()`; raises `LookupError` for no figures."""
    figures: list[Figure] = importlib.import_module(f"benchmarks.{name}").run()
    if not figures:
        raise LookupError(f"benchmark {name} gave no figures: nothing was measured")
    return figures
