"""`python -m tests.web.pictures`: take the pictures of the documentation from the real pages.

They go to docs/images. Every identifier in them is random, so they change with each run: take them
anew only when the pages have changed.
"""

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.conftest import CHROMIUM_FLAGS
from tests.programs import ROOT, find
from tests.web.page_world import PageWorld, served_world
from tests.web.palette import with_palette

FOLDER = ROOT / "docs" / "images"


def main() -> int:
    """Take every picture."""
    chromium = find("chromium")
    if chromium is None:
        sys.stderr.write("pictures: chromium is not installed\n")
        return 1
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as home,
        served_world(Path(home)) as world,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM_FLAGS))
        world.take_card()
        _steps(browser, world, "zh-CN", "zh")
        _steps(browser, world, "en", "en", only=3)
        _phone(browser, world)
        browser.close()
    return 0


def _steps(
    browser: Browser, world: PageWorld, locale: str, name: str, only: int | None = None
) -> None:
    page = browser.new_page(
        base_url=world.ctx.settings.public_url,
        locale=locale,
        viewport={"width": 1080, "height": 760},
    )
    path = world.ask()
    page.goto(path)
    if only in {None, 1}:
        _take(page, f"consent-1-{name}")
    page.goto(f"{path}?step=2")
    _tick(page)
    if only in {None, 2}:
        _take(page, f"consent-2-{name}")
    page.locator(".bar .btn").nth(1).click()
    page.wait_for_url("**step=3")
    if only in {None, 3}:
        _take(page, f"consent-3-{name}")
    page.close()


def _phone(browser: Browser, world: PageWorld) -> None:
    page = browser.new_page(
        base_url=world.ctx.settings.public_url,
        locale="zh-CN",
        color_scheme="dark",
        viewport={"width": 390, "height": 844},
    )
    page.goto(f"{world.ask()}?step=2")
    _tick(page)
    _take(page, "consent-2-phone-dark")
    page.close()


def _tick(page: Page) -> None:
    page.get_by_role("checkbox").first.check()
    page.locator("fieldset.sens .choice").nth(0).click()
    page.locator("fieldset.far .choice").nth(1).click()
    page.evaluate("scrollTo(0, 0)")
    page.mouse.move(0, 0)


def _take(page: Page, name: str) -> None:
    page.evaluate("document.activeElement.blur()")
    png = with_palette(page.screenshot(full_page=True))
    (FOLDER / f"{name}.png").write_bytes(png)


if __name__ == "__main__":
    sys.exit(main())
