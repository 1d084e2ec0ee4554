"""Customers who sign consents for a partner with wallets, and withdraw, over HTTP."""

import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import unescape
from typing import Final

import httpx2

from broker.outbound.client import Carrier, Client
from wallet_adapters.loopback import Wallet, accept_offer, answer_request

TOKEN: Final = re.compile(r'name="form_token" value="([^"]+)"')
WALLET_LINK: Final = re.compile(r'href="(openid4vp:[^"]+)"')
WITHIN: Final = 60.0


class PageError(RuntimeError):
    """A customer's page does not offer what the customer came for."""


@dataclass(frozen=True)
class Customer:
    """Who signed a consent: its id and credential, the page of the request, and the wallet."""

    consent: str
    credential: str
    page: str
    wallet: Wallet

    def withdraw(self) -> None:
        """Withdraw on the page of the request, signed by the wallet; nobody else is asked.

        Raises `PageError`, `WalletProtocolError`.
        """
        with httpx2.Client(timeout=WITHIN, follow_redirects=True) as browser:
            form_token = _found(TOKEN, browser.get(self.page).text)
            address = httpx2.URL(self.page)
            shown = browser.post(
                f"{self.page}/withdrawal",
                data={"form_token": form_token, "consent_id": self.consent},
                headers={"Origin": f"{address.scheme}://{address.netloc.decode()}"},
            )
            link = _found(WALLET_LINK, shown.text)
        carry = Carrier()
        try:
            answer_request(self.wallet, link, carry=carry, now=int(time.time()), grant=["same_key"])
        finally:
            carry.close()


def _found(pattern: re.Pattern[str], page: str) -> str:
    found = pattern.search(page)
    if found is None:
        raise PageError(f"the customer's page has no {pattern.pattern}")
    return unescape(found[1])


def signed(
    partner: Client, template: str, anchors: Sequence[bytes], customers: int
) -> Iterator[Customer]:
    """Each takes a credential and signs, one after the other."""
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
            credential = partner.get(f"/v1/consents/{consent}/credential").text
            yield Customer(consent, credential, str(asked["page_url"]), wallet)
    finally:
        carry.close()
