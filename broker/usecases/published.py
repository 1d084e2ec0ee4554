"""Status list tokens as they were last published, kept in this process's memory."""

import gzip
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

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

    One is signed at a time: a thousand signatures take a while, and all who wait want the same.
    """

    MOST = 256

    def __init__(self) -> None:
        self._shards: dict[tuple[str, ...], tuple[str, bytes, Mapping[str, str]]] = {}
        self._lock = threading.Lock()

    def of(
        self,
        shard: tuple[str, ...],
        content: str,
        sign: Callable[[Mapping[str, str]], Mapping[str, str]],
        write: Callable[[Mapping[str, str]], bytes],
    ) -> bytes:
        """The shard as it was made for this content (a hash), or made now.

        `sign` is handed the tokens that were signed before for the same shard: one credential more
        is one signature more.
        """
        found = self._shards.get(shard)
        if found is not None and found[0] == content:
            return found[1]
        with self._lock:
            found = self._shards.get(shard)
            if found is None or found[0] != content:
                tokens = sign({} if found is None else found[2])
                if found is None and len(self._shards) >= self.MOST:
                    del self._shards[next(iter(self._shards))]
                found = self._shards[shard] = (content, write(tokens), tokens)
            return found[1]


class PublishedLists:
    """The last token of each list and when the database was last asked about it.

    Safe from several threads. `looking_after(key)` lets one thread at a time renew a list, while
    the others wait for what it finds.
    """

    def __init__(self) -> None:
        self._lists: dict[tuple[str, str], tuple[Published, int]] = {}
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
