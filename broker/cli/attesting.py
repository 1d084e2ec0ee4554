"""The demonstration's fact without data: a date of birth attested, and an age proven of it."""

import datetime as dt
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from broker.outbound.client import ApiError, Carrier, Client
from credentials.keys import SoftwareKey
from wallet_adapters.loopback import Wallet, accept_attributes, answer_request

PERSON: dict[str, Any] = {
    "id": "person/1",
    "attributes": [
        {"name": "birth_date", "type": "date"},
        {"name": "city", "type": "code", "codes": ["Beijing", "Shanghai", "Berlin", "Paris"]},
    ],
}
LI = {"birth_date": "1996-05-17", "city": "Shanghai"}
ADULT_YEARS = 18
CONFLICT = 409


@dataclass(frozen=True)
class Age:
    """A partner, an officer and a wallet, from the offer of a credential to what it proves."""

    partner: Client
    officer: Client
    wallet: Wallet
    carry: Carrier
    now: Callable[[], int]

    def steps(
        self, template: str, subject_ref: str
    ) -> Iterator[tuple[str, str, str, Mapping[str, Any]]]:
        """Each step when it is done: its id, its names in English and Chinese, what it shows."""
        issuers = self._issuers()
        body = {"type": PERSON["id"], "claims": LI}
        offer = self.partner.post("/v1/attribute-offers", body, idempotent=True)
        held = accept_attributes(
            self.wallet,
            offer["offer_by_value"],
            carry=self.carry,
            now=self.now(),
            tx_code=offer["tx_code"],
            dpop_key=SoftwareKey.generate("ES256"),
        )
        yield (
            "attribute_credential",
            "The partner attests what it has checked; the wallet keeps it, the broker forgets it",
            "商家核实后签发属性凭证：存入钱包，代理随即删除",
            {"type": PERSON["id"], "in_the_wallet": dict(held.values)},
        )
        asked = self.partner.post(
            "/v1/proof-requests",
            adult(template, subject_ref, issuers, self.now()),
            idempotent=True,
        )
        yield (
            "proof_request",
            "The partner asks: 18 or older?",
            "商家询问：年满18岁吗？",
            {"id": asked["id"], "statements": asked["statements"], "link": asked["wallet_link"]},
        )
        answer_request(self.wallet, asked["wallet_link"], carry=self.carry, now=self.now())
        proven = self.partner.get(f"/v1/proof-requests/{asked['id']}").json()
        yield (
            "proven",
            "Proven in zero knowledge: 18 or older, and the date of birth stays in the wallet",
            "零知识证明：年满18岁，出生日期未离开钱包",
            {name: proven[name] for name in ("state", "statements", "proven_at", "entry")},
        )

    def _issuers(self) -> Sequence[dict[str, str]]:
        """Register the kind of credential, unless it is there, and name who issues it."""
        try:
            self.officer.post("/v1/attribute-types", PERSON, idempotent=True)
        except ApiError as error:
            if error.status != CONFLICT:
                raise
        known = self.officer.get("/v1/attribute-types").json()["types"]
        issuers: Sequence[dict[str, str]] = next(
            kind["issuers"] for kind in known if kind["id"] == PERSON["id"]
        )
        return issuers


def adult(
    template: str, subject_ref: str, issuers: Sequence[dict[str, str]], now: int
) -> dict[str, Any]:
    """The body of a proof request: 18 or older today (UTC), by these issuers' word."""
    today = dt.datetime.fromtimestamp(now, dt.UTC).date().isoformat()
    return {
        "template": template,
        "subject_ref": subject_ref,
        "credentials": {"person": {"schema": PERSON["id"], "issuers": list(issuers)}},
        "statements": [
            {
                "type": "older_than",
                "credential": "person",
                "attribute": "birth_date",
                "years": ADULT_YEARS,
                "on": today,
            }
        ],
    }
