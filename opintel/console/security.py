"""Who may ask the console for what: headers on every answer, host names, the access token, and where a POST comes from.

Without a token the console serves this machine only: the Host header must name it, so that a foreign page cannot
reach it through a name of its own (DNS rebinding). With one, every page but log-in, health and metrics wants it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from urllib.parse import quote, urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SESSION = "opintel_session"
SESSION_SECONDS = 12 * 3600
LOOPBACK = frozenset({"127.0.0.1", "localhost", "[::1]"})
OPEN = frozenset({"/metrics", "/healthz", "/readyz", "/login"})
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    # not no-referrer: browsers then send the origin `null` with forms
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Credentials:
    """The access token, if there is one, and this process's own key against forged forms."""

    def __init__(self, token: str | None) -> None:
        if token is not None and not token.strip():
            raise ValueError("the console's token is empty; give one of at least some 20 random characters")
        self._token = token
        self.form = secrets.token_urlsafe(32)

    @property
    def guarded(self) -> bool:
        """Whether a token is wanted."""
        return self._token is not None

    def is_token(self, given: str) -> bool:
        """Compared in constant time."""
        return self._token is not None and hmac.compare_digest(given.encode(), self._token.encode())

    def is_form_key(self, given: str) -> bool:
        """Whether a form was made by a page of this process."""
        return hmac.compare_digest(given.encode(), self.form.encode())

    def session(self) -> str:
        """A session cookie that is valid for `SESSION_SECONDS`; it survives a restart, not a new token."""
        expires = str(int(time.time()) + SESSION_SECONDS)
        return f"{expires}.{self._sign(expires)}"

    def is_session(self, cookie: str) -> bool:
        """Whether a session cookie is ours and has not run out."""
        expires, _, signature = cookie.partition(".")
        ours = hmac.compare_digest(signature.encode(), self._sign(expires).encode())
        return ours and time.time() < int(expires)

    def _sign(self, text: str) -> str:
        key = hashlib.sha256(f"opintel session {self._token}".encode()).digest()
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


class Guard:
    """ASGI middleware: lets a request through or answers it, and puts `HEADERS` on answers that have not their own."""

    def __init__(self, app: ASGIApp, keys: Credentials) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"the console speaks http, not {scope['type']}")

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)  # a page may have a policy of its own
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await (self._refusal(HTTPConnection(scope)) or self._app)(scope, receive, answer)

    def _refusal(self, asked: HTTPConnection) -> Response | None:
        path = asked.scope["path"]
        if not self._keys.guarded and _name(asked.headers.get("host", "")) not in LOOPBACK:
            return PlainTextResponse("the console answers to localhost only; elsewhere it wants a token\n", 421)
        if asked.scope["method"] not in ("GET", "HEAD") and not from_here(asked):
            return PlainTextResponse("this request comes from another site\n", 403)
        if not self._keys.guarded or path in OPEN or path.startswith("/static/") or self._known(asked):
            return None
        if path.startswith("/api/") or asked.scope["method"] != "GET":
            return PlainTextResponse("log in, or send `Authorization: Bearer TOKEN`\n", 401, _CHALLENGE)
        if "hx-request" in asked.headers:
            return PlainTextResponse("log in\n", 401, {"HX-Redirect": "/login"})
        return RedirectResponse(f"/login?next={quote(path, safe='')}", 303)

    def _known(self, asked: HTTPConnection) -> bool:
        scheme, _, token = asked.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return self._keys.is_token(token.strip())
        return self._keys.is_session(asked.cookies.get(SESSION, ""))


def from_here(asked: HTTPConnection) -> bool:
    """Whether a browser says that a page of this very console sends this; a request that says nothing is refused."""
    site = asked.headers.get("sec-fetch-site")
    if site is not None and site != "same-origin":
        return False
    origin = asked.headers.get("origin")
    if origin is None:
        return site is not None
    try:
        return urlsplit(origin).netloc == asked.headers.get("host") and origin.startswith(f"{asked.url.scheme}://")
    except ValueError:  # no URL at all
        return False


def local_path(wanted: str) -> str:
    """A path to go to after logging in, `/` where it would lead elsewhere."""
    plain = wanted.startswith("/") and not wanted.startswith("//") and "\\" not in wanted
    return wanted if plain and wanted.isprintable() else "/"


def _name(host: str) -> str:
    """The Host header without its port."""
    name, colon, port = host.rpartition(":")
    return (name if colon and port.isdigit() else host).lower()


_CHALLENGE = {"WWW-Authenticate": "Bearer"}
