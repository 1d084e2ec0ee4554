"""Several servers over one PostgreSQL: one truth, one log, whichever of them is asked."""

import http.client
import random
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from broker.settings import SettingsError, read_settings
from broker.store.consents import CONSENT
from broker.store.db import Database
from broker.store.migrate import is_current, migrate
from credentials.status import StatusList, verify_status_token
from dev.running import BrokerNotRunningError, running_broker
from tests.faults.agreement import check_agreement, settled
from tests.faults.lengths import short_or_long
from tests.faults.serving import Caller, Deployment, asked, at_once, deployment
from tests.postgres import Server

ROUNDS = short_or_long(300, 10_000)
AT_ONCE = 32


@pytest.fixture(scope="module")
def two(postgres_server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    """Two servers, as on two machines; in the long form of two workers each."""
    url = postgres_server.create_migrated("two_servers")
    workers = str(short_or_long(1, 2))
    home = tmp_path_factory.mktemp("two")
    with deployment(home, url, servers=2, WORKERS=workers) as made:
        yield made


class Race:
    """Rounds of one consent each: asked at both servers all the time while it is withdrawn."""

    def __init__(self, at: Deployment) -> None:
        self._at = at
        self._askers = [at.caller("partner", server) for server in (0, 1, 1)]
        self._officers = [at.caller("officer", server) for server in (0, 1)]
        self.faults: list[str] = []
        self.permits: list[str] = []
        self.denials: list[str] = []
        self.withdrawn: list[str] = []

    def round(self, number: int, pause: float) -> None:
        subject_ref = f"race-{number}"
        consent_id = self._at.granted(subject_ref)
        acknowledged = threading.Event()

        def ask(caller: Caller) -> None:
            while True:
                after = acknowledged.is_set()
                answer = caller.post(
                    "/access/v1/evaluation", asked(self._at.partner_id, subject_ref)
                )
                assert answer.status == 200, answer
                permitted = answer.json["decision"]
                entry_id = answer.json["context"]["id"]
                (self.permits if permitted else self.denials).append(entry_id)
                if permitted and after:
                    self.faults.append(f"round {number}: permitted after the acknowledgement")
                if after:
                    return

        def withdraw() -> None:
            time.sleep(pause)
            officer = self._officers[number % 2]
            answer = officer.post(f"/v1/consents/{consent_id}/withdrawal", {})
            acknowledged.set()
            assert answer.status == 200, answer
            self.withdrawn.append(consent_id)

        acts: list[Callable[[], None]] = [partial(ask, caller) for caller in self._askers]
        at_once([withdraw, *acts])


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_no_permit_after_an_acknowledged_withdrawal(two: Deployment) -> None:
    race, draw = Race(two), random.Random(7)
    for number in range(ROUNDS):
        race.round(number, draw.uniform(0, 0.01))
    assert race.faults == []
    assert len(race.withdrawn) == ROUNDS
    assert len(race.permits) > ROUNDS // 2, "the questions came too late to race at all"
    check_agreement(
        two.ctx,
        two.servers[1].address,
        withdrawn=race.withdrawn,
        decided=[*race.permits, *race.denials],
    )
    in_log = {entry.id: entry.log_index for entry in settled(two.ctx)}
    ended = {e.consent_id: e.log_index for e in settled(two.ctx) if e.type == "consent.withdrawn"}
    consent_of = {entry.id: entry.consent_id for entry in settled(two.ctx)}
    assert all(in_log[permit] < ended[consent_of[permit]] for permit in race.permits)


def test_one_withdrawal_of_many_succeeds(two: Deployment) -> None:
    consent_id = two.granted("withdrawn-by-many")
    callers = [two.caller("officer", number % 2) for number in range(8)]
    path = f"/v1/consents/{consent_id}/withdrawal"
    answers = at_once([partial(caller.post, path, {}) for caller in callers])
    assert sorted(answer.status for answer in answers) == [200] + [409] * 7
    check_agreement(two.ctx, two.servers[0].address, withdrawn=[consent_id])


@pytest.mark.timeout(7200)
def test_a_withdrawal_at_one_server_is_in_the_list_of_the_other_within_a_second(
    two: Deployment,
) -> None:
    """The clocks are the servers': asked in the second after the one of the acknowledgement."""
    for number in range(short_or_long(3, 300)):
        consent_id = two.granted(f"listed-{number}")
        with two.ctx.db.reading() as tx:
            row = tx.execute(CONSENT.select().where(CONSENT.c.id == consent_id)).one()
        uri = f"{two.ctx.settings.public_url}/status/{row.status_list_id}"
        before = [status_list(two, server, uri) for server in (0, 1)]
        assert [entries.get(row.status_index) for entries in before] == [0, 0]
        officer = two.caller("officer", number % 2)
        assert officer.post(f"/v1/consents/{consent_id}/withdrawal", {}).status == 200
        acknowledged = two.ctx.now()
        while two.ctx.now() == acknowledged:
            time.sleep(0.01)
        for server in (1 - number % 2, number % 2):
            assert status_list(two, server, uri).get(row.status_index) == 1


def status_list(at: Deployment, server: int, uri: str) -> StatusList:
    """The list as one of the servers publishes it now."""
    connection = http.client.HTTPConnection(urlsplit(at.servers[server].address).netloc, timeout=30)
    connection.request("GET", urlsplit(uri).path)
    token = connection.getresponse().read().decode()
    connection.close()
    anchors, now = at.ctx.keys.anchors(), at.ctx.now()
    return verify_status_token(token, uri=uri, anchors=anchors, now=now)


@pytest.mark.timeout(300)
def test_workers_of_one_machine(postgres_database: str, tmp_path: Path) -> None:
    with deployment(tmp_path, postgres_database, WORKERS="2") as made:
        served = [made.granted(f"worker-{number}") for number in range(12)]
        callers = [made.caller("officer") for _ in served]
        acts = [
            partial(caller.post, f"/v1/consents/{consent_id}/withdrawal", {})
            for caller, consent_id in zip(callers, served, strict=True)
        ]
        assert {answer.status for answer in at_once(acts)} == {200}
        check_agreement(made.ctx, made.servers[0].address, withdrawn=served)
        # Whichever worker is asked, the figures are those of all.
        told = [_figures(made.servers[0].address) for _ in range(6)]
        assert all(figure >= len(served) for figure in told)
        assert told == sorted(told)
        assert len(list((tmp_path / "metrics").glob("histogram_*.db"))) == 2


def _figures(address: str) -> float:
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=30)
    connection.request("GET", "/metrics")
    lines = connection.getresponse().read().decode().splitlines()
    connection.close()
    name = 'consent_broker_request_seconds_count{method="POST",route="/v1/consents/{consent_id}/'
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def test_sqlite_serves_one_process(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="WORKERS=2 needs PostgreSQL"):
        read_settings({"WORKERS": "2", "BROKER_HOME": str(tmp_path)})
    with (
        pytest.raises(BrokerNotRunningError, match="needs PostgreSQL"),
        running_broker(tmp_path, {"WORKERS": "2"}),
    ):
        pass


def test_machines_that_start_at_once_migrate_once(empty_postgres_database: str) -> None:
    url = empty_postgres_database.replace("postgresql://", "postgresql+psycopg://")
    opened = [Database(url) for _ in range(4)]
    at_once([partial(migrate, db) for db in opened])
    assert is_current(opened[0])
    for db in opened:
        db.close()
