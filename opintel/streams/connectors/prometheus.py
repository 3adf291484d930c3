"""Answers of a Prometheus server, asked for stretch by stretch and read by position: our own log knows how far each
query was asked.

`PrometheusSource` is for the ingester: `read`, append to the log, and go on where the log says that it stood; `between`
asks for a stretch again. Samples are those of `query_range` at whole multiples of the step
(prometheus.io/docs/prometheus/latest/querying/api). Each time the query that is furthest behind is next, and by no more
than the stream's lateness, so that none makes the samples of the others late.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

import httpx
import msgspec

from opintel.detector import Message
from opintel.durations import Duration
from opintel.finding import NS, digest, rfc3339
from opintel.loopback import is_loopback
from opintel.paths import FilePath
from opintel.streams.certificates import tls_context
from opintel.streams.connectors import Listened
from opintel.streams.log import LogUnavailable
from opintel.streams.stream import Stream

T = TypeVar("T")
MAX_STEPS = 100
"""Steps of a stretch: what one question may cost Prometheus, and how often it can be halved."""
MAX_BYTES, MAX_SAMPLES = 16 << 20, 100_000
"""Of an answer: what a wire reads of one message."""
ANSWER = 10.0
"""s that an answer may take, from the connection to its last byte."""
REASON = 300
"""Characters of what Prometheus says of a query that it refuses."""
MS = NS // 1000
_HOST = re.compile(r"(?!xn--)[A-Za-z0-9_-]+(\.(?!xn--)[A-Za-z0-9_-]+)*\.?")
_PATH = re.compile(r"[A-Za-z0-9/._~-]*")
_HINTS = {
    401: "see user, password and token",
    403: "see user, password and token",
    404: "is there a Prometheus at `url`?",
}


class PrometheusSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server and what it is asked; the password or token itself is never part of the settings."""

    url: str
    """As its web page has it, a path before `/api` included."""
    queries: Annotated[list[Annotated[str, msgspec.Meta(min_length=1, max_length=4000)]], msgspec.Meta(max_length=100)]
    """PromQL. What it gives must have names: a selector's series do, those of `rate` need a `label_replace`."""
    step: Duration = Duration(60 * NS)
    """Between two samples of a series."""
    delay: Duration = Duration(60 * NS)
    """How long after their time samples may still come in; what comes later is not seen."""
    history: Duration = Duration(0)
    """How far back to begin the first time; at least one step."""
    user: str = ""
    password_file: FilePath = FilePath("")
    password_env: str = ""
    token_file: FilePath = FilePath("")
    token_env: str = ""
    """Where the user's password is, or else a bearer token."""
    ca_file: FilePath = FilePath("")
    """Certificates to trust instead of the system's."""

    def __post_init__(self) -> None:
        scheme, host = _parts(self.url)
        if not self.queries or len(set(self.queries)) < len(self.queries):
            raise ValueError("queries: expected one or more, each of them once")
        if self.step < NS:
            raise ValueError("step: expected at least 1s")
        secrets = [s for s in (self.password_file, self.password_env, self.token_file, self.token_env) if s]
        if len(secrets) > 1:
            raise ValueError("expected one of password_file, password_env, token_file and token_env, got several")
        if bool(self.user) != bool(self.password_file or self.password_env):
            raise ValueError("a `user` has a password_file or password_env, and these need a `user`")
        if secrets and scheme == "http" and not is_loopback(host):
            raise ValueError("url: a password or token over http:// can be read on its way; use https://")
        if self.ca_file and scheme == "http":
            raise ValueError("ca_file: needs https://; without it nothing is encrypted")

    def open(self, secrets: Mapping[str, str], stream: Stream) -> PrometheusSource:
        """The source; ValueError for a token that no header can carry, or a step that is longer than the window."""
        if self.step > stream.window:
            raise ValueError("step: expected at most `window`: else most windows have no sample")
        token = secrets.get("token", "")
        if not (token.isascii() and token.isprintable()):
            raise ValueError(f"{'token_file' if self.token_file else 'token_env'}: expected one line of ASCII")
        return PrometheusSource(self, token or secrets.get("password", ""), lateness=stream.lateness)


