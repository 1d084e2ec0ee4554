"""No parser is left out: what reads, is read from, or is excluded for a reason that is written."""

import ast
import pydoc
import re
from collections.abc import Iterator
from pathlib import Path

from tests.fuzzing.inventory import EXCLUDED, PARSERS
from tests.programs import ROOT

# Where bytes of others become values. `store` and `outbound` read files and answers by them.
PLACES = (
    "credentials",
    "federation",
    "wallet_adapters",
    "zkp",
    "broker/domain",
    "broker/outbound",
    "broker/store",
)
MODULES = ("broker/settings.py", "broker/api/authzen.py")
READS = re.compile(r"(parse|read|open|unpack|decode|load|resolve|verify|from)(_\w+)?")
# Not of bytes: `open_...` and `read_...` of our own rows, `resolve` of names, verbs of use cases.
OF_ROWS = re.compile(r"broker\.store\.(?!head_file|outside_copies)|broker\.outbound\.(?!pkcs11)")


def readers(path: Path, module: str) -> Iterator[str]:
    """The full names of the public functions and methods in a file that are called like readers."""
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.FunctionDef) and READS.fullmatch(node.name):
            yield f"{module}.{node.name}"
        if isinstance(node, ast.ClassDef) and not _is_protocol(node):
            for inner in node.body:
                if isinstance(inner, ast.FunctionDef) and READS.fullmatch(inner.name):
                    yield f"{module}.{node.name}.{inner.name}"


def _is_protocol(node: ast.ClassDef) -> bool:
    return any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)


def every_reader() -> set[str]:
    files = [path for place in PLACES for path in sorted((ROOT / place).rglob("*.py"))]
    found = set()
    for path in [*files, *(ROOT / module for module in MODULES)]:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found |= {name for name in readers(path, module) if "._" not in name}
    return {
        name for name in found if not OF_ROWS.match(name) or "public_address.read_address" in name
    }


def exists(name: str) -> bool:
    """Whether a full name, of a function or of a class's method, leads to something."""
    return pydoc.locate(name) is not None


def test_every_parser_is_in_the_inventory_or_excluded_for_a_reason() -> None:
    covered = {name for parser in PARSERS for name in parser.covers}
    there = every_reader()
    missing = there - covered - EXCLUDED.keys()
    assert not missing, (
        "These read bytes or text, and nothing arbitrary is ever given to them. Add them to "
        f"tests/fuzzing/of_*.py, or to EXCLUDED there with the reason: {sorted(missing)}"
    )
    assert [name for name in covered if not exists(name)] == [], "it names what is not there"
    assert EXCLUDED.keys() - there == set(), "EXCLUDED names what is not there"
    assert not covered & EXCLUDED.keys()
    assert all(EXCLUDED.values())


def test_every_parser_has_a_name_and_samples() -> None:
    names = [parser.name for parser in PARSERS]
    assert len(set(names)) == len(names)
    assert all(parser.samples and parser.families for parser in PARSERS)
