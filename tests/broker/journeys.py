"""The whole way of a consent against a running broker, for tests that need what it leaves."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from broker.cli.journey import COPIES, TEMPLATE, Journey, Kept
from broker.domain.ids import new_id
from broker.domain.trust import Trust
from broker.outbound.client import Carrier, Client
from credentials.keys import SoftwareKey
from dev.running import Broker
from wallet_adapters.loopback import Wallet, accept_offer, answer_request


@contextmanager
def client(broker: Broker, role: str) -> Iterator[Client]:
    """The demonstration partner or officer."""
    told = json.loads((broker.home / "demo-clients.json").read_text())[role]
    with closing(Client(broker.address, told["client_id"], told["private_jwk"])) as opened:
        yield opened


def trust_of(broker: Broker) -> Trust:
    """What `consent-broker trust export` prints."""
    exported = broker.run("trust", "export")
    assert exported.returncode == 0, exported.stderr
    return Trust.parse(exported.stdout.encode())


@dataclass
class Holder:
    """A customer of the demonstration's partner, with a wallet; `close` it."""

    partner: Client
    anchors: list[bytes]
    subject_ref: str = field(default_factory=lambda: new_id("crm"))

    def __post_init__(self) -> None:
        self.wallet = Wallet(anchors=self.anchors)
        self._carry = Carrier()

    def join(self) -> None:
        """Take copies of the customer credential."""
        body = {"subject_ref": self.subject_ref, "grade": "code"}
        self.accept(self.partner.post("/v1/invitations", body, idempotent=True))

    def accept(self, invitation: Mapping[str, Any]) -> None:
        """Take what an invitation offers."""
        accept_offer(
            self.wallet,
            invitation["offer_uri"],
            carry=self._carry,
            now=int(time.time()),
            tx_code=invitation["tx_code"],
            copies=COPIES,
            dpop_key=SoftwareKey.generate("ES256"),
        )

    def ask(self) -> dict[str, Any]:
        """A consent request to this customer."""
        body = {"subject_ref": self.subject_ref, "template": TEMPLATE, "language": "zh"}
        return self.partner.post("/v1/consent-requests", body, idempotent=True)

    def sign(self, request: Mapping[str, Any]) -> str:
        """Grant the base consent of a request; its id. Raises `WalletProtocolError`."""
        link = request["wallet_link"]
        now = int(time.time())
        answer_request(
            self.wallet, link, carry=self._carry, now=now, grant=lambda _: ["consent_base"]
        )
        followed = self.partner.get(f"/v1/consent-requests/{request['id']}").json()
        return next(
            str(consent["id"])
            for consent in followed["consents"]
            if consent["item"] == "base" and consent["state"] == "granted"
        )

    def grant(self) -> str:
        """Ask and sign."""
        return self.sign(self.ask())

    def close(self) -> None:
        """Close the connections."""
        self._carry.close()


def whole_way(broker: Broker) -> tuple[list[str], Kept, Trust]:
    """Drive the demonstration; the steps done, what was kept, and the trust file."""
    trust = trust_of(broker)
    partner_id = json.loads((broker.home / "demo-clients.json").read_text())["partner"]["client_id"]
    with ExitStack() as stack:
        partner = stack.enter_context(client(broker, "partner"))
        officer = stack.enter_context(client(broker, "officer"))
        journey = stack.enter_context(closing(Journey(partner, partner_id, officer, trust)))
        steps = [step.id for step in journey.steps()]
    return steps, journey.kept, trust
