"""Evidence of a real broker: it verifies offline, and nothing else does."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.cli.journey import Kept
from broker.domain.bundle import pack, unpack
from broker.domain.evidence import MANIFEST_TYPE, file_hash, verify_evidence
from broker.domain.trust import Trust
from credentials.jcs import canonical
from credentials.jws import parse_jws
from credentials.keys import SoftwareKey, sign_jws
from dev.running import Broker, running_broker
from tests.broker.journeys import client, whole_way
from tests.faults.lengths import short_or_long

EVERY_CHECK = [
    "bundle",
    "manifest",
    "terms",
    "request_objects",
    "signatures",
    "credentials",
    "log",
    "story",
]
POSITIONS = 1_500
POSITIONS_LONG = short_or_long(6_000, 1_000_000)


Made = tuple[bytes, Trust, Kept]


@pytest.fixture(scope="module")
def made(broker_server: Broker) -> Made:
    steps, kept, trust = whole_way(broker_server)
    assert {"evidence", "tampered"} <= set(steps)
    return kept.evidence, trust, kept


@pytest.fixture(scope="module")
def forged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[bytes]:
    """A complete bundle of a broker with a CA and a log of its own."""
    with running_broker(tmp_path_factory.mktemp("forger")) as broker:
        yield whole_way(broker)[1].evidence


def test_with_trust_it_verifies_and_names_each_thing(made: Made) -> None:
    data, trust, _kept = made
    report = verify_evidence(data, trust)
    assert report.verdict == "verified"
    assert [check.code for check in report.checks] == EVERY_CHECK
    assert "withdrawn" in report.checks[-1].found


def test_without_trust_it_is_consistent_and_no_more(made: Made) -> None:
    report = verify_evidence(made[0], None)
    assert report.verdict == "consistent_origin_not_established"


def test_a_complete_forgery_under_another_ca_fails(made: Made, forged: bytes) -> None:
    assert verify_evidence(forged, None).verdict == "consistent_origin_not_established"
    report = verify_evidence(forged, made[1])
    assert report.verdict == "failed"
    assert report.failure is not None
    assert report.failure.code == "manifest"


def _flips(data: bytes, count: int) -> Iterator[bytes]:
    chooser = random.Random(7)
    for at in sorted(chooser.sample(range(len(data)), min(count, len(data)))):
        changed = bytearray(data)
        changed[at] ^= 1 << chooser.randrange(8)
        yield bytes(changed)


def test_one_changed_bit_anywhere_fails_and_says_what(made: Made) -> None:
    data, trust, _kept = made
    for changed in _flips(data, POSITIONS):
        report = verify_evidence(changed, trust)
        assert report.failure is not None
        assert report.failure.found


@pytest.mark.slow
def test_one_changed_bit_in_every_byte(made: Made) -> None:
    """In its long form; in the short one at thousands of places all over the bundle."""
    data, trust, _kept = made
    for changed in _flips(data, POSITIONS_LONG):
        assert verify_evidence(changed, trust).verdict == "failed"


@pytest.mark.parametrize("cut", [0, 1, 100, -1, -22])
def test_a_truncated_or_extended_bundle_fails(made: Made, cut: int) -> None:
    data, trust, _kept = made
    for changed in (data[:cut], data + b"\x00", b"\x00" + data):
        assert verify_evidence(changed, trust).verdict == "failed"


def test_a_repacked_file_is_named(made: Made) -> None:
    data, trust, _kept = made
    for name in unpack(data):
        files = unpack(data)
        files[name] += b" "
        report = verify_evidence(pack(files), trust)
        assert report.failure is not None, name
        assert name in report.failure.found or name == "manifest.jws"


def test_a_missing_or_added_file_is_named(made: Made) -> None:
    data, trust, _kept = made
    files = unpack(data)
    del files["grant/presentation.txt"]
    report = verify_evidence(pack(files), trust)
    assert report.failure is not None
    assert "grant/presentation.txt" in report.failure.found
    report = verify_evidence(pack({**unpack(data), "extra.txt": b"x"}), trust)
    assert report.failure is not None
    assert "extra.txt" in report.failure.found


def test_a_manifest_signed_anew_by_a_stranger_fails(made: Made) -> None:
    data, trust, _kept = made
    files = unpack(data)
    jws = parse_jws(files["manifest.jws"].decode(), typ=MANIFEST_TYPE, max_characters=10**7)
    files["terms.json"] = files["terms.json"].replace(b"churn-v3", b"churn-v4")
    manifest = json.loads(jws.payload)
    manifest["files"]["terms.json"] = file_hash(files["terms.json"])
    header = {"typ": MANIFEST_TYPE, "x5c": jws.header["x5c"]}
    stranger = SoftwareKey.generate("ES256")
    files["manifest.jws"] = sign_jws(stranger, header, canonical(manifest)).encode()
    report = verify_evidence(pack(files), trust)
    assert report.failure is not None
    assert report.failure.code == "manifest"


def test_the_partners_copy_holds_hashes_instead_of_signatures(
    made: Made, broker_server: Broker
) -> None:
    _data, trust, kept = made
    with client(broker_server, "partner") as partner:
        copy = partner.get(f"/v1/consents/{kept.consents[0]}/evidence").content
    names = set(unpack(copy))
    assert not any(name.startswith(("grant/", "withdrawal/")) for name in names)
    assert "credential/receipt.txt" not in names
    assert verify_evidence(copy, trust).verdict == "verified"


def test_the_command_line_says_it_with_its_exit_code(
    made: Made, broker_server: Broker, tmp_path: Path
) -> None:
    data, trust, _kept = made
    bundle, trusted = tmp_path / "evidence.zip", tmp_path / "trust.json"
    bundle.write_bytes(data)
    trusted.write_text(json.dumps(trust.to_json()))
    verify = ("evidence", "verify", str(bundle))
    assert broker_server.run(*verify, "--trust", str(trusted)).returncode == 0
    assert broker_server.run(*verify).returncode == 3
    said = json.loads(broker_server.run(*verify, "--trust", str(trusted), "--json").stdout)
    assert said["verdict"] == "verified"
    bundle.write_bytes(data[:-1])
    assert broker_server.run(*verify, "--trust", str(trusted)).returncode == 1
    assert broker_server.run("evidence", "verify", str(tmp_path / "none.zip")).returncode == 2
