"""What goes wrong with a vault: files that are lost, shares that drop, writing that takes long."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from broker.domain.errors import StateConflict, VaultUnreachable
from broker.outbound import vaults
from broker.outbound.vaults import MARKER, FolderVault
from broker.setting_forms import VaultPlace
from broker.store import vault
from broker.store.acting import acting_for
from broker.usecases import vault as use
from broker.usecases import vault_register, vault_upkeep
from broker.usecases.vault_register import claim_vault
from tests.broker.flow_world import World, world
from tests.broker.vaults import ATTRIBUTE, Filled, file_of, public_of
from wallet_adapters.envelope import Sealed, seal_envelope
from wallet_adapters.loopback import vault as wallet_vault
from wallet_adapters.loopback.errors import PeerRefused


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("losses") / "home") as broker:
        yield broker


@pytest.fixture
def filled(made: World) -> Filled:
    vault_upkeep.delete_due(made.ctx)
    return Filled(made).grant()


@pytest.fixture
def same(filled: Filled, monkeypatch: pytest.MonkeyPatch) -> Filled:
    """A wallet that puts the same envelope, whatever it is asked to seal."""
    sealed = seal_envelope(Sealed(filled.consent, ATTRIBUTE, "none", 1), public_of(filled.key))
    monkeypatch.setattr(wallet_vault, "seal_envelope", lambda *_: sealed)
    return filled


def strays(made: World) -> list[str]:
    return [one.path for one in vault_upkeep.strays(made.ctx, "local")]


@pytest.mark.parametrize("how", ["lost", "damaged"])
def test_the_same_envelope_is_written_again_where_it_was_lost(
    made: World, same: Filled, how: str
) -> None:
    first = same.put()
    file = file_of(same)
    if how == "lost":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:-1] + b"!")
    assert same.get().json()["code"] == "envelope_damaged"
    again = same.put()
    assert again["id"] != first["id"]
    assert same.opened(same.get().content).value == 1
    assert vault_upkeep.delete_due(made.ctx) == 1
    assert same.get().status_code == 200
    assert same.put() == again


def test_the_same_envelope_for_another_vault_goes_there(
    made: World, same: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the customer signed for names the vault."""
    settings = replace(made.ctx.settings, vaults={"archive": VaultPlace("webdav", "https://x/")})
    monkeypatch.setitem(vars(made.ctx), "settings", settings)
    elsewhere = FolderVault(tmp_path / "archive", "mine")
    elsewhere.claim()
    monkeypatch.setattr(vault_register, "ObjectVault", lambda *_: elsewhere)
    assert same.put()["vault"] == "local"
    made.advance()
    world, now = same.world, same.world.time[0]
    what = wallet_vault.ToSeal(
        made.ctx.settings.public_url, made.partner, same.consent, ATTRIBUTE, 1
    )
    moved = wallet_vault.put_into_vault(
        same.customer.wallet, what, carry=world.carry, now=now, vault="archive"
    )
    assert moved["vault"] == "archive"
    assert len(list(elsewhere.lying())) == 1
    assert vault_upkeep.delete_due(made.ctx) == 1
    assert same.get().status_code == 200
    assert made.withdrawal(same.consent, made.officer).status_code == 200
    assert vault_upkeep.delete_due(made.ctx) == 1


