"""Answers of a Prometheus server, asked for stretch by stretch and read by position: our own log knows how far each
query was asked.

`PrometheusSource` is for the ingester: `read`, append to the log, and go on where the log says that it stood; `between`
asks for a stretch again. Samples are those of `query_range` at whole multiples of the step
(prometheus.io/docs/prometheus/latest/querying/api). Each time the query that is furthest behind is next, and by no more
than the stream's lateness, so that none makes the samples of the others late.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeVar

import httpx
import msgspec

from opintel.detector import Message
from opintel.finding import NS, digest, rfc3339
from opintel.streams.connectors.prometheus_settings import PrometheusSettings
from opintel.streams.log import LogUnavailable

T = TypeVar("T")
MAX_STEPS = 100
"""Steps of a stretch: what one question may cost Prometheus, and how often it can be halved."""
MAX_BYTES, MAX_SAMPLES = 16 << 20, 100_000
"""Of an answer: what a wire reads of one message."""
ANSWER = 10.0
"""s that an answer may take, from the connection to its last byte."""
TOLD = 300
"""Characters of what Prometheus says of a query that it refuses."""
MS = NS // 1000
_HINTS = {
    401: "see user, password and token",
    403: "see user, password and token",
    404: "is there a Prometheus at `url`?",
}


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
            verify=ssl.create_default_context(cafile=settings.ca_file or None),
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
        """What to raise for an answer that is Prometheus' own word against a query, or else somebody's between us."""
        try:
            told = _error.decode(body.decode()).error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return LogUnavailable(f"{self._name} answers {status}, and not as Prometheus does")
        plain = "".join(c if c.isprintable() else " " for c in told[:TOLD])
        return _Refused(f"Prometheus refuses the query: {plain}", shorter=status == 422)


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
    f"an answer of more than {MAX_BYTES >> 20} MiB or {MAX_SAMPLES} samples for a single step: "
    "several queries that select fewer series are right"
)
