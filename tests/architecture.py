"""House rules that import-linter and ruff cannot say, each with the incident behind it.

A rule looks at one file at a time and yields the lines at fault. `test_architecture.py` applies
them to the project and shows of each that it catches what it is for.
"""

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import PurePosixPath

SHIPPED = ("broker/*", "credentials/*", "wallet_adapters/*", "zkp/*", "federation/*")
PYTHON = (*SHIPPED, "migrations/*", "benchmarks/*", "dev/*")
# Programs of their own; site and serving are where Flower begins one.
AT_THE_EDGE = (
    "federation/flower/member_up.py",
    "federation/flower/serving.py",
    "federation/flower/site.py",
)
TESTS = ("tests/*",)

LONGEST_FILE = 350
USUAL_FILE = 300
TIME_CLOCKS = frozenset({"time", "time_ns", "localtime", "gmtime", "ctime"})
DATE_CLOCKS = frozenset({"now", "utcnow", "today"})
VAGUE_NAMES = frozenset({"http", "utils", "util", "common", "core", "helpers", "helper", "manager"})
CONNECTING = frozenset({"httpx2", "requests", "socket", "urllib.request", "http.client", "smtplib"})
VERIFIED = re.compile(r"Verified[A-Z]")
UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX)\b|pragma: no cover|# stub\b")


@dataclass(frozen=True)
class Source:
    """One file: its path below the root and its text."""

    path: str
    text: str

    @property
    def tree(self) -> ast.Module:
        """The file as Python reads it."""
        return ast.parse(self.text, self.path)


@dataclass(frozen=True)
class Rule:
    """A rule: where it holds, where not, what it looks for, and why it exists."""

    name: str
    why: str
    find: Callable[[Source], Iterator[int]]
    within: tuple[str, ...] = PYTHON
    except_in: tuple[str, ...] = ()

    def broken_by(self, source: Source) -> list[str]:
        """Say for each line at fault where it is; empty when the file keeps the rule."""
        if not _matches(source.path, self.within) or _matches(source.path, self.except_in):
            return []
        return [f"{source.path}:{line}" for line in self.find(source)]


def _matches(path: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(path, pattern) for pattern in patterns)


def _long_file(source: Source) -> Iterator[int]:
    lines = len(source.text.splitlines())
    if lines > LONGEST_FILE:
        yield lines


def _asserts(source: Source) -> Iterator[int]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Assert):
            yield node.lineno


def _commits(source: Source) -> Iterator[int]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and node.attr == "commit":
            yield node.lineno


def _clocks(source: Source) -> Iterator[int]:
    for node in ast.walk(source.tree):
        match node:
            case ast.Attribute(value=ast.Name(id="time"), attr=name) if name in TIME_CLOCKS:
                yield node.lineno
            case ast.ImportFrom(module="time") if any(a.name in TIME_CLOCKS for a in node.names):
                yield node.lineno
            case ast.Attribute(
                value=ast.Name(id="datetime" | "date") | ast.Attribute(attr="datetime" | "date"),
                attr=name,
            ) if name in DATE_CLOCKS:
                yield node.lineno


def _verified_values(source: Source) -> Iterator[int]:
    for node in ast.walk(source.tree):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)) if VERIFIED.match(
                name
            ):
                yield node.lineno


def _environment(source: Source) -> Iterator[int]:
    for node in ast.walk(source.tree):
        match node:
            case ast.Attribute(value=ast.Name(id="os"), attr="environ" | "environb" | "getenv"):
                yield node.lineno
            case ast.ImportFrom(module="os") if any(
                alias.name in {"environ", "environb", "getenv"} for alias in node.names
            ):
                yield node.lineno


def _vague_name(source: Source) -> Iterator[int]:
    path = PurePosixPath(source.path)
    names = {*path.parent.parts, path.stem}
    if any(VAGUE_NAMES & {name, *name.split("_")} for name in names):
        yield 1


def _broad_excepts(source: Source) -> Iterator[int]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ExceptHandler):
            caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            if any(
                kind is None
                or (isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"})
                for kind in caught
            ):
                yield node.lineno


def _prints(source: Source) -> Iterator[int]:
    for node in ast.walk(source.tree):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "print"
        ):
            yield node.lineno


def _connections(source: Source) -> Iterator[int]:
    for node in ast.walk(source.tree):
        match node:
            case ast.Import():
                names = [alias.name for alias in node.names]
            case ast.ImportFrom(module=str(module)):
                names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
            case _:
                continue
        if CONNECTING & {*names, *(name.split(".")[0] for name in names)}:
            yield node.lineno


