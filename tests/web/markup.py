"""Reading pages as a browser reads them: a strict tree, so that a tag left open fails a test."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Self

VOID = frozenset({"meta", "link", "input", "br", "hr", "img"})


@dataclass
class Element:
    """An element with its attributes, its children and its own text, in order."""

    tag: str
    attributes: dict[str, str] = field(default_factory=dict)
    children: list["Element | str"] = field(default_factory=list)

    def every(self, tag: str | None = None, **attributes: str) -> Iterator["Element"]:
        """The elements below with this tag and these attributes (`_` for `-`, `class_` has)."""
        for child in self.children:
            if isinstance(child, Element):
                if (tag is None or child.tag == tag) and child.has(**attributes):
                    yield child
                yield from child.every(tag, **attributes)

    def one(self, tag: str | None = None, **attributes: str) -> "Element":
        """The only such element."""
        found = list(self.every(tag, **attributes))
        assert len(found) == 1, f"{len(found)} elements {tag} {attributes}"
        return found[0]

    def has(self, **attributes: str) -> bool:
        """Whether the element carries all these attributes."""
        for name, value in attributes.items():
            if name == "class_":
                if value not in self.attributes.get("class", "").split():
                    return False
            elif self.attributes.get(name.replace("_", "-")) != value:
                return False
        return True

    @property
    def text(self) -> str:
        """All text below, as one line."""
        parts = [one.text if isinstance(one, Element) else one for one in self.children]
        return " ".join(" ".join(parts).split())

    def form_data(self) -> dict[str, str | list[str]]:
        """What a browser would send for this form with nothing more ticked."""
        return {
            field.attributes["name"]: field.attributes.get("value", "")
            for field in self.every("input")
            if field.attributes.get("type") == "hidden" or "checked" in field.attributes
        }


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open = [Element("#root")]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), f"<{tag}> names an attribute twice"
        element = Element(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open[-1].tag == tag, f"</{tag}> closes <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        self.open[-1].children.append(data)


@dataclass(frozen=True)
class Markup:
    """A page that was read."""

    root: Element

    @classmethod
    def read(cls, text: str) -> Self:
        """Read a page; fails on tags that do not nest and on ids used twice."""
        assert text.lower().startswith("<!doctype html>")
        reader = _Reader()
        reader.feed(text)
        reader.close()
        assert len(reader.open) == 1, f"<{reader.open[-1].tag}> is not closed"
        page = cls(reader.open[0])
        ids = [one.attributes["id"] for one in page.root.every() if "id" in one.attributes]
        assert len(set(ids)) == len(ids), "an id is used twice"
        return page

    @property
    def html(self) -> Element:
        """The root element."""
        return self.root.one("html")

    @property
    def main(self) -> Element:
        """The content between header and footer."""
        return self.root.one("main")
