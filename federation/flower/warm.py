"""A member's verified consents, kept in its `state/` from one answer's process to the next.

    consents.secret   32 bytes, made anew where it is gone, torn or another's; what is kept is
                      believed by it alone
    consents.kept     what `federation.remembered` writes; consents.lock: one writer at a time

Whatever does not fit there, or cannot be read or written, means that credentials are verified anew,
and never that one is believed: nothing of it is told as a fault. Losing them costs time alone.
"""

import os
import secrets
import stat
import sys
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from federation.consents import ConsentCache
from federation.errors import FederationError
from federation.flower.locks import held
from federation.flower.places import write_private
from federation.flower.refusals import AnswerUnderWay
from federation.flower.settings import OTHERS, MemberHome
from federation.remembered import LARGEST, SECRET_BYTES, fits, recall, remember


class WarmCache(ConsentCache):
    """A cache of a member of a settings file: it knows what an earlier process has verified."""

    def __init__(self, home: MemberHome) -> None:
        """Nothing is read before credentials are to be learnt. Raises `SettingsWrong`."""
        super().__init__(home.issuer())
        self._secret = home.state / "consents.secret"
        self._kept = home.state / "consents.kept"
        self._since: int | None = None

    def learn(
        self, credentials: Iterable[str], now: int, keys: Sequence[bytes] | None = None
    ) -> Counter[str]:
        """As the library's; what is kept follows: neither more nor less than is in `credentials`.

        So what is known of a customer's consent goes when its line goes.
        """
        listed = list(credentials)
        keys = [self.key_of(one) for one in listed] if keys is None else keys
        if self._since is None:
            self._since = self._recalled(now)
        known = frozenset(self.consents)
        refused = super().learn(listed, now, keys)
        gone = known - frozenset(keys)
        for key in gone:
            del self.consents[key]
        # What has no place in the file is no reason to write it again in each round.
        if gone or any(fits(self.consents[key]) for key in self.consents.keys() - known):
            self._keep()
        return refused

    def forget(self, refused: Collection[str] = ()) -> None:
        """Forget what is kept too."""
        super().forget(refused)
        self._kept.unlink(missing_ok=True)

    def _recalled(self, now: int) -> int:
        """Since when what is known now was verified: `now` where nothing is."""
        try:
            secret, data = _own(self._secret, SECRET_BYTES), _own(self._kept, LARGEST)
            found = recall(data, secret, self.issuer, now)
        except (FederationError, OSError):
            return now
        found.into(self)
        return found.since

    def _keep(self) -> None:
        busy = AnswerUnderWay("another process writes what it has verified")
        try:
            with held(self._kept.with_suffix(".lock"), busy, 0):
                try:
                    secret = _own(self._secret, SECRET_BYTES)
                except OSError:
                    secret = b""
                if len(secret) != SECRET_BYTES:
                    secret = secrets.token_bytes(SECRET_BYTES)
                    write_private(self._secret, secret)
                write_private(self._kept, remember(self, secret, self._since or 0))
        except AnswerUnderWay:
            return
        except (FederationError, OSError) as error:
            # The SuperNode's log: rounds go on, and each verifies its consents anew.
            sys.stderr.write(f"{self._kept} is not written: {error}\n")


def _own(file: Path, most: int) -> bytes:
    """A regular file of ours that nobody else may read or write. Raises `OSError`."""
    with open(file, "rb", opener=_alone) as source:
        told = os.fstat(source.fileno())
        ours = stat.S_ISREG(told.st_mode) and told.st_uid == os.geteuid()
        if not ours or told.st_mode & OTHERS:
            raise PermissionError(f"others may use {file}")
        data = source.read(most + 1)
    if len(data) > most:
        raise PermissionError(f"{file} is longer than {most} bytes")
    return data


def _alone(file: str, flags: int) -> int:
    """Neither a link is followed, nor is anybody waited for who would write to a pipe."""
    return os.open(file, flags | os.O_NONBLOCK | os.O_NOFOLLOW)
