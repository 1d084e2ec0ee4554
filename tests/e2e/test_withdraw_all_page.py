"""The pages where everything is withdrawn, in a real browser: both languages, both schemes."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.e2e.browsing import inspect, visit, watched
from tests.web.agreeing import agreed
from tests.web.page_world import PageWorld

WORDS = {
    "zh": ("在钱包里确认", "已全部撤回", "没有可撤回的", "茶铺"),
    "en": (
        "Confirm in your wallet",
        "Everything is withdrawn",
        "There is nothing to withdraw",
        "Tea",
    ),
}


# Each language in each scheme; each of them at both ends of the scale.
@pytest.mark.parametrize(
    ("width", "scheme", "lang"),
    [(320, "light", "en"), (320, "dark", "zh"), (1280, "light", "zh"), (1280, "dark", "en")],
)
def test_everything_is_withdrawn_in_a_browser(
    browser: Browser, world: PageWorld, tmp_path: Path, width: int, scheme: str, lang: str
) -> None:
    here, _there = agreed(world)
    context = visit(
        browser, world, viewport={"width": width, "height": 740}, color_scheme=scheme, locale=lang
    )
    page, problems = watched(context)
    asked, withdrawn, nothing, other = WORDS[lang]

    def look(name: str) -> None:
        inspect(page, tmp_path, f"{name}-{lang}-{width}-{scheme}")

    def prove() -> str:
        """From the page of a consent: where the wallet sends its own browser."""
        page.goto(here.path)
        page.locator("form[action$='/everything'] button").click()
        link = page.locator("#everything a.btn[href^=openid4vp]")
        expect(link).to_be_visible()
        went_to = world.sign(str(link.get_attribute("href")))
        assert went_to is not None
        return went_to

    address = prove()
    expect(page.locator("#everything a.btn[href^=openid4vp]")).to_have_count(0)
    expect(page.locator("#everything")).not_to_contain_text(other)
    look("shown")
    page.goto(address)
    expect(page.locator("h1")).to_have_text(asked)
    expect(page.get_by_text(other, exact=True)).to_be_visible()
    look("list")
    page.locator("summary").click()
    expect(page.locator("details svg, details img")).to_be_visible()
    look("list-open")
    world.sign(str(page.locator("a.btn[href^=openid4vp]").get_attribute("href")))
    expect(page.locator("h1")).to_have_text(withdrawn)
    look("withdrawn")
    world.advance(301)
    page.goto(prove())
    expect(page.locator("h1")).to_have_text(nothing)
    look("nothing")
    page.goto("/mine/unknown")
    look("unknown")
    assert [said for said in problems if "status of 4" not in said] == []
    context.close()
