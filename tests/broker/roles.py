"""The database of the deployment guide, made statement by statement: one role owns, one serves."""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

import psycopg

from broker.store.acting import acting_for_all
from broker.store.db import Database
from broker.store.migrate import migrate
from tests.postgres import Server
from tests.programs import ROOT


@dataclass(frozen=True)
class Roles:
    """The database's address for the owner and for who serves."""

    owner: str
    serving: str


@contextmanager
def served_database(server: Server, name: str = "broker") -> Iterator[Roles]:
    """The roles and the database as docs/deployment.md says; `name` in place of its `broker`."""
    guide = (ROOT / "docs/deployment.md").read_text(encoding="utf-8")
    once, before, after = (
        re.sub(r"\bbroker(_owner)?\b", rf"{name}\1", found)
        for found in re.findall(r"```sql\n(.*?)```", guide, re.DOTALL)
    )
    made = Roles(*(server.url(name, role) for role in (f"{name}_owner", name)))
    try:
        for statement in once.splitlines():
            server.execute(statement)
        execute(made.owner, before)
        url = made.owner.replace("postgresql://", "postgresql+psycopg://")
        with acting_for_all(), closing(Database(url)) as db:
            migrate(db)
        execute(made.owner, after)
        yield made
    finally:
        server.drop(name)
        server.execute(f"DROP ROLE IF EXISTS {name}, {name}_owner")


def execute(address: str, statements: str) -> None:
    """Run statements as whoever the address names."""
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(statements)
