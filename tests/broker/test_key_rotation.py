"""Rotated keys: the newest signs, what older ones signed stands, the trust file says how far."""

import base64
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

from broker.domain.checkpoint import open_checkpoint_of
from broker.domain.errors import InvalidTrust, NotFound, UnverifiedNote
from broker.domain.evidence import verify_evidence
from broker.domain.note import parse_note
from broker.domain.trust import ROTATED_SCHEMA, SCHEMA, Trust
from broker.store import log_tree
from broker.usecases import key_rotation
from broker.usecases.keys import KeyRing
from broker.usecases.published import PublishedLists
from broker.usecases.sequencer import Sequencer
from broker.usecases.status import published
from broker.usecases.trust import trust
from credentials.chain import verify_chain
from credentials.jws import parse_jws
from credentials.sdjwt import parse
from credentials.status import StatusCheck
from credentials.verify import verify_credential
from federation.consents import ConsentIssuer
from tests.broker.flow_world import DAY, PUBLIC_URL, Customer, World, world
from wallet_adapters.loopback.errors import PeerRefused


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path) as made:
        yield made


@pytest.fixture
def li(broker: World) -> Customer:
    return broker.customer("crm-1")


def _credential(broker: World, request: dict[str, Any]) -> str:
    consent_id = request["consents"][0]["id"]
    text: str = broker.api("GET", f"/v1/consents/{consent_id}/credential").text
    return text


def _bundle(broker: World, consent_id: str) -> bytes:
    broker.advance(2)
    data: bytes = broker.api("GET", f"/v1/consents/{consent_id}/evidence", broker.officer).content
    return data


def _note(broker: World) -> str:
    broker.advance(2)
    with broker.ctx.db.reading() as tx:
        latest = log_tree.latest_checkpoint(tx)
    assert latest is not None
    return latest.note


def test_a_new_issuer_key_signs_and_the_older_ones_credentials_stand(
    broker: World, li: Customer
) -> None:
    first = li.grant("base")
    older = _credential(broker, first)
    made = key_rotation.rotate(broker.ctx, "issuer", "demo")
    assert made.state == "active"
    assert broker.ctx.keys.issuer("demo").kid == made.id
    newer = _credential(broker, li.grant("base"))
    assert parse_jws(parse(older).issuer_jwt, typ="dc+sd-jwt").header["x5c"] != list(
        broker.ctx.keys.issuer("demo").x5c
    )
    for credential in (older, newer):
        verify_credential(
            credential,
            anchors=broker.ctx.keys.anchors(),
            now=broker.time[0],
            status=StatusCheck.BY_CALLER,
        )
    published = broker.http.get("/.well-known/jwt-vc-issuer").json()["jwks"]["keys"]
    assert published[0]["kid"] == made.id
    assert len(published) == 2
    document = broker.http.get("/.well-known/did.json").json()
    assert len(document["verificationMethod"]) == 2
    assert broker.evidence(first["consents"][0]["id"]).verdict == "verified"
    (entry,) = broker.logged("key.rotated")
    assert entry.body == {"purpose": "issuer", "key": made.id}
    with pytest.raises(NotFound):
        key_rotation.rotate(broker.ctx, "issuer", "nobody")


def test_another_process_follows_and_asks_the_database_only_for_the_count(broker: World) -> None:
    other = KeyRing(broker.ctx.db, broker.ctx.master, broker.ctx.now, PUBLIC_URL)
    before = other.issuer("demo")
    other.refresh()
    made = key_rotation.rotate(broker.ctx, "issuer", "demo")
    assert other.issuer("demo").kid == before.kid
    other.refresh()
    assert other.issuer("demo").kid == made.id


def test_a_list_is_not_signed_by_a_key_that_was_marked_elsewhere(
    broker: World, li: Customer
) -> None:
    """A worker that has not heard of it yet, asked in the very second."""
    claims = parse_jws(parse(_credential(broker, li.grant("base"))).issuer_jwt, typ="dc+sd-jwt")
    uri = orjson.loads(claims.payload)["status"]["status_list"]["uri"]
    keys = KeyRing(broker.ctx.db, broker.ctx.master, broker.ctx.now, PUBLIC_URL)
    other = replace(broker.ctx, keys=keys, published=PublishedLists())
    stolen = other.keys.issuer("demo")
    other.keys.refresh()
    key_rotation.compromise(broker.ctx, stolen.kid, broker.time[0])
    broker.advance(1)
    token = published(other, "demo", uri.rsplit("/", 1)[1]).token.decode()
    assert parse_jws(token, typ="statuslist+jwt").header["x5c"] == list(
        broker.ctx.keys.issuer("demo").x5c
    )


