"""What a page may load, how large it is, and whose forms it takes."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from broker.settings import Settings
from broker.web.assets import assets
from broker.web.rendering import base_path
from broker.web.safety import session_cookie
from tests.web.markup import Markup
from tests.web.page_world import PageWorld
from tests.web.visiting import Visitor

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "manifest-src 'self'; worker-src 'self'; form-action 'self'; img-src 'self' data:; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
BUDGET = 40_000
OWN = ("/", "#", "?", "mailto:", "openid4vp:", "openid-credential-offer:")


def every_page(world: PageWorld, lang: str) -> Iterator[str]:
    """The text of every kind of page, on the way from the question to the withdrawal."""
    visitor = Visitor(world, world.ask(), lang)
    yield visitor.get("/").text
    yield visitor.look("?step=1").text
    yield visitor.look("?step=2").text
    yield visitor.post("choice", visitor.token()).text
    visitor.choose("base", "visits", "singapore")
    yield visitor.look("?step=3").text
    world.invite()
    yield visitor.look("?step=3").text
    world.take_card()
    yield visitor.look("?step=3").text
    world.sign(visitor.wallet_link("?step=3"))
    yield visitor.look().text
    consent = next(iter(visitor.see().main.every("section", class_="card")))
    data = {**visitor_token(visitor), "consent_id": consent.attributes["id"]}
    assert visitor.post("withdrawal", data).status_code == 303
    yield visitor.look().text
    world.sign(visitor.wallet_link())
    yield visitor.look().text
    yield visitor.get("/c/unknown").text
    late = Visitor(world, world.ask("crm-2"), lang)
    late.see()
    world.advance(3600)
    yield late.look().text


def visitor_token(visitor: Visitor) -> dict[str, str | list[str]]:
    form = next(iter(visitor.see().root.every("form")))
    return form.form_data()


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_no_page_loads_or_runs_anything_that_is_not_its_own(world: PageWorld, lang: str) -> None:
    pages = list(every_page(world, lang))
    assert len(pages) == 12
    for text in pages:
        root = Markup.read(text).root
        assert not list(root.every("style"))
        assert not list(root.every("iframe"))
        for script in root.every("script"):
            assert script.attributes["src"].startswith("/static/")
            assert not script.text
        for element in root.every():
            for name, value in element.attributes.items():
                assert name != "style"
                assert not name.startswith("on")
                if name in {"href", "src", "action", "formaction", "poster", "data-live"}:
                    assert value.startswith(OWN), value


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_every_page_keeps_the_budget(world: PageWorld, lang: str) -> None:
    shared = sum(len(asset.compressed) for asset in assets().values())
    for text in every_page(world, lang):
        assert len(gzip.compress(text.encode())) + shared < BUDGET
    assert len(assets()["app.js"].content) < 2_500


def test_every_page_carries_the_policy(world: PageWorld) -> None:
    visitor = Visitor(world, world.ask())
    answers = [
        visitor.get("/"),
        visitor.look(),
        visitor.look("?step=2"),
        visitor.get("/c/unknown"),
        visitor.post("choice", {}),
        visitor.look("?step=99"),
    ]
    for answer in answers:
        assert answer.headers["content-security-policy"] == POLICY
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"


def test_the_session_is_kept_from_script_and_from_other_sites(world: PageWorld) -> None:
    cookie = Visitor(world, world.ask()).look().headers["set-cookie"].lower()
    assert cookie.startswith("session=")
    assert "httponly" in cookie
    assert "samesite=lax" in cookie


def test_files_are_named_by_their_content_and_kept_for_good(world: PageWorld) -> None:
    page = Visitor(world, world.ask()).see()
    for address in (
        page.root.one("link", rel="stylesheet").attributes["href"],
        page.root.one("script").attributes["src"],
        page.root.one("link", rel="icon").attributes["href"],
    ):
        answer = world.http.get(address)
        assert answer.status_code == 200
        assert answer.headers["content-encoding"] == "gzip"
        assert "immutable" in answer.headers["cache-control"]
        plain = world.http.get(address, headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.content == answer.content
    assert world.http.get("/static/app.css").status_code == 404
    assert world.http.get("/static/app.000000000000.css").status_code == 404


FOREIGN = [
    ({"Origin": "https://elsewhere.example"}, {}, "another origin"),
    ({"Origin": "null"}, {}, "no origin"),
    ({"Origin": ""}, {}, "an empty origin"),
    ({}, {"form_token": "x"}, "another token"),
    ({}, {"form_token": ""}, "no token"),
    ({}, {"form_token": "é" * 43}, "a token that is not ASCII"),
]


@pytest.mark.parametrize("act", ["choice", "refusal", "withdrawal"])
@pytest.mark.parametrize(("headers", "fields", "why"), FOREIGN, ids=[why for *_, why in FOREIGN])
def test_a_foreign_form_changes_nothing(
    world: PageWorld, act: str, headers: dict[str, str], fields: dict[str, str], why: str
) -> None:
    visitor = Visitor(world, world.ask())
    data = {**visitor.token(), **fields}
    answer = visitor.post(act, data, **headers)
    assert answer.status_code == 403, why
    assert "没有提交" in Markup.read(answer.text).main.text
    assert "现在什么都还没有给出。" in visitor.see().main.text


def test_a_form_of_another_session_or_page_is_foreign(world: PageWorld) -> None:
    visitor, other = Visitor(world, world.ask("crm-1")), Visitor(world, world.ask("crm-2"))
    assert visitor.post("refusal", other.token()).status_code == 403
    data = visitor.token()
    world.http.cookies.clear()
    assert visitor.post("refusal", data).status_code == 403
    visitor.see()
    assert visitor.post("refusal", data).status_code == 403


def test_addresses_stay_below_the_tenant_and_the_public_path() -> None:
    settings = Settings(home=Path("unused"), public_url="https://group.example/consent")
    ctx = SimpleNamespace(settings=settings)
    assert base_path(ctx, "demo") == "/consent"  # type: ignore[arg-type]
    assert base_path(ctx, "acme") == "/consent/t/acme"  # type: ignore[arg-type]
    assert session_cookie(ctx) == "__Host-session"  # type: ignore[arg-type]
