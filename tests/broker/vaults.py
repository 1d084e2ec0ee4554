"""A customer with an attribute in a vault, and the partner who may have it."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from httpx2 import Response
from sqlalchemy import select

from broker.store.vault import ENVELOPE
from tests.broker.flow_world import PUBLIC_URL, PURPOSE, Customer, World
from wallet_adapters.envelope import Sealed, new_sealing_key, open_envelope, read_sealing_key
from wallet_adapters.loopback import ToSeal, put_into_vault

ATTRIBUTE = "purchase_count_12m"


@dataclass
class Filled:
    """A consent under which something lies in the vault."""

    world: World
    key: Mapping[str, Any] = field(default_factory=new_sealing_key)
    customer: Customer = field(init=False)
    consent: str = ""

    def grant(self, template: str = "loyalty-churn") -> "Filled":
        """Register the key, and have a customer agree to the template's first consent."""
        register(self.world, self.key)
        self.customer = self.world.customer(f"crm-{secrets.token_hex(4)}")
        request = self.world.ask(self.customer.subject_ref, template)
        self.customer.sign(request["wallet_link"], "consent_base")
        request = self.world.follow(request)
        (self.consent,) = [one["id"] for one in request["consents"] if one["state"] == "granted"]
        return self

    def put(self, value: object = 12, attribute: str = ATTRIBUTE, **more: Any) -> Any:  # noqa: ANN401
        """Have the wallet seal and store a value."""
        what = ToSeal(PUBLIC_URL, self.world.partner, self.consent, attribute, value, **more)
        world = self.world
        return put_into_vault(self.customer.wallet, what, carry=world.carry, now=world.time[0])

    def get(self, attribute: str = ATTRIBUTE, **more: Any) -> Response:  # noqa: ANN401
        """Ask for it as the partner."""
        params = {"purpose": PURPOSE, "territory": "CN", **more.pop("params", {})}
        path = f"/v1/data/{self.consent}/{attribute}"
        answer: Response = self.world.api("GET", path, params=params, **more)
        return answer

    def opened(self, data: bytes, attribute: str = ATTRIBUTE) -> Sealed:
        """Open what came."""
        return open_envelope(data, self.key, consent_id=self.consent, attribute=attribute)


def register(world: World, key: Mapping[str, Any], caller: str | None = None) -> Response:
    public = {name: value for name, value in key.items() if name != "d"}
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    answer: Response = world.api("PUT", "/v1/sealing-key", caller, json=public, headers=headers)
    return answer


def public_of(key: Mapping[str, Any]) -> Mapping[str, str]:
    """What of a sealing key is registered."""
    return read_sealing_key({name: value for name, value in key.items() if name != "d"})


def file_of(at: Filled) -> Path:
    """Where the envelope lies that is stored under the consent."""
    with at.world.ctx.db.reading() as tx:
        rows = select(ENVELOPE.c.path).where(
            ENVELOPE.c.consent_id == at.consent, ENVELOPE.c.state == "stored"
        )
        return at.world.ctx.settings.home / "vault" / str(tx.execute(rows).scalar_one())


def codes(answer: Response) -> list[str]:
    """Of a denial, every reason's code."""
    return [one["code"] for one in answer.json()["decision"]["context"]["reasons"]]
