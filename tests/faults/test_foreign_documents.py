"""DID documents, issuers' keys and status lists of other parties, over real TLS."""

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from broker.domain.errors import FetchFailed, FetchRefused
from broker.outbound.resolver import Resolver
from credentials.did import assertion_keys, did_document, did_key, did_web
from credentials.errors import (
    CredentialError,
    DidInvalid,
    IssuerMismatch,
    Revoked,
    StatusUnavailable,
)
from credentials.keys import SoftwareKey
from credentials.metadata import issuer_metadata
from credentials.model import StatusReference
from credentials.status import issue_status_token
from tests.credentials.world import NOW, World
from tests.faults.hostile import HOST, Behaviour, Network, Server, answering, by_path, serving

KEY = SoftwareKey.generate("ES256")


@dataclass
class Elsewhere:
    """An issuer's web server whose answers a test may change, and a resolver that asks it."""

    server: Server
    routes: dict[str, Behaviour]
    world: World
    network: Network = field(default_factory=Network)
    time: list[int] = field(default_factory=lambda: [NOW])

    def __post_init__(self) -> None:
        client = self.network.client(plain_http=False, authority=self.server.authority, seconds=2)
        self.resolver = Resolver(client, lambda: self.time[0], lambda: [self.world.root])

    @property
    def base(self) -> str:
        return f"https://{HOST}:{self.server.port}"

    @property
    def asked(self) -> int:
        return len(self.server.requests)

    def list_token(self, **changes: object) -> bytes:
        arguments: dict[str, object] = {
            "signer": self.world.issuer_key,
            "x5c": self.world.chain,
            "uri": f"{self.base}/status/1",
            "now": self.time[0],
            "ttl": 60,
            "expires_at": NOW + 3_600,
        }
        arguments.update(changes)
        issue: Callable[..., str] = issue_status_token
        return issue(self.world.statuses, **arguments).encode()

    def publish_list(self, **changes: object) -> str:
        self.routes["/status/1"] = answering(
            self.list_token(**changes), media_type="application/statuslist+jwt"
        )
        return f"{self.base}/status/1"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Elsewhere]:
    routes: dict[str, Behaviour] = {}

    def answer(connection: object, request: bytes) -> None:
        by_path(routes)(connection, request)  # type: ignore[arg-type]

    with serving(answer, tls=tmp_path) as server:
        yield Elsewhere(server, routes, World.make())


def test_a_did_web_document_is_fetched_checked_and_kept(elsewhere: Elsewhere) -> None:
    did = did_web(f"{elsewhere.base}/t/1")
    document = did_document(did, {"k1": KEY.public_jwk()})
    elsewhere.routes["/t/1/did.json"] = answering(
        json.dumps(document).encode(), media_type="application/did+ld+json"
    )
    found = elsewhere.resolver.did_document(did)
    assert assertion_keys(found, f"{did}#k1") == [KEY.public_jwk()]
    assert elsewhere.resolver.did_document(did) == document
    assert elsewhere.asked == 1
    elsewhere.time[0] += 300
    elsewhere.resolver.did_document(did)
    assert elsewhere.asked == 2


def test_a_did_that_is_its_own_document_asks_nobody(elsewhere: Elsewhere) -> None:
    did = did_key(KEY.public_jwk())
    assert elsewhere.resolver.did_document(did)["id"] == did
    assert elsewhere.network.resolved == []


def test_a_document_of_another_did_is_refused(elsewhere: Elsewhere) -> None:
    document = did_document("did:web:other.example", {"k1": KEY.public_jwk()})
    elsewhere.routes["/.well-known/did.json"] = answering(json.dumps(document).encode())
    with pytest.raises(DidInvalid, match="another DID"):
        elsewhere.resolver.did_document(did_web(elsewhere.base))


@pytest.mark.parametrize(
    "body",
    [b"", b"not json", b"[]", b'{"error": "gone"}', b"[" * 90_000, b"\xff\xfe", b'{"id": null}'],
)
def test_success_with_an_error_body_is_no_document(elsewhere: Elsewhere, body: bytes) -> None:
    elsewhere.routes["/.well-known/did.json"] = answering(body)
    elsewhere.routes["/.well-known/jwt-vc-issuer"] = answering(body)
    elsewhere.routes["/status/1"] = answering(body, media_type="application/statuslist+jwt")
    with pytest.raises(CredentialError):
        elsewhere.resolver.did_document(did_web(elsewhere.base))
    with pytest.raises(CredentialError):
        elsewhere.resolver.issuer_keys(elsewhere.base)
    with pytest.raises(StatusUnavailable):
        elsewhere.resolver.status_list(f"{elsewhere.base}/status/1")


