from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from opintel.alerts.sinks import Intent
from opintel.alerts.sinks.file import JsonLines
from opintel.alerts.sinks.log import StandardError
from opintel.alerts.sinks.webhook import ANSWER_LIMIT, Webhook, WebhookSink, checked_url, read_secret
from opintel.demo.receiver import Receiver

KEY = bytes(range(32))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
NOW = 1_700_000_000_000_000_000


def intent(ticket: str = "t1", sequence: int = 1, kind: str = "created", title: str = "A title") -> Intent:
    data = {"ticket": ticket, "sequence": sequence, "title": title, "text": "…", "incident": {"state": "open"}}
    body = json.dumps({"type": f"incident.{kind}", "timestamp": "2020-01-01T00:00:00Z", "data": data})
    return Intent(f"{ticket}.{sequence}", ticket, sequence, kind, body)


class Server:
    """Notes requests; answers what it is set to."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.status, self.headers, self.body = 200, {}, b"ok"  # type: tuple[int, dict[str, str], bytes]
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                outer.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, body))
                self.send_response(outer.status)
                for name, value in outer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.http = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/hook"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.http.shutdown()
    started.http.server_close()


def test_the_signature_is_that_of_the_specification(server: Server) -> None:
    sink = Webhook(server.url, read_secret(SECRET), clock=lambda: NOW)
    assert sink.send(intent()).outcome == "sent"
    [(_, headers, body)] = server.requests
    signed = b"t1.1.1700000000." + body
    expected = base64.b64encode(hmac.digest(base64.b64decode(SECRET[6:]), signed, hashlib.sha256)).decode()
    assert headers["webhook-id"] == headers["idempotency-key"] == "t1.1"
    assert headers["webhook-timestamp"] == "1700000000"
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert body == intent().body.encode()


def test_the_example_of_the_specification() -> None:
    """The worked example that the reference libraries of standardwebhooks.com test against."""
    from opintel.alerts.sinks.webhook import sign

    secret = read_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    made = sign(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, "sent"),
        (204, "sent"),
        (400, "failed"),
        (401, "failed"),
        (404, "failed"),
        (408, "retry"),
        (409, "retry"),
        (429, "retry"),
        (500, "retry"),
        (503, "retry"),
    ],
)
def test_what_an_answer_means(server: Server, status: int, outcome: str) -> None:
    server.status = status
    receipt = Webhook(server.url, KEY).send(intent())
    assert (receipt.outcome, receipt.detail[:8]) == (outcome, f"HTTP {status}")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(server: Server, status: int) -> None:
    server.status, server.headers = status, {"location": server.url + "/elsewhere"}
    receipt = Webhook(server.url, KEY).send(intent())
    assert receipt.outcome == "failed"
    assert "redirects are not followed" in receipt.detail
    assert [path for path, _, _ in server.requests] == ["/hook"]


def test_an_answer_is_read_to_a_bound_and_shown_as_one_clean_line(server: Server) -> None:
    server.body = b"\x1b[31m\nno" + b"x" * (ANSWER_LIMIT * 100)
    receipt = Webhook(server.url, KEY).send(intent())
    assert receipt.outcome == "sent"
    assert receipt.detail.startswith("HTTP 200 [31m no")
    assert len(receipt.detail) < 300


class Dripping:
    """Sends an answer byte by byte for ten seconds at most; a reader with a deadline has long left."""

    def __init__(self, start: bytes, drop: bytes, end: bytes) -> None:
        self._parts = start, drop, end
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}/"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        start, drop, end = self._parts
        connection, _ = self._server.accept()
        with self._server, connection, suppress(OSError):
            connection.recv(1 << 16)
            connection.sendall(start)
            for _ in range(500):
                connection.sendall(drop)
                time.sleep(0.02)
            connection.sendall(end)


def test_headers_that_drip_in_are_late_as_a_whole() -> None:
    """Every byte comes in time, the answer would be a 200 in the end."""
    dripping = Dripping(b"HTTP/1.1 200 OK\r\nx: ", b"a", b"\r\ncontent-length: 0\r\n\r\n")
    receipt = Webhook(dripping.url, KEY, timeout=0.3).send(intent())
    assert receipt.outcome == "retry"
    assert receipt.detail.startswith("no answer within 0.3 s; ")


def test_a_body_that_drips_in_does_not_change_what_its_status_says() -> None:
    dripping = Dripping(b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n", b"a", b"")
    receipt = Webhook(dripping.url, KEY, timeout=0.3).send(intent())
    assert receipt.outcome == "sent"
    assert len(receipt.detail) < 300


def test_nobody_there_is_a_retry(server: Server) -> None:
    sink = Webhook(server.url, KEY, timeout=2.0)
    server.http.server_close()
    server.http.shutdown()
    assert sink.send(intent()).outcome == "retry"


def test_the_environment_sets_no_proxy(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    assert Webhook(server.url, KEY).send(intent()).outcome == "sent"


@pytest.mark.parametrize("url", ["https://a.example/x", "http://127.0.0.1:1/x", "http://[::1]:1/", "http://localhost/"])
def test_urls_that_are_taken(url: str) -> None:
    assert checked_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "http://a.example/",
        "http://127.0.0.1.a.example/",
        "http://10.0.0.1/",
        "ftp://a.example/",
        "https://u:p@a.example/",
        "https:///x",
        "http://localhost.a.example",
        "http://[::2]/",
        "http://0x7f000001/",
    ],
)
def test_urls_that_are_not(url: str) -> None:
    with pytest.raises(ValueError, match="url"):
        checked_url(url)


@pytest.mark.parametrize(
    "text", ["", "abc", "whsec_", "whsec_!!!", "whsec_" + "QQ==", SECRET[6:], "whsec_" + "A" * 400]
)
def test_a_bad_secret_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ValueError, match="whsec_ and the base64") as refusal:
        read_secret(text)
    assert len(text) < 8 or text not in str(refusal.value)


@pytest.mark.parametrize(("named", "key"), [({"secret_file": "a"}, "secret_file"), ({"secret_env": "A"}, "secret_env")])
def test_settings_open_the_sink_with_their_secret(named: dict[str, str], key: str) -> None:
    settings = WebhookSink(url="https://a.example/", **named)
    settings.open({"secret": SECRET}).close()
    with pytest.raises(ValueError, match=f"^{key}: expected whsec_") as refusal:
        settings.open({"secret": "hunter2hunter2"})
    assert "hunter2" not in str(refusal.value)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    started = Receiver(KEY).start()
    yield started
    started.close()


def test_the_receiver_keeps_tickets_by_key_and_messages_once(receiver: Receiver) -> None:
    sink = Webhook(receiver.url + "/tickets", KEY)
    for message in [intent(), intent(), intent(sequence=2, kind="updated", title="New"), intent("t2"), intent()]:
        assert sink.send(message).outcome == "sent"
    told = {x["key"]: (x["created"], x["updates"], x["title"], x["sequences"]) for x in receiver.tickets()}
    assert told == {"t1": (1, 1, "New", [1, 2]), "t2": (1, 0, "A title", [1])}


def test_the_receiver_refuses_what_is_not_signed_for_now(receiver: Receiver) -> None:
    url = receiver.url + "/tickets"
    assert Webhook(url, KEY[::-1]).send(intent()).detail.startswith("HTTP 401 wrong signature")
    late = Webhook(url, KEY, clock=lambda: NOW)
    assert late.send(intent()).detail.startswith("HTTP 401 too old")
    assert httpx.post(url, content=b"{}").status_code == 401
    assert httpx.post(url, content=b"x" * (1 << 20) + b"x").status_code == 413
    broken = intent()._replace(body="{}")
    assert Webhook(url, KEY).send(broken).detail.startswith("HTTP 400")
    assert receiver.tickets() == []


def test_the_receiver_s_page_shows_text_as_text(receiver: Receiver) -> None:
    Webhook(receiver.url, KEY).send(intent(title="<script>alert(1)</script>"))
    page = httpx.get(receiver.url)
    assert "&lt;script&gt;alert(1)" in page.text
    assert "<script" not in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert msgspec.json.decode(httpx.get(receiver.url + "/tickets.json").content) == receiver.tickets()


def test_a_log_line_is_one_line_of_ascii(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hostile = intent(title="\x1b[2J\u202e\nnext")
    assert JsonLines(tmp_path / "log").send(hostile).outcome == "sent"
    assert StandardError().send(hostile).outcome == "sent"
    for text in ((tmp_path / "log").read_text(), capsys.readouterr().err):
        assert text.isascii()
        assert text.count("\n") == 1
        assert "\x1b" not in text
        assert json.loads(text)["message"] == "t1.1"
    assert JsonLines(tmp_path / "no" / "log").send(hostile).outcome == "retry"