def test_what_has_ended_meanwhile_is_not_renewed(
    made: World, same: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = same.put()
    made.advance()
    real = vault_upkeep.check_whole

    def check_whole(*of: object) -> None:
        real(*of)  # type: ignore[arg-type]
        assert made.withdrawal(same.consent, made.officer).status_code == 200

    monkeypatch.setattr(use, "check_whole", check_whole)
    with pytest.raises(PeerRefused) as refused:
        same.put()
    assert refused.value.status == 409
    stored = [e for e in made.logged("envelope.stored") if e.body["envelope"] == told["id"]]
    assert len(stored) == 1


def test_a_home_folder_whose_share_has_dropped_is_no_new_vault(
    made: World, filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled.put()
    other = Filled(made, filled.key).grant()
    root = made.ctx.settings.home / "vault"
    away = root.rename(root.with_name("away"))
    for empty in (False, True):
        if empty:
            root.mkdir()
        with pytest.raises(PeerRefused) as refused:
            other.put()
        assert refused.value.status == 503
        assert filled.get().json()["code"] == "vault_unreachable"
    assert made.withdrawal(filled.consent, made.officer).status_code == 200
    assert vault_upkeep.delete_due(made.ctx) == 0
    with pytest.raises(VaultUnreachable):
        strays(made)
    assert list(root.iterdir()) == []
    root.rmdir()
    away.rename(root)
    assert vault_upkeep.delete_due(made.ctx) == 1
    other.put()
    # One that was marked by nobody yet, with what has to lie there, is the vault.
    (root / MARKER).unlink()
    assert made.withdrawal(other.consent, made.officer).status_code == 200
    assert vault_upkeep.delete_due(made.ctx) == 1
    assert (root / MARKER).exists()
    # Lost for good: begun anew when somebody says so.
    third = Filled(made, filled.key).grant()
    third.put()
    root.rename(root.with_name("gone"))
    with pytest.raises(StateConflict):
        claim_vault(made.ctx)
    claim_vault(made.ctx, empty=True)
    other = Filled(made, filled.key).grant()
    other.put()
    assert other.get().status_code == 200


def test_what_is_written_after_its_clean_up_goes_with_it(
    made: World, filled: Filled, monkeypatch: pytest.MonkeyPatch
) -> None:
    vault_upkeep.delete_due(made.ctx)
    real = FolderVault.put

    def put(place: FolderVault, path: str, data: bytes) -> None:
        made.advance(use.WRITING_SECONDS + 1)
        assert vault_upkeep.delete_due(made.ctx) == 1
        real(place, path, data)

    monkeypatch.setattr(FolderVault, "put", put)
    with pytest.raises(PeerRefused) as refused:
        filled.put()
    assert refused.value.status == 409
    monkeypatch.undo()
    assert strays(made) == []
    filled.put()
    assert filled.get().status_code == 200


@pytest.mark.parametrize("links", [True, False])
def test_of_brokers_that_mark_a_folder_at_once_one_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, links: bool
) -> None:
    if not links:

        def link(*_: object, **__: object) -> None:
            raise PermissionError(1, "no links here")

        monkeypatch.setattr("os.link", link)
    first, second = (FolderVault(tmp_path / "vault", mark) for mark in ("mine", "another's"))
    real = vaults.move_new
    crossed: list[Path] = []

    def between(file: Path, place: Path) -> None:
        """The other one marks it between our look and our mark."""
        if not crossed:
            crossed.append(file)
            second.claim()
        real(file, place)

    monkeypatch.setattr(vaults, "move_new", between)
    if links:
        with pytest.raises(StateConflict):
            first.claim()
    else:
        first.claim()
    assert (first.is_marked(), second.is_marked()) == (not links, links)
    loser = first if links else second
    with pytest.raises(VaultUnreachable):
        loser.put("demo/a/b", b"x")
    assert [path.name for path in (tmp_path / "vault").iterdir()] == [MARKER]


def test_workers_mark_it_together(tmp_path: Path) -> None:
    every = [FolderVault(tmp_path / "vault", "mine") for _ in range(8)]
    with ThreadPoolExecutor(len(every)) as pool:
        for done in [pool.submit(one.claim) for one in every]:
            done.result()
    assert all(one.is_marked() for one in every)


def test_a_folder_that_lacks_another_tenants_envelopes_is_no_new_vault(
    tmp_path: Path, postgres_database: str
) -> None:
    """PostgreSQL shows a tenant its own rows alone, and the folder is all tenants'."""
    with world(tmp_path / "home", database_url=postgres_database) as broker:
        filled = Filled(broker).grant()
        filled.put()
        folder = tmp_path / "home" / "vault"
        folder.rename(tmp_path / "elsewhere")
        with acting_for("another"), pytest.raises(VaultUnreachable):
            vault_register.open_to_change(broker.ctx, "local")
        assert not (folder / MARKER).exists()
        (tmp_path / "elsewhere").rename(folder)
        assert filled.get().status_code == 200


def test_a_silent_vault_is_given_up_and_holds_up_no_other(
    made: World, filled: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class Silent(FolderVault):
        def delete(self, path: str) -> None:
            asked.append(path)
            raise VaultUnreachable("it does not answer")

        def has(self, path: str) -> bool:
            raise VaultUnreachable(f"it does not answer about {path}")

    places = {"archive": VaultPlace("webdav", "https://x/")}
    monkeypatch.setitem(vars(made.ctx), "settings", replace(made.ctx.settings, vaults=places))
    silent = Silent(tmp_path / "archive", "mine")
    silent.claim()
    monkeypatch.setattr(vault_register, "ObjectVault", lambda *_: silent)
    filled.put()
    with made.ctx.db.transaction() as tx:
        [row] = vault.of_consents(tx, "demo", [filled.consent])
        for number in range(5):
            path = f"demo/{'b' * 10}/{number}"
            at = replace(row, id=f"env-s{number}", vault="archive", path=path)
            vault.add(tx, replace(at, state="ending", delete_from=0))
        vault.end(tx, filled.consent, 0)
    assert vault_upkeep.delete_due(made.ctx) == 1
    assert len(asked) == 1
