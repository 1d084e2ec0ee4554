"""Withdrawing everything over the pages, by a browser without script and a real wallet."""

import pytest

from broker.usecases import partner as partners
from broker.usecases.consent_request import open_request
from tests.web.markup import Element, Markup
from tests.web.page_world import LOYALTY, PageWorld
from tests.web.visiting import Visitor, forms, wallet_links
from wallet_adapters.loopback import accept_offer


def agreed(world: PageWorld) -> tuple[Visitor, Visitor]:
    """A customer with a consent at each of two partners; their pages there."""
    visitors = []
    own = world.partner_id
    other = partners.add_partner(
        world.ctx, "demo", name="Tea", name_zh="茶铺", contact="t@t.example", country="CN"
    ).client_id
    for partner_id in (own, other):
        world.partner_id = partner_id
        # One copy: a wallet does not know which of two cards a company means.
        offer = world.invite("crm-1").offer_uri
        accept_offer(world.wallet, offer, carry=world.carry, now=world.ctx.now())
        opened = open_request(
            world.ctx,
            "demo",
            partner_id,
            subject_ref="crm-1",
            template_id=LOYALTY,
            language="zh",
        )
        visitor = Visitor(world, opened.page_url.removeprefix(world.ctx.settings.public_url))
        assert visitor.choose("base").status_code == 303
        world.sign(visitor.wallet_link())
        visitors.append(visitor)
    world.partner_id = own
    return visitors[0], visitors[1]


def begun(visitor: Visitor) -> Element:
    """The part of the page where everything is withdrawn, once it was asked for."""
    form = next(
        one for one in forms(visitor.see()) if one.attributes["action"].endswith("/everything")
    )
    answer = visitor.post("everything", form.form_data())
    assert answer.status_code == 303
    return visitor.see().main.one("section", id="everything")


def proven(visitor: Visitor) -> str:
    """The address to which the wallet is sent when it has shown whose it is."""
    part = begun(visitor)
    (link,) = [one.attributes["href"] for one in part.every("a")]
    went_to = visitor.world.sign(link)
    assert went_to is not None
    return went_to.removeprefix(visitor.world.ctx.settings.public_url)


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
