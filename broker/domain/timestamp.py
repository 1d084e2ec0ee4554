"""RFC 3161 timestamps: somebody else's word that a text existed at a time.

The broker signs its own log and could backdate it. A timestamp on a checkpoint's text is signed by
an authority with a clock and a key of its own; it says that the whole log below that checkpoint
was there no later than the time in it. The file form (`.tsr`) is the DER TimeStampResp, which
`openssl ts -verify` reads too.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography import x509
from rfc3161_client import (
    HashAlgorithm,
    TimestampRequestBuilder,
    TimeStampResponse,
    VerificationError,
    VerifierBuilder,
    decode_timestamp_response,
)

from broker.domain.errors import TimeStampInvalid

QUERY_TYPE = "application/timestamp-query"
REPLY_TYPE = "application/timestamp-reply"
LARGEST_TOKEN = 65_536

_SHA256 = x509.ObjectIdentifier("2.16.840.1.101.3.4.2.1")


@dataclass(frozen=True)
class TimeStampRequest:
    """What is sent to an authority (DER), and the random number that its answer must repeat."""

    der: bytes
    nonce: int


@dataclass(frozen=True)
class TimeStamp:
    """A verified timestamp: Unix seconds (rounded down), and the subject of who signed it."""

    time: int
    authority: str


def timestamp_request(text: bytes) -> TimeStampRequest:
    """Ask for a timestamp over SHA-256 of `text`, with nonce and certificates (section 2.4.1).

    Raises `TimeStampInvalid` for an empty text.
    """
    try:
        request = (
            TimestampRequestBuilder()
            .data(text)
            .hash_algorithm(HashAlgorithm.SHA256)
            .cert_request(cert_request=True)
            .nonce(nonce=True)
            .build()
        )
    except ValueError as error:
        raise TimeStampInvalid(f"nothing to timestamp: {error}") from None
    if request.nonce is None:
        raise TimeStampInvalid("the request was built without a nonce")
    return TimeStampRequest(request.as_bytes(), request.nonce)


def verify_timestamp(
    token: bytes, text: bytes, *, roots: Sequence[bytes], nonce: int | None = None
) -> TimeStamp:
    """Verify a TimeStampResp over `text` and give its time.

    1. It decodes, and the authority has granted it (section 2.4.2).
    2. Its hash is SHA-256 of `text`.
    3. Its signature is by one certificate that leads to one of `roots` (DER), valid at its time.
    4. That certificate is for timestamps alone, by a critical extended key usage (section 2.3).
    5. It repeats `nonce`, when given: right after asking. Kept tokens are checked without.

    Raises `TimeStampInvalid`.
    """
    # 1.
    response = _decode(token)
    try:
        # 2.
        imprint = response.tst_info.message_imprint
        if (imprint.hash_algorithm, imprint.message) != (_SHA256, hashlib.sha256(text).digest()):
            raise TimeStampInvalid("the timestamp is of another text")
        # 3. to 5.
        verifier = VerifierBuilder(
            roots=[x509.load_der_x509_certificate(root) for root in roots], nonce=nonce
        ).build()
        verifier.verify_message(response, text)
        return TimeStamp(
            int(response.tst_info.gen_time.timestamp()),
            _signer(response).subject.rfc4514_string(),
        )
    except (VerificationError, ValueError) as error:
        reason = str(error).partition(": ErrorStack")[0]
        raise TimeStampInvalid(f"the timestamp does not verify: {reason}") from None


def _decode(token: bytes) -> TimeStampResponse:
    if len(token) > LARGEST_TOKEN:
        raise TimeStampInvalid(f"a timestamp has at most {LARGEST_TOKEN} bytes")
    try:
        response = decode_timestamp_response(token)
        # An answer that is not granted has no token, and says so only when asked for it.
        if response.status != 0:
            raise TimeStampInvalid(f"the authority refused (status {response.status})")
        _ = response.tst_info, response.signed_data
    except ValueError:
        raise TimeStampInvalid("not a TimeStampResp with a timestamp token") from None
    return response


def _signer(response: TimeStampResponse) -> x509.Certificate:
    """The certificate that the one SignerInfo names. Raises `TimeStampInvalid`."""
    signers = list(response.signed_data.signer_infos)
    for der in response.signed_data.certificates:
        certificate = x509.load_der_x509_certificate(der)
        for signer in signers:
            if (certificate.issuer, certificate.serial_number) == (
                signer.issuer,
                signer.serial_number,
            ):
                return certificate
    raise TimeStampInvalid("the timestamp does not hold its signer's certificate")
