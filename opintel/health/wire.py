"""The wire of the health stream: metric samples as JSON, and the way to its other forms.

In JSON are taken a sample in the form of prometheus-kafka-adapter (github.com/Telefonica/prometheus-kafka-adapter,
README), a list of them, and an answer of Prometheus' HTTP API (prometheus.io/docs/prometheus/latest/querying/api) with
a vector or a matrix. `arrow` reads Arrow messages, `tables` rows of CSV files, `smartctl` what disks say of themselves.
Content is untrusted; every record becomes a row or a reason.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import msgspec
import numpy as np

from opintel.arrow_ipc import is_arrow
from opintel.detector import Decoded, Message, each
from opintel.finding import parse_rfc3339
from opintel.health import arrow, smartctl, tables
from opintel.health.bounds import EARLIEST, LARGEST, LATEST, MAX_BYTES, MAX_KEY, MAX_LABELS, MAX_RECORDS, UNITS
from opintel.health.samples import Sample, Samples, number_of, shown
from opintel.health.series_names import key_of
from opintel.rows import Batch, Row
from opintel.tables import ColumnsRead, columns_joined

EXCERPT = 4096
LONGEST_TIME = 64
"""Characters of a time."""
_NAME = re.compile(r"[A-Za-z_:][A-Za-z0-9_:]*\Z")
_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
AS_THEY_LOOK = tables.TableColumns()
_PLAIN_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?\Z")


class _Body(msgspec.Struct):
    """A sample, an answer of Prometheus, a document of smartctl: the fields in use, or by which it is recognised."""

    timestamp: Any = None
    value: Any = None
    name: Any = None
    labels: Any = None
    status: Any = None
    data: Any = None
    json_format_version: Any = None
    smartctl: Any = None


_body = msgspec.json.Decoder(_Body | list[Any])


class HealthWire:
    """Decodes samples; their scope is what the label `scope_label` says, `default` where it is missing. `columns`: what
    columns of tables hold.
    """

    def __init__(self, *, scope_label: str = "job", columns: tables.TableColumns = AS_THEY_LOOK) -> None:
        if not _LABEL.match(scope_label):
            raise ValueError(f"scope_label: expected a label's name, got {scope_label!r}")
        self._scope_label, self._columns = scope_label, columns
        self._keys: dict[tuple[Any, tuple[tuple[Any, Any], ...]], str] = {}
        self._wrong: dict[tuple[Any, tuple[tuple[Any, Any], ...]], str] = {}
        """What is wrong with a series, of the message that is read: it may come with a hundred thousand values."""

    def decode(self, messages: Sequence[Message]) -> Decoded[Sample]:
        """The rows of the messages and what is wrong with the other records; nothing is raised."""
        batched = [at for at, m in enumerate(messages) if m.form == "json" and is_arrow(m.body)]
        parts: list[tuple[int, Decoded[Sample]]] = []
        begin = 0
        for at in [*batched, len(messages)]:
            if begin < at or not parts:
                parts.append((begin, each(self._read, messages[begin:at], Samples)))
            if at < len(messages):
                parts.append((at, arrow.decode(messages[at].body, self._series)))
            begin = at + 1
        return _joined(parts, tables.columns_read(messages, self._columns))

    def redacted(self, body: bytes) -> bytes:
        """The start of a message as it may be kept: metrics name machines, not people."""
        return body[:EXCERPT]

    def _read(self, message: Message) -> Iterator[Row[Sample] | str]:
        if message.form not in ("json", "table"):
            yield "a sample is JSON: {timestamp, value, name, labels}; text has no series"
            return
        if len(message.body) > MAX_BYTES:
            yield f"a message of {len(message.body)} bytes; at most {MAX_BYTES}"
            return
        self._wrong.clear()
        try:
            samples = tables.samples(message, self._columns) if message.form == "table" else _samples(message.body)
        except (msgspec.DecodeError, RecursionError, ValueError) as error:
            yield f"not a sample: {str(error)[:200]}"
            return
        n = -1
        for n, one in enumerate(samples):
            if n == MAX_RECORDS:
                yield f"more than {MAX_RECORDS} samples in a message: the rest was not read"
                return
            if isinstance(one, str):
                yield one
                continue
            try:
                yield self._row(*one)
            except ValueError as error:
                yield str(error)[:300]
        if n < 0:
            yield "no sample in it"

    def _row(self, timestamp: Any, value: Any, name: Any, labels: Any) -> Row[Sample]:
        if not isinstance(labels, dict):
            raise ValueError(f"labels: expected a mapping of texts, got {shown(labels)}")
        time, number = _time(timestamp), _number(value)
        missing = not abs(number) <= LARGEST
        return Row(self._series(name, labels), time, time, Sample(0.0 if missing else number, missing))

    def _series(self, name: Any, labels: dict[Any, Any]) -> str:
        """The key of a series; ValueError says what is wrong with its name or labels."""
        name = name or labels.get("__name__")
        if len(labels) > MAX_LABELS:
            raise ValueError(f"{len(labels)} labels; at most {MAX_LABELS}")
        # equal values have equal keys: a label's text comes in few forms, and to check it costs more than to find it
        try:
            known = (name, tuple(labels.items()))
            key = self._keys.get(known)
        except TypeError:
            raise ValueError("labels: expected a text as a label's value, got another type") from None
        if key is None and (wrong := self._wrong.get(known)) is not None:
            raise ValueError(wrong)
        if key is None:
            try:
                key = self._key(name, labels)
            except ValueError as error:
                self._wrong[known] = str(error)
                raise
            if len(self._keys) >= 1 << 17:
                self._keys.clear()
            self._keys[known] = key
        return key

    def _key(self, name: Any, labels: dict[Any, Any]) -> str:
        if name is None:
            raise ValueError(
                "name: expected a metric's name, got none; label_replace(…, '__name__', 'NAME', '', '') gives one"
            )
        if not isinstance(name, str) or not _NAME.match(name):
            raise ValueError(f"name: expected a metric's name of letters, digits, _ and :, got {shown(name)}")
        if len(labels) > MAX_LABELS:
            raise ValueError(f"labels: expected at most {MAX_LABELS}, got {len(labels)}")
        if sum(len(str(label)) + len(str(text)) for label, text in labels.items()) > 4 * MAX_KEY:
            raise ValueError(f"labels: expected at most {4 * MAX_KEY} characters, got more")
        plain: dict[str, str] = {}
        for label, text in labels.items():
            if not isinstance(label, str) or not _LABEL.match(label):
                raise ValueError(f"labels: expected a label's name of letters, digits and _, got {shown(label)}")
            if not isinstance(text, str) or not text.isprintable():
                raise ValueError(f"label {label}: expected a printable text, got {shown(text)}")
            if label != "__name__" and text:  # to Prometheus an empty label is none
                plain[label] = text
        key = key_of(plain.get(self._scope_label, "default"), name, plain)
        if len(key) > MAX_KEY:
            raise ValueError(f"expected a series of at most {MAX_KEY} characters, got {len(key)}")
        return key


def _joined(parts: Sequence[tuple[int, Decoded[Sample]]], read: ColumnsRead) -> Decoded[Sample]:
    """The parts as one; each with the place of its first message. `read`: columns beside those of the parts."""
    read = columns_joined([read, *(part.columns for _, part in parts)])
    if len(parts) == 1:
        return parts[0][1]._replace(columns=read)
    return Decoded(
        Batch.joined([part.rows for _, part in parts]),
        np.concatenate([part.message + at for at, part in parts]),
        np.concatenate([part.n for _, part in parts]),
        [reject._replace(message=reject.message + at) for at, part in parts for reject in part.rejects],
        read,
    )


_Unchecked = tuple[Any, Any, Any, Any]
"""Time, value, name, labels."""
_SAMPLE = "a sample is a mapping with timestamp, value, name and labels"
_SERIES = "a series is a mapping: {metric, value: [time, value]}, or values, a list of such pairs"


def _samples(body: bytes) -> Iterable[_Unchecked | str]:
    """Each sample in JSON, unchecked, or what is wrong where there is none."""
    found = _body.decode(body)
    if isinstance(found, _Body) and found.smartctl is not None and found.json_format_version is not None:
        return smartctl.samples(body)
    return _plain_samples(found)


def _plain_samples(body: _Body | list[Any]) -> Iterator[_Unchecked | str]:
    """What is nothing like a sample costs less than one: two bytes of a message may be it."""
    if isinstance(body, list):
        for one in body:
            if type(one) is dict and "timestamp" in one and "value" in one:
                yield one["timestamp"], one["value"], one.get("name"), one.get("labels", {})
            else:
                yield _SAMPLE
    elif body.data is None:
        yield body.timestamp, body.value, body.name, {} if body.labels is None else body.labels
    else:
        result = body.data.get("result") if isinstance(body.data, dict) else None
        for one in result if isinstance(result, list) else [None]:
            series = one if isinstance(one, dict) else {}
            pairs = series.get("values", [series.get("value")])
            for pair in pairs if isinstance(pairs, list) else [None]:
                if type(pair) is list and len(pair) == 2:
                    yield pair[0], pair[1], None, series.get("metric")
                else:
                    yield _SERIES


def _number(value: Any) -> float:
    """A value as a number, as Prometheus writes it: texts too, NaN and +Inf among them."""
    kind = type(value)  # JSON has no subtypes of a number; a bool is none
    try:
        if kind is float:
            return value  # type: ignore[no-any-return]
        if kind is str:
            return number_of(value)
        if kind is int:
            return float(value)
    except (ValueError, OverflowError):
        pass
    raise ValueError(f"value: expected a number, got {shown(value)}")


def _time(timestamp: Any) -> int:
    """ns UTC of RFC 3339 text, or of a number of s, ms, us or ns: in the years 2000 to 2100 their sizes do not overlap.

    A fraction counts to the thousandth.
    """
    number = timestamp
    if isinstance(timestamp, str):
        number = _read_time(timestamp) if len(timestamp) <= LONGEST_TIME else None
    if type(number) in (int, float) and abs(number) < math.inf:
        for unit in UNITS:
            if EARLIEST <= number * unit < LATEST:
                whole = int(number)
                return whole * unit + (0 if whole == number else round((number - whole) * 1000) * unit // 1000)
    raise ValueError(f"timestamp: expected RFC 3339 or s, ms, us, ns in 2000 to 2100, got {shown(timestamp)}")


@lru_cache(maxsize=256)
def _read_time(text: str) -> float | None:
    """ns of RFC 3339 text, or the number that it is; None where it is neither. All samples of a scrape have one."""
    try:
        return parse_rfc3339(text)
    except ValueError:
        return float(text) if _PLAIN_NUMBER.match(text) else None