class PrometheusSource:
    """The queries of one server. Not for several threads. `lateness` is the stream's, ns; `secret` the user's password
    or the token; `clock` gives ns UTC.

    A position is query → ms UTC up to which it was asked. It begins with one step, or `history`, before now − delay.
    `read` and `between` raise LogUnavailable where no answer of Prometheus can be had, for whatever reason: nothing was
    listened to then. A query that it refuses, or an answer that is too large even for one step, is a message of form
    `refused`.
    """

    def __init__(
        self,
        settings: PrometheusSettings,
        secret: str = "",
        *,
        lateness: int = 0,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._name = f"Prometheus {settings.url}"
        self._queries = {digest(query)[:12]: query for query in settings.queries}
        """By what stands for each in a position, which every chunk carries."""
        self.delay = settings.delay
        self._step, self._delay = settings.step // MS, settings.delay // MS
        self._history = max(settings.history // MS, self._step)
        # the oldest sample of a stretch is not late though another query was read to its end
        self._longest = min(MAX_STEPS, 1 + lateness // settings.step)
        self._clock = clock
        headers = {"user-agent": "opintel", "accept-encoding": "identity"}  # what is not packed cannot burst
        if secret and not settings.user:
            headers["authorization"] = f"Bearer {secret}"
        # no proxy, no .netrc from the environment
        self._client = httpx.AsyncClient(
            base_url=settings.url,
            headers=headers,
            auth=httpx.BasicAuth(settings.user, secret) if settings.user else None,
            timeout=ANSWER,
            follow_redirects=False,
            trust_env=False,
            verify=tls_context(settings.ca_file),
        )
        # only with asyncio can a deadline be set for the whole of an answer; in a thread of its own, as the caller may
        # be in a loop himself
        self._thread = ThreadPoolExecutor(1, "opintel-prometheus")
        self._runner = asyncio.Runner()

    def read(self, position: Any, limit: int, first: int = 0) -> tuple[list[Message], Any]:
        """The next answer after `position` (plain data; None: at the beginning) and the position behind it; none where
        a stretch has no samples. All has been read where the position stays as it is. `first`: index of the message.
        """
        edge = (self._clock() // MS - self._delay) // self._step * self._step
        stands = self._stands(position, edge)
        key = min(stands, key=lambda key: stands[key])
        if stands != position or stands[key] >= edge:
            return [], stands  # where a query begins is in the log before its first sample
        message, stands[key] = self._next(key, stands[key], edge, first)
        return [message] if message else [], stands

    def listened(self, position: Any, now: int) -> Listened:
        """All that is there is shown."""
        return Listened(now)

    def between(self, before: Any, after: Any, first: int = 0) -> list[Message]:
        """The answers between two positions once more: the same as long as Prometheus has the same samples."""
        messages: list[Message] = []
        begins, ends = (msgspec.convert(position or {}, dict[str, int]) for position in (before, after))
        for key in self._queries:
            at, end = begins.get(key, 0), ends.get(key, 0)
            while key in begins and at < end:
                message, at = self._next(key, at, end, first + len(messages))
                messages += [message] if message else []
        return messages

    def close(self) -> None:
        """Closes the connection."""
        self._run(self._client.aclose)
        self._thread.submit(self._runner.close).result()
        self._thread.shutdown()

    def _stands(self, position: Any, edge: int) -> dict[str, int]:
        """The position of the queries as they are now; a new one begins where the others are."""
        known = {} if position is None else msgspec.convert(position, dict[str, int])
        begin = min(known.values(), default=edge - self._history)
        return {key: known.get(key, begin) for key in self._queries}

    def _next(self, key: str, at: int, upto: int, index: int) -> tuple[Message | None, int]:
        """The answer to a query from behind `at` on, and how far it goes: a stretch, or the half, quarter … of it that
        is not too large. Times in ms.
        """
        begin = at // self._step * self._step + self._step
        steps = min(self._longest, (upto - begin) // self._step + 1)
        if steps < 1:
            return None, upto  # another step was asked for then
        body, form = b"", "json"
        while True:
            end = begin + (steps - 1) * self._step
            try:
                body = self._ask(self._queries[key], begin, end, steps)
            except _Refused as error:
                if error.shorter and steps > 1:
                    steps //= 2
                    continue
                body, form = str(error).encode(), "refused"
            break
        if not body:
            return None, end
        times = rfc3339(begin * MS) if begin == end else f"{rfc3339(begin * MS)} to {rfc3339(end * MS)}"
        number = list(self._queries).index(key) + 1
        return Message(body, f"query {number}, {times}", -1, index, form), end

    def _ask(self, query: str, begin: int, end: int, steps: int) -> bytes:
        """The answer of one question, b'' where it has no series. Raises _Refused, LogUnavailable."""
        form = {"query": query, "start": begin / 1000, "end": end / 1000, "step": self._step / 1000}
        try:
            status, body = self._run(lambda: self._fetch(form))
        except TimeoutError as error:
            raise LogUnavailable(f"{self._name} has not answered within {ANSWER:g} s") from error
        except httpx.HTTPError as error:
            raise LogUnavailable(f"{self._name} cannot be reached: {str(error) or type(error).__name__}") from error
        if status in (400, 422):
            raise self._refusal(status, body)
        if 300 <= status < 400:
            raise LogUnavailable(f"{self._name} answers {status}: redirects are not followed, give the final `url`")
        if status != 200:
            raise LogUnavailable(f"{self._name} answers {status}" + (f": {_HINTS[status]}" if status in _HINTS else ""))
        if len(body) > MAX_BYTES:
            raise _Refused(_TOO_LARGE, shorter=True)
        try:
            series = len(_answer.decode(body.decode()).data.result)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise LogUnavailable(f"what is at {self._name} gives no answer of Prometheus: {error}") from error
        if series * steps > MAX_SAMPLES:
            raise _Refused(_TOO_LARGE, shorter=True)
        return body if series else b""

    def _run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self._thread.submit(lambda: self._runner.run(work())).result()

    async def _fetch(self, form: dict[str, Any]) -> tuple[int, bytes]:
        """Status and body, of which no more than a network's packet beyond MAX_BYTES is read."""
        body = bytearray()
        async with asyncio.timeout(ANSWER), self._client.stream("POST", "/api/v1/query_range", data=form) as answer:
            async for chunk in answer.aiter_raw():
                body += chunk
                if len(body) > MAX_BYTES:
                    break
        return answer.status_code, bytes(body)

    def _refusal(self, status: int, body: bytes) -> Exception:
        """What to raise for an answer that is Prometheus' own word against a query, or else a proxy's between us."""
        try:
            reason = _error.decode(body.decode()).error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return LogUnavailable(f"{self._name} answers {status}, and not as Prometheus does")
        plain = "".join(c if c.isprintable() else " " for c in reason[:REASON])
        return _Refused(f"Prometheus refuses the query: {plain}", shorter=status == 422)


def _parts(url: str) -> tuple[str, str]:
    """Scheme and host. Raises ValueError, which does not repeat a URL that may hold a password."""
    right = "url: expected http://HOST:PORT or https://HOST, and a path where there is one"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        if ":" in host or host.replace(".", "").isdigit():
            ip_address(host)
    except ValueError as error:
        raise ValueError(right) from error
    if parts.username or parts.password:
        raise ValueError("url holds a user or password; use `user` and `password_file` or `password_env`")
    known = parts.scheme in ("http", "https") and port != 0 and (":" in host or _HOST.fullmatch(host))
    if not known or not _PATH.fullmatch(parts.path) or parts.query or parts.fragment:
        raise ValueError(right)
    return parts.scheme, host


class _Refused(Exception):
    """A question without a usable answer; `shorter`: one for fewer steps may have one."""

    def __init__(self, reason: str, *, shorter: bool) -> None:
        super().__init__(reason)
        self.shorter = shorter


class _Series(msgspec.Struct, gc=False):
    """One of an answer's series: how many there are is all that is asked here."""


class _Data(msgspec.Struct):
    result: list[_Series]


class _Answer(msgspec.Struct):
    status: Literal["success"]
    data: _Data


class _Error(msgspec.Struct):
    status: Literal["error"]
    error: str


_answer, _error = msgspec.json.Decoder(_Answer), msgspec.json.Decoder(_Error)
_TOO_LARGE = (
    f"expected at most {MAX_BYTES >> 20} MiB and {MAX_SAMPLES} samples for a single step, got more: "
    "split it into queries that select fewer series"
)
