"""Values of metrics as people read them, by the unit that a metric's name ends in.

Prometheus' naming advice (prometheus.io/docs/practices/naming) puts base units there; counters are shown as their rate.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from opintel.finding import NS
from opintel.health.bounds import EARLIEST, LATEST
from opintel.health.series_names import is_counter

_PREFIXES = ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))
_TIMES = ((86_400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))
_UNITS = {"_bytes": "B", "_seconds": "s", "_celsius": "°C", "_volts": "V", "_watts": "W", "_hertz": "Hz", "_rpm": "rpm"}
_NONE = 1e-12
"""What is smaller is nothing: what is left of a decaying average."""


def unit(name: str) -> str:
    """The unit of a metric's values as they are judged; empty where its name says none.

    >>> unit("node_memory_MemAvailable_bytes"), unit("node_network_receive_bytes_total"), unit("node_load1")
    ('B', 'B/s', '')
    """
    counted = is_counter(name)
    base = next((u for end, u in _UNITS.items() if name.removesuffix("_total").endswith(end)), "")
    return f"{base}/s" if counted else base


def shown(name: str, value: float, digits: int = 4) -> str:
    """A value with its unit.

    >>> shown("node_filesystem_avail_bytes", 5.692e13), shown("node_timex_offset_seconds", -0.0008249)
    ('56.92 TB', '-824.9 us')
    >>> shown("node_load1", 12.5), shown("node_hwmon_temp_celsius", 39.5), shown("x_errs_total", 1e-140)
    ('12.5', '39.5 °C', '0 /s')
    >>> shown("node_boot_time_seconds", 1790000000.0), shown("x_bytes", 999_999_999_999.0)
    ('2026-09-21 14:13:20 UTC', '1 TB')
    """
    value = 0.0 if abs(value) < _NONE else value
    base = unit(name)
    if base == "s" and EARLIEST <= value * NS < LATEST:
        return datetime.fromtimestamp(value, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    rounded = abs(float(f"{value:.{digits}g}"))
    if base == "s" and value:
        size, prefix = next(((s, p) for s, p in _TIMES if rounded >= s), _TIMES[-1])
        return f"{value / size:.{digits}g} {prefix}"
    if base.startswith("B"):
        size, prefix = next(((s, p) for s, p in _PREFIXES if rounded >= s), (1.0, ""))
        return f"{value / size:.{digits}g} {prefix}{base}"
    return f"{value:.{digits}g} {base}".rstrip()


def shown_apart(name: str, value: float, others: Sequence[float]) -> list[str]:
    """The value and the others, with as many digits as it takes to tell it from those that it is not.

    >>> shown_apart("x", 1799000100.0, [1799000000.0, 1799000004.0])
    ['1.7990001e+09', '1.799e+09', '1.799e+09']
    >>> shown_apart("x", 3.0, [1.0001, 1.0002])
    ['3', '1', '1']
    """
    for digits in range(4, 18):
        texts = [shown(name, x, digits) for x in (value, *others)]
        if all(text != texts[0] or x == value for text, x in zip(texts[1:], others, strict=True)):
            break
    return texts