def test_a_request_that_is_open_is_served_by_the_key_it_names(broker: World, li: Customer) -> None:
    request = broker.ask("crm-1")
    made = key_rotation.rotate(broker.ctx, "request", "demo")
    li.sign(request["wallet_link"], "consent_base")
    assert broker.states(request)[0] == "granted"
    report = broker.evidence(request["consents"][0]["id"])
    assert report.verdict == "verified", report.failure
    # A stolen one closes what is open under it; asked again, the customer signs.
    open_one = broker.ask("crm-1")
    done = key_rotation.compromise(broker.ctx, made.id, broker.time[0])
    assert done.requests == 1
    with pytest.raises(PeerRefused):
        li.sign(open_one["wallet_link"], "consent_base")
    assert broker.states(li.grant("base"))[0] == "granted"
    report = verify_evidence(_bundle(broker, request["consents"][0]["id"]), trust(broker.ctx))
    assert report.verdict == "verified", report.failure


def test_the_old_log_key_cosigns_until_readers_have_the_new_one(
    broker: World, li: Customer, tmp_path: Path
) -> None:
    request = li.grant("base")
    consent_id = request["consents"][0]["id"]
    old_trust, old_bundle = trust(broker.ctx), _bundle(broker, consent_id)
    key_rotation.rotate(broker.ctx, "log", "demo", overlap_days=30)
    # Both sign: old and new trust files read it.
    overlapping = _note(broker)
    assert len(parse_note(overlapping).signatures) == 2
    during = trust(broker.ctx)
    assert (during.to_json()["schema"], len(during.logs)) == (SCHEMA, 2)
    bundle = _bundle(broker, consent_id)
    for anchors in (old_trust, during):
        assert verify_evidence(bundle, anchors).verdict == "verified"
    # It is over: the new one alone, and an old trust file is told why.
    broker.advance(31 * DAY)
    li.world.ask("crm-1")
    alone = _note(broker)
    assert len(parse_note(alone).signatures) == 1
    after = trust(broker.ctx)
    assert after.to_json()["schema"] == ROTATED_SCHEMA
    (retired,) = after.retired_logs
    size = open_checkpoint_of(alone, after.verifiers()).size
    assert 0 < retired.until_size < size
    late = _bundle(broker, consent_id)
    failed = verify_evidence(late, old_trust).failure
    assert failed is not None
    assert "the log's key was rotated" in failed.found
    assert "newest trust file" in failed.found
    for data in (old_bundle, bundle, late):
        report = verify_evidence(data, after)
        assert report.verdict == "verified", report.failure
    again = Trust.from_json(after.to_json())
    assert again == after
    restarted = Sequencer(
        broker.ctx.db, broker.ctx.keys.log, broker.ctx.settings, lambda: broker.time[0]
    )
    restarted.check()
    assert broker.evidence(consent_id).verdict == "verified"


def test_what_an_old_log_key_signs_is_bounded_while_the_log_is_quiet(broker: World) -> None:
    note = _note(broker)
    key_rotation.rotate(broker.ctx, "log", "demo", overlap_days=1)
    newest = _note(broker)
    assert trust(broker.ctx).retired_logs == ()
    broker.time[0] += 2 * DAY
    # Nothing has happened since, so that nobody has noted how far it went.
    told = trust(broker.ctx)
    (retired,) = told.retired_logs
    assert len(told.logs) == 1
    assert retired.until_size == open_checkpoint_of(newest, told.verifiers()).size
    assert open_checkpoint_of(note, told.verifiers()).size < retired.until_size
    broker.advance(2)
    assert trust(broker.ctx).retired_logs == (retired,)


def test_a_broker_starts_from_a_head_that_the_old_key_signed(broker: World) -> None:
    broker.advance(2)
    key_rotation.rotate(broker.ctx, "log", "demo", overlap_days=0)
    restarted = Sequencer(
        broker.ctx.db, broker.ctx.keys.log, broker.ctx.settings, lambda: broker.time[0]
    )
    restarted.check()
    assert len(parse_note(_note(broker)).signatures) == 1


def test_a_retired_log_key_cannot_vouch_for_a_larger_tree(broker: World) -> None:
    broker.advance(2)
    key_rotation.rotate(broker.ctx, "log", "demo", overlap_days=1)
    note = _note(broker)
    newest = trust(broker.ctx)
    first = newest.logs[1]
    size = open_checkpoint_of(note, newest.verifiers()).size
    value = newest.to_json() | {
        "schema": ROTATED_SCHEMA,
        "logs": [newest.logs[0].encode()],
        "retired_logs": [{"key": first.encode(), "until_size": size - 1}],
        "compromised": [],
    }
    lines = note.splitlines(keepends=True)
    by_the_old_one = "".join([*lines[:4], lines[5]])
    with pytest.raises(UnverifiedNote, match="retired at"):
        open_checkpoint_of(by_the_old_one, Trust.from_json(value).verifiers())
    value["retired_logs"][0]["until_size"] = size
    assert open_checkpoint_of(by_the_old_one, Trust.from_json(value).verifiers()).size == size


