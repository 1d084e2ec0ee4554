"""RFC 3161 tokens of a real authority verify, and nothing else does."""

import random
from pathlib import Path

import pytest

from broker.domain.errors import TimeStampInvalid
from broker.domain.timestamp import timestamp_request, verify_timestamp
from tests.faults.timestamping import Authority

TEXT = b"log.example/broker/log\n42\nq83v\n"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("time") / "authority")


def test_a_real_timestamp_verifies_here_and_by_openssl(authority: Authority) -> None:
    request = timestamp_request(TEXT)
    token = authority.reply(request.der)
    stamp = verify_timestamp(token, TEXT, roots=[authority.root], nonce=request.nonce)
    assert stamp.authority == "CN=Local Time"
    assert authority.accepts(token, TEXT)
    assert not authority.accepts(token, TEXT + b"x")


def test_two_requests_differ_in_their_nonce() -> None:
    assert timestamp_request(TEXT).nonce != timestamp_request(TEXT).nonce
    with pytest.raises(TimeStampInvalid):
        timestamp_request(b"")


def test_a_token_of_another_text_root_or_request_is_refused(
    authority: Authority, tmp_path: Path
) -> None:
    request = timestamp_request(TEXT)
    token = authority.reply(request.der)
    other = Authority(tmp_path / "other")
    with pytest.raises(TimeStampInvalid, match="another text"):
        verify_timestamp(token, TEXT + b"x", roots=[authority.root])
    with pytest.raises(TimeStampInvalid, match="does not verify"):
        verify_timestamp(token, TEXT, roots=[other.root])
    with pytest.raises(TimeStampInvalid, match="root"):
        verify_timestamp(token, TEXT, roots=[])
    with pytest.raises(TimeStampInvalid, match="Nonce"):
        verify_timestamp(token, TEXT, roots=[authority.root], nonce=request.nonce + 1)
    both = verify_timestamp(token, TEXT, roots=[other.root, authority.root])
    assert both.authority == "CN=Local Time"


@pytest.mark.parametrize(
    "use", ["critical,timeStamping,codeSigning", "timeStamping", "critical,serverAuth"]
)
def test_a_certificate_that_is_not_for_timestamps_alone_is_refused(
    authority: Authority, tmp_path: Path, use: str
) -> None:
    # OpenSSL's authority would not sign with such a certificate: its message syntax does.
    info = authority.content(authority.reply(timestamp_request(TEXT).der))
    verify_timestamp(authority.signed(info), TEXT, roots=[authority.root])
    other = Authority(tmp_path / "other", use=use)
    with pytest.raises(TimeStampInvalid, match="does not verify"):
        verify_timestamp(other.signed(info), TEXT, roots=[other.root])


def test_a_refusal_is_not_a_timestamp(authority: Authority) -> None:
    refusal = authority.reply(b"not a request")
    with pytest.raises(TimeStampInvalid):
        verify_timestamp(refusal, TEXT, roots=[authority.root])


def test_changed_and_arbitrary_bytes_raise_one_error(authority: Authority) -> None:
    token = authority.reply(timestamp_request(TEXT).der)
    chooser = random.Random(11)
    kept = verify_timestamp(token, TEXT, roots=[authority.root])
    refused = 0
    for _ in range(2_000):
        changed = bytearray(token)
        for _ in range(chooser.choice((1, 1, 1, 4))):
            changed[chooser.randrange(len(changed))] ^= 1 << chooser.randrange(8)
        data = bytes(changed[: chooser.choice((len(changed), chooser.randrange(len(changed))))])
        try:
            assert verify_timestamp(data, TEXT, roots=[authority.root]) == kept
        except TimeStampInvalid:
            refused += 1
    assert refused > 1_900
    for data in (b"", b"\x30", b"\x30\x80" * 5_000, chooser.randbytes(70_000), bytes(100)):
        with pytest.raises(TimeStampInvalid):
            verify_timestamp(data, TEXT, roots=[authority.root])
