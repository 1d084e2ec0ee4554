"""Ask for decisions in tests: a partner with a token, and questions with one thing changed."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from broker.domain.access import Question
from broker.domain.decision import Decision
from broker.usecases.decide import Asking, decide
from tests.broker.builders import PURPOSE, TENANT, Broker, broker, hash_of

SUBJECT_REF = "crm-000184"
QUESTION = Question("read", "home_city", PURPOSE, "churn-v3", "1", "CN", subject_ref=SUBJECT_REF)


@dataclass
class Desk:
    """A broker with one partner that asks."""

    broker: Broker
    partner_id: str
    token: str

    def asking(self, *, key: str | None = None, **question: Any) -> Asking:  # noqa: ANN401
        """The usual question with some fields changed."""
        return Asking(
            TENANT, hash_of(self.token), self.partner_id, replace(QUESTION, **question), key
        )

    async def ask(self, *, key: str | None = None, **question: Any) -> Decision:  # noqa: ANN401
        """Ask, on the running event loop."""
        return await decide(self.broker.ctx, self.asking(key=key, **question))

    def decide(self, *, key: str | None = None, **question: Any) -> Decision:  # noqa: ANN401
        """Ask, and wait for the answer."""
        return asyncio.run(self.ask(key=key, **question))

    def codes(self, **question: Any) -> list[str]:  # noqa: ANN401
        """The codes of a denial, empty for a permit."""
        decision = self.decide(**question)
        assert decision.permit is (not decision.reasons)
        return [reason.code for reason in decision.reasons]

    def consent(self, **more: Any) -> str:  # noqa: ANN401
        """A consent of the usual contact."""
        return self.broker.consent(self.partner_id, SUBJECT_REF, **more)


@contextmanager
def desk(home: Path, database_url: str = "") -> Iterator[Desk]:
    """A broker, whose time stands still, with a partner and its token."""
    with broker(home, database_url) as made:
        partner_id = made.partner("Coffee")
        yield Desk(made, partner_id, made.token(partner_id))
