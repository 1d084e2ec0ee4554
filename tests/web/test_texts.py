"""Both languages are complete, in step with the templates, and say what was agreed on."""

import gettext
import re

import pytest

from broker.web.languages import CATALOGS
from dev import catalogs
from tests.web.page_world import PageWorld
from tests.web.visiting import Visitor

PLACEHOLDER = re.compile(r"%\(\w+\)s|\{\w+\}")


def test_catalogs_are_in_step_and_complete(capsys: pytest.CaptureFixture[str]) -> None:
    assert catalogs.main(["--check"]) == 0, capsys.readouterr().out


def test_the_check_sees_a_missing_translation() -> None:
    texts = catalogs.extracted()
    texts.add("A text that nobody has translated yet")
    assert catalogs.untranslated(catalogs.merged("zh", texts)) == [
        "A text that nobody has translated yet"
    ]


@pytest.mark.parametrize("code", ["zh", "en"])
def test_every_text_has_a_translation_that_keeps_its_placeholders(code: str) -> None:
    compiled = gettext.translation("messages", CATALOGS, [code])
    texts = [message for message in catalogs.extracted() if message.id]
    assert len(texts) > 100
    for message in texts:
        if isinstance(message.id, str):
            forms = [(message.id, compiled.gettext(message.id))]
        else:
            one, many = message.id
            forms = [(many, compiled.ngettext(one, many, 5))]
        for source, translated in forms:
            assert translated
            assert sorted(PLACEHOLDER.findall(source)) == sorted(PLACEHOLDER.findall(translated))
            if code == "zh":
                assert re.search(r"[\u4e00-\u9fff、]", translated), translated


WORDS = [
    ("zh", "?step=1", "现在什么都还没有给出。"),
    ("en", "?step=1", "Nothing has been shared yet."),
    ("zh", "?step=2", "没勾的，就不会给。"),
    ("en", "?step=2", "What you leave unticked is not shared."),
    ("zh", "?step=2", "敏感个人信息，单独同意"),
    ("en", "?step=2", "Sensitive data, separate consent"),
    ("zh", "?step=2", "出境，单独同意"),
    ("en", "?step=2", "Leaves the country, separate consent"),
]


@pytest.mark.parametrize(("lang", "query", "words"), WORDS)
def test_the_page_says_it(world: PageWorld, lang: str, query: str, words: str) -> None:
    assert words in Visitor(world, world.ask(), lang).see(query).main.text


@pytest.mark.parametrize(
    ("query", "cookie", "header", "tag"),
    [
        ("", "", "", "zh-Hans"),
        ("", "", "fr-FR,fr;q=0.9", "zh-Hans"),
        ("", "", "en-GB,en;q=0.9,zh;q=0.8", "en"),
        ("", "", "fr, zh-TW;q=0.7, en;q=0.3", "zh-Hans"),
        ("", "", "en;q=0, zh", "zh-Hans"),
        ("", "", ";;;q=x,,", "zh-Hans"),
        ("", "en", "zh-CN", "en"),
        ("?lang=zh", "en", "en", "zh-Hans"),
        ("?lang=xx", "", "en", "en"),
    ],
)
def test_the_language_is_the_visitors(
    world: PageWorld, query: str, cookie: str, header: str, tag: str
) -> None:
    if cookie:
        world.http.cookies.set("lang", cookie)
    page = Visitor(world, world.ask(), header).see(query)
    assert page.html.attributes["lang"] == tag


def test_a_chosen_language_is_remembered(world: PageWorld) -> None:
    visitor = Visitor(world, world.ask(), "zh")
    switch = visitor.see("?step=2").root.one("a", class_="switch").attributes["href"]
    assert visitor.get(switch).headers["content-language"] == "en"
    page = visitor.see("?step=2")
    assert page.html.attributes["lang"] == "en"
