"""A customer with a consent and a credential, and a partner who asks their wallet for data."""

import secrets
from dataclasses import dataclass
from typing import Any

from httpx2 import Response
from sqlalchemy import func, select

from broker.store.data_requests import ANSWER
from tests.broker.flow_world import PURPOSE, World
from tests.broker.proving import show
from tests.broker.vaults import ATTRIBUTE, Filled
from wallet_adapters.loopback import Wallet, accept_attributes
from zkp import Attribute

KIND: dict[str, Any] = {
    "id": "purchases/1",
    "attributes": [
        Attribute(ATTRIBUTE, "number", 0, 65_535).to_json(),
        Attribute("shoe_size", "number", 0, 255).to_json(),
        {"name": "contact_id", "type": "identifier"},
    ],
}
COUNT = 1_234


def register_kind(made: World) -> None:
    answer = call(made, "/v1/attribute-types", KIND, made.officer)
    assert answer.status_code == 201, answer.text


def call(made: World, path: str, body: dict[str, Any], caller: str | None = None) -> Response:
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    answer: Response = made.api("POST", path, caller, json=body, headers=headers)
    made.advance()
    return answer


@dataclass
class Asked:
    """A customer who has given a consent and holds a credential, and a partner who asks."""

    at: Filled
    wallet: Wallet

    @property
    def made(self) -> World:
        return self.at.world

    def open(self, caller: str | None = None, **changes: Any) -> Response:  # noqa: ANN401 (JSON)
        body = {
            "consent": self.at.consent,
            "schema": KIND["id"],
            "attributes": [ATTRIBUTE],
            "purpose": PURPOSE,
            "territory": "CN",
        }
        return call(self.made, "/v1/data-requests", body | changes, caller)

    def opened(self, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
        answer = self.open(**changes)
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def shown(self, **changes: Any) -> dict[str, Any]:  # noqa: ANN401 (JSON)
        """A request that the wallet has answered."""
        opened = self.opened(**changes)
        show(self.made, self.wallet, opened["wallet_link"])
        return self.follow(opened)

    def follow(self, opened: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self.made.api("GET", f"/v1/data-requests/{opened['id']}").json()
        return found

    def collect(
        self,
        opened: dict[str, Any],
        attribute: str = ATTRIBUTE,
        caller: str | None = None,
        **body: Any,  # noqa: ANN401 (JSON)
    ) -> Response:
        path = f"/v1/data-requests/{opened['id']}/data/{attribute}"
        answer: Response = self.made.api("POST", path, caller, json=body)
        self.made.advance()
        return answer


def holding(made: World, subject_ref: str, count: int = COUNT) -> Wallet:
    """A wallet with a credential that was issued for a contact."""
    claims = {ATTRIBUTE: count, "shoe_size": 42}
    body = {"type": KIND["id"], "claims": claims, "subject_ref": subject_ref}
    offered = call(made, "/v1/attribute-offers", body).json()
    wallet = Wallet(anchors=list(made.ctx.keys.anchors()))
    accept_attributes(
        wallet,
        offered["offer_by_value"],
        carry=made.carry,
        now=made.time[0],
        tx_code=offered["tx_code"],
    )
    return wallet


def consenting(made: World) -> Asked:
    at = Filled(made).grant()
    return Asked(at, holding(made, at.customer.subject_ref))


def waiting(made: World, consent: str) -> int:
    with made.ctx.db.reading() as tx:
        chosen = select(func.count()).select_from(ANSWER).where(ANSWER.c.consent_id == consent)
        return int(tx.execute(chosen).scalar_one())


def rejected(made: World, opened: dict[str, Any]) -> list[str]:
    """The codes with which answers to a request did not count."""
    entries = [one.body for one in made.logged("data.rejected")]
    return [one["code"] for one in entries if one["data_request"] == opened["id"]]
