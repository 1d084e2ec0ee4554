"""Customers who sign consents for a partner with wallets, over HTTP."""

import time
from collections.abc import Iterator, Sequence

from broker.outbound.client import Carrier, Client
from wallet_adapters.loopback import Wallet, accept_offer, answer_request


def signed(
    partner: Client, template: str, anchors: Sequence[bytes], customers: int
) -> Iterator[tuple[str, str]]:
    """Each takes a credential and signs, one after the other: the consent's id and credential."""
    carry = Carrier()
    try:
        for number in range(customers):
            wallet, named = Wallet(anchors=list(anchors)), f"crm-{number}"
            invited = partner.post(
                "/v1/invitations", {"subject_ref": named, "grade": "code"}, idempotent=True
            )
            accept_offer(
                wallet,
                invited["offer_uri"],
                carry=carry,
                now=int(time.time()),
                tx_code=invited["tx_code"],
                copies=1,
            )
            asked = partner.post(
                "/v1/consent-requests",
                {"subject_ref": named, "template": template, "language": "zh"},
                idempotent=True,
            )
            answer_request(wallet, asked["wallet_link"], carry=carry, now=int(time.time()))
            consent = str(asked["consents"][0]["id"])
            yield consent, partner.get(f"/v1/consents/{consent}/credential").text
    finally:
        carry.close()
