"""`Idempotency-Key`: a call that is repeated with the same key has its effect once.

The key's row is written in the very transaction of the act: a crash leaves both or neither, and of
many calls at once the database lets one through. The first answer is then kept, sealed, for a day.
"""

import hashlib
import hmac
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Header
from sqlalchemy import Connection

from broker.api.deps import Caller
from broker.domain.errors import (
    IdempotencyConflict,
    IdempotencyInProgress,
    IdempotencyKeyRequired,
    IdempotencyReplayed,
)
from broker.store import idempotency as rows
from broker.store.idempotency import IdempotencyRow, KeyOf, KeyTaken
from broker.usecases.context import Context
from credentials.jcs import b64url

LIFETIME_SECONDS = 86_400
# After its act a call only seals its answer. Where that takes longer, its process has died.
ANSWER_SECONDS = 60
POLL_SECONDS = 0.05
POLLS = 60

DESCRIPTION = """
A value of your own for this act. A retry with it has no second effect and gets the first answer,
for a day. Where it cannot, it is answered with 409 and one of these codes:

- `idempotency_in_progress`: the first call is under way. Repeat after `Retry-After`.
- `idempotency_conflict`: another request had this key. Take a new one.
- `idempotency_replayed`: it was done, and its answer is not there any more, because it held a
  secret, or because the broker was stopped between the act and its answer. Look up what it did;
  where that leads nowhere, ask anew with a new key.
"""

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=200,
        description=DESCRIPTION,
    ),
]


def canonical(body: dict[str, Any]) -> bytes:
    """A JSON body as part of a call's fingerprint: the same bytes in whatever order it came."""
    # Unlike orjson it writes any value that a body can hold, half surrogate pairs too.
    return json.dumps(body, sort_keys=True).encode()


@dataclass(frozen=True)
class Answer:
    """An answer as it goes out: HTTP status and body."""

    status: int
    body: bytes


def run(
    ctx: Context,
    caller: Caller,
    fingerprint: bytes,
    key: str | None,
    work: Callable[[], Answer],
    *,
    required: bool = True,
    store: bool = True,
) -> Answer:
    """Do `work` once for each `Idempotency-Key` of a caller; a retry gets the first answer.

    `fingerprint` is what the request asks for (route and body). `work` acts in this thread and in
    one write transaction, which carries the key: where it fails, the key is free again. With
    `store` False the answer, which holds a secret, is not kept, and a retry is told so.

    Raises `IdempotencyKeyRequired`, `IdempotencyConflict` (another request had this key),
    `IdempotencyInProgress`, `IdempotencyReplayed`, and whatever `work` raises.
    """
    if not key:
        if required:
            raise IdempotencyKeyRequired(
                "send an Idempotency-Key: a value of your own for this act"
            )
        return work()
    call = _Call(
        ctx,
        KeyOf(
            caller.tenant_id,
            caller.client_id,
            _keyed(ctx, b"key\x00" + key.encode("utf-8", "replace")),
        ),
        _keyed(ctx, b"request\x00" + fingerprint),
    )
    before = call.find()
    if before is not None:
        return call.repeated(before)
    try:
        with ctx.db.first(call.take):
            answer = work()
        call.keep(answer, sealed=store)
    except KeyTaken:
        return call.repeated(call.find())
    return answer


@dataclass(frozen=True)
class _Call:
    """One call with a key."""

    ctx: Context
    key: KeyOf
    request_hash: str

    @property
    def _context(self) -> str:
        return f"idempotency:{self.key.tenant_id}:{self.key.client_id}:{self.key.key_hash}"

    def find(self) -> IdempotencyRow | None:
        with self.ctx.db.reading() as tx:
            return rows.find(tx, self.key, self.ctx.now())

    def take(self, tx: Connection) -> None:
        now = self.ctx.now()
        rows.take(
            tx, self.key, request_hash=self.request_hash, expires_at=now + LIFETIME_SECONDS, now=now
        )

    def keep(self, answer: Answer, *, sealed: bool) -> None:
        body = self.ctx.master.seal(answer.body, self._context) if sealed else None
        with self.ctx.db.transaction() as tx:
            if not rows.keep(tx, self.key, status=answer.status, sealed=body):
                # The work wrote nothing, so nothing took the key before.
                self.take(tx)
                rows.keep(tx, self.key, status=answer.status, sealed=body)

    def repeated(self, row: IdempotencyRow | None) -> Answer:
        for _ in range(POLLS):
            if row is None:
                # It expired this second.
                raise IdempotencyInProgress("the same call is under way: repeat it in a moment")
            if row.request_hash != self.request_hash:
                raise IdempotencyConflict(
                    "this Idempotency-Key stands for another request: take a new one"
                )
            if row.status is not None:
                return self._first_answer(row.status, row.sealed)
            if self.ctx.now() - (row.expires_at - LIFETIME_SECONDS) > ANSWER_SECONDS:
                break
            time.sleep(POLL_SECONDS)
            row = self.find()
        else:
            raise IdempotencyInProgress("the same call is under way: repeat it in a moment")
        raise IdempotencyReplayed(
            "this was done before, and its answer was lost with the process that did it: look up "
            "what it did, or ask anew with a new Idempotency-Key"
        )

    def _first_answer(self, status: int, sealed: bytes | None) -> Answer:
        if sealed is None:
            raise IdempotencyReplayed(
                "this was done before; its answer held a secret and was not kept: "
                "if you have lost it, ask anew with a new Idempotency-Key"
            )
        return Answer(status, self.ctx.master.open(sealed, self._context))


def _keyed(ctx: Context, data: bytes) -> str:
    # Keyed: a bare hash of a body could be looked up in a list of contacts.
    return b64url(hmac.digest(ctx.keys.hmac_key("idempotency"), data, hashlib.sha256))
