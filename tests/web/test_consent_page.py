"""The way of a consent over its page, by a browser without script and a real wallet."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from broker.domain.consent import BindingGrade
from broker.store import consents
from broker.usecases.tenant import add_template
from tests.broker.demonstration import DEMONSTRATION
from tests.web.markup import Element, Markup
from tests.web.page_world import PageWorld
from tests.web.visiting import Visitor, forms, wallet_links
from wallet_adapters.errors import WalletProtocolError

NEEDED = {"base": "purchase_count_12m", "visits": "visit_log", "singapore": "purchase_count_12m"}


def cards(page: Markup) -> list[Element]:
    return list(page.main.every("fieldset"))


def heading(page: Markup) -> str:
    return page.main.one("h1").text


def granted(visitor: Visitor, *items: str) -> Visitor:
    """A visitor who has agreed to these items and signed."""
    visitor.world.take_card()
    assert visitor.choose(*items).status_code == 303
    visitor.world.sign(visitor.wallet_link())
    return visitor


def test_step_one_says_who_and_why_and_what_refusing_means(world: PageWorld) -> None:
    page = Visitor(world, world.ask()).see()
    assert heading(page) == "晨曦咖啡（上海）有限公司想用你的资料"
    text = page.main.text
    for said in (
        "流失预测，第 1 版",
        "服务个性化",
        "晨曦集团",
        "如果你不同意",
        "点单、积分和会员价都不变",
    ):
        assert said in text
    assert page.main.one(aria_current="step").text.startswith("1 ")


def test_minor_versions_are_said_before_they_are_signed(world: PageWorld) -> None:
    template = DEMONSTRATION["templates"][0]
    item = {**template["items"][0], "minor_versions": True}
    add_template(world.ctx, "demo", {**template, "id": "minor", "items": [item]})
    visitor = Visitor(world, world.ask(template="minor"))
    text = visitor.see().main.text
    assert "流失预测，第 1 及 1.x 版" in text
    assert "小版本（1.x）只要风险等级和决策方式不变，就不再另行询问" in text
    assert "1.x" not in Visitor(world, world.ask()).see().main.text


def test_nothing_is_ticked_for_the_customer(world: PageWorld) -> None:
    page = Visitor(world, world.ask()).see("?step=2")
    boxes = list(page.root.every("input", type="checkbox"))
    radios = list(page.root.every("input", type="radio"))
    assert len(boxes) == 2
    assert len(radios) == 4
    assert not [one for one in (*boxes, *radios) if "checked" in one.attributes]


@pytest.mark.parametrize("step", ["?step=1", "?step=2", "?step=3"])
def test_refusing_and_agreeing_look_the_same(world: PageWorld, step: str) -> None:
    visitor = Visitor(world, world.ask())
    world.take_card()
    visitor.choose("base")
    pairs = list(visitor.see(step).main.every(class_="pair"))
    assert pairs
    for pair in pairs:
        buttons = list(pair.every(class_="btn"))
        assert [button.attributes["class"] for button in buttons] == ["btn", "btn"]


def test_sensitive_and_cross_border_are_cards_of_their_own(world: PageWorld) -> None:
    page = Visitor(world, world.ask(), "en").see("?step=2")
    kinds = [card.attributes["class"] for card in cards(page)]
    assert kinds == ["card", "card sens", "card far"]
    for card in cards(page)[1:]:
        answers = [one.attributes["value"] for one in card.every("input", type="radio")]
        assert answers == ["refuse", "agree"]
    assert "Leaves the country" in cards(page)[2].text
    assert "To Singapore: Purchases in 12 months" in cards(page)[2].text
    assert "signature 3 of 3" in cards(page)[2].text


def test_only_masks_are_shown_never_values(world: PageWorld) -> None:
    page = Visitor(world, world.ask()).see("?step=2")
    masks = [one.text for one in page.main.every(class_="mask")]
    assert len(masks) >= 4
    assert set(masks) == {"••• 内容已遮住"}


def test_signing_without_choosing_leads_back_to_the_choice(world: PageWorld) -> None:
    visitor = Visitor(world, world.ask())
    answer = visitor.look("?step=3")
    assert answer.status_code == 303
    assert answer.headers["location"].endswith("?step=2")


def test_the_wallet_is_asked_for_just_what_was_ticked(world: PageWorld) -> None:
    visitor = Visitor(world, world.ask())
    world.take_card()
    assert visitor.choose("base", "singapore").headers["location"] == f"{visitor.path}?step=3"
    page = visitor.see()
    assert heading(page) == "用你的钱包签名"
    terms = [one.text for one in page.main.every(class_="term")]
    assert len(terms) == 3
    assert "近 12 个月消费次数" in terms[0]
    assert "新加坡" in terms[1]
    assert terms[2] == "不给 所在城市 精确到门店的到访记录"
    assert page.main.one(class_="letters").text.replace(" ", "").isalnum()
    link = visitor.wallet_link()
    svg = page.main.one(class_="qr-code").one("svg")
    assert link.startswith("openid4vp://?")
    assert svg.one("path").attributes["d"]


def test_a_needed_attribute_left_out_is_named_and_the_ticks_stay(world: PageWorld) -> None:
    visitor = Visitor(world, world.ask())
    form = forms(visitor.see("?step=2"))[0]
    base = cards(visitor.see("?step=2"))[0].attributes["id"]
    data = form.form_data() | {f"share:{base}": "home_city"}
    answer = visitor.post("choice", data)
    assert answer.status_code == 422
    page = Markup.read(answer.text)
    alert = page.main.one(role="alert")
    assert "近 12 个月消费次数" in alert.text
    assert alert.one("a").attributes["href"] == f"#{base}"
    ticked = [
        box.attributes["value"]
        for box in page.root.every("input", type="checkbox")
        if "checked" in box.attributes
    ]
    assert ticked == ["home_city"]


def test_nothing_ticked_is_said_and_is_no_refusal(world: PageWorld) -> None:
    visitor = Visitor(world, world.ask())
    answer = visitor.post("choice", visitor.token())
    assert answer.status_code == 422
    assert "一项都没有勾选" in Markup.read(answer.text).main.one(role="alert").text
    assert heading(visitor.see("?step=2")).startswith("你来选")


def test_what_was_not_asked_for_cannot_be_slipped_in(world: PageWorld) -> None:
    visitor = Visitor(world, world.ask())
    page = visitor.see("?step=2")
    base, visits, _ = (card.attributes["id"] for card in cards(page))
    data = forms(page)[0].form_data() | {
        f"share:{base}": ["purchase_count_12m", "id_number"],
        # Ticked without having agreed to it: a separate consent needs its own answer.
        f"share:{visits}": "visit_log",
        "share:c-of-another-request": "phone",
        "answer:c-of-another-request": "agree",
    }
    assert visitor.post("choice", data).status_code == 303
    terms = [one.text for one in visitor.see("?step=3").main.every(class_="term")]
    assert len(terms) == 2
    assert "身份证号" not in " ".join(terms)
    assert "精确到门店的到访记录" in terms[-1]


def test_the_card_comes_first(world: PageWorld) -> None:
    visitor = Visitor(world, world.ask())
    visitor.choose("base")
    page = visitor.see()
    assert heading(page) == "先把客户卡放进钱包"
    assert "需要一份邀请" in page.main.text
    opened = world.invite(grade=BindingGrade.CODE)
    page = visitor.see()
    assert "验证码" in page.main.text
    link = visitor.wallet_link()
    assert link == opened.offer_uri
    world.accept(link, opened.tx_code)
    assert heading(visitor.see()) == "用你的钱包签名"


def test_a_consent_is_given_and_its_receipt_kept(world: PageWorld) -> None:
    visitor = granted(Visitor(world, world.ask()), "base", "visits")
    page = visitor.see()
    assert heading(page) == "已签名：这是你同意的内容"
    base, visits, singapore, _everything = page.main.every("section", class_="card")
    assert "已签名" in base.text
    assert "已签名" in visits.text
    assert "未给出" in singapore.text
    receipt = visitor.get(base.one("a", class_="btn").attributes["href"])
    assert receipt.status_code == 200
    assert receipt.headers["content-type"] == "application/dc+sd-jwt"
    assert "attachment" in receipt.headers["content-disposition"]
    assert receipt.text.endswith("~")
    assert visitor.get(f"{visitor.path}/receipt/{singapore.attributes['id']}").status_code == 404


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_the_terms_say_in_which_language_they_were_shown(world: PageWorld, lang: str) -> None:
    visitor = granted(Visitor(world, world.ask(), lang), "base")
    page = visitor.see()
    consent = next(iter(page.main.every("section", class_="card"))).attributes["id"]
    with world.ctx.db.reading() as tx:
        terms = json.loads(consents.consent(tx, "demo", consent).terms)
    assert terms["notice"]["language"] == lang


def test_withdrawing_takes_no_more_steps_than_giving(world: PageWorld) -> None:
    giving = ["look at 1", "look at 2", "choose", "sign"]
    visitor = granted(Visitor(world, world.ask()), "base")
    withdrawing = []
    page = visitor.see()
    withdrawing.append("look")
    base = next(iter(page.main.every("section", class_="card")))
    form = form_to(base, "withdrawal")
    answer = visitor.post("withdrawal", form.form_data())
    withdrawing.append("withdraw")
    assert answer.status_code == 303
    assert answer.headers["location"] == f"{visitor.path}#w-{base.attributes['id']}"
    page = visitor.see()
    assert "在你确认之前，同意仍然有效" in page.main.text
    world.sign(visitor.wallet_link())
    withdrawing.append("sign")
    assert len(withdrawing) <= len(giving)
    page = visitor.see()
    assert heading(page) == "已撤回"
    assert "签名时的那把密钥" in page.main.text
    again = visitor.post("withdrawal", form.form_data())
    assert again.status_code == 409


def form_to(card: Element, act: str) -> Element:
    (found,) = [
        form for form in card.every("form") if form.attributes["action"].endswith(f"/{act}")
    ]
    return found


@pytest.mark.parametrize(("lang", "words"), [("zh", "你已拒绝"), ("en", "You refuse decisions")])
def test_decisions_by_a_program_alone_are_refused_and_the_rest_stays(
    world: PageWorld, lang: str, words: str
) -> None:
    visitor = granted(Visitor(world, world.ask(), lang), "base")
    base = next(iter(visitor.see().main.every("section", class_="card")))
    form = form_to(base, "automated-decisions")
    strange = visitor.post("automated-decisions", form.form_data(), Origin="https://evil.example")
    assert strange.status_code == 403
    assert visitor.post("automated-decisions", form.form_data()).status_code == 303
    page = visitor.see()
    assert words in page.main.text
    base = next(iter(page.main.every("section", class_="card")))
    assert [one.attributes["action"].rsplit("/", 1)[1] for one in base.every("form")] == [
        "withdrawal"
    ]
    with world.ctx.db.reading() as tx:
        row = consents.consent(tx, "demo", base.attributes["id"])
    assert (row.state, row.refuses_automated_decisions) == ("granted", True)
    assert visitor.post("automated-decisions", form.form_data()).status_code == 303  # as it was
    other = Visitor(world, world.ask("crm-2"))
    data = other.token() | {"consent_id": base.attributes["id"]}
    assert other.post("automated-decisions", data).status_code == 404


def test_only_a_consent_of_this_page_can_be_withdrawn_here(world: PageWorld) -> None:
    other = granted(Visitor(world, world.ask("crm-1")), "base")
    consent = next(iter(other.see().main.every("section", class_="card"))).attributes["id"]
    visitor = Visitor(world, world.ask("crm-2"))
    answer = visitor.post("withdrawal", visitor.token() | {"consent_id": consent})
    assert answer.status_code == 404
    assert visitor.get(f"{visitor.path}/receipt/{consent}").status_code == 404


@pytest.mark.parametrize("step", ["?step=1", "?step=2", "?step=3"])
def test_refusing_works_from_every_step(world: PageWorld, step: str) -> None:
    visitor = Visitor(world, world.ask())
    world.take_card()
    visitor.choose("base")
    page = visitor.see(step)
    actions = [
        one.attributes.get("action") or one.attributes.get("formaction")
        for one in page.main.every()
    ]
    assert f"{visitor.path}/refusal" in actions
    answer = visitor.post("refusal", forms(page)[0].form_data())
    assert answer.headers["location"] == visitor.path
    page = visitor.see()
    assert heading(page) == "你没有同意"
    assert "什么都没有签，什么都没有给。" in page.main.text
    assert "点单、积分和会员价都不变" in page.main.text


def test_a_second_answer_is_told_that_it_came_too_late(world: PageWorld) -> None:
    visitor = Visitor(world, world.ask())
    token = visitor.token()
    assert visitor.post("refusal", token).status_code == 303
    for act in ("refusal", "choice"):
        answer = visitor.post(act, token)
        assert answer.status_code == 409
        page = Markup.read(answer.text)
        assert page.main.one("a", class_="btn").attributes["href"] == visitor.path


def test_an_expired_page_says_so_and_what_to_do(world: PageWorld) -> None:
    visitor = Visitor(world, world.ask())
    token = visitor.token()
    visitor.choose("base")
    world.advance(901)
    answers = [
        visitor.look("?step=3"),
        *(visitor.post(act, token) for act in ("refusal", "choice")),
    ]
    for answer in answers:
        assert answer.status_code == 410
        page = Markup.read(answer.text)
        assert heading(page) == "已失效，什么都没有签。"
        assert "privacy@dawn.example" in page.main.text


def test_the_expiry_stays_on_every_step(world: PageWorld) -> None:
    visitor = Visitor(world, world.ask())
    world.take_card()
    visitor.choose("base")
    for step in ("?step=1", "?step=2", "?step=3"):
        assert "10:55 (UTC+8)" in visitor.see(step).main.text


def test_no_page_has_a_nul_in_its_address(world: PageWorld) -> None:
    answer = Visitor(world, "/c/%00").look()
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_request")


@pytest.mark.parametrize("path", ["/c/x", "/c/" + "A" * 500, "/c/é/done?response_code=1"])
def test_an_unknown_page_says_so(world: PageWorld, path: str) -> None:
    answer = Visitor(world, path).look()
    assert answer.status_code == 404
    assert heading(Markup.read(answer.text)) == "没有这一页"


def test_a_wallet_leads_back_to_the_browser_that_began(world: PageWorld) -> None:
    visitor = Visitor(world, world.ask())
    world.take_card()
    visitor.choose("base")
    back = world.sign(visitor.wallet_link())
    assert back is not None
    assert visitor.get(back).headers["location"] == visitor.path
    assert visitor.get(f"{visitor.path}/done?response_code=other").status_code == 403
    world.http.cookies.clear()
    other = visitor.get(back)
    assert other.status_code == 403
    assert heading(Markup.read(other.text)) == "请回到开始的地方"


def test_a_wallets_error_decides_nothing_and_the_page_says_what_to_do(world: PageWorld) -> None:
    visitor = Visitor(world, world.ask())
    world.take_card()
    visitor.choose("base")
    link = visitor.wallet_link()
    presentation = parse_qs(urlsplit(link).query)["request_uri"][0].rpartition("/")[2]
    form = {"error": "server_error", "state": presentation}
    world.http.post(f"/openid4vp/response/{presentation}", data=form)
    page = visitor.see()
    assert "如果钱包报错，说明什么都没有签。" in page.main.one("details", class_="help").text
    world.sign(visitor.wallet_link())
    assert heading(visitor.see()) == "已签名：这是你同意的内容"


def test_a_wallet_that_cannot_show_the_terms_signs_each_alone(world: PageWorld) -> None:
    visitor = Visitor(world, world.ask())
    world.take_card()
    visitor.choose("base", "visits")
    with pytest.raises(WalletProtocolError):
        world.sign(visitor.wallet_link(), known_types=())
    page = visitor.see()
    codes = list(page.main.every(class_="qr-code"))
    assert len(codes) == 2
    assert len(list(page.main.every(class_="term"))) == 3
    first, second = wallet_links(page)
    world.sign(first, known_types=())
    page = visitor.see()
    assert heading(page) == "用你的钱包签名"
    terms = [one.text for one in page.main.every(class_="term")]
    assert terms[1].startswith("已签名")
    assert wallet_links(page) == [second]
    assert len(cards(visitor.see("?step=2"))) == 2
    world.sign(second, known_types=())
    page = visitor.see()
    assert heading(page) == "已签名：这是你同意的内容"
    assert "条款由这一页显示，钱包没有显示" in page.main.text


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_the_start_page_leads_to_things_that_are_there(world: PageWorld, lang: str) -> None:
    page = Markup.read(world.http.get("/", headers={"Accept-Language": lang}).text)
    assert "consent-broker demo" in page.main.text
    links = {one.attributes["href"] for one in page.main.every("a")}
    assert {"/docs", "/openapi.json", "/log/checkpoint", "/healthz"} <= links
    for link in links:
        # Not ready is an answer too: the log of this test is driven by hand.
        assert world.http.get(link).status_code in {200, 503}, link