@pytest.mark.parametrize(
    "did",
    ["did:web:169.254.169.254", "did:web:localhost", "did:web:127.0.0.1%3A8000", "did:web:[::1]"],
)
def test_a_did_web_of_a_private_place_is_refused(elsewhere: Elsewhere, did: str) -> None:
    private = Network({"localhost": ["127.0.0.1"], "127.0.0.1": ["127.0.0.1"]})
    private.addresses = {**private.addresses, "169.254.169.254": ["169.254.169.254"]}
    resolver = Resolver(private.client(), lambda: NOW, list)
    with pytest.raises((FetchRefused, FetchFailed, DidInvalid)):
        resolver.did_document(did)
    assert private.connected == []
    assert elsewhere.asked == 0


def test_a_failure_is_kept_for_seconds_and_then_forgotten(elsewhere: Elsewhere) -> None:
    did = did_web(elsewhere.base)
    for _ in range(3):
        with pytest.raises(FetchFailed):
            elsewhere.resolver.did_document(did)
    assert elsewhere.asked == 1
    document = did_document(did, {"k1": KEY.public_jwk()})
    elsewhere.routes["/.well-known/did.json"] = answering(json.dumps(document).encode())
    elsewhere.time[0] += 5
    assert elsewhere.resolver.did_document(did) == document


def test_the_keys_of_an_issuer_are_its_own(elsewhere: Elsewhere) -> None:
    issuer = f"{elsewhere.base}/t/1"
    metadata = issuer_metadata(issuer, {"k1": KEY.public_jwk()})
    elsewhere.routes["/.well-known/jwt-vc-issuer/t/1"] = answering(json.dumps(metadata).encode())
    (key,) = elsewhere.resolver.issuer_keys(issuer)
    assert key["x"] == KEY.public_jwk()["x"]
    elsewhere.routes["/.well-known/jwt-vc-issuer/t/2"] = answering(json.dumps(metadata).encode())
    with pytest.raises(IssuerMismatch):
        elsewhere.resolver.issuer_keys(f"{elsewhere.base}/t/2")


def test_a_foreign_list_says_valid_until_its_next_edition_says_revoked(
    elsewhere: Elsewhere,
) -> None:
    uri = elsewhere.publish_list()
    world = elsewhere.world
    credential = world.issue(status=StatusReference(uri, 7))
    world.accept(credential, status=elsewhere.resolver.status_list)
    world.accept(credential, status=elsewhere.resolver.status_list)
    assert elsewhere.asked == 1
    world.statuses.set(7, 1)
    elsewhere.time[0] += 60
    elsewhere.publish_list()
    with pytest.raises(Revoked):
        world.accept(credential, status=elsewhere.resolver.status_list, now=elsewhere.time[0])
    assert elsewhere.asked == 2


def test_a_list_whose_publisher_is_gone_is_not_believed_beyond_its_ttl(
    elsewhere: Elsewhere,
) -> None:
    uri = elsewhere.publish_list()
    elsewhere.resolver.status_list(uri)
    del elsewhere.routes["/status/1"]
    elsewhere.time[0] += 59
    elsewhere.resolver.status_list(uri)
    elsewhere.time[0] += 1
    with pytest.raises(StatusUnavailable, match="could not be fetched"):
        elsewhere.resolver.status_list(uri)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"uri": "https://issuer.example/status/2"}, id="of another list"),
        pytest.param({"expires_at": NOW - 1}, id="expired"),
        pytest.param({"now": NOW + 600}, id="of the future"),
        pytest.param({"signer": KEY}, id="signed by another key"),
        pytest.param({"x5c": World.make().chain}, id="of an untrusted authority"),
        pytest.param({"x5c": ()}, id="without a chain"),
    ],
)
def test_a_list_that_does_not_verify_is_unavailable(
    elsewhere: Elsewhere, changes: dict[str, object]
) -> None:
    uri = elsewhere.publish_list(**changes)
    with pytest.raises(StatusUnavailable):
        elsewhere.resolver.status_list(uri)


def test_a_list_of_another_media_type_is_unavailable(elsewhere: Elsewhere) -> None:
    elsewhere.routes["/status/1"] = answering(elsewhere.list_token(), media_type="text/plain")
    with pytest.raises(StatusUnavailable):
        elsewhere.resolver.status_list(f"{elsewhere.base}/status/1")


def test_a_list_comes_compressed_as_publishers_do(elsewhere: Elsewhere) -> None:
    elsewhere.routes["/status/1"] = answering(
        gzip.compress(elsewhere.list_token()),
        media_type="application/statuslist+jwt",
        headers=["Content-Encoding: gzip"],
    )
    assert elsewhere.resolver.status_list(f"{elsewhere.base}/status/1").get(7) == 0


def test_what_is_kept_is_bounded(elsewhere: Elsewhere) -> None:
    for number in range(70):
        elsewhere.routes[f"/status/{number}"] = answering(
            elsewhere.list_token(uri=f"{elsewhere.base}/status/{number}"),
            media_type="application/statuslist+jwt",
        )
        elsewhere.resolver.status_list(f"{elsewhere.base}/status/{number}")
    assert elsewhere.asked == 70
    elsewhere.resolver.status_list(f"{elsewhere.base}/status/69")
    assert elsewhere.asked == 70
    elsewhere.resolver.status_list(f"{elsewhere.base}/status/0")
    assert elsewhere.asked == 71
