"""The client of a timestamping authority (RFC 3161 over HTTP, section 3.4)."""

from collections.abc import Sequence
from dataclasses import dataclass

from broker.domain.timestamp import (
    QUERY_TYPE,
    REPLY_TYPE,
    TimeStamp,
    timestamp_request,
    verify_timestamp,
)
from broker.outbound.guarded import GuardedClient


@dataclass(frozen=True)
class TimestampAuthority:
    """Where timestamps are asked for, and the roots (DER) that they are verified by."""

    client: GuardedClient
    url: str
    roots: Sequence[bytes]

    def stamp(self, text: bytes) -> tuple[bytes, TimeStamp]:
        """A timestamp over `text`: the token as answered, and what it says, verified.

        Raises `TimeStampInvalid`, `FetchRefused`, `FetchFailed`.
        """
        request = timestamp_request(text)
        answer = self.client.post(
            self.url, request.der, content_type=QUERY_TYPE, accept=(REPLY_TYPE,)
        )
        stamp = verify_timestamp(answer.body, text, roots=self.roots, nonce=request.nonce)
        return answer.body, stamp
