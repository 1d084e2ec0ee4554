"""Every operation is tried by people of another tenant: nothing leaks, nothing changes.

Each operation has a row in `DOORS` with the calls that name what exists; a route without one fails
the suite. A call is sent four ways: with another tenant's token to the owner's address and to
one's own, with the owner's token to the other's address, and, to know that it is a good call at
all, by the owner.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.broker.roles import served_database
from tests.faults.doors import DOORS, WAYS, Door
from tests.faults.two_tenants import ABSENT, OTHER, Stage, leaked, two_tenants, without_ids

DATABASES = ["sqlite", "postgresql"]
NAMES = [f"{name} {door.calls.__name__}" for name, door in WAYS]


@pytest.fixture(scope="module", params=DATABASES)
def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    with database(request, "tenants") as url:
        home = tmp_path_factory.mktemp("tenants")
        with two_tenants(home, database_url=url) as made:
            yield made


@pytest.fixture(scope="module", params=DATABASES)
def at_home(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """Another broker, where the owner does what is tried here."""
    with database(request, "at_home") as url:
        home = tmp_path_factory.mktemp("home")
        with two_tenants(home, database_url=url) as made:
            yield made


@contextmanager
def database(request: pytest.FixtureRequest, name: str) -> Iterator[str]:
    """SQLite, or PostgreSQL as the role that only serves and that row-level security binds."""
    if request.param == "sqlite":
        yield ""
        return
    with served_database(request.getfixturevalue("postgres_server"), name) as roles:
        yield roles.serving


def operations(stage: Stage) -> dict[str, bool]:
    """Each operation, and whether it takes a token."""
    document = stage.world.http.get("/openapi.json").json()
    found = {
        _named(method, path): "security" in operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }
    for route in _routes(stage.world.http.app):
        # A folder of files that was mounted names no methods: it answers GET.
        for method in getattr(route, "methods", {"GET"}) - {"HEAD"}:
            found.setdefault(_named(method, route.path), False)
    return found


def _named(method: str, path: str) -> str:
    return f"{method.upper()} {path.replace(':path}', '}')}"


def _routes(within: Any) -> Iterator[Any]:  # noqa: ANN401 (applications, routers and routes)
    """Those outside of the OpenAPI too, such as pages."""
    for route in within.routes:
        router = getattr(route, "original_router", None)
        if router is None:
            yield route
        else:
            yield from _routes(router)


def test_every_operation_is_tried(stage: Stage) -> None:
    """A route that is added gets a row here, or a tenant's data has a door that nobody tried."""
    found = operations(stage)
    assert found.keys() - DOORS.keys() == set()
    assert DOORS.keys() - found.keys() == set()
    for name, door in DOORS.items():
        if "{" in name and not door.own:
            (call, *_) = door.calls(stage, stage.known, stage.own["partner"])
            named = [value for value in stage.known.secrets() if value in call.path]
            assert named, f"{name} is tried without naming anything of the other tenant"


@pytest.mark.parametrize(("name", "door"), WAYS, ids=NAMES)
def test_another_tenant_at_its_own_address(stage: Stage, name: str, door: Door) -> None:
    before = stage.rows()
    for person in stage.others.values():
        calls = door.calls(stage, stage.known, person)
        absent = door.calls(stage, ABSENT, person)
        for call, nothing in zip(calls, absent, strict=True):
            answer = stage.send(call, person, base=f"/t/{OTHER}")
            assert answer.status_code in door.hears, (person.role, answer.text)
            assert leaked(stage.known, call, answer) == [], person.role
            if not door.own:
                other = stage.send(nothing, person, base=f"/t/{OTHER}")
                assert without_ids(answer, stage.known) == without_ids(other, ABSENT)
                assert '"decision":true' not in answer.text
                assert '"results":[{' not in answer.text
    assert stage.rows() == before


@pytest.mark.parametrize(("name", "door"), WAYS, ids=NAMES)
def test_another_tenants_token_at_the_owners_address(stage: Stage, name: str, door: Door) -> None:
    before = stage.rows()
    if operations(stage)[name]:
        for person in stage.others.values():
            for call in door.calls(stage, stage.known, person):
                answer = stage.send(call, person, base="")
                assert answer.status_code == 401, (person.role, answer.text)
                assert leaked(stage.known, call, answer) == []
    elif name == "POST /oauth/token" and door.at_home is None:
        for person in stage.others.values():
            for call in door.calls(stage, stage.known, person):
                assert stage.send(call, person, base="").status_code == 401
    assert stage.rows() == before


@pytest.mark.parametrize(("name", "door"), WAYS, ids=NAMES)
def test_the_owners_token_is_not_known_elsewhere(stage: Stage, name: str, door: Door) -> None:
    if not operations(stage)[name]:
        assert door.own or door.hears & {400, 404}
        return
    for person in stage.own.values():
        for call in door.calls(stage, stage.known, person):
            answer = stage.send(call, person, base=f"/t/{OTHER}")
            assert answer.status_code == 401, (person.role, answer.text)


@pytest.mark.parametrize(("name", "door"), WAYS, ids=NAMES)
def test_the_owner_can(at_home: Stage, name: str, door: Door) -> None:
    """Otherwise a mistake in the call would be taken for protection."""
    for role in door.at_home or ():
        if name.endswith("/evidence"):  # that it was handed out has to be in the log as well
            at_home.world.advance(2)
        person = at_home.own[role]
        for call in door.calls(at_home, at_home.known, person):
            answer = at_home.send(call, person, base="")
            assert answer.status_code < 300, (role, answer.text)
            if name.startswith("POST /access/"):
                assert '"decision":true' in answer.text or '"results":[{' in answer.text
