"""Withdrawing everything over the pages, by a browser without script and a real wallet."""

import pytest

from tests.web.agreeing import agreed, proven
from tests.web.markup import Markup
from tests.web.page_world import PageWorld
from tests.web.visiting import wallet_links


def test_the_list_opens_where_the_wallet_is_and_nowhere_else(world: PageWorld) -> None:
    here, _there = agreed(world)
    address = proven(here)
    page = Markup.read(here.get(address).text)
    assert "晨曦咖啡（上海）有限公司" in page.main.text
    assert "茶铺" in page.main.text
    assert page.main.one("h1").text == "在钱包里确认"
    began = here.see().main.one("section", id="everything").text
    assert "茶铺" not in here.look().text, "nothing of other companies where the partner may look"
    assert "清单只在那里打开" in began
    (link,) = wallet_links(page)
    world.sign(link)
    after = Markup.read(here.get(address).text)
    assert after.main.one("h1").text == "已全部撤回"
    assert wallet_links(after) == []
    assert "各自在一分钟之内得知" in after.main.text


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_each_state_of_the_list_has_its_words(world: PageWorld, lang: str) -> None:
    here, _there = agreed(world)
    here.lang = lang
    address = proven(here)
    before = Markup.read(here.get(address).text)
    world.advance(599)
    late = Markup.read(here.get(address).text)
    assert before.root.one("html").attributes["lang"].startswith(lang)
    assert late.main.one("h1").text == before.main.one("h1").text
    world.advance(1)
    assert here.get(address).status_code == 404


def test_a_form_from_elsewhere_asks_for_nothing(world: PageWorld) -> None:
    here, _there = agreed(world)
    assert here.post("everything", {"form_token": "x"}).status_code == 403
    assert here.see().main.one("section", id="everything").text.count("二维码") == 0


def test_a_wallet_whose_consents_have_ended_sees_that_there_is_nothing(world: PageWorld) -> None:
    here, _there = agreed(world)
    address = proven(here)
    (link,) = wallet_links(Markup.read(here.get(address).text))
    world.sign(link)
    world.advance(301)  # the first proof's request is asked for anew
    again = proven(here)
    page = Markup.read(here.get(again).text)
    assert page.main.one("h1").text == "没有可撤回的"
