"""A browser without script: keeps cookies, follows forms, says where a post comes from."""

from dataclasses import dataclass

from httpx2 import Response

from tests.web.markup import Element, Markup
from tests.web.page_world import PageWorld


@dataclass
class Visitor:
    """Somebody at a page of a world."""

    world: PageWorld
    path: str
    lang: str = "zh"

    def look(self, query: str = "", **headers: str) -> Response:
        """Open the page."""
        headers.setdefault("Accept-Language", self.lang)
        return self.world.http.get(self.path + query, headers=headers, follow_redirects=False)

    def see(self, query: str = "") -> Markup:
        """Open the page and read it; follows where it leads."""
        answer = self.look(query)
        if answer.status_code == 303:
            answer = self.get(answer.headers["location"])
        assert answer.status_code == 200, answer.text
        return Markup.read(answer.text)

    def get(self, address: str) -> Response:
        """Open an address."""
        return self.world.http.get(
            address, headers={"Accept-Language": self.lang}, follow_redirects=False
        )

    def post(self, act: str, data: dict[str, str | list[str]], **headers: str) -> Response:
        """Post a form of the page, as a browser does."""
        headers.setdefault("Origin", self.world.ctx.settings.public_url)
        headers.setdefault("Accept-Language", self.lang)
        return self.world.http.post(
            f"{self.path}/{act}", data=data, headers=headers, follow_redirects=False
        )

    def token(self) -> dict[str, str | list[str]]:
        """The hidden fields of the page's forms."""
        return forms(self.see("?step=1"))[0].form_data()

    def choose(self, *items: str) -> Response:
        """Tick the needed attributes of some of the template's items and go on."""
        page = self.see("?step=2")
        form = next(form for form in forms(page) if form.attributes["action"].endswith("/choice"))
        data = form.form_data()
        for card in form.every("fieldset"):
            if self.item(card) in items:
                boxes = list(card.every("input", type="checkbox"))
                if boxes:
                    data[boxes[0].attributes["name"]] = boxes[0].attributes["value"]
                for radio in card.every("input", value="agree"):
                    data[radio.attributes["name"]] = "agree"
        return self.post("choice", data)

    def item(self, card: Element) -> str:
        """The template's name for the consent of a card."""
        if card.has(class_="sens"):
            return "visits"
        return "singapore" if card.has(class_="far") else "base"

    def wallet_link(self, query: str = "") -> str:
        """The link on the page that starts a wallet."""
        links = wallet_links(self.see(query))
        assert len(links) == 1
        return links[0]


def forms(page: Markup) -> list[Element]:
    """The forms of a page."""
    return list(page.root.every("form"))


def wallet_links(page: Markup) -> list[str]:
    """The links of a page that start a wallet."""
    hrefs = [link.attributes["href"] for link in page.root.every("a")]
    return [href for href in hrefs if href.startswith("openid")]
