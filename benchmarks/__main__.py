"""`python -m benchmarks`: list the benchmarks, run some or all, print their figures."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from benchmarks.catalogue import GROUPS, descriptions, expanded, measure
from benchmarks.figure import Figure

COLUMNS = ("figure", "value", "unit", "probe", "ratio", "has to hold", "holds")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what `arguments` name; return 1 when a figure does not hold what it has to."""
    known = descriptions()
    parser = _parser(known)
    options = parser.parse_args(arguments)
    names = list(known) if options.all else expanded(options.names)
    if unknown := [name for name in names if name not in known]:
        parser.error(
            f"no benchmark called {', '.join(unknown)}; there are: {', '.join([*known, *GROUPS])}"
        )
    if not names:
        parser.print_help()
        return 0
    figures = []
    for name in names:
        print(f"measuring {name}", file=sys.stderr)
        measured = measure(name)
        figures += measured
        for figure in measured:
            # At once: what takes many minutes after it may fail, or be interrupted.
            print("  ", *filter(None, _row(figure)), sep="  ", file=sys.stderr)
    if options.json:
        print(json.dumps({"figures": [figure.to_json() for figure in figures]}, indent=2))
    elif options.markdown:
        print(_markdown(figures))
    else:
        Console().print(_table(figures), _machine())
    return 0 if all(figure.holds for figure in figures) else 1


def _parser(known: dict[str, str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure figures against a probe of the same run; exit code 1 when a figure "
        "does not hold its bound.",
        epilog="\n".join(
            [
                "benchmarks:",
                *(f"  {name:18} {line}" for name, line in known.items()),
                "several by one name:",
                *(f"  {name:18} {', '.join(of)}" for name, of in GROUPS.items()),
            ]
        ),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="what to measure")
    parser.add_argument("--all", action="store_true", help="measure everything")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help='print {"figures": [...]}')
    form.add_argument("--markdown", action="store_true", help="print a table for benchmarks/README")
    return parser


def _row(figure: Figure) -> tuple[str, ...]:
    return (
        figure.name,
        f"{figure.value:,.4g}" if figure.value < 1000 else f"{figure.value:,.0f}",
        figure.unit,
        "" if figure.probe is None else f"{figure.probe:,.4g}",
        "" if figure.ratio is None else f"{figure.ratio:.2f}",
        "" if figure.bound is None else str(figure.bound),
        "yes" if figure.holds else "NO",
    )


def _table(figures: list[Figure]) -> Table:
    table = Table(*COLUMNS)
    for figure in figures:
        table.add_row(*_row(figure), style=None if figure.holds else "bold red")
    return table


def _markdown(figures: list[Figure]) -> str:
    rows = [COLUMNS, ("---",) * len(COLUMNS), *(_row(figure) for figure in figures)]
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*lines, "", _machine()])


def _machine() -> str:
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return (
        f"Python {platform.python_version()}, {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores{load}"
    )


if __name__ == "__main__":
    sys.exit(main())