def _unfinished(source: Source) -> Iterator[int]:
    for number, line in enumerate(source.text.splitlines(), start=1):
        if UNFINISHED.search(line):
            yield number
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            names = {part.id for part in ast.walk(node.exc) if isinstance(part, ast.Name)}
            if "NotImplementedError" in names:
                yield node.lineno


def _skips(source: Source) -> Iterator[int]:
    for node in ast.walk(source.tree):
        match node:
            case ast.Attribute(value=ast.Name(id="pytest"), attr="skip" | "importorskip" | "xfail"):
                yield node.lineno
            case ast.Attribute(
                value=ast.Attribute(value=ast.Name(id="pytest"), attr="mark"),
                attr="skip" | "skipif" | "xfail",
            ):
                yield node.lineno


RULES = (
    Rule(
        "short files",
        f"A file of more than {LONGEST_FILE} lines holds more than one concept and is read by "
        f"nobody to its end; aim at {USUAL_FILE} and split by concept, not by size.",
        _long_file,
        except_in=("migrations/*",),
    ),
    Rule(
        "no assert outside tests",
        "python -O removes assert: a check of a signature written so has verified nothing in "
        "production. Raise an error of the package's family.",
        _asserts,
    ),
    Rule(
        "one place commits",
        "A FastAPI dependency that committed after its yield did so after the response: a client "
        "saw 200 for a commit that failed. Open a transaction of broker.store.db and answer after "
        "its block.",
        _commits,
        except_in=("broker/store/db.py",),
    ),
    Rule(
        "clocks only at the edge",
        "What reads the time of day by itself cannot verify what was signed years ago, nor be "
        "tested at the second of expiry. Take `now: int` as an argument; the composition root "
        "passes it. (A deadline is a duration: time.monotonic may measure it.)",
        _clocks,
        except_in=(
            "broker/composition.py",
            "broker/cli/*",
            "broker/api/deps.py",
            "broker/outbound/client.py",  # a client is another party, with a clock of its own
            "federation/flower/__main__.py",
            *AT_THE_EDGE,
            "federation/flower/events.py",  # each line says when
            "benchmarks/*",
            "dev/*",
        ),
    ),
    Rule(
        "only verification makes Verified values",
        "The type is the proof that every numbered step was done; built elsewhere it is a claim "
        "that nobody checked. Call the function of credentials/verify.py.",
        _verified_values,
        within=SHIPPED,
        except_in=("credentials/verify.py",),
    ),
    Rule(
        "one reader of the environment",
        "A setting read where it is used cannot be checked at start, and the process runs for "
        "weeks on a misspelt name. Add it to broker.settings.",
        _environment,
        except_in=(
            "broker/settings.py",
            "federation/flower/__main__.py",
            "federation/flower/up.py",
            *AT_THE_EDGE,
            "dev/*",
        ),
    ),
    Rule(
        "names that say something",
        "A package called http shadows the standard library; utils, common, core, helpers and "
        "manager collect what has no place. Name the concept.",
        _vague_name,
        within=(*PYTHON, *TESTS),
    ),
    Rule(
        "no broad except",
        "It takes a programming error for a bad signature and answers 'invalid' for ever. Name "
        "the errors of the call.",
        _broad_excepts,
        # A group commit, and a batch of proofs, hand every error to the caller whose it was: one
        # of several must not fail the others. A stranger's address
        # must not end the thread that serves all others: there any error is a fetch that failed,
        # and the thread of deliveries logs it and goes on.
        except_in=(
            "broker/store/group_commit.py",
            "broker/usecases/proof_batches.py",
            "broker/outbound/guarded.py",
            "broker/usecases/delivery.py",
        ),
    ),
    Rule(
        "no print in a server",
        "Standard output of a server is its structured log, without personal data; a print is "
        "neither. Only commands print.",
        _prints,
        except_in=("broker/cli.py", "broker/cli/*", "benchmarks/*", "dev/*"),
    ),
    Rule(
        "connections only outbound",
        "A request for an address that a stranger chose reaches into the private network unless "
        "it goes through the one resolver that pins addresses. Put it into broker/outbound.",
        _connections,
        within=SHIPPED,
        except_in=("broker/outbound/*", "broker/cli.py", "broker/cli/*"),
    ),
    Rule(
        "nothing unfinished",
        "What is not done is not there: a stub is called by somebody before it is written.",
        _unfinished,
        within=(*PYTHON, *TESTS),
        except_in=("tests/architecture.py", "tests/test_architecture.py"),
    ),
    Rule(
        "skips say what is missing",
        "A skip of its own reason sleeps through CI. Ask tests.programs for what the test needs: "
        "it skips by name, and fails under CI=true.",
        _skips,
        within=TESTS,
        except_in=("tests/programs.py", "tests/test_programs.py"),
    ),
)
