"""The legal conditions of access: articles, code and sentence of each, as reasons of a denial."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from cedarpy import policies_to_json_str

from broker.domain.errors import InvalidPolicies

STEP_UP: Final = "step_up"
"""What a tenant's own condition obliges to where the wallet is too weakly bound."""
ANNOTATIONS = ("id", "law", "code", "obligation", "zh", "en")


@dataclass(frozen=True, slots=True)
class Reason:
    """One legal condition that failed: `id` names it, `code` is what callers act on.

    `obligation` is what the caller owes after the denial, for example `stop_and_delete`.
    """

    id: str
    code: str
    law: tuple[str, ...]
    obligation: str
    zh: str
    en: str

    def to_json(self) -> dict[str, Any]:
        """The reason as partners receive it."""
        return {
            "code": self.code,
            "id": self.id,
            "law": list(self.law),
            "zh": self.zh,
            "en": self.en,
        }


# Reasons that no policy can give, because they lie outside of what policies see.
POLICY_ERROR: Final = Reason(
    id="policy.error",
    code="policy_error",
    law=("PIPL-51", "GDPR-24"),
    obligation="stop",
    zh="策略无法得出结论，因此拒绝。",
    en="The policies came to no conclusion, so access is denied.",
)
STATE_CHANGED: Final = Reason(
    id="state.changed",
    code="state_changed",
    law=("PIPL-51", "GDPR-32"),
    obligation="retry",
    zh="判断期间同意或登记信息一直在变化，请重试。",
    en="The consent or what it rests on kept changing during the decision: try again.",
)
LOG_UNAVAILABLE: Final = Reason(
    id="log.unavailable",
    code="log_unavailable",
    law=("PIPL-51", "GDPR-5"),
    obligation="retry",
    zh="审计日志不可用，暂不允许任何使用。",
    en="The audit log is not available, and nothing is permitted that cannot be proven.",
)
CLOCK_BEHIND: Final = Reason(
    id="clock.behind",
    code="clock_went_back",
    law=("PIPL-51", "GDPR-32"),
    obligation="retry",
    zh="服务器时钟倒退，无法判断同意是否仍有效，暂不允许任何使用。",
    en="The broker's clock went back, and nothing is permitted that may have ended already.",
)
NOT_IN_VAULT: Final = Reason(
    id="data.none",
    code="data_not_in_vault",
    law=("PIPL-6", "GDPR-5"),
    obligation="await_data",
    zh="客户尚未将此信息项放入保险库。",
    en="The customer has put nothing of this attribute into a vault.",
)
VAULT_UNREACHABLE: Final = Reason(
    id="data.unreachable",
    code="vault_unreachable",
    law=("PIPL-51", "GDPR-32"),
    obligation="retry",
    zh="保险库暂时无法访问。",
    en="The vault does not answer at the moment.",
)
ENVELOPE_DAMAGED: Final = Reason(
    id="data.damaged",
    code="envelope_damaged",
    law=("PIPL-51", "GDPR-32"),
    obligation="await_data",
    zh="保险库中的内容与客户签名的不符。",
    en="The vault holds something else than the customer signed for.",
)
NOT_MASKED_SO: Final = Reason(
    id="data.masking",
    code="masking_not_in_vault",
    law=("PIPL-6", "PIPL-51", "GDPR-25"),
    obligation="await_data",
    zh="须先脱敏方可提供，而保险库中没有如此脱敏的内容。",
    en="It has to be masked for this role, and the vault holds nothing that is masked so.",
)
OF_THE_VAULT: Final = frozenset({NOT_IN_VAULT, NOT_MASKED_SO, VAULT_UNREACHABLE, ENVELOPE_DAMAGED})
"""Reasons that lie in the vault, not in what the customer allowed."""
SUBJECT_NOT_CALLER: Final = Reason(
    id="subject.not-caller",
    code="subject_not_caller",
    law=("PIPL-51", "GDPR-32"),
    obligation="stop",
    zh="只能为自己或自己的程序请求判断。",
    en="A partner asks for itself or for its own agents only.",
)
AGENT_SUSPENDED: Final = Reason(
    id="agent.suspended",
    code="agent_suspended",
    law=("PIPL-21", "PIPL-51"),
    obligation="stop",
    zh="该智能体已被暂停。",
    en="The agent is suspended.",
)
OBLIGATION_UNSUPPORTED: Final = Reason(
    id="obligation.unsupported",
    code="obligation_unsupported",
    law=("PIPL-51", "GDPR-28"),
    obligation="support_obligations",
    zh="调用方声明无法履行许可所附的义务。",
    en="The caller has said that it cannot do what the permit obliges to.",
)
OWN_UNFIT: Final = Reason(
    id="request.own",
    code="own_value_unfit",
    law=("PIPL-51", "GDPR-24"),
    obligation="correct_request",
    zh="请求中自定义属性的值与声明的类型或取值不符。",
    en="The request states an own attribute of the tenant in another type or value than declared.",
)
FEE_CURRENCY: Final = Reason(
    id="fee.currency",
    code="currency_mismatch",
    law=("EU-DGA-12",),
    obligation="declare_value",
    zh="所申报价值的币种不是该租户结算的币种。",
    en="The declared value is in another currency than the tenant charges in.",
)

UNJUDGED: Final = (
    STATE_CHANGED,
    LOG_UNAVAILABLE,
    CLOCK_BEHIND,
    SUBJECT_NOT_CALLER,
    AGENT_SUSPENDED,
    *OF_THE_VAULT,
    FEE_CURRENCY,
    OBLIGATION_UNSUPPORTED,
    OWN_UNFIT,
)
OF_NO_POLICY: Final = frozenset(one.id for one in UNJUDGED)


def read_conditions(policies: str) -> tuple[Mapping[str, Reason], list[tuple[str, ...]]]:
    """The conditions of the forbids in the order of the file, and what each permit obliges to.

    Raises `InvalidPolicies` where a policy lacks an annotation, two have one name, or one is a
    template.
    """
    policy_set = orjson.loads(policies_to_json_str(policies))
    if policy_set["templates"]:
        raise InvalidPolicies("there must be no policy templates")
    conditions: dict[str, Reason] = {}
    permits: list[tuple[str, ...]] = []
    numbered = policy_set["staticPolicies"]
    for name in sorted(numbered, key=lambda policy: int(policy.removeprefix("policy"))):
        annotations = numbered[name].get("annotations", {})
        missing = [key for key in ANNOTATIONS if not annotations.get(key)]
        if missing:
            named = annotations.get("id") or f"the policy in place {int(name[6:]) + 1}"
            raise InvalidPolicies(f"{named} lacks @{missing[0]}, without which no reason is given")
        if numbered[name]["effect"] == "permit":
            permits.append(tuple(annotations["obligation"].split(";")))
            continue
        if annotations["id"] in conditions:
            raise InvalidPolicies(f"two conditions are called {annotations['id']}")
        conditions[annotations["id"]] = Reason(
            id=annotations["id"],
            code=annotations["code"],
            law=tuple(annotations["law"].split(";")),
            obligation=annotations["obligation"],
            zh=annotations["zh"],
            en=annotations["en"],
        )
    return conditions, permits
