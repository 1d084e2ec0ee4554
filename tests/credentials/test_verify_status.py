"""The status of a credential: valid, or no."""

import pytest

from credentials.model import StatusReference
from credentials.status import Status, StatusCheck, StatusList
from tests.credentials.forgery import refused
from tests.credentials.world import (
    NOW,
    STATUS_URI,
    VCT,
    World,
)


@pytest.fixture(scope="module")
def world() -> World:
    return World.make()


def test_revoked_and_suspended_credentials_are_refused() -> None:
    world = World.make()
    shown, credential = world.show(), world.issue()
    assert world.accept_presentation(shown).credential.status is not None
    for status, code in ((Status.INVALID, "revoked"), (2, "suspended"), (3, "suspended")):
        world.statuses.set(7, status)
        assert refused(lambda: world.accept_presentation(shown)).code == code
        assert refused(lambda: world.accept(credential)).code == code
    world.statuses.set(7, Status.VALID)
    assert world.accept(credential).vct == VCT


def test_a_status_that_cannot_be_had_means_no(world: World) -> None:
    credential = world.issue()

    def unreachable(uri: str) -> StatusList:
        raise TimeoutError(uri)

    def unknown(uri: str) -> StatusList:
        raise KeyError(uri)

    def stale(_: str) -> StatusList:
        return StatusList(2, 1000, bytearray(250), fresh_until=NOW)

    def short(_: str) -> StatusList:
        return StatusList.empty(2, 4)

    for resolver in (None, unreachable, unknown, stale, short):
        error = refused(lambda resolver=resolver: world.accept(credential, status=resolver))  # type: ignore[misc]
        assert error.code == "status_unavailable"
    elsewhere = world.issue(status=StatusReference("https://issuer.example/status/2", 7))
    assert refused(lambda: world.accept(elsewhere)).code == "status_unavailable"


def test_a_caller_may_answer_for_the_status_itself(world: World) -> None:
    assert world.accept(world.issue(), status=StatusCheck.BY_CALLER).status is not None


def test_status_is_not_fetched_for_a_presentation_that_fails_otherwise(world: World) -> None:
    asked: list[str] = []

    def resolver(uri: str) -> StatusList:
        asked.append(uri)
        return world.status(uri)

    wrong = world.show(nonce="another")
    refused(lambda: world.accept_presentation(wrong, status=resolver))
    assert asked == []
    world.accept_presentation(world.show(), status=resolver)
    assert asked == [STATUS_URI]
