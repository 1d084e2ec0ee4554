"""Coverage-guided runs (atheris): `python -m tests.fuzzing.guided --runs 1000000 --folder DIR`.

Each parser gets its share of the runs in a process of its own, forked when everything is imported,
since libFuzzer ends the process that it ran in. A run begins with the parser's samples, changes
them as `mutations.py` does or as libFuzzer does, and keeps what reaches new code of ours. An input
whose error is not of the family is kept below DIR as `crash-...`, one that takes longer than ten
seconds as `timeout-...`; the exit code is then 1.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(
    include=[
        *("broker.domain", "broker.outbound", "broker.api.authzen", "broker.api.limits"),
        *("broker.settings", "credentials", "federation", "wallet_adapters", "zkp"),
    ]
):
    from tests.fuzzing.inventory import PARSERS
from tests.fuzzing.judging import judge
from tests.fuzzing.mutations import LONGEST, mutated
from tests.fuzzing.parser import Parser

SECONDS_AT_MOST = 10
MEGABYTES_AT_MOST = 2_048
FINDINGS = ("crash-", "timeout-", "oom-", "leak-")


def main() -> int:
    """Run as the command line says; 1 if anything was found."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=1_000_000, help="of all parsers together")
    options.add_argument("--folder", type=Path, required=True, help="where findings are kept")
    options.add_argument("--at-once", type=int, default=1, help="processes")
    options.add_argument("parsers", nargs="*", help="names; all unless given")
    given = options.parse_args()
    chosen = [one for one in PARSERS if not given.parsers or one.name in given.parsers]
    each = -(-given.runs // len(chosen))
    started = time.monotonic()
    waiting, running = list(chosen), dict[int, Parser]()
    while waiting or running:
        while waiting and len(running) < given.at_once:
            parser = waiting.pop(0)
            running[_forked(parser, each, _folder(given.folder, parser))] = parser
        pid, status, usage = os.wait3(0)
        parser = running.pop(pid)
        seconds = usage.ru_utime + usage.ru_stime
        ended = "" if status == 0 else f"  FOUND: {_last_words(_folder(given.folder, parser))}"
        print(f"{parser.name:36} {each} inputs {seconds:6.1f} s{ended}", flush=True)  # noqa: T201
    found = [
        path
        for path in given.folder.rglob("*")
        if path.name.startswith(FINDINGS) and path.is_file()
    ]
    total = (
        f"{len(chosen)} parsers, {each * len(chosen)} inputs, {time.monotonic() - started:.0f} s"
    )
    print(f"{total}, {len(found)} findings", *found, sep="\n")  # noqa: T201
    return 1 if found else 0


def _folder(below: Path, parser: Parser) -> Path:
    return below / "".join(letter if letter.isalnum() else "-" for letter in parser.name)


def _forked(parser: Parser, runs: int, folder: Path) -> int:
    """The process that runs a parser."""
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, sample in enumerate(parser.samples):
        (corpus / f"sample-{number}").write_bytes(sample[:LONGEST])
    pid = os.fork()
    if pid:
        return pid
    with (folder / "log").open("wb") as log:
        for stream in (1, 2):
            os.dup2(log.fileno(), stream)
    _run(parser, runs, folder, corpus)
    os._exit(0)  # libFuzzer has ended the process before


def _run(parser: Parser, runs: int, folder: Path, corpus: Path) -> None:
    def change(data: bytes, max_size: int, seed: int) -> bytes:
        choose = Random(seed)
        if choose.random() < 0.5:
            return bytes(atheris.Mutate(data, max_size))
        starts = (data, *parser.samples) if choose.random() < 0.2 else (data,)
        return mutated(starts, choose)[:max_size]

    def one(data: bytes) -> None:
        judge(parser, data)

    options = {
        "runs": runs,
        "max_len": LONGEST,
        "timeout": SECONDS_AT_MOST,
        "rss_limit_mb": MEGABYTES_AT_MOST,
        "artifact_prefix": f"{folder}/",
        "print_final_stats": 1,
    }
    arguments = [f"-{name}={value}" for name, value in options.items()]
    atheris.Setup([sys.argv[0], *arguments, str(corpus)], one, custom_mutator=change)
    atheris.Fuzz()


def _last_words(folder: Path) -> str:
    lines = (folder / "log").read_text("utf-8", "replace").splitlines()
    told = [line for line in lines if "Escaped" in line or "ERROR" in line or "Error" in line]
    return told[-1][:300] if told else "see its log"


if __name__ == "__main__":
    sys.exit(main())
