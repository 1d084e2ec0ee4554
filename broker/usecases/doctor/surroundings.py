"""Settings, files and clocks: what a broker meets before it opens its database."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from broker.domain.finding import Finding, fine, problem, warning
from broker.outbound.own_address import OwnAnswer
from broker.outbound.vaults import MARKER
from broker.settings import MASTER_KEY_BYTES, Settings, SettingsError
from broker.store import head_file, outside_copies
from broker.store.master_key_file import MasterKeyFile
from credentials.sealing import MasterKey

LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
FREE_BYTES = 1_073_741_824
SKEW_SECONDS = 5
HTTP_OK = 200


def settings(given: Settings) -> Iterator[Finding]:
    """Whether address, profile and host fit together."""
    host = urlsplit(given.public_url).hostname or ""
    before = len(found := [])
    if not given.secure and host not in LOCAL:
        found.append(problem("settings", "public_url_plain", url=given.public_url))
    if not given.development and host in LOCAL:
        found.append(warning("settings", "public_url_local", url=given.public_url))
    if given.development and given.host not in LOCAL:
        found.append(problem("settings", "development_exposed", host=given.host))
    if len(found) == before:
        profile = "development" if given.development else "strict" if given.strict else "production"
        found.append(fine("settings", "settings_fine", url=given.public_url, profile=profile))
    yield from found


def home(given: Settings) -> Iterator[Finding]:
    """The folder that outlives the process: is it there, closed to others, with room to write?"""
    folder = given.home
    if not folder.is_dir():
        yield problem("home", "home_missing", path=folder)
        return
    for name in ("master.key", "broker.db", head_file.FILE_NAME, outside_copies.FILE_NAME):
        path = folder / name
        # What is open below a closed folder is reached by nobody.
        if path.exists() and path.stat().st_mode & 0o077 and folder.stat().st_mode & 0o077:
            level = problem if name == "master.key" else warning
            mode = f"{path.stat().st_mode & 0o777:o}"
            yield level("home", "file_open_to_others", path=path, mode=mode)
    free = shutil.disk_usage(folder).free
    told = {"path": folder, "free": f"{free / 1e9:.1f}"}
    yield (
        fine("home", "disk_fine", **told)
        if free > FREE_BYTES
        else warning("home", "disk_low", **told)
    )
    if given.vault_root is not None and not (given.vault_root / MARKER).is_file():
        yield problem("home", "vault_unmarked", path=given.vault_root)
    yield from _withdrawals(folder / outside_copies.FILE_NAME)


def master_key(given: Settings) -> MasterKey | Finding:
    """The master key, or what is wrong with it."""
    path = given.home / "master.key"
    if given.master_key is not None:
        return MasterKey.from_bytes(given.master_key, previous=given.master_key_previous)
    try:
        data = path.read_bytes()
    except OSError as error:
        return problem("keys", "master_key_missing", path=path, message=error.strerror)
    if len(data) != MASTER_KEY_BYTES:
        return problem("keys", "master_key_malformed", path=path, bytes=len(data))
    try:
        current, previous = MasterKeyFile(given.home, given.master_key_previous).read()
    except SettingsError as error:
        return problem("keys", "master_key_missing", path=path, message=str(error))
    return MasterKey.from_bytes(current, previous=previous)


def clock(answer: OwnAnswer | str | None, now: int) -> Iterator[Finding]:
    """This machine's clock against the one behind the public address."""
    if answer is None:
        return
    if isinstance(answer, str):
        yield warning("clock", "address_unanswered", message=answer)
        return
    if answer.status != HTTP_OK:
        yield warning("clock", "address_elsewhere", status=answer.status)
    if answer.date is not None and abs(answer.date - now) > SKEW_SECONDS:
        yield problem("clock", "clock_skew", seconds=now - answer.date, against="PUBLIC_URL")
    elif answer.status == HTTP_OK:
        yield fine("clock", "address_fine")


def _withdrawals(path: Path) -> Iterator[Finding]:
    if not path.exists():
        return
    try:
        count = len(outside_copies.read([path])) + len(outside_copies.read_erasures([path]))
    except OSError as error:
        yield problem("home", "withdrawals_unreadable", path=path, message=error.strerror)
    else:
        yield fine("home", "withdrawals_fine", count=count)
