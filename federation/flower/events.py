"""What happens, told: in lines for people in two languages, or in JSON for machines.

Applications run as processes of their own and write theirs into a file (`append`), from which
whoever supervises them reads on (`Tail`).
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO

BAR: Final = 20
TEXTS: Final = {
    "starting": "starting {name} 正在启动",
    "started": "{name} runs 已启动",
    "ended": "{name} ended ({how}), starts again in {again_in} s 已退出，将重启{hint}",
    "stopping": "stopping what was started 正在停止",
    "stopped": "stopped 已停止",
    "keys_made": "made your keys; give both files to the operator: {node} {receipts} 密钥已生成",
    "checked": "{member}: {rows} rows, {consents} consents verify, {refused} refused 检查完成",
    "broker_answers": "the broker answers 服务可达",
    "broker_silent": "the broker: {why}; trying on 服务不可达，继续重试{hint}",
    "superlink_silent": "the SuperLink: {why}; trying on 尚未就绪",
    "campaign_refused": "{campaign}: {why}; nothing is run 活动无效",
    "bundle_missing": "{campaign}: no signed application of hash {bundle} in {folder}: put the "
    ".fab and its .fab.signatures there 缺少应用包",
    "waiting_for_members": "{campaign}: {online} of {needed} members are online, waiting for "
    "{missing} 等待成员",
    "members": "members that take part: {admitted} 参与成员",
    "run_started": "{campaign} {stage}: run {run} began 训练已开始",
    "run_ended": "{campaign} {stage}: run {run} {status} {details} 训练已结束",
    "round_opened": "{campaign} {stage} round {number} opened, {members} members 轮次开始",
    "round_closed": "{campaign} {stage} [{bar}] {closed}/{rounds} closed, round {number} {metrics} "
    "{left_out} {notices} 轮次完成",
    "round_failed": "{campaign} {stage} round {number} failed: {why} {left_out} {notices} 轮次失败",
    "run_failed": "{campaign} {stage}: {why} 运行出错",
    "stage_over": "{campaign}: stage {stage} is over, {closed}/{rounds} rounds closed "
    "阶段完成{hint}",
    "campaign_state": "{campaign} is {state} {reason} 活动状态",
    "campaign_paused": "{campaign}: {runs} runs in a row gave no accepted round; it is paused "
    "多次运行无果，活动已暂停{hint}",
    "budget_spent": "{campaign} {stage}: the privacy budget is spent, no further round; last model "
    "{model} 隐私预算已用完",
    "trained": "{stage} round {number}: trained on {rows} rows, left out {left_out} 本轮已训练",
    "refused": "{stage} round {number}: took no part: {code} 本轮未参与{hint}",
    "broken": "{stage} round {number}: {why} 训练出错",
}
"""Each event by its name; what stands in braces are its facts."""


class Events:
    """Tells events to whoever started the program."""

    def __init__(self, *, as_json: bool, output: TextIO | None = None) -> None:
        """Write lines to `output`, standard output unless said."""
        self._as_json, self._output = as_json, output or sys.stdout

    def tell(self, event: str, **facts: Any) -> None:  # noqa: ANN401 (facts are JSON)
        """Tell an event of `TEXTS`."""
        if self._as_json:
            # ASCII: others say some of it, and whoever looks on may be a terminal.
            line = json.dumps({"at": int(time.time()), "event": event, **facts})
        else:
            line = f"{time.strftime('%H:%M:%S')}  {TEXTS[event].format_map(_shown(facts))}".rstrip()
        try:
            self._output.write(f"{line}\n")
            self._output.flush()
        except BrokenPipeError:
            # Whoever listened is gone; what is supervised goes on.
            pass


class Changes:
    """Tells an event when it is another than the last one about the same thing."""

    def __init__(self, events: Events) -> None:
        self._events = events
        self._last: dict[str, Any] = {}

    def tell(self, about: str, event: str, **facts: Any) -> None:  # noqa: ANN401
        """Tell what became of something."""
        if self._last.get(about) != (event, facts):
            self._last[about] = (event, facts)
            self._events.tell(event, **facts)

    def forget(self, about: str) -> None:
        """The next event about it is a new one."""
        self._last.pop(about, None)


def append(file: Path, event: str, **facts: Any) -> None:  # noqa: ANN401
    """Write an event into a file, as one line at once."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with file.open("ab") as output:
        line = {"event": event, "when": round(time.time(), 3), **facts}
        output.write(json.dumps(line).encode() + b"\n")


@dataclass
class Tail:
    """Reads what is appended to a file from now on."""

    file: Path
    read: int = -1

    def __post_init__(self) -> None:
        """Begin where the file ends."""
        self.read = self.file.stat().st_size if self.file.exists() else 0

    def new(self) -> list[dict[str, Any]]:
        """The events since the last look; half a line waits for its end."""
        if not self.file.exists():
            return []
        with self.file.open("rb") as source:
            source.seek(self.read)
            data = source.read()
        whole = data[: data.rfind(b"\n") + 1]
        self.read += len(whole)
        found = []
        for line in whole.splitlines():
            try:
                told = json.loads(line)
            except ValueError:
                continue
            if isinstance(told, dict) and told.get("event") in TEXTS:
                found.append(told)
        return found


def _shown(facts: dict[str, Any]) -> dict[str, str]:
    """Facts as people read them; what an event does not say is nothing."""
    shown = _Nothing({name: _text(value) for name, value in facts.items()})
    if "closed" in facts and "rounds" in facts:
        full = BAR * int(facts["closed"]) // max(1, int(facts["rounds"]))
        shown["bar"] = "#" * full + "-" * (BAR - full)
    if shown.get("hint"):
        shown["hint"] = f"\n          {shown['hint']}"
    return shown


class _Nothing(dict[str, str]):
    def __missing__(self, _key: str) -> str:
        return ""


def _text(value: object) -> str:
    """What is shown of a fact: others say some of it, and a terminal would obey what they send."""
    return "".join(one if one.isprintable() else " " for one in _spelt(value))


def _spelt(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name} {one}" for name, one in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "nobody"
    return str(value)
