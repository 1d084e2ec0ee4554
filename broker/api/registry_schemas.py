"""Wire types of what a tenant has registered: purposes, algorithms, attributes, templates."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from broker.domain.demand import stored_demand
from broker.domain.template import Template
from broker.domain.terms import AlgorithmTerms, AttributeTerms, Label, PurposeTerms

FIELDS_AT_MOST = 1_000
TEMPLATE_EXAMPLE: dict[str, Any] = {
    "schema": "urn:consent-broker:template:1",
    "id": "birthday-coupon",
    "title": {"zh": "想用你的资料", "en": "asks to use your data"},
    "summary": {
        "zh": "想用你的消费次数，让「流失预测」算法（第 1 版）判断要不要给你发优惠券。",
        "en": "would like to let its churn prediction (version 1) decide whether to send a coupon.",
    },
    "refusal": {"zh": "点单和积分都不变。", "en": "Ordering and points stay the same."},
    "minimum_grade": "link",
    "allow_bound_signature": True,
    "evidence_retention_days": 1095,
    "legal_hold_days": 1095,
    "assessment_reference": "PIA-2026-017",
    "items": [
        {
            "item": "base",
            "purpose": "dpv:ServicePersonalisation#algo:churn-v3@1",
            "actions": ["read", "profile"],
            "attributes": [{"id": "purchase_count_12m", "required": True}],
            "territories": {"storage": ["CN"], "processing": ["CN"], "access": ["CN"]},
            "retention_days": 180,
            "valid_days": 180,
            "max_uses": 12,  # FastAPI leaves null out of its document
            "sentence": {
                "zh": "算法用消费次数判断要不要发优惠券。",
                "en": "The algorithm decides on coupons from how often you buy.",
            },
        }
    ],
}

FieldName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.\-]{0,99}$")]
AttributeId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,63}$")]


class LabelOut(BaseModel):
    """A text in Chinese and in English."""

    zh: str
    en: str


class PurposeOut(BaseModel):
    """A purpose of the tenant."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "dpv:ServicePersonalisation",
                    "label": {"zh": "服务个性化", "en": "Service personalisation"},
                    "necessary_for_service": False,
                }
            ]
        }
    )
    id: str = Field(description="A term of the W3C Data Privacy Vocabulary.")
    label: LabelOut
    necessary_for_service: bool = Field(description="Whether the service cannot be had without it.")
    demand: dict[str, Any] | None = Field(
        default=None,
        description="What has to be proven of a contact before a decision permits: schema, "
        "statements, and max_age_seconds, how old the proof may be. A denial names it.",
    )


class AlgorithmOut(BaseModel):
    """An algorithm in one version, below its purpose."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "churn-v3",
                    "version": "1",
                    "purpose": "dpv:ServicePersonalisation",
                    "wire": "dpv:ServicePersonalisation#algo:churn-v3@1",
                    "label": {"zh": "流失预测", "en": "Churn prediction"},
                    "explanation": {"zh": "看近期到店次数。", "en": "Looks at recent visits."},
                    "risk_tier": "limited",
                    "automated_decision": True,
                }
            ]
        }
    )
    id: str
    version: str
    purpose: str
    wire: str = Field(description="What a decision asks for: purpose, algorithm and version.")
    label: LabelOut
    explanation: LabelOut
    risk_tier: str
    automated_decision: bool


class AttributeOut(BaseModel):
    """A canonical attribute."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "purchase_count_12m",
                    "label": {"zh": "近 12 个月消费次数", "en": "Purchases in 12 months"},
                    "category": "pd:PurchasesAndSpendingHabit",
                    "sensitive": False,
                    "stored_in": "CN",
                    "public_place": False,
                    "maskings": {"*": "round_10", "analyst": "none"},
                }
            ]
        }
    )
    id: str
    label: LabelOut
    category: str = Field(description="A category of the W3C Data Privacy Vocabulary.")
    sensitive: bool = Field(description="Sensitive personal information: a consent of its own.")
    stored_in: str = Field(description="ISO 3166-1 code.")
    public_place: bool = Field(
        description="Collected by devices in public places (PIPL 26): a consent of its own."
    )
    maskings: dict[str, str] = Field(
        description="By role, `*` for everybody else: in which masking it is given out."
    )


class TemplateOut(BaseModel):
    """A consent template in one version."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "birthday-coupon",
                    "version": 1,
                    "notice_hash": "2Gm1Jx0vJq0N5fHq6m4mQy1zJw8k3cXo5rT7uVbYdEA",
                    "document": TEMPLATE_EXAMPLE,
                }
            ]
        }
    )
    id: str
    version: int
    notice_hash: str = Field(description="SHA-256 of the canonical document, as the terms name it.")
    document: dict[str, Any] = Field(description="By the schema /schemas/consent-template/1.json.")


class PurposesOut(BaseModel):
    """The tenant's purposes."""

    purposes: list[PurposeOut]


class AlgorithmsOut(BaseModel):
    """The tenant's algorithms, each version by itself."""

    algorithms: list[AlgorithmOut]


class AttributesOut(BaseModel):
    """The tenant's attribute dictionary."""

    attributes: list[AttributeOut]


class TemplatesOut(BaseModel):
    """The tenant's templates, each in its newest version."""

    templates: list[TemplateOut]


class MappingBody(BaseModel):
    """A partner's own field names for canonical attributes."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"fields": {"buy_cnt_y": "purchase_count_12m", "city": "home_city"}}]
        },
    )
    fields: dict[FieldName, AttributeId] = Field(
        max_length=FIELDS_AT_MOST,
        description="Your field name to a canonical attribute (GET /v1/attributes).",
    )


def label_out(label: Label) -> LabelOut:
    """The wire form of a text."""
    return LabelOut(zh=label.zh, en=label.en)


def purpose_out(purpose: PurposeTerms, demand: str | None) -> PurposeOut:
    """The wire form of a purpose."""
    return PurposeOut(
        id=purpose.id,
        label=label_out(purpose.label),
        necessary_for_service=purpose.necessary_for_service,
        demand=None if demand is None else stored_demand(demand).to_json(),
    )


def algorithm_out(purpose_id: str, algorithm: AlgorithmTerms) -> AlgorithmOut:
    """The wire form of an algorithm."""
    return AlgorithmOut(
        id=algorithm.id,
        version=algorithm.version,
        purpose=purpose_id,
        wire=f"{purpose_id}#algo:{algorithm.id}@{algorithm.version}",
        label=label_out(algorithm.label),
        explanation=label_out(algorithm.explanation),
        risk_tier=algorithm.risk_tier,
        automated_decision=algorithm.automated_decision,
    )


def attribute_out(
    attribute: AttributeTerms, maskings: Mapping[str, str], *, public_place: bool
) -> AttributeOut:
    """The wire form of an attribute; `maskings` are by role."""
    return AttributeOut(
        id=attribute.id,
        label=label_out(attribute.label),
        category=attribute.category,
        sensitive=attribute.sensitive,
        stored_in=attribute.stored_in,
        public_place=public_place,
        maskings=dict(maskings),
    )


def template_out(template: Template) -> TemplateOut:
    """The wire form of a template."""
    return TemplateOut(
        id=template.id,
        version=template.version,
        notice_hash=template.notice_hash(),
        document=dict(template.document),
    )
