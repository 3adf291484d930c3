"""Messages as signed HTTPS posts, after the Standard Webhooks specification (standardwebhooks.com, version 1.0.0).

`webhook-signature` is `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`. The URL comes from the
configuration and nothing in a message or an answer can change it: redirects are not followed.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ssl
import time
from collections.abc import Callable, Mapping

import httpx
import msgspec

from opintel.alerts.sinks import Intent, Receipt
from opintel.alerts.ticket import clean
from opintel.durations import Duration
from opintel.finding import NS
from opintel.loopback import is_loopback
from opintel.paths import FilePath

ANSWER_LIMIT = 4096
ANSWER_SECONDS = 15.0
"""How many bytes of an answer are read, and for how long it may drip in."""
_AGAIN = frozenset({408, 409, 425, 429})


class WebhookSink(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A signed HTTPS POST a message (Standard Webhooks). Plain http goes to this machine only."""

    url: str
    secret_file: FilePath = FilePath("")
    secret_env: str = ""
    """A file or an environment variable with the secret, `whsec_` and base64."""
    timeout: Duration = Duration(10 * NS)

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
    """Posts to one URL. `secret` signs; `timeout` in seconds, for connecting, writing and each read."""

    def __init__(
        self, url: str, secret: bytes, *, timeout: float = 10.0, clock: Callable[[], int] = time.time_ns
    ) -> None:
        self._url = checked_url(url)
        self._secret = secret
        self._clock = clock
        # The system's certificates (SSL_CERT_FILE counts); no proxy, no .netrc from the environment.
        self._client = httpx.Client(
            timeout=timeout, follow_redirects=False, trust_env=False, verify=ssl.create_default_context()
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
        try:
            with self._client.stream("POST", self._url, content=body, headers=headers) as answer:
                told = clean(_head(answer, time.monotonic() + ANSWER_SECONDS).decode("utf-8", "replace"), 200)
        except httpx.HTTPError as error:
            return Receipt("retry", clean(f"{type(error).__name__}: {error}", 200))
        detail = f"HTTP {answer.status_code} {told}".strip()
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


def _head(answer: httpx.Response, deadline: float) -> bytes:
    """The first bytes of an answer, as they came: compressed ones are not unpacked. What drips in after the deadline
    (monotonic, s) is left."""
    head = b""
    for chunk in answer.iter_raw():
        head += chunk
        if len(head) >= ANSWER_LIMIT or time.monotonic() > deadline:
            break
    return head[:ANSWER_LIMIT]
