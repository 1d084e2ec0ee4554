"""What keeps a page the customer's own: its policy, its session, and who may post its forms."""

import hmac
import secrets
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.requests import Request

from broker.usecases.context import Context
from credentials.jcs import b64url

SESSION_BYTES = 24
FORBIDDEN_ORIGIN = "forbidden_origin"

# Nothing is loaded from elsewhere, nothing is inline, and no text becomes markup or script.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "manifest-src 'self'; worker-src 'self'; form-action 'self'; img-src 'self' data:; "
    "base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)

# The address of a page is a secret. `same-origin` keeps it from other sites; `no-referrer` would
# also make browsers send `Origin: null` with our own forms.
HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": POLICY,
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Robots-Tag": "noindex",
}


def session_cookie(ctx: Context) -> str:
    """The name of the session cookie; over TLS no subdomain and no plain page can set it."""
    return "__Host-session" if ctx.settings.secure else "session"


def new_session() -> str:
    """A fresh secret of one browser."""
    return secrets.token_urlsafe(SESSION_BYTES)


def form_token(ctx: Context, session: str, page_token: str) -> str:
    """What proves that a form came from this page in this browser (HMAC over both)."""
    message = f"form\x00{session}\x00{page_token}".encode()
    return b64url(hmac.digest(ctx.keys.hmac_key("token"), message, "sha256"))


def is_own_form(ctx: Context, request: Request, page_token: str, given: str) -> bool:
    """Whether a post is the customer's own: right token for their session, from our own origin."""
    session = request.cookies.get(session_cookie(ctx))
    if session is None or not _own_origin(ctx, request):
        return False
    return secrets.compare_digest(form_token(ctx, session, page_token).encode(), given.encode())


def _own_origin(ctx: Context, request: Request) -> bool:
    """Whether the post names our own origin; every browser names one with a form that it posts."""
    origin = urlsplit(request.headers.get("origin", "null"))
    own = {urlsplit(ctx.settings.public_url).netloc, request.headers.get("host", "")}
    return bool(origin.netloc) and origin.netloc in own
