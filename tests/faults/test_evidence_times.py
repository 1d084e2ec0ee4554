"""Evidence carries others' timestamps: they verify by the trust file, and nothing else does."""

import time as clocks
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from broker.domain.bundle import pack, unpack
from broker.domain.evidence import MANIFEST_TYPE, Report, file_hash, verify_evidence
from broker.domain.trust import Trust
from broker.store import checkpoint_times
from broker.usecases.independent_time import IndependentTime
from broker.usecases.trust import trust
from credentials.jcs import canonical
from credentials.json_reader import read_json_object
from credentials.jws import parse_jws, sign_jws
from tests.broker import flow_world
from tests.broker.flow_world import World, world
from tests.faults.asking import timestamps
from tests.faults.hostile import serving
from tests.faults.timestamping import Authority


@pytest.fixture(scope="module")
def stamped(
    tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[tuple[World, bytes]]:
    """A broker whose log is timestamped after each act, and the evidence of a withdrawn consent."""
    home = tmp_path_factory.mktemp("evidence")
    with (
        world(home, timestamp_roots=(authority.root,)) as broker,
        serving(authority.serve()) as server,
    ):
        source = replace(timestamps(server, authority), seconds=0)
        time = IndependentTime(broker.ctx.db, lambda: 0, [source])

        def stamp() -> None:
            broker.advance(2)
            time.run_once(broker.time[0])

        customer = broker.customer()
        stamp()
        consent = customer.grant("base")["consents"][0]["id"]
        stamp()
        broker.decide(customer.subject_ref)
        stamp()
        assert broker.withdrawal(consent, broker.officer).status_code == 200
        stamp()
        broker.advance(2)
        yield broker, evidence(broker, consent)


def evidence(broker: World, consent: str) -> bytes:
    answer = broker.api("GET", f"/v1/consents/{consent}/evidence", broker.officer)
    assert answer.status_code == 200, answer.text
    data: bytes = answer.content
    return data


def time_check(report: Report) -> str:
    assert report.failure is None, report.failure
    return next(check.found for check in report.checks if check.code == "time")


def again(broker: World, data: bytes, **changes: bytes | None) -> bytes:
    """The bundle with other files, signed anew by the broker itself."""
    files = unpack(data)
    manifest = read_json_object(
        parse_jws(files.pop("manifest.jws").decode(), typ=MANIFEST_TYPE).payload,
        max_bytes=1_000_000,
    )
    for name, content in changes.items():
        if content is None:
            del files[name]
        else:
            files[name] = content
    manifest["files"] = {name: file_hash(content) for name, content in files.items()}
    key = broker.ctx.keys.issuer("demo")
    header = {"typ": MANIFEST_TYPE, "x5c": list(key.x5c)}
    files["manifest.jws"] = sign_jws(key.signer, header, canonical(manifest)).encode()
    return pack(files)


def names_of(data: bytes, suffix: str) -> list[str]:
    return sorted(name for name in unpack(data) if name.endswith(suffix))


def test_the_report_says_by_when_the_grant_was_in_the_log(stamped: tuple[World, bytes]) -> None:
    broker, data = stamped
    report = verify_evidence(data, trust(broker.ctx))
    assert report.verdict == "verified"
    assert time_check(report).startswith("the grant was in the log by 20")
    assert time_check(report).endswith("says CN=Local Time")


def test_openssl_verifies_the_tokens_over_the_checkpoints_texts(
    stamped: tuple[World, bytes], authority: Authority
) -> None:
    files = unpack(stamped[1])
    tokens = names_of(stamped[1], ".tsr")
    assert len(tokens) >= 2
    for name in tokens:
        beside = files[name.removesuffix("tsr") + "checkpoint"]
        proof, _, note = beside.rpartition(b"\n\n")[0].rpartition(b"\n\n")
        text = (note if proof else note.removeprefix(b"\n")) + b"\n"
        assert authority.accepts(files[name], text)


def test_without_a_trusted_authority_the_times_are_not_judged(
    stamped: tuple[World, bytes],
) -> None:
    broker, data = stamped
    without = replace(trust(broker.ctx), timestamps=())
    assert Trust.from_json(without.to_json()) == without
    report = verify_evidence(data, without)
    assert report.verdict == "verified"
    assert "not judged" in time_check(report)
    assert verify_evidence(data, None).verdict == "consistent_origin_not_established"


def test_another_authority_is_not_believed(stamped: tuple[World, bytes], tmp_path: Path) -> None:
    broker, data = stamped
    other = Authority(tmp_path / "other")
    report = verify_evidence(data, replace(trust(broker.ctx), timestamps=(other.root,)))
    assert report.verdict == "failed"
    assert report.failure is not None
    assert report.failure.code == "time"


def test_a_broker_that_lies_about_times_does_not_get_a_verified_bundle(
    stamped: tuple[World, bytes],
) -> None:
    broker, data = stamped
    files = unpack(data)
    first, *_, last = names_of(data, ".tsr")
    earlier, later = (name.removesuffix("tsr") + "checkpoint" for name in (first, last))
    lies: list[dict[str, bytes | None]] = [
        {first: files[last]},  # a token of another checkpoint
        {first: b"\x30\x00"},
        {first: None},  # a checkpoint without its token
        {earlier: None},
        {earlier: files[later]},  # another size than its name says
        {earlier: files[earlier].replace(b"\n", b"\n\n", 1)},
        {earlier: b"\n" + files["log/checkpoint.txt"]},
        {earlier: files[earlier] + b"\n"},
        {earlier: b"AAAA\n" + files[earlier]},
        {earlier: b"\xff"},
        {earlier: b""},
        {"log/time/1.tsr": files[first]},
    ]
    assert verify_evidence(again(broker, data), trust(broker.ctx)).verdict == "verified"
    for lie in lies:
        report = verify_evidence(again(broker, data, **lie), trust(broker.ctx))
        assert report.verdict == "failed", lie
        assert report.failure is not None
        assert report.failure.code in {"time", "bundle"}


def test_an_act_that_is_dated_after_its_timestamp_fails(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    month = 30 * 86_400
    monkeypatch.setattr(flow_world, "START", int(clocks.time()) + month)
    with (
        world(tmp_path / "fast", timestamp_roots=(authority.root,)) as broker,
        serving(authority.serve()) as server,
    ):
        customer = broker.customer()
        consent = customer.grant("base")["consents"][0]["id"]
        broker.advance(2)
        source = timestamps(server, authority)
        IndependentTime(broker.ctx.db, lambda: 0, [source]).run_once(broker.time[0])
        broker.advance(2)
        report = verify_evidence(evidence(broker, consent), trust(broker.ctx))
    assert report.failure is not None
    assert (report.failure.code, "dated later" in report.failure.found) == ("time", True)


def test_a_bundle_without_timestamps_is_as_it_was(tmp_path: Path) -> None:
    with world(tmp_path / "plain") as broker:
        consent = broker.customer().grant("base")["consents"][0]["id"]
        report = broker.evidence(consent)
        with broker.ctx.db.reading() as tx:
            assert checkpoint_times.first_covering(tx, 0, "rfc3161") is None
    assert report.verdict == "verified"
    assert "time" not in [check.code for check in report.checks]
