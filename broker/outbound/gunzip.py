"""What a stranger compressed, unpacked no further than is asked for."""

import zlib
from collections.abc import AsyncIterator

from broker.domain.errors import FetchFailed, FetchRefused

_GZIP = 16 + zlib.MAX_WBITS


async def gunzip(host: str, raw: AsyncIterator[bytes], most: int) -> AsyncIterator[bytes]:
    """The content of one gzip member, in pieces of at most `most` + 1 bytes.

    The consumer stops at its limit, so a bomb is never unpacked further than one piece.
    """
    unpack = zlib.decompressobj(_GZIP)
    try:
        async for part in raw:
            waiting = part
            while waiting:
                if unpack.eof:
                    raise FetchRefused("encoding", f"{host} sent bytes after its gzip content")
                yield unpack.decompress(waiting, most + 1)
                waiting = unpack.unconsumed_tail or unpack.unused_data
    except zlib.error:
        raise FetchRefused("encoding", f"{host} did not send the gzip content it said") from None
    if not unpack.eof:
        raise FetchFailed("encoding", f"{host} ended inside its gzip content")
