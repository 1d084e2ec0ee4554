"""What is said of rounds' members and of campaigns, for people: Chinese, then English."""

from collections.abc import Mapping
from typing import Any, Final

from broker.domain.campaign import BUDGET_SPENT, NO_ROUND_ACCEPTED, ROUNDS_USED_UP
from federation.remarks import BROKER, REFUSED

REASONS: Final = {
    BUDGET_SPENT: "隐私预算已用完 privacy budget spent",
    NO_ROUND_ACCEPTED: "多次运行均无被接受的轮次 no run gave a round that was accepted",
    ROUNDS_USED_UP: "轮次编号已用完，含备用 no round is left, spare ones included",
}
WHO: Final = {
    REFUSED: "成员不参与 took no part: ",
    BROKER: "服务端不收其回执 the broker takes no receipt of it: ",
}
WHY: Final = {
    "answer_under_way": "上一轮的训练尚未结束 its training of an earlier round goes on",
    "application_failed": "其训练程序出错 its application failed",
    "before_of_another": "其留存属于另一活动 what it kept is of another campaign",
    "board_disagrees": "活动未经其委员会签名 its board did not sign the campaign",
    "body_too_large": "回执过大 too large",
    "broker_refused": "服务端未给轮次密钥 the broker gave it no key of the round",
    "bundle_differs": "程序不是活动所指定的 its application is not the campaign's",
    "bundle_untrusted": "程序未经受信签名 nobody it trusts signed the application",
    "business_lines_differ": "业务线与行数不符 as many business lines as rows it has not",
    "business_lines_missing": "未说明各行的业务线 it names no business lines of its rows",
    "campaign_followed": "另一活动已接续 another campaign does this one anew",
    "campaign_invalid": "活动的时间、阶段、轮次或成员不符 time, stage, round or members do not fit",
    "flower_error": "传输出错 its message failed",
    "invalid_request": "无法读取 cannot be read",
    "leaves_differ": "回执与叶子不符 the leaves are not those of its receipt",
    "lists_of_another_round": "状态列表属于另一轮 status lists of another round",
    "lists_stale": "状态列表过期 status lists are stale",
    "lists_unavailable": "状态列表缺失、过期或伪造 status lists missing, stale or forged",
    "malformed": "格式错误 malformed",
    "mask_not_opened": "其掩码无法解开 its mask does not open",
    "masking_failed": "安全聚合失败 secure aggregation failed",
    "member_not_admitted": "未获接纳或已撤销 not admitted, or revoked",
    "metrics_malformed": "指标格式错误 malformed metrics",
    "no_answer": "没有答复 no answer",
    "no_node": "没有节点 no node",
    "node_gone": "节点已离线 its node is gone",
    "not_finite": "含无穷或非数 a number that is not finite",
    "not_masked": "未加掩码 not masked",
    "not_whole": "答复不完整 not whole",
    "other": "其他原因 for another reason",
    "other_metrics": "指标与他人不同 other metrics than the others",
    "other_shapes": "张量形状不同 tensors of other shapes",
    "other_tensors": "张量不同 other tensors",
    "parameters_differ": "参数不是活动所签的 other parameters than were signed",
    "privacy_budget_spent": "其隐私预算已用完 its privacy budget is spent",
    "receipt_conflict": "同一轮的另一份回执 a second receipt for the round",
    "receipt_forged": "回执不是其密钥所签 its key did not sign the receipt",
    "receipt_mismatch": "回执属于另一轮或另一模型 its receipt is of another round or model",
    "round_repeated": "已训练过该轮 it has trained in that round before",
    "rows_differ": "行数与同意数不符 as many rows as consents it has not",
    "salt_differs": "盐值不符 another salt than was signed",
    "settings_wrong": "其配置不可用 its settings cannot be used",
    "shares_not_whole": "份额不完整 its shares are not whole",
    "stage_shut": "上一阶段未通过 the stage before is not passed",
    "state_conflict": "该轮不再接收 the round takes none any more",
    "sum_not_finite": "总和溢出 the sum is not finite",
    "too_few_rows": "同意的行太少 too few rows with consent",
    "too_large": "过大 too large",
    "training_receipt_refused": "回执不合该轮 its receipt is not as the round asks",
    "update_too_large": "更新过大 its update is too large",
    "weight_without_rows": "权重与行数不符 its weight is not that of its rows",
    "wrong_shares": "他人的份额有误 wrong shares from another",
}
"""By code, without what stands before it."""
NOTICES: Final = {
    "far_out": "其更新远离其他成员 its update lies far from the others'",
    "wrong_shares": "他人称其份额有误 another says that its shares are wrong",
    "other": "其他提示 something else was noticed",
}


def why(code: str) -> str:
    """Why a member was left out; a code that a newer broker has stored is another reason."""
    for prefix, told in WHO.items():
        if code.startswith(prefix):
            return told + WHY.get(code.removeprefix(prefix), WHY["other"])
    return WHY.get(code, WHY["other"])


def remarks_of(told: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Of a round, each member of whom there is something to say: its name, a code, and a text."""
    left_out = [(member, code, why(code)) for member, code in told["left_out"].items()]
    noticed = told["notices"].items()
    return [*left_out, *((one, code, NOTICES.get(code, NOTICES["other"])) for one, code in noticed)]


def ended(told: Mapping[str, Any]) -> str:
    """Why a campaign is in its state and how far it came; "" where somebody chose the state."""
    if told["reason"] is None:
        return ""
    campaign = told["document"]["campaign"]
    of = campaign["rounds"] * len(campaign["rollout"])
    done = sum(one["state"] == "closed" for one in told["rounds"])
    last = told["last_accepted"]
    model = "尚无模型 no model yet" if last is None else f"最后模型 last model {last['model_out']}"
    why_so = REASONS.get(told["reason"], WHY["other"])
    return f"{why_so}; 完成 {done}/{of} 轮 rounds done; {model}"
