"""The register of transfers for people: a page, and the year's counts against the bands."""

import math
from typing import Any

from broker.domain.cross_border import ASSESSMENT_BAND, CONTRACT_BAND, SENSITIVE_BAND, Count
from broker.domain.cross_border_export import Register
from broker.web.documents import document

WIDTH, HEIGHT, LEFT, TOP, BOTTOM, GAP = 560, 240, 78, 34, 30, 24
PANELS = (
    ("general", "一般个人信息 Not sensitive", (CONTRACT_BAND, ASSESSMENT_BAND), 10_000_000),
    ("sensitive", "敏感个人信息 Sensitive", (SENSITIVE_BAND,), 100_000),
)
KINDS = {
    "standard_contract": "标准合同 Standard contract",
    "certification": "保护认证 Certification",
    "security_assessment": "安全评估 Security assessment",
    "exemption": "豁免 Exemption",
    "adequacy": "充分性认定 Adequacy decision",
    "standard_clauses": "标准合同条款 Standard contractual clauses",
    "binding_rules": "有约束力的公司规则 Binding corporate rules",
    "derogation": "特定情形例外 Derogation",
}
REQUIRED = ("无须申报 Nothing", "标准合同或认证 Contract or certification", "安全评估 Assessment")


def svg(count: Count, until_month: int) -> str:
    """A handler's counts by month against the bands (logarithmic), as an SVG without network."""
    view: dict[str, Any] = {
        "width": WIDTH,
        "height": len(PANELS) * (TOP + HEIGHT + BOTTOM) + GAP,
        "title": f"{count.exporter} {count.year}",
        "left": LEFT,
        "panels": [_panel(count, number, until_month) for number in range(len(PANELS))],
    }
    return document("transfers.svg", view)


def page(register: Register, until_month: int) -> str:
    """The register as one page with its pictures."""
    view = {
        "register": register,
        "pictures": [svg(count, until_month) for count in register.counts],
        "kinds": KINDS,
        "required": REQUIRED,
    }
    return document("transfers.html", view)


def _panel(count: Count, number: int, until_month: int) -> dict[str, Any]:
    category, title, bands, top = PANELS[number]
    begin = number * (TOP + HEIGHT + BOTTOM) + TOP
    months = count.months.get(category, (0,) * 12)
    step = (WIDTH - LEFT - 16) / 12
    points, so_far = [], 0
    for month in range(1, until_month + 1):
        so_far += months[month - 1]
        points.append(
            {
                "x": round(LEFT + step * (month - 0.5), 1),
                "y": _height(begin, so_far, top),
                "count": so_far,
                "month": month,
            }
        )
    return {
        "title": title,
        "begin": begin,
        "end": begin + HEIGHT,
        "points": points,
        "path": " ".join(f"{one['x']},{one['y']}" for one in points),
        "ticks": [
            {"y": _height(begin, tick, top), "text": f"{tick:,}"}
            for tick in (10, 100, 1_000, 10_000, 100_000, 1_000_000)
            if tick < top and tick not in bands
        ],
        "bands": [{"y": _height(begin, band, top), "text": f"{band:,}"} for band in bands],
        "months": [
            {"x": round(LEFT + step * (month - 0.5), 1), "text": month} for month in range(1, 13)
        ],
        "so_far": f"{so_far:,}",
    }


def _height(begin: int, value: int, top: int) -> float:
    share = math.log10(1 + min(value, top)) / math.log10(1 + top)
    return round(begin + HEIGHT * (1 - share), 1)
