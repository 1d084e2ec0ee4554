"""A customer of two partners, with one wallet and a consent given to each."""

import secrets
from dataclasses import dataclass, field
from typing import Any

from broker.store import consents
from credentials.status import verify_status_token
from tests.broker.flow_world import PURPOSE, TEMPLATE, Customer, World
from wallet_adapters.loopback import Wallet, accept_offer


@dataclass(frozen=True)
class Fetched:
    """What a partner may fetch of a consent, but for decisions."""

    state: str
    consent: str
    request: str
    page: str
    tasks: str
    in_list: int


@dataclass
class Shopper:
    """A customer of several partners; consents and pages by partner."""

    world: World
    name: str
    wallet: Wallet
    consents: dict[str, str] = field(default_factory=dict)
    requests: dict[str, str] = field(default_factory=dict)
    pages: dict[str, str] = field(default_factory=dict)

    @property
    def partners(self) -> list[str]:
        """In the order in which they were met."""
        return list(self.consents)

    def at(self, partner: str) -> Customer:
        """The customer as a partner knows them."""
        return Customer(self.world, self._reference(partner), self.wallet)

    def give(self, partner: str) -> None:
        """Bind the wallet as a contact of the partner, and give it a consent."""
        reference = f"{self.name}-{len(self.consents)}"
        bind(self.world, self.wallet, partner, reference)
        opened = self.world.ask(reference, TEMPLATE, caller=partner)
        Customer(self.world, reference, self.wallet).sign(opened["wallet_link"], "consent_base")
        self.consents[partner] = opened["consents"][0]["id"]
        self.requests[partner] = opened["id"]
        self.pages[partner] = opened["page_url"]

    def decides(self, partner: str) -> dict[str, Any]:
        """What the partner is told when it asks to use what was given."""
        body = {
            "subject": {"type": "partner", "id": partner},
            "action": {"name": "read"},
            "resource": {
                "type": "attribute",
                "id": "purchase_count_12m",
                "properties": {"consent": self.consents[partner]},
            },
            "context": {"purpose": PURPOSE, "territory": "CN"},
        }
        decision: dict[str, Any] = self.world.api(
            "POST", "/access/v1/evaluation", partner, json=body
        ).json()
        return decision

    def fetched(self, partner: str) -> Fetched:
        """What the partner may fetch now; its own list by the place of this consent."""
        consent_id = self.consents[partner]
        consent = self.world.api("GET", f"/v1/consents/{consent_id}", partner)
        path = f"/v1/consent-requests/{self.requests[partner]}"
        token = self.pages[partner].rsplit("/", 1)[1]
        return Fetched(
            state=consent.json()["state"],
            consent=consent.text,
            request=self.world.api("GET", path, partner).text,
            page=self.world.http.get(f"/c/{token}", headers={"Cookie": "session=one"}).text,
            tasks=self.world.api("GET", f"/v1/deletion-tasks?consent={consent_id}", partner).text,
            in_list=in_list(self.world, consent_id),
        )

    def _reference(self, partner: str) -> str:
        return f"{self.name}-{self.partners.index(partner)}"


def in_list(world: World, consent_id: str) -> int:
    """What the published list says of a consent."""
    with world.ctx.db.reading() as tx:
        row = consents.consent(tx, "demo", consent_id)
    uri = f"{world.ctx.settings.public_url}/status/{row.status_list_id}"
    token = world.http.get(uri).text
    anchors, now = world.ctx.keys.anchors(), world.time[0]
    entries = verify_status_token(token, uri=uri, anchors=anchors, now=now)
    return entries.get(row.status_index or 0)


def bind(world: World, wallet: Wallet, partner: str, subject_ref: str) -> None:
    """Bind a wallet as the contact of a partner."""
    body = {"subject_ref": subject_ref, "grade": "code"}
    headers = {"Idempotency-Key": secrets.token_hex(8)}
    opened = world.api("POST", "/v1/invitations", partner, json=body, headers=headers).json()
    accept_offer(
        wallet,
        opened["offer_uri"],
        carry=world.carry,
        now=world.time[0],
        tx_code=opened["tx_code"],
    )
    world.advance()


def shopper(world: World, name: str, *partners: str) -> Shopper:
    """A customer who has given a consent to each of `partners`."""
    made = Shopper(world, name, world.stranger(name).wallet)
    for partner in partners:
        made.give(partner)
    return made
