"""The whole way of a consent over HTTP, step by step: what `consent-broker demo` drives."""

import time
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from broker.cli.asking_data import AskedData
from broker.cli.attesting import LI, Age
from broker.cli.sealing import SealedData
from broker.domain.evidence import Report, verify_evidence
from broker.domain.ids import new_id
from broker.domain.trust import Trust
from broker.outbound.client import Carrier, Client
from credentials.keys import SoftwareKey
from wallet_adapters.errors import WalletProtocolError
from wallet_adapters.loopback import PresentationRequest, Wallet, accept_offer, answer_request

TEMPLATE = "loyalty-churn"
PURPOSE = "dpv:ServicePersonalisation#algo:churn-v3@1"
NEWER = "dpv:ServicePersonalisation#algo:churn-v3@2"
ATTRIBUTE = "purchase_count_12m"
COPIES = 4


@dataclass(frozen=True)
class Step:
    """One step done: its names, what there is to see, how long it took (milliseconds)."""

    id: str
    title_en: str
    title_zh: str
    shown: Mapping[str, Any]
    milliseconds: float


@dataclass
class Kept:
    """What the way leaves behind, for `--out`."""

    consent_credential: str = ""
    receipt: str = ""
    evidence: bytes = b""
    wallet: str = ""
    consents: list[str] = field(default_factory=list)


class Unexpected(Exception):
    """A step came out otherwise than it must; the message says which and how."""


