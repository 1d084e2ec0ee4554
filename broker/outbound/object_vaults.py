"""Vaults at a service: a bucket of S3 or of what speaks like it, a folder of a WebDAV server.

Where they are only the operator says, in a file of settings: their addresses are not looked at as
those are that strangers choose, and may be in the broker's own network. TLS is checked by the
system's roots. What a service says of an error is told to nobody: it may quote the request.
"""

import hmac
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import obstore
from obstore.exceptions import BaseError
from obstore.store import HTTPStore, S3Store

from broker.domain.errors import EnvelopeDamaged, StateConflict, VaultUnreachable
from broker.outbound.vaults import MARKER, Lying, checked_path, is_path
from broker.settings import VaultPlace

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig  # in its stubs alone

SECONDS: Final = 10
CONNECT_SECONDS: Final = 3
_RETRY: "Final[RetryConfig]" = {"max_retries": 1, "retry_timeout": timedelta(seconds=SECONDS)}


class ObjectVault:
    """A vault at a service; what it promises is that of `Vault`.

    The object `consent-broker-vault` says whose vault it is, as the file of a folder does.
    """

    def __init__(self, name: str, place: VaultPlace, mark: str) -> None:
        """Nobody is asked before the first use."""
        self._name = name
        self._mark = mark.encode()
        self._store = _opened(place)

    def claim(self) -> None:
        """Mark it as this broker's; again changes nothing. As in `FolderVault`."""
        with self._asking():
            if self._marker() is None:
                obstore.put(self._store, MARKER, self._mark, use_multipart=False)
            found = self._marker()
        if found != self._mark:
            raise StateConflict(f"{self._name} is the vault of another broker: take one of its own")

    def has(self, path: str) -> bool:
        """Whether something lies at a path, marked or not."""
        with self._asking():
            try:
                obstore.head(self._store, checked_path(path))
            except FileNotFoundError:
                return False
        return True

    def put(self, path: str, data: bytes) -> None:
        """See `Vault`: durable as far as the service says so."""
        self._check_there()
        with self._asking():
            obstore.put(self._store, checked_path(path), data, use_multipart=False)

    def read(self, path: str, first: int, past: int) -> bytes:
        """See `Vault`."""
        place = checked_path(path)
        try:
            with self._asking():
                return bytes(obstore.get_range(self._store, place, start=first, end=past))
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
        self._check_there()
        with self._asking():
            try:
                obstore.delete(self._store, checked_path(path))
            except FileNotFoundError:
                return

    def lying(self) -> Iterator[Lying]:
        """See `Vault`."""
        self._check_there()
        with self._asking():
            for some in obstore.list(self._store):
                for one in some:
                    if is_path(one["path"]):
                        yield Lying(one["path"], int(one["last_modified"].timestamp()))

    def _size(self, place: str) -> int:
        with self._asking():
            return int(obstore.head(self._store, place)["size"])

    def _check_there(self) -> None:
        with self._asking():
            found = self._marker()
        if found is None or not hmac.compare_digest(found, self._mark):
            raise VaultUnreachable(
                f"{self._name} lacks the marker {MARKER} of this broker: mark it with: "
                f"consent-broker vault init {self._name}"
            )

    def _marker(self) -> bytes | None:
        try:
            return bytes(obstore.get(self._store, MARKER).bytes())
        except FileNotFoundError:
            return None

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Whatever the service refuses is `VaultUnreachable`, but that something is not there."""
        try:
            yield
        except FileNotFoundError:
            raise
        except (BaseError, OSError, ValueError) as error:
            raise VaultUnreachable(
                f"{self._name} does not answer, or refuses us ({type(error).__name__})"
            ) from None


def _opened(place: VaultPlace) -> HTTPStore | S3Store:
    client: ClientConfig = {
        "allow_http": place.address.startswith("http://"),
        "timeout": timedelta(seconds=SECONDS),
        "connect_timeout": timedelta(seconds=CONNECT_SECONDS),
    }
    if place.kind == "webdav":
        if place.user:
            login = b64encode(f"{place.user}:{place.secret}".encode()).decode("ascii")
            client["default_headers"] = {"Authorization": f"Basic {login}"}
        return HTTPStore(place.address, client_options=client, retry_config=_RETRY)
    return S3Store(
        place.bucket,
        endpoint=place.address,
        region=place.region,
        access_key_id=place.user,
        secret_access_key=place.secret,
        virtual_hosted_style_request=False,
        client_options=client,
        retry_config=_RETRY,
    )
