"""Simulated FTS messages as bytes: complete, state and queue messages in the envelope that CERN's MONIT adds.

`simulate` says what happened to a file; this module writes it down with the fields, types and units of FTS 3.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from opintel.fts.simulated.grid import Link
from opintel.fts.simulated.wording import CATEGORIES, Wording
from opintel.fts.transfers import ABORTED, FAILED, OK

MS = 1_000_000
"""ns in a millisecond."""
RETRY_MAX = 3
_STATES = {OK: "Ok", FAILED: "Error", ABORTED: "Abort"}
_CHANGING = (
    *("activity", "dst_url", "f_size", "file_id", "file_metadata"),
    *("file_size", "is_recoverable", "job_id", "log_link", "nstreams"),
    *("operation_time", "retry", "src_url", "srm_overhead_percentage", "srm_overhead_time"),
    *("t__error_message", "t_error_code", "t_failure_phase", "t_final_transfer_state", "t_final_transfer_state_flag"),
    *("t_timeout", "throughput", "time_srm_prep_end", "time_srm_prep_st", "timestamp_checksum_dest_ended"),
    *(
        "timestamp_checksum_dest_st",
        "timestamp_chk_src_ended",
        "timestamp_chk_src_st",
        "timestamp_tr_comp",
        "timestamp_tr_st",
    ),
    *("tr_bt_transfered", "tr_error_category", "tr_error_scope", "tr_id", "tr_timestamp_complete"),
    *("tr_timestamp_start", "transfer_time", "vo"),
)
"""Fields of a complete message that differ from file to file."""
_encode = msgspec.json.Encoder().encode


class FileTransfer(NamedTuple):
    """A file to be moved: what all attempts share."""

    link: int
    job_id: str
    file_id: int
    vo: str
    activity: str
    name: str
    """Path below the VO's folder."""
    user: str
    """Owner, empty for production data."""
    size: int
    adler32: str


class Attempt(NamedTuple):
    """One attempt at a file and its outcome; times in ns UTC."""

    start: int
    begin: int
    """Bytes begin to flow; 0 if they never did."""
    stop: int
    """They stop flowing."""
    end: int
    outcome: int
    retry: int
    wording: Wording | None
    error: str


class Queue(NamedTuple):
    """The optimiser's view of a link."""

    submitted: int
    active: int
    rate: float
    """bytes/s of one transfer."""
    success: float
    """Percentage of transfers that succeed."""


