"""`python -m benchmarks.scale`: fill a throw-away database with many consents and measure it."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks.scale import experiment, report
from benchmarks.scale.grow import Progress as Told

ROWS = (10_000, 1_000_000)
CUSTOMERS = 200


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiment that `arguments` ask for."""
    options = _parser().parse_args(arguments)
    with _progress() as told:
        found = experiment.run(options.rows, options.forms, options.customers, told)
    if options.plot is not None:
        plain = [one for one in found.grown if one.form == options.forms[0]]
        options.plot.write_text(report.plot(plain), encoding="utf-8")
    if options.json:
        print(json.dumps(found.to_json(), indent=2))
    else:
        report.show(found, Console())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale",
        description="Real consents, made many in a PostgreSQL cluster that is thrown away: how "
        "large tables get and what the broker's statements cost. 10,000,000 rows take up to 30 GB "
        "in the folder for temporary files, and about half an hour of two cores.",
    )
    parser.add_argument(
        "--rows", type=int, nargs="+", default=ROWS, metavar="N", help="how many consents, each"
    )
    parser.add_argument(
        "--forms",
        nargs="+",
        choices=experiment.FORMS,
        default=experiment.FORMS,
        help="as the product has its tables, and by the partition plan",
    )
    parser.add_argument(
        "--customers", type=int, default=CUSTOMERS, help="how many real ones are made over HTTP"
    )
    parser.add_argument("--json", action="store_true", help="print every figure as JSON")
    parser.add_argument("--plot", type=Path, help="write an SVG of times by rows here")
    return parser


@contextmanager
def _progress() -> Iterator[Told]:
    columns = (TextColumn("{task.description:45}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting")

        def told(what: str, done: int, of: int) -> None:
            bar.update(task, description=what, completed=done, total=max(of, 1))

        yield told


if __name__ == "__main__":
    sys.exit(main())
