"""The demonstration's facts without data: an age is proven, and that nothing was revoked."""

import datetime as dt
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from broker.outbound.client import ApiError, Carrier, Client
from credentials.keys import SoftwareKey
from wallet_adapters.loopback import Wallet, accept_attributes, answer_request
from wallet_adapters.loopback.errors import NothingToPresent
from wallet_adapters.loopback.status_tokens import take_status_tokens

PERSON: dict[str, Any] = {
    "id": "resident/1",
    "attributes": [
        {"name": "birth_date", "type": "date"},
        {"name": "city", "type": "code", "codes": ["Beijing", "Shanghai", "Berlin", "Paris"]},
        {"name": "revocation_id", "type": "identifier"},
    ],
}
LI = {"birth_date": "1996-05-17", "city": "Shanghai"}
ADULT_YEARS = 18
CONFLICT = 409
STATUS = "status-token/1"
AHEAD_SECONDS = 5
"""An epoch of which less is left is waited out: all steps are of one."""


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
        issuers = register_kind(self.officer, PERSON)
        offer, held = self._attested()
        yield (
            "attribute_credential",
            "The partner attests what it has checked; the wallet keeps it, the broker forgets it",
            "商家核实后签发属性凭证：存入钱包，代理随即删除",
            {"type": PERSON["id"], "in_the_wallet": held},
        )
        issuer = issuers[0]["issuer"]
        epoch, ends_at = self._epoch()
        count = take_status_tokens(self.wallet, issuer, carry=self.carry)
        yield (
            "status_tokens",
            "The wallet takes its status token of this epoch, in a shard that is the same for all",
            "钱包领取本时段的状态令牌：整片下载，人人相同",
            {"epoch": epoch, "ends_at": ends_at, "tokens": count},
        )
        asking = adult(template, subject_ref, issuers, self.now(), epoch)
        asked = self.partner.post("/v1/proof-requests", asking, idempotent=True)
        yield (
            "proof_request",
            "The partner asks: 18 or older, and not revoked?",
            "商家询问：年满18岁、凭证未被撤销吗？",
            {"id": asked["id"], "statements": asked["statements"], "link": asked["wallet_link"]},
        )
        yield (
            "proven",
            "Proven in zero knowledge: 18 or older, and the date of birth stays in the wallet",
            "零知识证明：年满18岁，出生日期未离开钱包",
            self._answered(asked),
        )
        revoked = self.partner.post(f"/v1/attribute-offers/{offer}/revocation", {}, idempotent=True)
        left = take_status_tokens(self.wallet, issuer, carry=self.carry)
        yield (
            "attribute_revoked",
            "The partner revokes the credential: its wallet gets no status token any more",
            "商家撤销属性凭证：钱包不再得到状态令牌",
            {"revoked_at": revoked["revoked_at"], "tokens": left, "older_ones_until": ends_at},
        )
        again = self.partner.post("/v1/proof-requests", asking, idempotent=True)
        yield (
            "revoked_proves_nothing",
            "Asked again: without a token nothing is proven, and the wallet does not say why",
            "再次询问：没有令牌便无从证明，钱包也不说明原因",
            self._answered(again),
        )

    def _attested(self) -> tuple[str, dict[str, Any]]:
        """The id of an offer that the wallet has taken, and what the credential says."""
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
        return offer["id"], dict(held.values)

    def _epoch(self) -> tuple[int, int]:
        """The epoch of the broker's tokens, and its end."""
        index = self.partner.get("/attribute-status").json()
        left = index["ends_at"] - self.now()
        if left < AHEAD_SECONDS:
            time.sleep(max(left, 0) + 1)
            index = self.partner.get("/attribute-status").json()
        return index["epoch"], index["ends_at"]

    def _answered(self, asked: Mapping[str, Any]) -> Mapping[str, Any]:
        """Have the wallet answer; what the partner sees of it."""
        with suppress(NothingToPresent):  # it has told the broker so
            answer_request(self.wallet, asked["wallet_link"], carry=self.carry, now=self.now())
        found = self.partner.get(f"/v1/proof-requests/{asked['id']}").json()
        return {name: found[name] for name in ("state", "statements", "proven_at", "entry")}


def register_kind(officer: Client, kind: Mapping[str, Any]) -> Sequence[dict[str, str]]:
    """Register a kind of credential, unless it is there, and name who issues it."""
    try:
        officer.post("/v1/attribute-types", kind, idempotent=True)
    except ApiError as error:
        if error.status != CONFLICT:
            raise
    known = officer.get("/v1/attribute-types").json()["types"]
    issuers: Sequence[dict[str, str]] = next(
        one["issuers"] for one in known if one["id"] == kind["id"]
    )
    return issuers


def adult(
    template: str, subject_ref: str, issuers: Sequence[dict[str, str]], now: int, epoch: int
) -> dict[str, Any]:
    """The body of a proof request: 18 or older today (UTC) and not revoked, by these issuers."""
    today = dt.datetime.fromtimestamp(now, dt.UTC).date().isoformat()
    born = {"credential": "person", "attribute": "birth_date"}
    stands = {"credential": "person", "attribute": "revocation_id", "token": "status"}
    return {
        "template": template,
        "subject_ref": subject_ref,
        "credentials": {
            "person": {"schema": PERSON["id"], "issuers": list(issuers)},
            "status": {"schema": STATUS, "issuers": list(issuers)},
        },
        "statements": [
            {"type": "older_than", **born, "years": ADULT_YEARS, "on": today},
            {"type": "not_revoked", **stands, "epoch": epoch},
        ],
    }