class Envelopes:
    """Writes messages of one FTS `instance` about `links`."""

    def __init__(self, instance: str, links: tuple[Link, ...]) -> None:
        self.instance = instance
        self._links = links
        self._complete_base: dict[int, dict[str, Any]] = {}

    def url(self, file: FileTransfer, role: str) -> str:
        """Where the file is (`source`) or goes (`destination`)."""
        link = self._links[file.link]
        storage = link.source if role == "source" else link.destination
        path = f"{storage.folder(file.vo)}/{file.name}"
        if link.protocol == "srm":
            path = f"/srm/managerv2?SFN={path}"
        return f"{link.protocol}://{storage.host}:{storage.port(link.protocol)}{path}"

    def complete(self, file: FileTransfer, attempt: Attempt, message_id: str, arrival: int) -> bytes:
        """The message of a finished attempt."""
        base = self._complete_base.get(file.link)
        if base is None:
            base = self._complete_base[file.link] = _complete_base(self.instance, self._links[file.link])
        start, begin, stop, end = (t // MS for t in attempt[:4])
        good, wording = attempt.outcome == OK, attempt.wording
        spent = stop - begin
        moved = file.size if good else 0
        source_url, destination_url = self.url(file, "source"), self.url(file, "destination")
        srm = end - stop if begin else end - start
        data = {
            **base,
            "activity": file.activity,
            "dst_url": destination_url,
            "f_size": file.size,
            "file_id": str(file.file_id),
            "file_metadata": {
                "activity": file.activity,
                "adler32": file.adler32,
                "filesize": file.size,
                "name": file.name.rpartition("/")[2],
                "request_type": "transfer",
                "verify_checksum": True,
            },
            "file_size": file.size,
            "is_recoverable": wording is not None and wording.recoverable,
            "job_id": file.job_id,
            "log_link": f"https://{self.instance}:8449/fts3/ftsmon/#/job/{file.job_id}",
            "nstreams": 1 if begin else 0,
            "operation_time": end - start,
            "retry": attempt.retry,
            "src_url": source_url,
            "srm_overhead_percentage": round(100.0 * srm / max(1, end - start), 3),
            "srm_overhead_time": srm,
            "t__error_message": attempt.error,
            "t_error_code": wording.code if wording else 0,
            "t_failure_phase": wording.phase if wording else "",
            "t_final_transfer_state": _STATES[attempt.outcome],
            "t_final_transfer_state_flag": attempt.outcome,
            "t_timeout": 600 + file.size // 2_000_000,
            "throughput": file.size / spent * 1000 if spent > 0 else -1.0,
            "time_srm_prep_end": begin or end,
            "time_srm_prep_st": start,
            "timestamp_checksum_dest_ended": end if good else 0,
            "timestamp_checksum_dest_st": stop if good else 0,
            "timestamp_chk_src_ended": begin,
            "timestamp_chk_src_st": start if begin else 0,
            "timestamp_tr_comp": stop,
            "timestamp_tr_st": begin,
            "tr_bt_transfered": moved,
            "tr_error_category": CATEGORIES[wording.code] if wording else "",
            "tr_error_scope": wording.scope if wording else "",
            "tr_id": f"{_minute(start // 60_000)}__{base['t_channel']}__{file.file_id}__{file.job_id}",
            "tr_timestamp_complete": end,
            "tr_timestamp_start": start,
            "transfer_time": spent,
            "vo": file.vo,
        }
        return _envelope(data, "complete", message_id, end, arrival)

    def state(
        self,
        file: FileTransfer,
        state: str,
        reason: str,
        *,
        submitted: int,
        time: int,
        message_id: str,
        arrival: int,
        staging: bool = False,
    ) -> bytes:
        """The message of a file's new state, with the reason of a failure before any attempt; `staging`: of a recall
        from tape, which began when it was submitted."""
        link = self._links[file.link]
        job_state = {"FAILED": "FAILED", "CANCELED": "CANCELED"}.get(state, "ACTIVE")
        data = {
            "archiving": False,
            "archiving_finished": 0,
            "archiving_start": 0,
            "dest_se": f"{link.protocol}://{link.destination.host}",
            "dst_url": self.url(file, "destination"),
            "endpnt": self.instance,
            "file_id": file.file_id,
            "file_metadata": {"activity": file.activity, "filesize": file.size},
            "file_state": state,
            "job_id": file.job_id,
            "job_metadata": {"issuer": "rucio", "multi_sources": False},
            "job_state": job_state,
            "reason": reason,
            "retry_counter": 0,
            "retry_max": RETRY_MAX,
            "source_se": f"{link.protocol}://{link.source.host}",
            "src_url": self.url(file, "source"),
            "staging": staging,
            "staging_finished": time // MS if staging else 0,
            "staging_start": submitted // MS if staging else 0,
            "submit_time": submitted // MS,
            "timestamp": time // MS,
            "user_dn": "",
            "user_filesize": file.size,
            "vo_name": file.vo,
        }
        return _envelope(data, "state", message_id, time // MS, arrival)

    def queue(self, index: int, queue: Queue, *, time: int, message_id: str, arrival: int) -> bytes:
        """The optimiser's message about the link `index`."""
        link = self._links[index]
        submitted, active, rate, success = queue
        data = {
            "active_count": active,
            "connections": active + 2,
            "dest_se": f"{link.protocol}://{link.destination.host}",
            "diff": 0,
            "duration_avg": round(2e9 / rate, 3),
            "endpnt": self.instance,
            "filesize_avg": 2.0e9,
            "filesize_stddev": 1.5e9,
            "rationale": "Queue emptying" if submitted < active else "Good link efficiency",
            "retry_count": 0.0,
            "source_se": f"{link.protocol}://{link.source.host}",
            "submitted_count": submitted,
            "success_rate": round(success, 3),
            "throughput": rate * active,
            "throughput_ema": rate * active,
            "timestamp": time // MS,
        }
        return _envelope(data, "queue_state", message_id, time // MS, arrival)


def _envelope(data: dict[str, Any], kind: str, message_id: str, time: int, arrival: int) -> bytes:
    """`data` with MONIT's metadata; `time` and what is written are ms, `arrival` is ns."""
    ms = arrival // MS
    metadata = {
        "_id": message_id,
        "event_timestamp": time,
        "hostname": "monit-source-01.example",
        "kafka_timestamp": ms,
        "original-destination": f"/topic/transfer.fts_monitoring_{kind}",
        "partition": str(ms % 20),
        "producer": "fts",
        "timestamp": max(time, ms - 150),
        "topic": f"fts_raw_{kind}",
        "type": kind,
        "type_prefix": "raw",
        "version": "006",
    }
    return _encode({"data": data, "metadata": metadata})


@lru_cache(maxsize=64)
def _minute(minute: int) -> str:
    """UTC to the minute as in a `tr_id`: 2026-03-02-0600."""
    return datetime.fromtimestamp(60 * minute, UTC).strftime("%Y-%m-%d-%H%M")


def _complete_base(instance: str, link: Link) -> dict[str, Any]:
    """All fields of a complete message, sorted, with what is the same for all files of a link."""
    source, destination, protocol = link.source.host, link.destination.host, link.protocol
    srm = "2.2.0" if protocol == "srm" else ""
    same = {
        "block_size": 0,
        "buf_size": 0,
        "channel_type": "urlcopy",
        "chk_timeout": 1800,
        "dest_srm_v": srm,
        "dst_hostname": destination,
        "dst_se": f"{protocol}://{destination}",
        "dst_site_name": "",
        "endpnt": instance,
        "final_destination": "",
        "ipver": "ipv6",
        "job_metadata": {"issuer": "rucio", "multi_sources": False},
        "job_state": "UNKNOWN",
        "protocol": protocol,
        "remote_access": True,
        "retry_max": RETRY_MAX,
        "src_hostname": source,
        "src_se": f"{protocol}://{source}",
        "src_site_name": "",
        "src_srm_v": srm,
        "srm_space_token_dst": "",
        "srm_space_token_src": "",
        "t_channel": f"{source}__{destination}",
        "tcp_buf_size": 0,
        "time_srm_fin_end": 0,
        "time_srm_fin_st": 0,
        "transfer_type": "3rd pull",
        "user": "",
        "user_dn": "",
    }
    return {name: same.get(name) for name in sorted([*same, *_CHANGING])}
