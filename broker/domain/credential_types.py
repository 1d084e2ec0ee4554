"""The types of the broker's credentials: their metadata documents (SD-JWT VC draft-24, section 5).

How a type may evolve: a claim that is added keeps the version, a claim that is removed or changes
its meaning takes the next one, which is served beside the old.
"""

from dataclasses import dataclass, field
from typing import Any

from broker.domain.terms import Label


@dataclass(frozen=True)
class CredentialType:
    """One type of credential, in one version; `claims` maps a claim to its label."""

    name: str
    version: int
    label: Label
    description: Label
    claims: dict[str, Label] = field(default_factory=dict)

    @property
    def path(self) -> str:
        """The path of the type below its issuer's address: with it, the value of `vct`."""
        return f"/vct/{self.name}/{self.version}"

    def metadata(self, issuer: str) -> dict[str, Any]:
        """The type metadata document of the type, as `issuer` (an address) publishes it."""
        return {
            "vct": issuer + self.path,
            "name": self.label.en,
            "description": self.description.en,
            "display": [
                {"locale": "zh-CN", "name": self.label.zh, "description": self.description.zh},
                {"locale": "en", "name": self.label.en, "description": self.description.en},
            ],
            "claims": [
                {
                    "path": [claim],
                    "display": [
                        {"locale": "zh-CN", "label": label.zh},
                        {"locale": "en", "label": label.en},
                    ],
                    # No profile attribute is in these credentials, so nothing needs hiding.
                    "sd": "never",
                }
                for claim, label in self.claims.items()
            ],
        }


CUSTOMER = CredentialType(
    name="customer",
    version=1,
    label=Label(zh="客户凭证", en="Customer credential"),
    description=Label(
        zh="用于签署和撤回数据使用同意，不含任何个人资料。",
        en="Signs and withdraws consents to the use of data; it holds no personal details.",
    ),
    claims={
        "jti": Label(zh="凭证编号", en="Credential number"),
        "binding_grade": Label(zh="身份核验等级", en="Grade of identity binding"),
    },
)

CONSENT = CredentialType(
    name="consent",
    version=1,
    label=Label(zh="同意凭证", en="Consent credential"),
    description=Label(
        zh="客户同意某一方为特定目的使用哪些数据的证明。",
        en="Shows which data a customer lets one party use, for which purpose.",
    ),
    claims={
        "consent_id": Label(zh="同意编号", en="Consent number"),
        "sub": Label(zh="客户的成对标识", en="Customer, as known to this recipient"),
        "controller": Label(zh="个人信息处理者", en="Controller"),
        "recipients": Label(zh="接收方", en="Recipients"),
        "purpose": Label(zh="目的与算法", en="Purpose and algorithm"),
        "actions": Label(zh="允许的操作", en="Actions"),
        "attributes": Label(zh="数据项", en="Attributes"),
        "separate": Label(zh="单独同意的事项", en="Matters of separate consent"),
        "territories": Label(zh="存储、处理和访问地区", en="Territories"),
        "retention_days": Label(zh="保存天数", en="Retention in days"),
        "max_uses": Label(zh="最多使用次数", en="Uses at most"),
        "minor_versions": Label(zh="涵盖算法的小版本", en="Covers minor versions"),
        "legal_basis": Label(zh="法律依据", en="Legal basis"),
        "terms_hash": Label(zh="条款摘要", en="Hash of the terms"),
        "evidence": Label(zh="客户签署内容的摘要", en="Hashes of what the customer signed"),
        "signature_grade": Label(zh="签署等级", en="Grade of the signature"),
        "guardian": Label(zh="监护人的签署方式", en="How the guardian signed"),
    },
)

RECEIPT = CredentialType(
    name="receipt",
    version=1,
    label=Label(zh="同意回执", en="Consent receipt"),
    description=Label(
        zh="您所同意的条款，以及如何撤回。",
        en="The terms that you agreed to, and how to withdraw.",
    ),
    claims={
        "consent_id": Label(zh="同意编号", en="Consent number"),
        "terms": Label(zh="条款", en="Terms"),
        "terms_hash": Label(zh="条款摘要", en="Hash of the terms"),
        "evidence": Label(zh="签署内容的摘要", en="Hashes of what was signed"),
        "withdrawal": Label(zh="撤回地址", en="Where to withdraw"),
    },
)

MEMBERSHIP = CredentialType(
    name="membership",
    version=1,
    label=Label(zh="联邦成员凭证", en="Membership of a training consortium"),
    description=Label(
        zh="证明某个节点属于联邦训练的一个成员，绑定该节点的密钥。",
        en="Shows that a node is that of a member of a training consortium; bound to its key.",
    ),
    claims={
        "jti": Label(zh="凭证编号", en="Credential number"),
        "member": Label(zh="成员（合作方编号）", en="Member, by its client id"),
    },
)

CREDENTIAL_TYPES = {kind.path: kind for kind in (CUSTOMER, CONSENT, RECEIPT, MEMBERSHIP)}
"""Every type by its path below the issuer's address."""
