"""The whole way on PostgreSQL: the same program, the same statements."""

from pathlib import Path

from dev.running import running_broker
from tests.broker.journeys import whole_way


def test_the_whole_way_on_postgresql(postgres_database: str, tmp_path: Path) -> None:
    with running_broker(tmp_path, {"DATABASE_URL": postgres_database}) as broker:
        steps, _kept, _trust = whole_way(broker)
    assert steps[-2:] == ["evidence", "tampered"]
    assert not (tmp_path / "broker.db").exists()
