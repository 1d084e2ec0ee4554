"""The consent page in a real browser: its look at both ends of the scale, its manners."""

from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from broker.web import live
from tests.e2e.browsing import inspect, visit, watched
from tests.web.page_world import PageWorld


def tick(page: Page) -> None:
    """Tick what the ordinary card needs, refuse the sensitive one, agree to the export."""
    page.locator("fieldset").nth(0).get_by_role("checkbox").first.check()
    page.locator("fieldset.sens .choice").nth(0).click()
    page.locator("fieldset.far .choice").nth(1).click()


# Each width with each scheme, each with each language: every pair once.
@pytest.mark.parametrize(
    ("width", "scheme", "lang"),
    [(320, "light", "en"), (320, "dark", "zh"), (1280, "light", "zh"), (1280, "dark", "en")],
)
def test_every_page_is_accessible_and_fits(
    browser: Browser, world: PageWorld, tmp_path: Path, width: int, scheme: str, lang: str
) -> None:
    context = visit(
        browser, world, viewport={"width": width, "height": 740}, color_scheme=scheme, locale=lang
    )
    page, problems = watched(context)
    path = world.ask()

    def look(name: str) -> None:
        inspect(page, tmp_path, f"{name}-{lang}-{width}-{scheme}")

    page.goto("/")
    look("home")
    page.goto(path)
    look("step-1")
    page.goto(f"{path}?step=2")
    page.locator(".bar .btn").nth(1).click()
    expect(page.get_by_role("alert")).to_be_visible()
    look("step-2-missing")
    page.goto(f"{path}?step=2")
    look("step-2")
    for summary in page.locator("summary").all():
        summary.click()
    look("step-2-open")
    tick(page)
    look("step-2-ticked")
    page.locator(".bar .btn").nth(1).click()
    page.wait_for_url("**step=3")
    look("step-3-no-card")
    world.invite()
    expect(page.locator("a.btn[href^=openid-credential-offer]")).to_be_visible()
    look("step-3-card")
    world.take_card()
    expect(page.locator("a.btn[href^=openid4vp]")).to_be_visible()
    look("step-3")
    world.sign(str(page.locator("a.btn[href^=openid4vp]").get_attribute("href")))
    expect(page.locator(".state.good")).to_be_visible()
    look("kept")
    page.locator("form .btn").first.click()
    expect(page.locator(".withdraw")).to_be_visible()
    look("withdrawing")
    world.sign(str(page.locator("a.btn[href^=openid4vp]").get_attribute("href")))
    expect(page.locator(".withdraw")).to_have_count(0)
    look("withdrawn")
    page.goto("/c/unknown")
    look("not-found")
    second = world.ask("crm-2")
    page.goto(second)
    page.locator("form .btn").click()
    look("refused")
    third = world.ask("crm-3")
    world.advance(3600)
    page.goto(third)
    look("expired")
    assert [said for said in problems if "status of 4" not in said] == []
    context.close()


def test_the_page_follows_the_wallet_by_itself(browser: Browser, world: PageWorld) -> None:
    context = visit(browser, world)
    page, problems = watched(context)
    page.goto(world.ask())
    page.locator("a.btn").click()
    tick(page)
    page.locator(".bar .btn").nth(1).click()
    expect(page.locator("h1")).to_have_text("先把客户卡放进钱包")
    world.invite()
    offer = page.locator("a.btn[href^=openid-credential-offer]")
    world.accept(str(offer.get_attribute("href")))
    expect(page.locator("h1")).to_have_text("用你的钱包签名")
    world.sign(str(page.locator("a.btn[href^=openid4vp]").get_attribute("href")))
    expect(page.locator("h1")).to_have_text("已签名：这是你同意的内容")
    assert problems == []
    context.close()


def test_the_page_follows_where_no_stream_is_to_be_had(
    browser: Browser, world: PageWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "OPEN_AT_MOST", 0)
    monkeypatch.setattr(live, "POLL_MILLISECONDS", 100)
    context = visit(browser, world)
    page, problems = watched(context)
    # First it is refused altogether, as by a limit or a proxy without brokers.
    refused = list[str]()

    def refuse(route: Route) -> None:
        refused.append(route.request.url)
        route.fulfill(status=429)

    page.route("**/events", refuse, times=1)
    page.clock.install()
    with page.expect_response("**/events"):
        page.goto(world.ask())
    world.advance(901)
    page.clock.fast_forward(20_000)
    expect(page.locator("h1")).to_have_text("已失效，什么都没有签。")
    assert len(refused) == 1
    assert [said for said in problems if "status of 4" not in said] == []
    context.close()


def test_the_page_says_by_itself_that_it_has_expired(browser: Browser, world: PageWorld) -> None:
    context = visit(browser, world)
    page = context.new_page()
    page.goto(world.ask())
    page.locator("h1").wait_for()
    world.advance(901)
    expect(page.locator("h1")).to_have_text("已失效，什么都没有签。")
    context.close()


def test_everything_works_without_script(browser: Browser, world: PageWorld) -> None:
    context = visit(browser, world, java_script_enabled=False, locale="en")
    page = context.new_page()
    world.take_card()
    path = world.ask()
    page.goto(path)
    page.get_by_role("link", name="See what they ask for").click()
    tick(page)
    page.get_by_role("button", name="Next: check").click()
    expect(page.locator("h1")).to_have_text("Sign with your wallet")
    world.sign(str(page.locator("a.btn[href^=openid4vp]").get_attribute("href")))
    # Without script the page looks again by itself.
    expect(page.locator("h1")).to_have_text("Signed: this is what you agreed to")
    page.get_by_role("button", name="Withdraw").first.click()
    world.sign(str(page.locator("a.btn[href^=openid4vp]").get_attribute("href")))
    expect(page.locator(".tag", has_text="Withdrawn")).to_be_visible()
    context.close()


def test_the_whole_choice_can_be_made_by_keyboard(browser: Browser, world: PageWorld) -> None:
    context = visit(browser, world, locale="en")
    page = context.new_page()
    world.take_card()
    page.goto(f"{world.ask()}?step=2")
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    page.get_by_role("checkbox").first.focus()
    page.keyboard.press("Space")
    expect(page.locator("[data-count]")).to_have_text("Ticked: 1. Agreed to separately: 0.")
    page.locator("fieldset.sens input[type=radio]").first.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("[data-count]")).to_have_text("Ticked: 1. Agreed to separately: 1.")
    page.get_by_role("button", name="Next: check").focus()
    page.keyboard.press("Enter")
    expect(page.locator("h1")).to_have_text("Sign with your wallet")
    context.close()


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_refusing_and_agreeing_have_one_size(browser: Browser, world: PageWorld, lang: str) -> None:
    context = visit(browser, world, viewport={"width": 320, "height": 740}, locale=lang)
    page = context.new_page()
    world.take_card()
    path = world.ask()
    for step in ("?step=1", "?step=2", "?step=3"):
        page.goto(path + step)
        for pair in page.locator(".pair").all():
            left, right = (button.bounding_box() for button in pair.locator(".btn").all())
            assert left is not None
            assert right is not None
            assert (left["width"], left["height"]) == (right["width"], right["height"])
            assert left["y"] == right["y"]
            assert left["height"] >= 48
        if step == "?step=2":
            tick(page)
            page.locator(".bar .btn").nth(1).click()
    context.close()
