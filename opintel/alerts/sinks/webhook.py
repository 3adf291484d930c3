"""Messages as signed HTTPS posts, after the Standard Webhooks specification (standardwebhooks.com, version 1.0.0).

`webhook-signature` is `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`. The URL comes from the
configuration and nothing in a message or an answer can change it: redirects are not followed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import httpx
import msgspec

from opintel.alerts.sinks import Intent, Receipt
from opintel.alerts.ticket import clean
from opintel.durations import Duration
from opintel.finding import NS
from opintel.loopback import is_loopback
from opintel.paths import FilePath

ANSWER_LIMIT = 4096
"""Bytes of an answer that are read."""
_AGAIN = frozenset({408, 409, 425, 429})


class WebhookSink(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A signed HTTPS POST a message (Standard Webhooks). Plain http goes to this machine only."""

    url: str
    secret_file: FilePath = FilePath("")
    secret_env: str = ""
    """A file or an environment variable with the secret, `whsec_` and base64."""
    timeout: Duration = Duration(30 * NS)
    """For a message as a whole: to connect, to send it and to read the answer."""

    def __post_init__(self) -> None:
        if bool(self.secret_file) == bool(self.secret_env):
            raise ValueError("a webhook needs one of secret_file and secret_env")
        checked_url(self.url)

    def open(self, secrets: Mapping[str, str]) -> Webhook:
        """The sink; ValueError where its secret is not usable."""
        try:
            key = read_secret(secrets["secret"])
        except ValueError as error:
            raise ValueError(f"{'secret_file' if self.secret_file else 'secret_env'}: {error}") from error
        return Webhook(self.url, key, timeout=self.timeout / NS)


class Webhook:
    """Posts to one URL. `secret` signs; `timeout` in seconds, for the exchange as a whole."""

    def __init__(
        self, url: str, secret: bytes, *, timeout: float = 30.0, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._url = checked_url(url)
        self._secret = secret
        self._clock = clock
        self._timeout = timeout
        # The system's certificates (SSL_CERT_FILE counts); no proxy, no .netrc from the environment.
        # A connection a message, so that its deadline knows its socket.
        self._client = httpx.Client(
            timeout=timeout,
            follow_redirects=False,
            trust_env=False,
            verify=ssl.create_default_context(),
            limits=httpx.Limits(max_keepalive_connections=0),
        )

    def send(self, intent: Intent) -> Receipt:
        body = intent.body.encode()
        stamp = str(self._clock() // NS)
        headers = {
            "content-type": "application/json",
            "user-agent": "opintel",
            "webhook-id": intent.id,
            "webhook-timestamp": stamp,
            "webhook-signature": sign(self._secret, intent.id, stamp, body),
            "idempotency-key": intent.id,
        }
        deadline = _Deadline(self._timeout)
        try:
            follow = {"trace": deadline.follow}
            with self._client.stream("POST", self._url, content=body, headers=headers, extensions=follow) as answer:
                begins = clean(_head(answer).decode("utf-8", "replace"), 200)
        except httpx.HTTPError as error:
            late = f"no answer within {self._timeout:g} s; " if deadline.passed else ""
            return Receipt("retry", clean(f"{late}{type(error).__name__}: {error}", 200))
        finally:
            deadline.cancel()
        detail = f"HTTP {answer.status_code} {begins}".strip()
        if answer.is_success:
            return Receipt("sent", detail)
        if answer.is_redirect:
            return Receipt("failed", f"HTTP {answer.status_code}: redirects are not followed, configure the final URL")
        again = answer.status_code >= 500 or answer.status_code in _AGAIN
        return Receipt("retry" if again else "failed", detail)

    def close(self) -> None:
        self._client.close()


def read_secret(text: str) -> bytes:
    """The key in `whsec_<base64>`. Raises ValueError, which does not repeat the text."""
    try:
        if not text.strip().startswith("whsec_"):
            raise ValueError
        key = base64.b64decode(text.strip().removeprefix("whsec_"), validate=True)
    except (ValueError, binascii.Error):
        raise ValueError("expected whsec_ and the base64 of 24 to 64 random bytes") from None
    if not 24 <= len(key) <= 64:
        raise ValueError("expected whsec_ and the base64 of 24 to 64 random bytes")
    return key


def sign(secret: bytes, id: str, timestamp: str, body: bytes) -> str:
    """The value of `webhook-signature`."""
    mac = hmac.new(secret, f"{id}.{timestamp}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(mac.digest()).decode()


def checked_url(url: str) -> str:
    """The URL, if it is https without user information, or http to this machine. Raises ValueError otherwise."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"url: not a URL: {error}") from error
    if parsed.userinfo:
        raise ValueError("url: holds a user name or password; the signature is the authentication")
    if parsed.host and (parsed.scheme == "https" or (parsed.scheme == "http" and is_loopback(parsed.host))):
        return url
    raise ValueError("url: expected https://…; http:// is for this machine only (127.0.0.1, [::1], localhost)")


def _head(answer: httpx.Response) -> bytes:
    """The first bytes of an answer, as they came: compressed ones are not unpacked. They explain its status, which is
    known: where they do not come, that is no failure."""
    head = b""
    with suppress(httpx.HTTPError):
        for chunk in answer.iter_raw():
            head += chunk
            if len(head) >= ANSWER_LIMIT:
                break
    return head[:ANSWER_LIMIT]


class _Deadline:
    """Shuts the socket of an exchange down after some seconds. httpx's own timeouts are for one operation each, so that
    an answer which drips in byte by byte would never be late.
    """

    def __init__(self, seconds: float) -> None:
        self.passed = False
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._timer = threading.Timer(seconds, self._pass)
        self._timer.daemon = True
        self._timer.start()

    def follow(self, event: str, info: dict[str, Any]) -> None:
        """httpx's trace extension: called with the stream once it is connected, and once it is encrypted."""
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            with self._lock:
                self._socket = info["return_value"].get_extra_info("socket")
                if self.passed:
                    self._shut()

    def cancel(self) -> None:
        """The exchange is over."""
        self._timer.cancel()

    def _pass(self) -> None:
        with self._lock:
            self.passed = True
            self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with suppress(OSError):  # the exchange has just ended, or TLS has taken the socket over: see `follow`
                self._socket.shutdown(socket.SHUT_RDWR)
