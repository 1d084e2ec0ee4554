"""Vaults in S3 and WebDAV, at real servers: put, decided, checked, damaged, silent, deleted."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from broker.domain.errors import EnvelopeDamaged, StateConflict, VaultUnreachable
from broker.domain.vault import PIECE_BYTES
from broker.outbound.object_vaults import ObjectVault
from broker.settings import SettingsError, VaultPlace, read_settings
from broker.usecases import vault_upkeep
from broker.usecases.doctor.vaults import services
from broker.usecases.vault_register import claim_vault, open_vault, vault_names
from tests.broker.flow_world import World, world
from tests.broker.vaults import ATTRIBUTE, Filled
from tests.object_stores import servers
from wallet_adapters.loopback import ToSeal, put_into_vault

PATH = "demo/a-consent/an-envelope"


@dataclass
class Served:
    place: VaultPlace
    files: Path
    stack: ExitStack

    def opened(self, mark: str = "mine", **changes: str) -> ObjectVault:
        return ObjectVault("archive", replace(self.place, **changes), mark)


@pytest.fixture(params=["s3", "webdav"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    folder = tmp_path / "files"
    folder.mkdir()
    with ExitStack() as stack:
        place = stack.enter_context(getattr(servers, request.param)(folder))
        yield Served(place, folder, stack)


def test_what_a_vault_promises(served: Served) -> None:
    vault = served.opened()
    with pytest.raises(VaultUnreachable):  # nobody has marked it
        vault.put(PATH, b"sealed")
    vault.claim()
    vault.claim()
    data = bytes(range(256)) * 10
    vault.put(PATH, data)
    assert vault.has(PATH)
    assert vault.read(PATH, 0, len(data)) == data
    assert vault.read(PATH, 250, 260) == data[250:260]
    with pytest.raises(EnvelopeDamaged):
        vault.read(PATH, len(data), len(data) + 5)
    assert [one.path for one in vault.lying()] == [PATH]
    vault.delete(PATH)
    vault.delete(PATH)
    assert not vault.has(PATH)
    with pytest.raises(EnvelopeDamaged):
        vault.read(PATH, 0, 1)
    with pytest.raises(VaultUnreachable):
        vault.read("demo/../../etc", 0, 1)


def test_another_broker_s_vault_is_left_alone(served: Served) -> None:
    served.opened().claim()
    other = served.opened("another's")
    with pytest.raises(StateConflict):
        other.claim()
    for act in (lambda: other.put(PATH, b"x"), lambda: other.delete(PATH), other.lying().__next__):
        with pytest.raises(VaultUnreachable):
            act()


def test_who_has_not_the_secret_gets_nothing(served: Served) -> None:
    vault = served.opened()
    vault.claim()
    vault.put(PATH, b"sealed")
    # This S3 server knows keys by their id and does not compute the newer signatures.
    wrong = "user" if served.place.kind == "s3" else "secret"
    stranger = served.opened(**{wrong: "wrong"})
    for act in (
        lambda: stranger.read(PATH, 0, 6),
        lambda: stranger.put(PATH, b"x"),
        stranger.claim,
    ):
        with pytest.raises(VaultUnreachable) as refused:
            act()
        assert "wrong" not in str(refused.value)
    served.stack.close()
    with pytest.raises(VaultUnreachable):
        vault.read(PATH, 0, 6)


def at_service(made: World, served: Served) -> Filled:
    """A customer who has put an attribute into the vault `archive`."""
    vars(made.ctx)["settings"] = replace(made.ctx.settings, vaults={"archive": served.place})
    claim_vault(made.ctx, "archive")
    at = Filled(made).grant()
    told = made.api("GET", f"/v1/vaults/{made.partner}").json()
    assert told["vaults"] == ["local", "archive"] == list(vault_names(made.ctx))
    what = ToSeal(
        made.ctx.settings.public_url, made.partner, at.consent, ATTRIBUTE, "v" * PIECE_BYTES
    )
    stored = put_into_vault(
        at.customer.wallet, what, carry=made.carry, now=made.time[0], vault="archive"
    )
    assert stored["vault"] == "archive"
    return at


def test_the_whole_way(served: Served, tmp_path: Path) -> None:
    with world(tmp_path / "home") as made:
        at = at_service(made, served)
        answer = at.get()
        assert answer.status_code == 200, answer.text
        assert at.opened(answer.content).value == "v" * PIECE_BYTES
        assert (
            at.get(headers={"Range": "bytes=300000-300009"}).content
            == answer.content[300000:300010]
        )
        assert vault_upkeep.check(made.ctx, "demo") == (1, [])
        vault = open_vault(made.ctx, "archive")
        vault.put("demo/nobody/knows", b"stray")
        assert [one.path for one in vault_upkeep.strays(made.ctx, "archive")] == [
            "demo/nobody/knows"
        ]
        assert vault_upkeep.delete_strays(made.ctx, "archive", made.time[0] + 10**9) == 1
        (lying,) = vault.lying()
        whole = answer.content
        vault.put(lying.path, whole[:-1] + b"!")
        damaged = at.get(headers={"Range": "bytes=-5"})
        assert (damaged.status_code, damaged.json()["code"]) == (502, "envelope_damaged")
        vault.put(lying.path, whole)
        assert made.withdrawal(at.consent, made.officer).status_code == 200
        assert vault_upkeep.delete_due(made.ctx) == 1
        assert list(vault.lying()) == []


def unreachable(*_: object) -> bytes:
    raise VaultUnreachable("it may not be read")


def test_the_doctor_puts_a_probe_into_each(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with world(tmp_path / "home") as made:
        settings = replace(made.ctx.settings, vaults={"archive": served.place})

        def examined(**changes: str) -> list[tuple[str, str]]:
            place = replace(served.place, **changes)
            looked = replace(settings, vaults={"archive": place})
            found = services(looked, made.ctx.db, made.ctx.master, made.time[0])
            return [(one.code, one.level) for one in found]

        assert examined() == [("vault_not_ours", "problem")]
        vars(made.ctx)["settings"] = settings
        claim_vault(made.ctx, "archive")
        assert examined() == [("vault_fine", "fine")]
        assert list(open_vault(made.ctx, "archive").lying()) == []
        with monkeypatch.context() as unreadable:
            unreadable.setattr(ObjectVault, "read", unreachable)
            assert examined() == [("vault_not_writable", "problem")]
        assert list(open_vault(made.ctx, "archive").lying()) == []
        wrong = "user" if served.place.kind == "s3" else "secret"
        assert examined(**{wrong: "wrong"}) == [("vault_unreachable", "problem")]
        if served.place.kind == "webdav":
            shutil.rmtree(served.files / "doctor")  # the probe's folder: a file in its place
            (served.files / "doctor").touch()
            assert examined() == [("vault_not_writable", "problem")]
        served.stack.close()
        assert examined() == [("vault_unreachable", "problem")]


def test_a_silent_service_is_told_and_nothing_counts_as_deleted(
    served: Served, tmp_path: Path
) -> None:
    with world(tmp_path / "home") as made:
        at = at_service(made, served)
        served.stack.close()
        lost = at.get()
        assert (lost.status_code, lost.json()["code"]) == (503, "vault_unreachable")
        assert "retry-after" in lost.headers
        assert made.withdrawal(at.consent, made.officer).status_code == 200
        assert vault_upkeep.delete_due(made.ctx) == 0


@pytest.mark.parametrize(
    "told",
    [
        "[]",
        "no json",
        '{"local": {"kind": "webdav", "address": "https://dav.example/"}}',
        '{"archive": {"kind": "ftp", "address": "https://dav.example/"}}',
        '{"archive": {"kind": "webdav", "address": "ftp://dav.example/"}}',
        '{"archive": {"kind": "webdav", "address": "http://dav.example/"}}',
        '{"archive": {"kind": "webdav", "address": "https://u:p@dav.example/"}}',
        '{"archive": {"kind": "webdav", "address": "https://dav.example/", "more": "x"}}',
        '{"archive": {"kind": "s3", "address": "https://s3.example"}}',
    ],
)
def test_settings_that_are_none(tmp_path: Path, told: str) -> None:
    file = tmp_path / "vaults.json"
    file.write_text(told)
    file.chmod(0o600)
    env = {"PUBLIC_URL": "https://consent.example", "BROKER_VAULTS": str(file)}
    with pytest.raises(SettingsError, match="BROKER_VAULTS"):
        read_settings(env)


def test_a_file_of_secrets_is_its_owner_s_alone(tmp_path: Path) -> None:
    file = tmp_path / "vaults.json"
    file.write_text('{"archive": {"kind": "webdav", "address": "https://dav.example/v/"}}')
    env = {"PUBLIC_URL": "https://consent.example", "BROKER_VAULTS": str(file)}
    file.chmod(0o644)
    with pytest.raises(SettingsError, match="chmod 600"):
        read_settings(env)
    file.chmod(0o600)
    found = read_settings(env).vaults["archive"]
    assert found == VaultPlace("webdav", "https://dav.example/v/")
