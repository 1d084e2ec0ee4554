"""What `doctor` says of each finding, by its code, in English and Chinese: doctor.json."""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

AREAS = {
    "settings": ("settings", "设置"),
    "home": ("files", "文件"),
    "database": ("database", "数据库"),
    "keys": ("keys", "密钥"),
    "clock": ("clock", "时钟"),
    "log": ("log", "日志"),
    "lists": ("lists", "列表"),
    "policies": ("policies", "策略"),
    "events": ("events", "事件"),
}
WHY = {"en": "why", "zh": "影响"}
CURE = {"en": "cure", "zh": "处理"}
VERDICTS = {
    "en": ("All is well.", "{problems} problems, {warnings} warnings."),
    "zh": ("一切正常。", "{problems} 个问题，{warnings} 个提醒。"),
}


@dataclass(frozen=True)
class Text:
    """One finding in one language: what, why it matters, how to cure it; fine has what alone."""

    what: str
    why: str = ""
    cure: str = ""


@cache
def texts() -> dict[str, dict[str, Text]]:
    """Each finding's code, its languages, its texts with places for the finding's values."""
    told = json.loads(files("broker.cli").joinpath("doctor.json").read_text("utf-8"))
    return {
        code: {lang: Text(**parts) for lang, parts in languages.items()}
        for code, languages in told.items()
    }
