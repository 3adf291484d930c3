"""Documents of `smartctl --json -a` on the health wire: what a disk says of itself, as series of that disk.

Fields as smartmontools 7 writes them (smartctl(8), option -j; ataprint.cpp and nvmeprint.cpp). NVMe's counters and
units are those of the SMART / Health Information log (NVM Express Base Specification 2.0, 5.16.1.3). Samples go to
`opintel.health.wire`, which checks them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from opintel.finding import NS
from opintel.health.bounds import EARLIEST, LATEST

_COMMON: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("smartctl_temperature_celsius", ("temperature", "current")),
    ("smartctl_power_on_hours", ("power_on_time", "hours")),
    ("smartctl_power_cycles_total", ("power_cycle_count",)),
    ("smartctl_ata_errors_total", ("ata_smart_error_log", "summary", "count")),
)
_NVME: dict[str, tuple[str, int]] = {
    "critical_warning": ("smartctl_nvme_critical_warning", 1),
    "available_spare": ("smartctl_nvme_available_spare_percent", 1),
    "percentage_used": ("smartctl_nvme_used_percent", 1),
    "data_units_read": ("smartctl_nvme_read_bytes_total", 512_000),
    "data_units_written": ("smartctl_nvme_written_bytes_total", 512_000),
    "host_reads": ("smartctl_nvme_reads_total", 1),
    "host_writes": ("smartctl_nvme_writes_total", 1),
    "controller_busy_time": ("smartctl_nvme_busy_seconds_total", 60),
    "unsafe_shutdowns": ("smartctl_nvme_unsafe_shutdowns_total", 1),
    "media_errors": ("smartctl_nvme_media_errors_total", 1),
    "num_err_log_entries": ("smartctl_nvme_error_log_entries_total", 1),
    "warning_temp_time": ("smartctl_nvme_warning_temperature_seconds_total", 60),
    "critical_comp_time": ("smartctl_nvme_critical_temperature_seconds_total", 60),
}
"""Field of the health log → (metric, what one of it is)."""
MAX_ATTRIBUTES = 255
"""A disk's table has 30, their ids are a byte."""
_SHOWN = re.compile(r"[0-9]{1,20}(?![0-9xX])")


def samples(body: bytes) -> Iterator[tuple[Any, Any, Any, Any]]:
    """(time, value, name, labels) of each sample of a document, unchecked.

    ValueError where the document names no disk or no time. What a disk does not say is no sample.
    """
    document = msgspec.json.decode(body)
    serial = document.get("serial_number")
    if not isinstance(serial, str) or not serial.strip():
        said = _at(document, "smartctl", "messages", 0, "string")
        raise ValueError(f"smartctl names no disk (serial_number){': ' if said else ''}{str(said or '')[:150]}")
    time = _at(document, "local_time", "time_t")
    if type(time) is not int or not EARLIEST <= time * NS < LATEST:
        raise ValueError(f"local_time.time_t is seconds since 1970 in 2000 to 2100, got {str(time)[:100]}")
    table = _at(document, "ata_smart_attributes", "table")
    if isinstance(table, list) and len(table) > MAX_ATTRIBUTES:
        raise ValueError(f"expected at most {MAX_ATTRIBUTES} attributes, got {len(table)}")
    labels = {"job": "smartctl", "instance": serial.strip(), "serial": serial.strip()}
    for label, path in (("device", ("device", "name")), ("model", ("model_name",))):
        if (text := _at(document, *path)) is not None:
            labels[label] = text
    return ((time, value, name, {**labels, **own}) for name, own, value in _series(document))


def _series(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], Any]]:
    """(metric, labels of its own, value)."""
    passed = _at(document, "smart_status", "passed")
    if passed is not None:
        yield "smartctl_health_passed", {}, int(passed) if isinstance(passed, bool) else None
    for name, path in _COMMON:
        value = _at(document, *path)
        if value is not None:
            yield name, {}, value
    for field, (name, unit) in _NVME.items():
        value = _at(document, "nvme_smart_health_information_log", field)
        if value is not None:
            yield name, {}, value * unit if type(value) is int else value
    table = _at(document, "ata_smart_attributes", "table")
    for attribute in table if isinstance(table, list) else []:
        number = _at(attribute, "id")
        own = {"id": str(number) if isinstance(number, int) else number, "name": _at(attribute, "name")}
        yield "smartctl_attribute_raw", own, _raw(attribute)
        yield "smartctl_attribute_normalised", own, _at(attribute, "value")


def _raw(attribute: Any) -> Any:
    """An attribute's raw value: the number that smartctl shows first.

    Vendors pack several into its 48 bits: "27 (Min/Max 21/39)" is 27 degrees, as a whole it is 167505100827.
    """
    shown = _at(attribute, "raw", "string")
    found = _SHOWN.match(shown) if isinstance(shown, str) else None
    return int(found[0]) if found else _at(attribute, "raw", "value")


def _at(document: Any, *path: str | int) -> Any:
    """What stands at a place in a document; None where there is none."""
    for step in path:
        if isinstance(step, int):
            document = document[step] if isinstance(document, list) and len(document) > step else None
        else:
            document = document.get(step) if isinstance(document, dict) else None
    return document