class Journey:
    """A partner, an officer and a wallet on their way; `steps()` runs it once."""

    def __init__(self, partner: Client, partner_id: str, officer: Client, trust: Trust) -> None:
        self._partner, self._partner_id, self._officer, self._trust = (
            partner,
            partner_id,
            officer,
            trust,
        )
        self._wallet = Wallet(anchors=list(trust.roots))
        self._carry = Carrier()
        self._subject_ref = new_id("crm")
        self._signed: dict[str, Any] = {}
        self._started = 0.0
        self.kept = Kept()

    def steps(self) -> Iterator[Step]:
        """Each step when it is done. Raises `Unexpected`, `ApiError`, `WalletProtocolError`."""
        self._started = time.perf_counter()
        yield from self._bind()
        request = yield from self._ask()
        consent_id = yield from self._sign(request)
        yield from self._decide()
        data = self._sealed(consent_id)
        on_demand = AskedData(data, self._officer, self._subject_ref)
        for shown in chain(data.steps(), on_demand.steps()):
            yield from self._done(*shown)
        yield from self._withdraw(consent_id, on_demand)
        yield from self._prove(consent_id)
        yield from self._prove_age()

    def _bind(self) -> Iterator[Step]:
        invitation = self._partner.post(
            "/v1/invitations", {"subject_ref": self._subject_ref, "grade": "code"}, idempotent=True
        )
        yield from self._done(
            "invitation",
            "The partner invites its contact",
            "商家邀请客户",
            {
                "subject_ref": self._subject_ref,
                "offer": invitation["offer_uri"],
                "code_sent_by_the_partner": invitation["tx_code"],
            },
        )
        held = accept_offer(
            self._wallet,
            invitation["offer_uri"],
            carry=self._carry,
            now=_now(),
            tx_code=invitation["tx_code"],
            copies=COPIES,
            dpop_key=SoftwareKey.generate("ES256"),
        )
        yield from self._done(
            "customer_credential",
            "The wallet takes its customer credential, in copies with a key each",
            "钱包领取客户凭证（多份，每份一把钥匙）",
            {
                "copies": len(held),
                "type": held[0].vct,
                "grade": held[0].claims().get("binding_grade"),
            },
        )

    def _ask(self) -> Generator[Step, None, Mapping[str, Any]]:
        request = self._partner.post(
            "/v1/consent-requests",
            {"subject_ref": self._subject_ref, "template": TEMPLATE, "language": "zh"},
            idempotent=True,
        )
        yield from self._done(
            "consent_request",
            "The partner asks for consents",
            "商家请求同意",
            {
                "id": request["id"],
                "page": request["page_url"],
                "consents": request["consents"],
                "binding": request["binding"],
            },
        )
        return request

    def _sign(self, request: Mapping[str, Any]) -> Generator[Step, None, str]:
        answer_request(
            self._wallet,
            request["wallet_link"],
            carry=self._carry,
            now=_now(),
            grant=self._grant_base,
        )
        followed = self._partner.get(f"/v1/consent-requests/{request['id']}").json()
        states = {consent["item"]: consent["state"] for consent in followed["consents"]}
        _expect(states.get("base") == "granted", f"the base consent should be granted: {states}")
        yield from self._done(
            "signed",
            "The wallet shows the terms and signs one consent; the others stay refused",
            "钱包展示条款，客户只签其中一项",
            {"signed": self._signed, "states": states},
        )
        consent_id = next(
            str(consent["id"]) for consent in followed["consents"] if consent["item"] == "base"
        )
        self.kept.consents.append(consent_id)
        self.kept.consent_credential = self._partner.get(
            f"/v1/consents/{consent_id}/credential"
        ).text
        self.kept.receipt = self._officer.get(f"/v1/consents/{consent_id}/receipt").text
        yield from self._done(
            "credential",
            "The CRM keeps the consent credential, and no profile",
            "CRM 只保存同意凭证，不存画像",
            {"consent": consent_id, "bytes": len(self.kept.consent_credential)},
        )
        return consent_id

    def _grant_base(self, request: PresentationRequest) -> list[str]:
        """The holder's choice: read the terms of each query, agree to the first alone."""
        for data in request.transaction_data:
            if data.credential_ids == ("consent_base",):
                terms = data.content["terms"]
                algorithm = f"{terms['algorithm']['id']}@{terms['algorithm']['version']}"
                self._signed = {
                    "to": terms["partner"]["name"],
                    "for": f"{terms['purpose']['id']}#algo:{algorithm}",
                    "attributes": [attribute["id"] for attribute in terms["attributes"]],
                    "territories": terms["territories"]["processing"],
                    "until": terms["valid_until"],
                }
        return ["consent_base"]

    def _decide(self) -> Iterator[Step]:
        yield from self._evaluate(
            "permit", "May it be used as agreed? Yes", "按约使用：允许", expected=True
        )
        yield from self._evaluate(
            "deny_version",
            "By a newer version of the algorithm? No",
            "换算法版本：拒绝",
            expected=False,
            purpose=NEWER,
        )
        yield from self._evaluate(
            "deny_abroad", "From abroad? No", "境外使用：拒绝", expected=False, territory="SG"
        )
        yield from self._evaluate(
            "deny_attribute",
            "Another attribute? No",
            "其他字段：拒绝",
            expected=False,
            attribute="medical_summary",
        )

    def _sealed(self, consent_id: str) -> SealedData:
        """What is sealed under the consent, from the wallet to the partner."""
        sides = (self._partner, self._partner_id, self._wallet, self._carry)
        return SealedData(*sides, _now, consent_id, ATTRIBUTE, PURPOSE)

    def _withdraw(self, consent_id: str, data: AskedData) -> Iterator[Step]:
        asked = self._partner.post(f"/v1/consents/{consent_id}/withdrawal", {})
        answer_request(
            self._wallet, asked["wallet_link"], carry=self._carry, now=_now(), grant=["same_key"]
        )
        after = self._partner.get(f"/v1/consents/{consent_id}").json()
        _expect(after["state"] == "withdrawn", "the consent should be withdrawn")
        yield from self._done(
            "withdrawal",
            "The customer withdraws, signed by the same key",
            "客户用同一把钥匙签名撤回",
            {"state": after["state"], "grade": after["withdrawal_grade"]},
        )
        yield from self._evaluate(
            "deny_withdrawn", "The next use? No", "撤回后再用：拒绝", expected=False
        )
        for shown in chain(data.of.closed(), data.closed()):
            _expect(shown[-1]["decision"] is False, "data should be closed to the partner")
            yield from self._done(*shown)
        yield from self._delete(consent_id)

    def _delete(self, consent_id: str) -> Iterator[Step]:
        tasks = self._partner.get("/v1/deletion-tasks", consent=consent_id).json()["tasks"]
        _expect(len(tasks) == 1, "the partner should have been told what to delete")
        done = self._partner.confirm_deletion(tasks[0], deleted_at=_now())
        _expect(done["state"] == "done", "the receipt should be taken")
        yield from self._done(
            "deletion",
            "The partner deletes what it had, and signs a receipt",
            "商家删除数据并签署回执",
            {"task": done["id"], "attributes": done["attributes"], "state": done["state"]},
        )

    def _prove(self, consent_id: str) -> Iterator[Step]:
        self.kept.evidence = self._officer.get(f"/v1/consents/{consent_id}/evidence").content
        report = verify_evidence(self.kept.evidence, self._trust)
        _expect(report.verdict == "verified", f"the evidence should verify: {_failure(report)}")
        yield from self._done(
            "evidence",
            "The officer's evidence verifies, offline",
            "合规官的证据包离线核验通过",
            {
                "bytes": len(self.kept.evidence),
                "checks": {check.code: check.found for check in report.checks},
            },
        )
        broken = bytearray(self.kept.evidence)
        broken[len(broken) // 2] ^= 1
        tampered = verify_evidence(bytes(broken), self._trust)
        _expect(tampered.verdict == "failed", "one changed bit should fail")
        self.kept.wallet = self._wallet.to_json()
        yield from self._done(
            "tampered",
            "One changed bit fails it",
            "改动一位即不通过",
            {"found": _failure(tampered)},
        )

    def _prove_age(self) -> Iterator[Step]:
        """A fact without the data: 18 or older, and no date of birth; and its revocation."""
        age = Age(self._partner, self._officer, self._wallet, self._carry, _now)
        states = {}
        for name, title_en, title_zh, shown in age.steps(TEMPLATE, self._subject_ref):
            yield from self._done(name, title_en, title_zh, shown)
            states[name] = shown.get("state")
            _expect(
                name == "attribute_credential" or LI["birth_date"] not in str(shown),
                "the date of birth should not be told",
            )
        _expect(states["proven"] == "proven", f"the age should be proven: {states}")
        found = states["revoked_proves_nothing"]
        _expect(found == "refused", f"a revoked credential should prove nothing: {found}")

    def _evaluate(
        self,
        step: str,
        title_en: str,
        title_zh: str,
        *,
        expected: bool,
        purpose: str = PURPOSE,
        territory: str = "CN",
        attribute: str = ATTRIBUTE,
    ) -> Iterator[Step]:
        answer = self._partner.post(
            "/access/v1/evaluation",
            {
                "subject": {"type": "partner", "id": self._partner_id},
                "action": {"name": "read"},
                "resource": {
                    "type": "attribute",
                    "id": attribute,
                    "properties": {"subject_ref": self._subject_ref},
                },
                "context": {"purpose": purpose, "territory": territory},
            },
        )
        _expect(answer["decision"] is expected, f"{step}: expected {expected}, got {answer}")
        yield from self._done(
            step,
            title_en,
            title_zh,
            {"decision": answer["decision"], **answer.get("context", {})},
        )

    def close(self) -> None:
        """Close the connections."""
        self._carry.close()

    def _done(
        self, step: str, title_en: str, title_zh: str, shown: Mapping[str, Any]
    ) -> Iterator[Step]:
        spent = time.perf_counter() - self._started
        yield Step(step, title_en, title_zh, shown, round(spent * 1000, 2))
        # What the reader does with a step is not the next step's time.
        self._started = time.perf_counter()


def _expect(holds: bool, message: str) -> None:
    if not holds:
        raise Unexpected(message)


def _failure(report: Report) -> str:
    return "" if report.failure is None else f"{report.failure.code}: {report.failure.found}"


def _now() -> int:
    return int(time.time())


__all__ = ["Journey", "Kept", "Step", "Unexpected", "WalletProtocolError"]
