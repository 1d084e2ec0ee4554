"""What whoever checks this broker's evidence is to trust: the content of the trust file."""

import hashlib

from broker.domain.trust import CompromisedKey, RetiredLogKey, Trust
from broker.store import keys, log_tree
from broker.usecases.context import Context
from broker.usecases.key_making import CERTIFIED, leaf_of
from credentials.certificate import key_of


def trust(ctx: Context) -> Trust:
    """What a verifier is to trust: the broker's roots and log keys, the authorities of its times.

    A log key that was stolen is left out: what it signed, the log signs again under the newer one.
    """
    origin = ctx.log.origin
    logs = [key for key in ctx.log.known_keys() if not key.compromised]
    with ctx.db.reading() as tx:
        latest = log_tree.latest_checkpoint(tx)
        stolen = [row for row in keys.compromised(tx) if row.purpose in CERTIFIED]
    published = 0 if latest is None else latest.size
    until = [(key.named(origin), key.counts_until(ctx.now(), published)) for key in logs]
    return Trust(
        roots=tuple(ctx.keys.anchors()),
        logs=tuple(key for key, size in until if size is None),
        timestamps=ctx.settings.timestamp_roots,
        retired_logs=tuple(RetiredLogKey(key, size) for key, size in until if size is not None),
        compromised=tuple(
            CompromisedKey(
                hashlib.sha256(leaf_of(row)).hexdigest(),
                row.compromised_since or 0,
                row.log_size or 0,
                key_of(leaf_of(row)),
            )
            for row in stolen
        ),
    )
