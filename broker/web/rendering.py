"""Templates to responses: one environment for each language, one policy for every page."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from urllib.parse import urlencode, urlsplit

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from broker.domain.addresses import ROOT_TENANT, tenant_url
from broker.usecases.context import Context
from broker.web.assets import assets
from broker.web.languages import (
    COOKIE,
    COOKIE_SECONDS,
    LANGUAGES,
    Language,
    choose_language,
    language,
)
from broker.web.safety import HEADERS, form_token, new_session, session_cookie
from broker.web.views import Frame, NoticeView

TEMPLATES = Path(__file__).parent / "templates"
REFRESH_SECONDS = 5
# What of a page's query says where one is: it stays when the language changes.
KEPT_IN_LANGUAGES = frozenset({"step", "consent", "client_id", "request_uri"})


def context_of(request: Request) -> Context:
    """The context that the composition root put on the application."""
    ctx: Context = request.app.state.context
    return ctx


def tenant_of(request: Request) -> str:
    """The tenant whose address was asked for; the demonstration tenant at the root."""
    tenant_id: str = request.scope.get("state", {}).get("tenant_id", ROOT_TENANT)
    return tenant_id


def base_path(ctx: Context, tenant_id: str) -> str:
    """The path below which a tenant's pages are; empty at the root of a host."""
    return urlsplit(tenant_url(ctx.settings.public_url, tenant_id)).path


def page_path(request: Request, page_token: str) -> str:
    """The path of a consent page."""
    return f"{base_path(context_of(request), tenant_of(request))}/c/{page_token}"


def frame_of(
    request: Request, spoken: Language, *, here: str, page_token: str = "", revision: str = ""
) -> tuple[Frame, str | None]:
    """What surrounds every page, and the session that is new to this browser, if there was none.

    A page with a `revision` listens to its events, or looks again by itself without script.
    """
    ctx = context_of(request)
    static = f"{urlsplit(ctx.settings.public_url).path}/static"
    known = request.cookies.get(session_cookie(ctx))
    session = new_session() if page_token and not known else None
    query = {key: value for key, value in request.query_params.items() if key in KEPT_IN_LANGUAGES}
    frame = Frame(
        tag=spoken.tag,
        other=spoken.other,
        other_tag=language(spoken.other).tag,
        other_href=f"{here}?{urlencode({**query, 'lang': spoken.other})}",
        base=base_path(ctx, tenant_of(request)),
        here=here,
        stylesheet=f"{static}/{assets()['app.css'].name}",
        script=f"{static}/{assets()['app.js'].name}",
        icon=f"{static}/{assets()['icon.svg'].name}",
        form_token=form_token(ctx, session or known or "", page_token) if page_token else "",
        live=f"{here}/events" if revision else None,
        revision=revision,
        refresh=None,
    )
    return frame, session


def respond(
    request: Request,
    spoken: Language,
    template: str,
    view: object,
    framed: tuple[Frame, str | None],
    *,
    status: int = 200,
    refresh: bool = False,
) -> HTMLResponse:
    """A page as an answer, with the policy, the session and the chosen language."""
    frame, session = framed
    if refresh:
        frame = replace(frame, refresh=REFRESH_SECONDS)
    text = _environment(spoken.code).get_template(template).render(frame=frame, view=view)
    headers = {**HEADERS, "Content-Language": spoken.tag, "Vary": "Accept-Language, Cookie"}
    response = HTMLResponse(text, status_code=status, headers=headers)
    ctx = context_of(request)
    secure = ctx.settings.secure
    if session is not None:
        response.set_cookie(
            session_cookie(ctx), session, httponly=True, samesite="lax", secure=secure, path="/"
        )
    if request.query_params.get("lang") in LANGUAGES:
        response.set_cookie(
            COOKIE,
            spoken.code,
            max_age=COOKIE_SECONDS,
            httponly=True,
            samesite="lax",
            secure=secure,
            path="/",
        )
    return response


def notice(request: Request, kind: str, status: int, *, back: str | None = None) -> HTMLResponse:
    """A page that says what happened and what to do; `kind` as in notice.html."""
    spoken = choose_language(request)
    framed = frame_of(request, spoken, here=_asked_path(request))
    return respond(request, spoken, "notice.html", NoticeView(kind, back), framed, status=status)


def _asked_path(request: Request) -> str:
    """The address to switch language on: of a failed post, the page that it was posted from."""
    base = base_path(context_of(request), tenant_of(request))
    path: str = request.scope["path"]
    parts = path.removeprefix(base).split("/")
    if request.method == "POST" and len(parts) > 3 and parts[1] == "c":  # noqa: PLR2004 (/c/{token}/{act})
        parts = parts[:3]
    return base + "/".join(parts)


@cache
def _environment(code: str) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    # The extension adds this method to the environment when it is loaded.
    environment.install_gettext_translations(  # type: ignore[attr-defined]
        language(code).translations, newstyle=True
    )
    return environment