def test_a_stolen_log_key_is_trusted_no_more(broker: World, li: Customer) -> None:
    consent_id = li.grant("base")["consents"][0]["id"]
    old = _bundle(broker, consent_id)
    stolen = next(k for k in key_rotation.every_key(broker.ctx) if k["purpose"] == "log")
    key_rotation.compromise(broker.ctx, stolen["id"], broker.time[0] - 5)
    new = _bundle(broker, consent_id)
    anchors = trust(broker.ctx)
    assert verify_evidence(new, anchors).verdict == "verified"
    assert verify_evidence(old, anchors).verdict == "failed"


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "urn:consent-broker:trust:3"},
        {"retired_logs": None},
        {"retired_logs": [{"key": "x", "until_size": 1}]},
        {"compromised": [{"certificate_sha256": "AB", "since": 1, "log_size": 1}]},
        {"compromised": [{"certificate_sha256": "a" * 64, "since": True, "log_size": 1}]},
        {"compromised": [{"certificate_sha256": "a" * 64, "since": 1}]},
        {"compromised": [{"certificate_sha256": "a" * 64, "since": 1, "log_size": 1, "key": "k"}]},
        {"compromised": ["a"]},
    ],
)
def test_a_trust_file_that_says_something_else_is_refused(
    broker: World, change: dict[str, Any]
) -> None:
    value = trust(broker.ctx).to_json() | {
        "schema": ROTATED_SCHEMA,
        "retired_logs": [],
        "compromised": [],
    }
    Trust.from_json(value)
    with pytest.raises(InvalidTrust):
        Trust.from_json(value | change)


def test_a_credential_of_a_stolen_key_counts_only_if_the_broker_issued_it_before(
    broker: World, li: Customer
) -> None:
    broker.advance(100)
    wang = broker.customer("crm-2")
    stolen = broker.ctx.keys.issuer("demo")
    done = key_rotation.compromise(broker.ctx, stolen.kid, broker.time[0] - 50)
    assert done.replaced_by == broker.ctx.keys.issuer("demo").kid != stolen.kid
    assert done.wallets == 4
    assert broker.states(li.grant("base"))[0] == "granted"
    with pytest.raises(PeerRefused):
        wang.grant("base")
    (refused,) = broker.logged("presentation.rejected")
    assert refused.body["code"] == "issuer_key_compromised"
    assert stolen.kid not in broker.http.get("/.well-known/jwt-vc-issuer").text
    # Another worker learns of it by the same count.
    other = KeyRing(broker.ctx.db, broker.ctx.master, broker.ctx.now, PUBLIC_URL)
    other.refresh()
    assert other.compromised_since(stolen.leaf) == broker.time[0] - 50


def test_a_second_certificate_of_a_stolen_key_is_stolen_too(broker: World) -> None:
    """Of an ECDSA signature anybody makes another that holds, and so of a certificate."""
    (leaf, *_) = (base64.b64decode(one) for one in broker.ctx.keys.issuer("demo").x5c)
    stolen = next(k for k in key_rotation.every_key(broker.ctx) if k["purpose"] == "issuer")
    since = broker.time[0] - 5
    key_rotation.compromise(broker.ctx, stolen["id"], since)
    twin = twisted(leaf)
    told = trust(broker.ctx)
    chain = verify_chain([base64.b64encode(twin).decode()], told.roots, broker.time[0])
    assert chain.leaf == twin != leaf
    assert broker.ctx.keys.compromised_since(twin) == since
    assert any(one.is_of(twin) for one in Trust.from_json(told.to_json()).compromised)
    assert ConsentIssuer.of_trust(told.to_json(), "https://broker.example").refuses(chain)


def twisted(certificate: bytes) -> bytes:
    """The certificate with `n - s` for the `s` of its signature (P-256, SHA-256)."""
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    read = x509.load_der_x509_certificate(certificate)
    r, s = decode_dss_signature(read.signature)
    signature = bytes([0]) + encode_dss_signature(r, order - s)
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    body = read.tbs_certificate_bytes + algorithm + bytes([3, len(signature)]) + signature
    return bytes([0x30, 0x82]) + len(body).to_bytes(2) + body
