"""What other parties publish: DID documents, issuers' keys, status lists.

Each is fetched by the guarded client, verified by `credentials`, and kept as long as its owner
says, at most a day. A list that is stale or cannot be had raises `StatusUnavailable`: the
credential is not accepted. That something cannot be had is remembered for some seconds, so that
its owner is not asked with every presentation.
"""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from broker.domain.errors import OutgoingError
from broker.outbound.guarded import MAX_URL_CHARACTERS, GuardedClient
from credentials.did import did_web_url, resolve
from credentials.errors import CredentialError, StatusUnavailable
from credentials.json_reader import JsonObject, read_json_object
from credentials.metadata import issuer_metadata_url, read_issuer_metadata
from credentials.status import StatusList, verify_status_token
from credentials.suite import Jwk

DID_TYPES = ("application/did", "application/did+json", "application/did+ld+json")
JSON_TYPE = "application/json"
STATUS_TYPE = "application/statuslist+jwt"

DOCUMENT_SECONDS = 300
FAILURE_SECONDS = 5
LONGEST_SECONDS = 86_400
MOST_DOCUMENTS = 1_000
MOST_LISTS = 64  # a list is up to 4 MiB

T = TypeVar("T")


class Resolver:
    """Reads what issuers elsewhere publish. Safe from several threads.

    `clock` gives Unix seconds; `anchors` the certificates (DER) under which foreign status lists
    may be signed.
    """

    def __init__(
        self,
        client: GuardedClient,
        clock: Callable[[], int],
        anchors: Callable[[], Sequence[bytes]],
    ) -> None:
        self._client, self._clock, self._anchors = client, clock, anchors
        self._documents: _Kept[JsonObject] = _Kept(MOST_DOCUMENTS)
        self._keys: _Kept[Sequence[Jwk]] = _Kept(MOST_DOCUMENTS)
        self._lists: _Kept[StatusList] = _Kept(MOST_LISTS)

    def did_document(self, did: str) -> JsonObject:
        """The document of a did:key, did:jwk or did:web; do not change it.

        Raises `DidInvalid` and other leaves of `CredentialError` for what is no such DID or not
        its document, `FetchRefused` or `FetchFailed` when a did:web could not be fetched.
        """
        if not did.startswith("did:web:"):
            return resolve(did)
        return self._documents.get(did, self._clock(), self._fetch_did)

    def issuer_keys(self, issuer: str) -> Sequence[Jwk]:
        """The keys in an issuer's JWT VC issuer metadata.

        Raises `IssuerMismatch`, `Malformed`, `TooLarge`, or `FetchRefused` and `FetchFailed`.
        """
        return self._keys.get(issuer, self._clock(), self._fetch_keys)

    def status_list(self, uri: str) -> StatusList:
        """The list at `uri`, verified and fresh: a `credentials.status.StatusResolver`.

        Raises `StatusUnavailable`.
        """
        return self._lists.get(uri, self._clock(), self._fetch_list)

    def _fetch_did(self, did: str, now: int) -> tuple[JsonObject, int]:
        fetched = self._client.get(did_web_url(did), accept=(*DID_TYPES, JSON_TYPE))
        return resolve(did, read_json_object(fetched.body)), now + DOCUMENT_SECONDS

    def _fetch_keys(self, issuer: str, now: int) -> tuple[Sequence[Jwk], int]:
        fetched = self._client.get(issuer_metadata_url(issuer), accept=(JSON_TYPE,))
        return read_issuer_metadata(fetched.body, issuer=issuer), now + DOCUMENT_SECONDS

    def _fetch_list(self, uri: str, now: int) -> tuple[StatusList, int]:
        try:
            fetched = self._client.get(uri, accept=(STATUS_TYPE,))
            token = fetched.body.decode("ascii")
        except OutgoingError as error:
            raise StatusUnavailable(f"the status list could not be fetched: {error}") from error
        except UnicodeDecodeError:
            raise StatusUnavailable("what stands at the status list's address is none") from None
        found = verify_status_token(
            token.strip(), uri=uri, anchors=self._anchors(), now=now, fetched_at=now
        )
        # A list without ttl and exp says nothing about how long it may be kept.
        return found, now + DOCUMENT_SECONDS if found.fresh_until is None else found.fresh_until


@dataclass(frozen=True)
class _Entry(Generic[T]):
    value: T | CredentialError | OutgoingError
    until: int


class _Kept(Generic[T]):
    """Values and failures by name, the least recently used forgotten first.

    Two callers may fetch the same at once; nobody waits for another's fetch.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._entries: OrderedDict[str, _Entry[T]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: str, now: int, fetch: Callable[[str, int], tuple[T, int]]) -> T:
        """The value, from `fetch` (which also says until when) unless it is kept."""
        with self._lock:
            entry = self._entries.get(name)
            if entry is not None:
                self._entries.move_to_end(name)
        if entry is None or entry.until <= now:
            try:
                value, until = fetch(name, now)
                entry = _Entry(value, min(until, now + LONGEST_SECONDS))
            except (CredentialError, OutgoingError) as error:
                entry = _Entry(error, now + FAILURE_SECONDS)
            self._keep(name, entry)
        if isinstance(entry.value, CredentialError | OutgoingError):
            # The same error again would collect the traceback of everybody who met it.
            raise entry.value.with_traceback(None)
        return entry.value

    def _keep(self, name: str, entry: _Entry[T]) -> None:
        if len(name) > MAX_URL_CHARACTERS:
            return
        with self._lock:
            self._entries[name] = entry
            self._entries.move_to_end(name)
            while len(self._entries) > self._most:
                self._entries.popitem(last=False)
