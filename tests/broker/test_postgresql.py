"""The whole way on PostgreSQL: the same program, the same statements, as ordinary roles."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg.errors import InsufficientPrivilege
from structlog.testing import capture_logs

from broker.composition import build_context, prepare
from broker.settings import Settings, SettingsError
from dev.running import running_broker
from tests.broker.journeys import whole_way
from tests.broker.roles import Roles, execute, served_database
from tests.postgres import OWNER, Server


@pytest.fixture
def roles(postgres_server: Server) -> Iterator[Roles]:
    with served_database(postgres_server) as made:
        yield made


def test_the_whole_way_as_a_role_that_only_serves(roles: Roles, tmp_path: Path) -> None:
    with running_broker(tmp_path, {"DATABASE_URL": roles.serving}) as broker:
        steps, _kept, _trust = whole_way(broker)
    assert {"evidence", "tampered", "proven"} <= set(steps)
    assert not (tmp_path / "broker.db").exists()
    assert "tenants_not_kept_apart" not in (tmp_path / "serve.log").read_text()
    for forbidden in (
        "ALTER TABLE consent DISABLE ROW LEVEL SECURITY",
        "DROP POLICY of_the_tenant ON consent",
        "ALTER TABLE audit_entry DISABLE TRIGGER ALL",
        "TRUNCATE consent CASCADE",
        "CREATE TABLE mine (x int)",
        "UPDATE alembic_version SET version_num = '0001'",
    ):
        with pytest.raises(InsufficientPrivilege):
            execute(roles.serving, forbidden)


def test_production_refuses_a_role_that_row_level_security_does_not_bind(
    postgres_server: Server, postgres_database: str, tmp_path: Path
) -> None:
    free = postgres_server.url(str(conninfo_to_dict(postgres_database)["dbname"]), OWNER)
    settings = Settings(home=tmp_path, public_url="https://c.example", database_url=free)
    for strict in (False, True):
        ctx = build_context(replace(settings, development=False, strict=strict))
        with closing(ctx.db), pytest.raises(SettingsError, match="CREATE ROLE"):
            prepare(ctx)
    ctx = build_context(settings)
    with closing(ctx.db), capture_logs() as told:
        prepare(ctx)
    assert [line["event"] for line in told if line["log_level"] == "warning"] == [
        "tenants_not_kept_apart_by_the_database"
    ]
