"""The demonstration's data path: an attribute sealed to the partner, fetched, and closed again."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from broker.outbound.client import ApiError, Carrier, Client
from wallet_adapters.envelope import new_sealing_key, open_envelope
from wallet_adapters.loopback import ToSeal, Wallet, put_into_vault

Shown = tuple[str, str, str, Mapping[str, Any]]
VALUE = {"count": 12, "since": "2025-11"}


@dataclass(frozen=True)
class SealedData:
    """A partner and a wallet that seals to it, under a consent."""

    partner: Client
    partner_id: str
    wallet: Wallet
    carry: Carrier
    now: Callable[[], int]
    consent_id: str
    attribute: str
    purpose: str
    key: Mapping[str, Any] = field(default_factory=new_sealing_key, repr=False)

    def steps(self) -> Iterator[Shown]:
        """Each step when it is done: its id, its names in English and Chinese, what it shows."""
        public = {name: value for name, value in self.key.items() if name != "d"}
        self.partner.put("/v1/sealing-key", public)
        what = ToSeal(
            address=self.wallet.credentials[-1].issuer,
            partner_id=self.partner_id,
            consent_id=self.consent_id,
            attribute=self.attribute,
            value=VALUE,
        )
        stored = put_into_vault(self.wallet, what, carry=self.carry, now=self.now())
        yield (
            "sealed",
            "The wallet seals the attribute to the partner and puts it into the customer's vault",
            "钱包将信息加密给商家，存入客户保险库",
            {name: stored[name] for name in ("attribute", "vault", "size", "digest", "state")},
        )
        answer = self.partner.get(self._path(), purpose=self.purpose)
        opened = open_envelope(
            answer.content, self.key, consent_id=self.consent_id, attribute=self.attribute
        )
        yield (
            "data",
            "The partner takes it: decided and streamed by the broker, which cannot read it",
            "商家取用：经纪裁决并转送密文，自身无法解读",
            {
                "bytes": len(answer.content),
                "entry": answer.headers["broker-decision"],
                "opened_by_the_partner": opened.value,
            },
        )

    def closed(self) -> Iterator[Shown]:
        """After the withdrawal: what the partner is told."""
        try:
            self.partner.get(self._path(), purpose=self.purpose)
            told: dict[str, Any] = {"decision": True}
        except ApiError as error:
            told = {"decision": False, "status": error.status, "code": error.code}
        yield (
            "deny_data",
            "The vault is closed to the partner; what lies there is deleted",
            "保险库对商家关闭，其中内容随即删除",
            told,
        )

    def _path(self) -> str:
        return f"/v1/data/{quote(self.consent_id, safe='')}/{quote(self.attribute, safe='')}"
