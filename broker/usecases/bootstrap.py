"""The demonstration tenant: a group, its coffee brand, and what the brand would like to use."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from broker.domain.addresses import ROOT_TENANT
from broker.domain.terms import AlgorithmTerms, Label, PurposeTerms
from broker.store import partners, registry
from broker.store.registry import AttributeSpec
from broker.usecases.context import Context
from broker.usecases.partner import NewClient, add_officer, add_partner
from broker.usecases.tenant import add_algorithm, add_attribute, add_purpose, add_template, add_tenant

CLIENTS_FILE = "demo-clients.json"
PURPOSE = "dpv:ServicePersonalisation"
LOYALTY = "loyalty-churn"

PURPOSES = (
    PurposeTerms(PURPOSE, Label("服务个性化", "Service personalisation"), necessary_for_service=False),
    PurposeTerms("dpv:ServiceProvision", Label("提供服务", "Service provision"), necessary_for_service=True),
)
ALGORITHMS = (
    (
        PURPOSE,
        AlgorithmTerms(
            "churn-v3", "1", Label("流失预测", "Churn prediction"),
            Label("看近期到店次数，判断要不要发优惠券。", "Looks at recent visits to decide whether to send a coupon."),
            automated_decision=True, risk_tier="limited",
        ),
    ),
    (
        PURPOSE,
        AlgorithmTerms(
            "churn-v3", "2", Label("流失预测", "Churn prediction"),
            Label("第 2 版，另外参考时段。", "Version 2, which also looks at the time of day."),
            automated_decision=True, risk_tier="limited",
        ),
    ),
    (
        PURPOSE,
        AlgorithmTerms(
            "shop-nearby", "1", Label("附近门店", "Nearby shop"),
            Label("看常去的门店，推荐离得近的一家。", "Looks at the shops you visit to suggest one near your way."),
            automated_decision=False, risk_tier="high",
        ),
    ),
    (
        PURPOSE,
        AlgorithmTerms(
            "sg-match", "1", Label("新加坡核对", "Check in Singapore"),
            Label("在新加坡用消费次数核对模型。", "Checks the model against purchase counts in Singapore."),
            automated_decision=False, risk_tier="limited",
        ),
    ),
)
ATTRIBUTES = (
    AttributeSpec("purchase_count_12m", Label("近 12 个月消费次数", "Purchases in 12 months"), "pd:PurchasesAndSpendingHabit", "number", sensitive=False, stored_in="CN"),
    AttributeSpec("home_city", Label("所在城市", "City"), "pd:Location", "code", sensitive=False, stored_in="CN"),
    AttributeSpec("phone", Label("手机号", "Phone number"), "pd:TelephoneNumber", "text", sensitive=False, stored_in="CN"),
    AttributeSpec("date_of_birth", Label("出生日期", "Date of birth"), "pd:BirthDate", "date", sensitive=False, stored_in="CN"),
    AttributeSpec("visit_log", Label("精确到门店的到访记录", "Visits, down to the shop"), "pd:TravelHistory", "text", sensitive=True, stored_in="CN"),
    AttributeSpec("id_number", Label("身份证号", "Identity card number"), "pd:OfficialID", "text", sensitive=True, stored_in="CN"),
    AttributeSpec("medical_summary", Label("健康摘要", "Medical summary"), "pd:MedicalHealth", "text", sensitive=True, stored_in="CN"),
)
HOME = {"storage": ["CN"], "processing": ["CN"], "access": ["CN"]}
ABROAD = {"storage": ["CN"], "processing": ["SG"], "access": ["SG"]}
TEMPLATE: dict[str, Any] = {
    "schema": "urn:consent-broker:template:1",
    "id": LOYALTY,
    "title": {"zh": "想用你的资料", "en": "asks to use your data"},
    "summary": {
        "zh": "想用你的消费次数和所在城市，让「流失预测」算法（第 1 版）判断要不要给你发优惠券。",
        "en": "would like to use how often you buy and your city, so that its “churn prediction” algorithm (version 1) can decide whether to send you a coupon.",
    },
    "refusal": {
        "zh": "点单、积分和会员价都不变，只是不会收到这些优惠券。以后随时可以改主意。",
        "en": "Ordering, points and member prices stay the same. You just will not get these coupons. You can change your mind at any time.",
    },
    "minimum_grade": "link",
    "allow_bound_signature": True,
    "evidence_retention_days": 1095,
    "legal_hold_days": 1095,
    "assessment_reference": "PIA-2026-017",
    "items": [
        {
            "item": "base",
            "purpose": f"{PURPOSE}#algo:churn-v3@1",
            "actions": ["read", "profile"],
            "attributes": [
                {"id": "purchase_count_12m", "required": True},
                {"id": "home_city", "required": False},
            ],
            "territories": HOME,
            "retention_days": 180,
            "valid_days": 180,
            "max_uses": None,
            "sentence": {
                "zh": "算法用消费次数判断要不要发优惠券；城市可选，用来挑附近门店。",
                "en": "The algorithm decides on coupons from how often you buy; the city is optional, to pick a nearby shop.",
            },
        },
        {
            "item": "visits",
            "purpose": f"{PURPOSE}#algo:shop-nearby@1",
            "actions": ["read"],
            "attributes": [{"id": "visit_log", "required": True}],
            "territories": HOME,
            "retention_days": 30,
            "valid_days": 90,
            "max_uses": 12,
            "sentence": {
                "zh": "为什么需要：判断哪家店离你常走的路近。可能的影响：能推断你的行踪。",
                "en": "Why: to find the shop nearest your usual way. What it may mean for you: your movements can be inferred.",
            },
        },
        {
            "item": "singapore",
            "purpose": f"{PURPOSE}#algo:sg-match@1",
            "actions": ["read"],
            "attributes": [{"id": "purchase_count_12m", "required": True}],
            "territories": ABROAD,
            "retention_days": 30,
            "valid_days": 90,
            "max_uses": None,
            "sentence": {
                "zh": "把消费次数发往新加坡核对模型。依据：个人信息出境标准合同。",
                "en": "Sends your purchase count to Singapore to check the model. Basis: the standard contract for export.",
            },
        },
    ],
}


def ensure_demo_tenant(ctx: Context) -> None:
    """Create the demonstration tenant, its brand and its officer, unless they are there.

    Their private keys go to `demo-clients.json` below the home folder, readable by its owner alone.
    """
    with ctx.db.reading() as tx:
        exists = registry.has_tenant(tx, ROOT_TENANT)
    if not exists:
        add_tenant(
            ctx, ROOT_TENANT, name=Label("晨曦集团", "Dawn Group"), contact="privacy@dawn.example", country="CN"
        )
        for purpose in PURPOSES:
            add_purpose(ctx, ROOT_TENANT, purpose)
        for purpose_id, algorithm in ALGORITHMS:
            add_algorithm(ctx, ROOT_TENANT, purpose_id, algorithm)
        for attribute in ATTRIBUTES:
            add_attribute(ctx, ROOT_TENANT, attribute)
        add_template(ctx, ROOT_TENANT, TEMPLATE)
    ctx.keys.prepare(ROOT_TENANT)
    path = ctx.settings.home / CLIENTS_FILE
    with ctx.db.reading() as tx:
        known = bool(partners.of_tenant(tx, ROOT_TENANT))
    if not known:
        partner = add_partner(
            ctx, ROOT_TENANT, name="Dawn Coffee (Shanghai) Co., Ltd.", name_zh="晨曦咖啡（上海）有限公司",
            contact="privacy@dawn.example", country="CN",
        )
        officer = add_officer(ctx, ROOT_TENANT, name="Demonstration officer")
        _write_private(path, {"partner": partner, "officer": officer})


def demo_clients(ctx: Context) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """The demonstration partner and officer: client ids and private JWKs.

    Raises `FileNotFoundError` when the broker has never been started with this home.
    """
    clients = json.loads((ctx.settings.home / CLIENTS_FILE).read_text(encoding="utf-8"))
    return clients["partner"], clients["officer"]


def _write_private(path: Path, clients: Mapping[str, NewClient]) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump({name: client.to_json() for name, client in clients.items()}, file)
