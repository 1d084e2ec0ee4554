"""The demonstration's data on demand: asked for, shown by the wallet, handed on once, closed."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from broker.cli.attesting import register_kind
from broker.cli.sealing import SealedData, Shown
from broker.outbound.client import ApiError, Client
from credentials.keys import SoftwareKey
from wallet_adapters.envelope import open_envelope
from wallet_adapters.loopback import accept_attributes, answer_request

COUNT = 37
TERRITORY = "CN"
PERMITTED = "permitted"


@dataclass
class AskedData:
    """A partner that asks for what lies in no vault, of the wallet and under the consent of `of`.

    What is shown is sealed to the key that `of` has registered.
    """

    of: SealedData
    officer: Client
    subject_ref: str
    _open: Mapping[str, Any] = field(default_factory=dict)

    @property
    def _kind(self) -> dict[str, Any]:
        count = {"name": self.of.attribute, "type": "number", "low": 0, "high": 65_535, "unit": ""}
        return {
            "id": "purchases/1",
            "attributes": [count, {"name": "contact_id", "type": "identifier"}],
        }

    def steps(self) -> Iterator[Shown]:
        """Each step when it is done: its id, its names in English and Chinese, what it shows."""
        self._attest()
        asked = self._ask()
        yield (
            "data_request",
            "Nothing of it lies in a vault: the partner asks the wallet, under the consent",
            "保险库中没有：商家依据同意直接询问钱包",
            {name: asked[name] for name in ("id", "attributes", "state", "wallet_link")},
        )
        answer_request(self.of.wallet, asked["wallet_link"], carry=self.of.carry, now=self.of.now())
        path = f"/v1/data-requests/{asked['id']}/data/{self.of.attribute}"
        answer = self.of.partner.collect(path)
        opened = open_envelope(
            answer.content, self.of.key, consent_id=self.of.consent_id, attribute=self.of.attribute
        )
        yield (
            "data_shown",
            "The wallet shows it; verified, sealed to the partner and handed on once",
            "钱包出示：核验后加密给商家，仅交付一次",
            {
                "bytes": len(answer.content),
                "entry": answer.headers["broker-decision"],
                "opened_by_the_partner": opened.value,
                "once_more": self._told(lambda: self.of.partner.collect(path)),
            },
        )
        self._open = self._ask()

    def closed(self) -> Iterator[Shown]:
        """After the withdrawal: what has become of a request that was open."""
        state = self.of.partner.get(f"/v1/data-requests/{self._open['id']}").json()["state"]
        again = self._told(self._ask)
        yield (
            "data_request_closed",
            "What was still asked of the wallet is closed, and nothing more can be asked",
            "尚未应答的询问随即关闭，也不能再问",
            {"decision": again == PERMITTED, "state": state, "asked_again": again},
        )

    def _attest(self) -> None:
        """Have the wallet take a credential of the attribute, issued for this very contact."""
        register_kind(self.officer, self._kind)
        body = {
            "type": self._kind["id"],
            "claims": {self.of.attribute: COUNT},
            "subject_ref": self.subject_ref,
        }
        offer = self.of.partner.post("/v1/attribute-offers", body, idempotent=True)
        accept_attributes(
            self.of.wallet,
            offer["offer_by_value"],
            carry=self.of.carry,
            now=self.of.now(),
            tx_code=offer["tx_code"],
            dpop_key=SoftwareKey.generate("ES256"),
        )

    def _ask(self) -> dict[str, Any]:
        body = {
            "consent": self.of.consent_id,
            "schema": self._kind["id"],
            "attributes": [self.of.attribute],
            "purpose": self.of.purpose,
            "territory": TERRITORY,
        }
        return self.of.partner.post("/v1/data-requests", body, idempotent=True)

    def _told(self, act: Callable[[], object]) -> str:
        """The code with which an act is refused."""
        try:
            act()
        except ApiError as error:
            return error.code
        return PERMITTED
