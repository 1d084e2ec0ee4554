"""Status list tokens as they were last published, kept in this process's memory."""

import gzip
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property

from credentials.errors import StatusUnavailable
from credentials.status import Status, StatusList

GZIP_LEVEL = 6


@dataclass(frozen=True)
class Published:
    """A status list token ready to be served: `etag` is quoted, times are Unix seconds."""

    token: bytes
    etag: str
    signed_at: int

    @cached_property
    def compressed(self) -> bytes:
        """The token in gzip, made once, when the first client takes it so."""
        return gzip.compress(self.token, GZIP_LEVEL, mtime=0)

    @property
    def compressed_etag(self) -> str:
        """Other bytes have another strong tag (RFC 9110, section 8.8.3.3)."""
        return f'{self.etag[:-1]}-gzip"'


class PublishedShards:
    """Shards of status tokens as this process last signed them. Safe from several threads.

    A shard is named by tenant, key, epoch, bits and number; of a key those of one epoch and size
    are kept. A full one takes 150 kB. One is signed at a time, which takes most of a second: a few
    callers wait, and the others are told to come again, so that no epoch's beginning holds up
    everything else.
    """

    MOST = 2_048
    WAITING = 8

    def __init__(self) -> None:
        self._shards: dict[tuple[str, ...], tuple[str, bytes]] = {}
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(self.WAITING)

    def of(
        self,
        shard: tuple[str, ...],
        content: str,
        sign: Callable[[bytes | None], bytes],
    ) -> bytes:
        """The shard as it was made for this content (a hash), or made now.

        `sign` is handed what was made before of the same shard: one credential more is one
        signature more. Raises `StatusUnavailable` where too many wait already.
        """
        found = self._shards.get(shard)
        if found is not None and found[0] == content:
            return found[1]
        if not self._places.acquire(blocking=False):
            raise StatusUnavailable("these status tokens are being signed: ask again in a moment")
        try:
            with self._lock:
                return self._made(shard, content, sign)
        finally:
            self._places.release()

    def _made(
        self, shard: tuple[str, ...], content: str, sign: Callable[[bytes | None], bytes]
    ) -> bytes:
        found = self._shards.get(shard)
        if found is not None and found[0] == content:
            return found[1]
        made = sign(None if found is None else found[1])
        mine = [one for one in self._shards if one[:2] == shard[:2]]
        for earlier in [one for one in mine if one[2:4] != shard[2:4]]:
            del self._shards[earlier]
        if found is None and len(self._shards) >= self.MOST:
            del self._shards[next(iter(self._shards))]
        self._shards[shard] = (content, made)
        return made


class PublishedLists:
    """The last token of each list and when the database was last asked about it.

    Safe from several threads. `looking_after(key)` lets one thread at a time renew a list, while
    the others wait for what it finds.
    """

    MOST_ENTRIES = 64

    def __init__(self) -> None:
        self._lists: dict[tuple[str, str], tuple[Published, int]] = {}
        self._entries: dict[str, tuple[frozenset[int], StatusList]] = {}
        self._locks: dict[tuple[str, str], threading.Lock] = {}
        self._lock = threading.Lock()

    def fresh(self, tenant_id: str, list_id: str, now: int) -> Published | None:
        """The list's token if the database was asked about it within this second."""
        found = self._lists.get((tenant_id, list_id))
        return found[0] if found is not None and found[1] == now else None

    def keep(self, tenant_id: str, list_id: str, published: Published, now: int) -> None:
        """Remember what the database said at `now`."""
        self._lists[tenant_id, list_id] = (published, now)

    def looking_after(self, tenant_id: str, list_id: str) -> threading.Lock:
        """The lock of a list that is known to exist."""
        with self._lock:
            return self._locks.setdefault((tenant_id, list_id), threading.Lock())

    def entries(self, list_id: str, size: int, places: Iterable[int]) -> StatusList:
        """The entries of a list, one bit each, of which exactly `places` are set.

        Between two publications little changes: of the lists published last the entries are kept,
        and what differs is written. For who looks after the list; it is not to be changed.
        """
        wanted = frozenset(places)
        with self._lock:
            before, entries = self._entries.pop(list_id, (frozenset(), None))
        if entries is None or entries.size != size:
            before, entries = frozenset(), StatusList.empty(1, size)
        changed = wanted ^ before
        entries.set_all(changed & wanted, Status.INVALID)
        entries.set_all(changed & before, Status.VALID)
        with self._lock:
            while len(self._entries) >= self.MOST_ENTRIES:
                del self._entries[next(iter(self._entries))]
            self._entries[list_id] = (wanted, entries)
        return entries
