"""A small ticket system for the demo and the tests: what the other end of the signed webhook looks like.

It checks signature and time, drops what it has seen, keeps tickets by key in memory and shows them on a page.
"""

from __future__ import annotations

import hmac
import html
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec

from opintel.alerts.sinks.webhook import sign
from opintel.finding import NS

BODY_LIMIT = 1024 * 1024
TOLERANCE_S = 300
"""How old or early a signed message may be."""
TICKETS_KEPT = 10_000


class _Data(msgspec.Struct):
    ticket: str
    sequence: int
    title: str
    text: str
    incident: dict[str, Any]


class _Message(msgspec.Struct):
    type: str
    data: _Data


class Receiver:
    """Listens at once, on `host` and `port` (0: a free one); serves after `start`."""

    def __init__(
        self, secret: bytes, *, host: str = "127.0.0.1", port: int = 0, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._secret = secret
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: set[str] = set()
        self._tickets: dict[str, dict[str, Any]] = {}
        receiver = self

        class Handler(_Handler):
            owner = receiver

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self.url = f"http://{host}:{self._server.server_address[1]}"
        """Where its page is; messages go to `url` + `/tickets`."""

    def start(self) -> Receiver:
        """Serves in a thread of its own."""
        threading.Thread(target=self._server.serve_forever, name="ticket-receiver", daemon=True).start()
        return self

    def close(self) -> None:
        """Stops serving."""
        self._server.shutdown()
        self._server.server_close()

    def tickets(self) -> list[dict[str, Any]]:
        """`{key, created, updates, state, title, text, incident, sequences}` in order of arrival.

        `created`: how often it was created (1 unless something is wrong); `sequences`: numbers of its messages as
        taken.
        """
        with self._lock:
            return [dict(ticket) for ticket in self._tickets.values()]

    def take(self, headers: Any, body: bytes) -> tuple[int, str]:
        """Answers one message: HTTP status and text."""
        id, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
        given = headers.get("webhook-signature", "").split()
        expected = sign(self._secret, id, stamp, body)
        if not any(hmac.compare_digest(one.encode(), expected.encode()) for one in given[:8]):
            return 401, "wrong signature"
        if not stamp.isdigit() or abs(int(stamp) - self._clock() // NS) > TOLERANCE_S:
            return 401, "too old or too early"
        try:
            message = msgspec.json.decode(body, type=_Message)
        except msgspec.MsgspecError as error:
            return 400, f"not a ticket message: {error}"
        with self._lock:
            return self._keep(id, message)

    def _keep(self, id: str, message: _Message) -> tuple[int, str]:
        if id in self._seen:
            return 200, "seen before"
        data = message.data
        ticket = self._tickets.get(data.ticket)
        if ticket is None:
            if len(self._tickets) >= TICKETS_KEPT:
                return 507, "full"
            ticket = {"key": data.ticket, "created": 0, "updates": 0, "sequences": []}
            self._tickets[data.ticket] = ticket
        self._seen.add(id)
        ticket["created" if message.type == "incident.created" else "updates"] += 1
        ticket |= {
            "state": data.incident.get("state", ""),
            "title": data.title,
            "text": data.text,
            "incident": data.incident.get("id", ""),
            "sequences": [*ticket["sequences"], data.sequence],
        }
        return 200, "taken"

    def page(self) -> str:
        """The tickets as HTML; every text is escaped."""
        rows = "".join(
            f"<article><h2>{_text(x['title'])}</h2><p><b>{_text(x['state'])}</b> · {x['updates']} updates · "
            f"<code>{_text(x['key'])}</code></p><pre>{_text(x['text'])}</pre></article>"
            for x in reversed(self.tickets())
        )
        return _PAGE.replace("%ROWS%", rows or "<p>No ticket yet.</p>")


class _Handler(BaseHTTPRequestHandler):
    owner: Receiver
    timeout = 30

    def do_GET(self) -> None:
        if self.path == "/":
            self._reply(200, self.owner.page(), "text/html; charset=utf-8")
        elif self.path == "/tickets.json":
            self._reply(200, msgspec.json.encode(self.owner.tickets()).decode(), "application/json")
        else:
            self._reply(404, "not found")

    def do_POST(self) -> None:
        length = self.headers.get("content-length", "")
        if not length.isdigit() or int(length) > BODY_LIMIT:
            self._reply(413, "too large, or no length")
            return
        self._reply(*self.owner.take(self.headers, self.rfile.read(int(length))))

    def _reply(self, status: int, text: str, kind: str = "text/plain; charset=utf-8") -> None:
        body = text.encode()
        self.send_response(status)
        for name, value in {"content-type": kind, "content-length": str(len(body)), **_HEADERS}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: the page shows what came."""


_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'",
    "x-content-type-options": "nosniff",
    "connection": "close",
}
_PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Tickets</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta http-equiv="refresh" content="3"> <style>
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; background:
#f6f7f9 } article { background: #fff; border: 1px solid #dde1e6; border-radius: 8px; padding: .5rem 1rem; margin:
1rem 0 } h2 { font-size: 1.05rem; overflow-wrap: anywhere } pre { white-space: pre-wrap; overflow-wrap: anywhere;
font-size: 13px } code { color: #667 } </style></head><body><h1>Tickets received</h1>%ROWS%</body></html>
"""


def _text(value: Any) -> str:
    return html.escape(str(value))
