"""The whole way of a consent against a running broker, for tests that need what it leaves."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager

from broker.cli.journey import Journey, Kept
from broker.domain.trust import Trust
from broker.outbound.client import Client
from dev.running import Broker


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
