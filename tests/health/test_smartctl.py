"""What smartctl says of a disk as samples: an ATA and an NVMe disk as they come, and documents that are not right."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from opintel.detector import Decoded, Message
from opintel.health.series_names import parts_of, series_parts
from opintel.health.wire import HealthWire
from opintel.rows import Row

T0 = 1_700_000_000


def attribute(number: int, name: str, value: int, raw: int, shown: str | None = None) -> dict[str, Any]:
    return {
        "id": number,
        "name": name,
        "value": value,
        "worst": value,
        "thresh": 5,
        "when_failed": "",
        "flags": {"value": 51, "string": "PO--CK ", "prefailure": True, "updated_online": True},
        "raw": {"value": raw, "string": str(raw) if shown is None else shown},
    }


def document(device: str, kind: str, model: str, serial: str, argument: str) -> dict[str, Any]:
    return {
        "json_format_version": [1, 0],
        "smartctl": {
            "version": [7, 4],
            "pre_release": False,
            "svn_revision": "5530",
            "platform_info": "x86_64-linux-6.1.0",
            "build_info": "(local build)",
            "argv": ["smartctl", "--json", "-a", argument],
            "exit_status": 0,
        },
        "local_time": {"time_t": T0, "asctime": "Tue Nov 14 22:13:20 2023 UTC"},
        "device": {"name": device, "info_name": device, "type": kind, "protocol": kind.upper()},
        "model_name": model,
        "serial_number": serial,
        "firmware_version": "A1",
        "smart_support": {"available": True, "enabled": True},
        "smart_status": {"passed": True},
    }


ATA: dict[str, Any] = {
    **document("/dev/sda", "sat", "HGST HUS726020ALE614", "K5H1ABCD", "/dev/sda"),
    "rotation_rate": 7200,
    "user_capacity": {"blocks": 3907029168, "bytes": 2000398934016},
    "ata_smart_data": {"self_test": {"status": {"value": 0, "string": "completed without error", "passed": True}}},
    "ata_smart_attributes": {
        "revision": 16,
        "table": [
            attribute(1, "Raw_Read_Error_Rate", 100, 0),
            attribute(3, "Spin_Up_Time", 134, 17194418398, "222 (Average 222)"),
            attribute(5, "Reallocated_Sector_Ct", 98, 16),
            attribute(9, "Power_On_Hours", 91, 67518, "67518h+12m+03.4s"),
            attribute(194, "Temperature_Celsius", 222, 167505100827, "27 (Min/Max 21/39)"),
            attribute(197, "Current_Pending_Sector", 100, 8),
            attribute(240, "Head_Flying_Hours", 100, 12, "0x00000000000c"),
        ],
    },
    "power_on_time": {"hours": 67518},
    "power_cycle_count": 12,
    "temperature": {"current": 27},
    "ata_smart_error_log": {"summary": {"revision": 1, "count": 3}},
}
NVME: dict[str, Any] = {
    **document("/dev/nvme0", "nvme", "CT250P2SSD8", "2046E4B1F2A3", "/dev/nvme0"),
    "nvme_smart_health_information_log": {
        "critical_warning": 0,
        "temperature": 26,
        "available_spare": 100,
        "available_spare_threshold": 5,
        "percentage_used": 3,
        "data_units_read": 4932757,
        "data_units_written": 1002900,
        "host_reads": 38087906,
        "host_writes": 29940645,
        "controller_busy_time": 1675,
        "power_cycles": 8,
        "power_on_hours": 10147,
        "unsafe_shutdowns": 5,
        "media_errors": 0,
        "num_err_log_entries": 1,
        "warning_temp_time": 2,
        "critical_comp_time": 0,
        "temperature_sensors": [40],
    },
    "temperature": {"current": 26},
    "power_cycle_count": 8,
    "power_on_time": {"hours": 10147},
}


def decode(*documents: Any) -> Decoded[Any]:
    bodies = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in documents]
    return HealthWire().decode([Message(body, "disks.jsonl", n, n) for n, body in enumerate(bodies)])


def values(found: Decoded[Any]) -> dict[str, float]:
    """Metric, with id and name where it has them → value."""
    out = {}
    for row in found.rows.rows():
        name, labels = series_parts(parts_of(row.key)[1])
        out[" ".join([name, *(labels[own] for own in ("id", "name") if own in labels)])] = row.payload.value
    return out


def labels_of(row: Row[Any]) -> dict[str, str]:
    return series_parts(parts_of(row.key)[1])[1]


def test_an_ata_disk() -> None:
    found = decode(ATA)
    assert not found.rejects
    assert values(found) == {
        "smartctl_health_passed": 1.0,
        "smartctl_temperature_celsius": 27.0,
        "smartctl_power_on_hours": 67518.0,
        "smartctl_power_cycles_total": 12.0,
        "smartctl_ata_errors_total": 3.0,
        "smartctl_attribute_raw 1 Raw_Read_Error_Rate": 0.0,
        "smartctl_attribute_raw 3 Spin_Up_Time": 222.0,
        "smartctl_attribute_raw 5 Reallocated_Sector_Ct": 16.0,
        "smartctl_attribute_raw 9 Power_On_Hours": 67518.0,
        "smartctl_attribute_raw 194 Temperature_Celsius": 27.0,
        "smartctl_attribute_raw 197 Current_Pending_Sector": 8.0,
        "smartctl_attribute_raw 240 Head_Flying_Hours": 12.0,
        "smartctl_attribute_normalised 1 Raw_Read_Error_Rate": 100.0,
        "smartctl_attribute_normalised 3 Spin_Up_Time": 134.0,
        "smartctl_attribute_normalised 5 Reallocated_Sector_Ct": 98.0,
        "smartctl_attribute_normalised 9 Power_On_Hours": 91.0,
        "smartctl_attribute_normalised 194 Temperature_Celsius": 222.0,
        "smartctl_attribute_normalised 197 Current_Pending_Sector": 100.0,
        "smartctl_attribute_normalised 240 Head_Flying_Hours": 100.0,
    }
    for row in found.rows.rows():
        assert row.time == T0 * 10**9
        assert row.key.startswith("smartctl|")
        own = {key: value for key, value in labels_of(row).items() if key not in ("id", "name")}
        assert own == {
            "job": "smartctl",
            "instance": "K5H1ABCD",
            "serial": "K5H1ABCD",
            "device": "/dev/sda",
            "model": "HGST HUS726020ALE614",
        }


def test_an_nvme_disk() -> None:
    found = decode(NVME)
    assert not found.rejects
    assert values(found) == {
        "smartctl_health_passed": 1.0,
        "smartctl_temperature_celsius": 26.0,
        "smartctl_power_on_hours": 10147.0,
        "smartctl_power_cycles_total": 8.0,
        "smartctl_nvme_critical_warning": 0.0,
        "smartctl_nvme_available_spare_percent": 100.0,
        "smartctl_nvme_used_percent": 3.0,
        "smartctl_nvme_read_bytes_total": 4932757 * 512_000,
        "smartctl_nvme_written_bytes_total": 1002900 * 512_000,
        "smartctl_nvme_reads_total": 38087906.0,
        "smartctl_nvme_writes_total": 29940645.0,
        "smartctl_nvme_busy_seconds_total": 1675 * 60,
        "smartctl_nvme_unsafe_shutdowns_total": 5.0,
        "smartctl_nvme_media_errors_total": 0.0,
        "smartctl_nvme_error_log_entries_total": 1.0,
        "smartctl_nvme_warning_temperature_seconds_total": 120.0,
        "smartctl_nvme_critical_temperature_seconds_total": 0.0,
    }
    assert {labels_of(row)["instance"] for row in found.rows.rows()} == {"2046E4B1F2A3"}


def test_a_disk_that_failed_its_check() -> None:
    assert values(decode({**ATA, "smart_status": {"passed": False}}))["smartctl_health_passed"] == 0.0


def test_it_is_recognised_by_its_content_only() -> None:
    plain = {key: value for key, value in ATA.items() if key != "json_format_version"}
    found = decode(plain)
    assert len(found.rows) == 0
    assert "RFC 3339" in found.rejects[0].reason


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"serial_number": None}, "no disk (serial_number)"),
        ({"serial_number": "  "}, "no disk (serial_number)"),
        ({"serial_number": 7}, "no disk (serial_number)"),
        ({"local_time": None}, "local_time.time_t"),
        ({"local_time": {"time_t": "now"}}, "local_time.time_t"),
        ({"local_time": {"time_t": True}}, "local_time.time_t"),
        ({"local_time": {"time_t": 1e300}}, "local_time.time_t"),
        ({"local_time": {"time_t": 31_536_000}}, "2000 to 2100, got 31536000"),
    ],
)
def test_a_document_without_its_disk_or_time_is_one_reason_and_others_stay(change: dict[str, Any], said: str) -> None:
    found = decode({**ATA, **change}, NVME)
    assert set(found.message.tolist()) == {1}
    [reject] = found.rejects
    assert (reject.message, reject.records) == (0, [0])
    assert said in reject.reason


def test_a_device_that_is_not_there_says_so() -> None:
    nothing = {key: copy.deepcopy(ATA[key]) for key in ("json_format_version", "smartctl", "local_time")}
    nothing["smartctl"]["messages"] = [{"string": "/dev/sdx: Unable to detect device type", "severity": "error"}]
    [reject] = decode(nothing).rejects
    assert "Unable to detect device type" in reject.reason


@pytest.mark.parametrize(
    "row", [None, 7, {}, {"id": 5}, {"id": [5], "name": "X"}, {"id": 5, "name": "a\nb"}, attribute(5, "X", 1, 10**400)]
)
def test_a_bad_attribute_is_a_reason_and_the_others_are_rows(row: Any) -> None:
    bad = copy.deepcopy(ATA)
    if isinstance(row, dict) and row.get("raw"):
        row = {**row, "raw": {"value": "much"}}
    bad["ata_smart_attributes"]["table"].insert(2, row)
    found = decode(bad)
    assert values(found).items() >= values(decode(ATA)).items()
    assert found.rejects


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_any_change_to_a_document_gives_rows_or_reasons(data: st.DataObject) -> None:
    changed = copy.deepcopy(data.draw(st.sampled_from([ATA, NVME])))
    place: Any = changed
    while True:
        step = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else list(range(len(place)))))
        if not isinstance(place[step], dict | list) or not place[step] or data.draw(st.booleans()):
            break
        place = place[step]
    place[step] = data.draw(PLAIN)
    found = decode(changed, NVME)
    assert sum(found.message == 1) == 17
    assert len(found.rows) + len(found.rejects) > 17
