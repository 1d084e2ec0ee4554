"""A real browser that looks at the pages: its windows, what it complains of, what people see."""

from pathlib import Path

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.web.page_world import PageWorld

expect.set_options(timeout=20_000)  # on a busy machine a page is slow to follow


def visit(browser: Browser, world: PageWorld, **options: object) -> BrowserContext:
    """A browser of its own; fails on what the page's policy or script reports."""
    settings: dict[str, object] = {
        "base_url": world.ctx.settings.public_url,
        "locale": "zh-CN",
        "viewport": {"width": 1280, "height": 800},
        **options,
    }
    context = browser.new_context(**settings)  # type: ignore[arg-type]
    context.set_default_timeout(30_000)
    return context


def watched(context: BrowserContext) -> tuple[Page, list[str]]:
    """A page, and what it complains of."""
    page, problems = context.new_page(), list[str]()
    page.on("console", lambda said: problems.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: problems.append(str(error)))
    return page, problems


def inspect(page: Page, folder: Path, name: str) -> None:
    """No axe violation, nothing wider than the window; a picture for people to look at."""
    found = Axe().run(page)
    assert found.violations_count == 0, f"{name}: {found.generate_report()}"
    wider = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert wider <= 0, f"{name} is {wider} px wider than the window"
    page.screenshot(path=folder / f"{name}.png", full_page=True)
