"""Load of acts that count: withdrawals, decisions and new requests, with what was acknowledged."""

import contextlib
import http.client
import itertools
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from tests.faults.serving import Answer, Caller, Deployment, asked, fresh_key

PAUSE = 0.02
DECIDERS = 2


class Load:
    """Threads that act on a deployment's first server until `stop`.

    What a client heard of is in `withdrawn`, `permitted`, `decided`, `opened` and `checkpoints`;
    of what it did not hear, it knows nothing. A server that is gone is waited for. `unexpected`
    are answers that nobody should get.
    """

    def __init__(self, at: Deployment, name: str, consents: int) -> None:
        self._at = at
        self._subjects = [f"{name}-{number}" for number in range(consents)]
        self._consents = [at.granted(subject_ref) for subject_ref in self._subjects]
        self._name = name
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self.withdrawn: list[str] = []
        self.decided: list[str] = []
        self.opened: dict[str, str] = {}
        self.checkpoints: set[str] = set()
        self.unexpected: list[Answer] = []
        self.failed = 0

    @property
    def acknowledged(self) -> int:
        """How many acts were."""
        return len(self.withdrawn) + len(self.decided) + len(self.opened)

    @contextlib.contextmanager
    def running(self) -> Iterator["Load"]:
        """Act within the block, and wait at its end until every thread has stopped."""
        acts: list[Callable[[Caller], None]] = [self._withdraw, self._open]
        acts += [self._decide for _ in range(DECIDERS)]
        roles = ["officer", "partner", *["partner"] * DECIDERS]
        for act, role in zip(acts, roles, strict=True):
            caller = self._at.caller(role)
            self._threads.append(threading.Thread(target=act, args=(caller,)))
        self._threads.append(threading.Thread(target=self._watch))
        for thread in self._threads:
            thread.start()
        try:
            yield self
        finally:
            self._stopping.set()
            for thread in self._threads:
                thread.join()

    def _withdraw(self, officer: Caller) -> None:
        """Each consent once; asked again where no answer came, and then 409 is an answer too."""
        for consent_id in self._consents:
            tried = False
            while not self._stopping.is_set():
                answer = self._post(officer, f"/v1/consents/{consent_id}/withdrawal", {})
                if answer is not None and (
                    answer.status == 200 or (tried and answer.status == 409)
                ):
                    self.withdrawn.append(consent_id)
                    break
                tried = True
            time.sleep(PAUSE)

    def _decide(self, partner: Caller) -> None:
        for subject_ref in itertools.cycle(self._subjects):
            if self._stopping.is_set():
                return
            body = asked(self._at.partner_id, subject_ref)
            answer = self._post(partner, "/access/v1/evaluation", body)
            if answer is not None and answer.status == 200:
                self.decided.append(answer.json["context"]["id"])

    def _open(self, partner: Caller) -> None:
        """Consent requests, each under a key of its own with which it is repeated."""
        for number in itertools.count():
            body = {"subject_ref": f"{self._name}-new-{number}", "template": "loyalty-churn"}
            headers = {"Idempotency-Key": fresh_key()}
            while not self._stopping.is_set():
                answer = self._post(partner, "/v1/consent-requests", body, **headers)
                if answer is not None and answer.status == 201:
                    self.opened[body["subject_ref"]] = answer.json["id"]
                    break
                if answer is not None and answer.status == 409:
                    break  # done before; the answer was lost with the process
            if self._stopping.is_set():
                return
            time.sleep(PAUSE)

    def _watch(self) -> None:
        """Keep the checkpoints that the public has seen."""
        netloc = urlsplit(self._at.servers[0].address).netloc
        while not self._stopping.wait(0.2):
            connection = http.client.HTTPConnection(netloc, timeout=30)
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection.request("GET", "/log/checkpoint")
                answer = connection.getresponse()
                note = answer.read().decode()
                if answer.status == 200:
                    self.checkpoints.add(note)
            connection.close()

    def _post(
        self, caller: Caller, path: str, body: Mapping[str, Any], **headers: str
    ) -> Answer | None:
        try:
            answer = caller.post(path, body, **headers)
        except (OSError, http.client.HTTPException):
            self.failed += 1
            time.sleep(PAUSE)
            return None
        if answer.status >= 500:
            self.failed += 1
            time.sleep(PAUSE)
        elif answer.status not in {200, 201, 409}:
            self.unexpected.append(answer)
        return answer
