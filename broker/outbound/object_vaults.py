"""Vaults at a service: a bucket of S3 or of what speaks like it, a folder of a WebDAV server.

Where they are only the operator says, in a file of settings: their addresses are not looked at as
those are that strangers choose, and may be in the broker's own network. TLS is checked by the
system's roots. What a service says of an error is told to nobody: it may quote the request.
"""

import hmac
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import HTTPStore, S3Store

from broker.domain.errors import EnvelopeDamaged, StateConflict, VaultUnreachable
from broker.outbound.vaults import MARKER, MARKER_BYTES, Lying, checked_path, is_path
from broker.settings import VaultPlace

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Credential  # in its stubs alone

SECONDS: Final = 10
CONNECT_SECONDS: Final = 3
MOST_STORES: Final = 64
_CHUNK_BYTES: Final = 65_536
_RETRY: "Final[RetryConfig]" = {"max_retries": 1, "retry_timeout": timedelta(seconds=SECONDS)}


class ObjectVault:
    """A vault at a service; what it promises is that of `Vault`.

    The object `consent-broker-vault` says whose vault it is, as the file of a folder does: a bucket
    that is not there has none either.
    """

    def __init__(self, name: str, place: VaultPlace, mark: str) -> None:
        """Nobody is asked before the first use."""
        self._name = name
        self._mark = mark.encode()
        self._store = _opened(place)
        self._can_create = place.kind == "s3"

    def claim(self) -> None:
        """Mark it as this broker's; again changes nothing. As in `FolderVault`.

        Of two brokers at once one has it: where the service cannot tell who was first (WebDAV, an
        S3 that ignores `If-None-Match`), the other finds the marker changed with its next act.
        """
        with self._asking():
            if self._marker() is None:
                with suppress(AlreadyExistsError):
                    self._put(MARKER, self._mark, new=self._can_create)
            found = self._marker()
        if found != self._mark:
            raise StateConflict(f"{self._name} is the vault of another broker: take one of its own")

    def is_marked(self) -> bool:
        """See `Vault`."""
        with self._asking():
            found = self._marker()
        return found is not None and hmac.compare_digest(found, self._mark)

    def has(self, path: str) -> bool:
        """Whether something lies at a path, marked or not."""
        place = checked_path(path)
        try:
            with self._asking(may_lack=True):
                obstore.head(self._store, place)
        except FileNotFoundError:
            return False
        return True

    def put(self, path: str, data: bytes) -> None:
        """See `Vault`: durable as far as the service says so."""
        place = checked_path(path)
        self._check_there()
        with self._asking():
            self._put(place, data)

    def read(self, path: str, first: int, past: int) -> bytes:
        """See `Vault`."""
        place = checked_path(path)
        try:
            with self._asking(may_lack=True):
                return self._bytes(place, past - first, (first, past))
        except FileNotFoundError:
            self._check_there()
            raise EnvelopeDamaged("the vault holds no such envelope any more") from None
        except VaultUnreachable:
            # A range behind the end is refused like everything else.
            if self._size(place) < past:
                raise EnvelopeDamaged("the vault gives less than was put into it") from None
            raise

    def delete(self, path: str) -> None:
        """See `Vault`."""
        place = checked_path(path)
        self._check_there()
        try:
            with self._asking(may_lack=True):
                obstore.delete(self._store, place)
        except FileNotFoundError:
            return

    def lying(self) -> Iterator[Lying]:
        """See `Vault`. A WebDAV server has to answer PROPFIND of infinite depth."""
        self._check_there()
        with self._asking():
            for some in obstore.list(self._store):
                for one in some:
                    if is_path(one["path"]):
                        yield Lying(one["path"], int(one["last_modified"].timestamp()))

    def _put(self, place: str, data: bytes, *, new: bool = False) -> None:
        obstore.put(
            self._store, place, data, use_multipart=False, mode="create" if new else "overwrite"
        )

    def _bytes(self, place: str, most: int, part: tuple[int, int] | None = None) -> bytes:
        """What lies there, or the part of it; no more than `most` bytes are ever taken."""
        found = obstore.get(self._store, place, options={} if part is None else {"range": part})
        data = bytearray()
        for chunk in found.stream(min_chunk_size=_CHUNK_BYTES):
            data += chunk
            if len(data) > most:
                raise VaultUnreachable(f"{self._name} gives more than it was asked for")
        return bytes(data)

    def _size(self, place: str) -> int:
        with self._asking():
            return int(obstore.head(self._store, place)["size"])

    def _check_there(self) -> None:
        if not self.is_marked():
            raise VaultUnreachable(
                f"{self._name} lacks the marker {MARKER} of this broker: mark it with: "
                f"consent-broker vault init {self._name}"
            )

    def _marker(self) -> bytes | None:
        try:
            return self._bytes(MARKER, MARKER_BYTES)
        except FileNotFoundError:
            return None

    @contextmanager
    def _asking(self, *, may_lack: bool = False) -> Iterator[None]:
        """Whatever the service refuses is `VaultUnreachable`.

        That something is not there is `FileNotFoundError` where it `may_lack`.
        """
        try:
            yield
        except FileNotFoundError:
            if may_lack:
                raise
            raise VaultUnreachable(f"{self._name}: there is no such bucket or folder") from None
        except (BaseError, OSError, ValueError) as error:
            raise VaultUnreachable(
                f"{self._name} does not answer, or refuses us ({type(error).__name__})"
            ) from None


@lru_cache(maxsize=MOST_STORES)
def _opened(place: VaultPlace) -> HTTPStore | S3Store:
    """The service's client, with its connections: one for all uses.

    obstore takes what it is not told from variables AWS_*: whatever weakens is told here.
    """
    client: ClientConfig = {
        "allow_http": place.address.startswith("http://"),
        "allow_invalid_certificates": False,
        "timeout": timedelta(seconds=SECONDS),
        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
    }
    if place.kind == "webdav":
        if place.user:
            login = b64encode(f"{place.user}:{place.secret}".encode()).decode("ascii")
            client["default_headers"] = {"Authorization": f"Basic {login}"}
        return HTTPStore(place.address, client_options=client, retry_config=_RETRY)
    held: S3Credential = {
        "access_key_id": place.user,
        "secret_access_key": place.secret,
        "token": None,
        "expires_at": None,
    }
    return S3Store(
        place.bucket,
        endpoint=place.address,
        region=place.region,
        credential_provider=lambda: held,
        virtual_hosted_style_request=False,
        skip_signature=False,
        unsigned_payload=False,
        s3_express=False,
        request_payer=False,
        conditional_put="etag",
        client_options=client,
        retry_config=_RETRY,
    )
