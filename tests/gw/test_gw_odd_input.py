"""Both stages of GW, from message to finding, on what senders get wrong: what is beside it stays as it is, bit for bit.

Two interferometers of a strain and two auxiliary channels are heard for half a minute, through ingest, a real log and
both stages; then again with something wrong.
"""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pytest

from opintel.gw.gps import utc_from_gps
from opintel.gw.pipeline import PIPELINE
from opintel.gw.records import ChannelWindow, GwRecord
from opintel.gw.wire import GwWire
from opintel.streams.log_sqlite import SqliteLog
from opintel.streams.records import Derived, derived_codec
from opintel.streams.stream import Stream
from tests.contract.harness import Case, play
from tests.gw.messages import NS, entry, message

STREAM = Stream("gw", "gw.samples", partitions=1, window=2 * NS, lateness=3 * NS, skew=NS, interval=NS, quiet=60 * NS)
GPS, SECONDS, RATE = 1_264_316_100, 30, 256
STRAIN, STATE, MIC, COUNTS = 1, 2, 3, 4
NAMES = {STRAIN: "GDS-CALIB_STRAIN", STATE: "ODC-STATE", MIC: "PEM-MIC_DQ", COUNTS: "ASC-SUM_DQ"}
UNITS = {STRAIN: "strain", MIC: "Pa", COUNTS: "ct"}
BURSTS = {"H1": (14.3, 21.6), "L1": (16.4, 23.9)}
"""s after the start, in strain and microphone."""
Samples = dict[int, np.ndarray]
Change = Callable[[str, int, Samples], Samples | None]
"""(interferometer, second, samples by id) → as they are sent; None: no message."""


def table(name: str, **rates: float) -> list[dict[str, Any]]:
    bits = {STATE: {"bits": ["DATA", "LOCKED"]}}
    return [
        entry(n, f"{name}:{its}", rates.get(its, 4 if n == STATE else RATE), unit=UNITS.get(n, ""), **bits.get(n, {}))
        for n, its in NAMES.items()
    ]


def second(name: str, n: int) -> Samples:
    """What an interferometer sends of a second."""
    rng = np.random.default_rng([7, *name.encode(), n])
    strain, microphone, counts = rng.normal(size=(3, RATE))
    t = n + np.arange(RATE) / RATE
    for at in BURSTS[name]:
        burst = 9 * np.exp(-(((t - at) / 0.03) ** 2)) * np.cos(2 * np.pi * 60 * (t - at))
        strain, microphone = strain + burst, microphone + 2 * burst
    return {STRAIN: 1e-21 * strain, STATE: np.full(4, 3.0), MIC: microphone, COUNTS: np.rint(50 * counts)}


def body(name: str, n: int, samples: Samples, **rates: float) -> bytes:
    rows = [((GPS + n) * NS, number, list(map(float, values))) for number, values in sorted(samples.items())]
    return message(table(name, **rates), rows)


Sent = list[tuple[int, bytes]]


def sent(change: Change = lambda name, n, samples: samples) -> Sent:
    """(arrival, message), a second after its second."""
    found = []
    for n in range(SECONDS):
        for name in BURSTS:
            if (samples := change(name, n, second(name, n))) is not None:
                found.append((arrival(n), body(name, n, samples)))
    return found


def arrival(n: int) -> int:
    """ns UTC, of the message of a second."""
    return utc_from_gps((GPS + n + 1) * NS)


class Heard(NamedTuple):
    findings: dict[str, dict[str, Any]]
    records: dict[tuple[int, str], bytes]
    """(start of the window, key) → what stage 1 said, encoded."""
    asides: Mapping[tuple[str, str], int]

    def of(self, *keys: str) -> tuple[dict[str, Any], dict[tuple[int, str], bytes]]:
        """What was found about channels of these names or beginnings of names, and what stage 1 said of them."""
        about = {i: f for i, f in self.findings.items() if f["subject"].get("channel", "").startswith(keys)}
        return about, {at: said for at, said in self.records.items() if at[1].startswith(keys)}

    def triggers(self, key: str) -> list[float]:
        """Peaks of a channel's triggers of SNR 6 and more, s after the start."""
        found = []
        for (_, name), said in self.records.items():
            if name == key:
                payload = msgspec.msgpack.decode(said, type=GwRecord)
                assert isinstance(payload, ChannelWindow)
                found += [(one.time - utc_from_gps(GPS * NS)) / NS for one in payload.triggers if one.snr >= 6]
        return sorted(found)

    def kinds(self, name: str) -> set[str]:
        return {f["kind"] for f in self.findings.values() if f["subject"]["scope"] == name}


@pytest.fixture
def hear(tmp_path: Path) -> Callable[[Sent], Heard]:
    def heard(messages: Sent, *, live: bool = True) -> Heard:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        found = play(Case("gw", STREAM, PIPELINE, GwWire(), lambda: messages), folder, live=live)
        log, codec, records = SqliteLog(folder / "log.db"), derived_codec(PIPELINE.record), {}
        for _, value, _ in log.read(STREAM.derived, 0, 0, 10**6):
            if isinstance(said := codec.decode(value), Derived):
                for one in said.records:
                    records[one.window.start, one.key] = msgspec.msgpack.encode(one.payload)
        log.close()
        return Heard(found.findings, records, found.asides)

    return heard


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Heard:
    """What is said where nothing is wrong."""
    found = hear.__wrapped__(tmp_path_factory.mktemp("good"))(sent())  # type: ignore[attr-defined]
    for name, bursts in BURSTS.items():
        for channel in (STRAIN, MIC):
            times = found.triggers(f"{name}:{NAMES[channel]}")
            assert np.allclose(times, bursts, atol=0.02), times
    assert not found.asides
    return found


def strange(n: int, **about: Any) -> bytes:
    """A message of another interferometer that is right but for what is said."""
    given = {"table": table("X1"), "rows": [((GPS + n) * NS, MIC, [0.0] * RATE)], "kind": None} | about
    return message(given.pop("table"), given.pop("rows"), given.pop("kind"), **given)


def several(n: int, rows: int) -> bytes:
    """A table of 100,000 channels of an interferometer, of which so many have a sample."""
    entries = [entry(k, f"X1:PEM-{k}", 1) for k in range(100_000)]
    return message(entries, [((GPS + n) * NS, k, [1.0]) for k in range(rows)])


NO_RATE = json.dumps([entry(MIC, "X1:B", 1)]).replace("1}", "NaN}").encode()
HOUR = [((GPS + 10) * NS, MIC, [1.0] * 3600)]
HOSTILE = {
    "nothing": lambda n: b"",
    "no Arrow": lambda n: b"\xff" * 5000,
    "half a message": lambda n: body("H1", n, second("H1", n))[:900],
    "no table": lambda n: strange(n, table=b"[" * 100_000),
    "a table of another form": lambda n: strange(n, table={"a": 1}),
    "two channels with one id": lambda n: strange(n, table=[*table("X1"), entry(MIC, "X1:B", 16)]),
    "an id that the table lacks": lambda n: strange(n, rows=[((GPS + n) * NS, 99, [1.0])] * 2000),
    "texts for samples": lambda n: strange(n, rows=[((GPS + n) * NS, MIC, ["1.0"] * RATE)], kind=pa.string()),
    "texts for times": lambda n: strange(n, time=pa.array(["now"])),
    "a list of lists": lambda n: strange(n, data=pa.array([[[1.0]]], pa.list_(pa.list_(pa.float32())))),
    "another rate than its samples": lambda n: strange(n, table=[entry(MIC, "X1:B", 1e9)]),
    "a rate that is none": lambda n: strange(n, table=NO_RATE),
    "a time before time": lambda n: strange(n, rows=[(-(2**63), MIC, [1.0] * RATE)]),
    "no samples": lambda n: strange(n, rows=[((GPS + n) * NS, MIC, [])]),
    "a name that is none": lambda n: strange(n, table=[entry(MIC, "L1:~DATA", RATE)]),
    "an hour of a channel": lambda n: strange(n, table=[entry(MIC, "X1:B", 1)], rows=HOUR),
    "32 flags of a megabyte": lambda n: message(
        [entry(MIC, "X1:ODC", 65_536, bits=[f"F{k}" for k in range(32)])],
        [((GPS + n) * NS, MIC, [3] * (1 << 20))],
        pa.int8(),
    ),
    "more rows than a message may have": lambda n: strange(n, rows=[((GPS + n) * NS, 99, [1.0])] * 100_001),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_message_between_good_ones(what: str, good: Heard, hear: Callable[[Sent], Heard]) -> None:
    messages = sent()
    messages[20:20] = [(messages[20][0], HOSTILE[what](10))]
    found = hear(messages)
    assert found.of("H1:", "L1:") == good.of("H1:", "L1:")
    assert {kind for kind, _ in found.asides} == {"dead"}
    assert not found.of("X1:")[1]


def test_refusing_a_message_is_bounded(hear: Callable[[Sent], Heard]) -> None:
    """Of 100,000 rows that are none as of two."""
    messages = [(arrival(0), strange(0, rows=[((GPS + k) * NS, 10 + k, [1.0]) for k in range(99_000)]))]
    found = hear(messages)
    assert len(found.asides) <= 21
    assert sum(found.asides.values()) == 99_000


def test_a_message_of_very_many_channels(good: Heard, hear: Callable[[Sent], Heard]) -> None:
    messages = sent()
    messages[20:20] = [(messages[20][0], several(10, 10_000))]
    found = hear(messages)
    assert found.of("H1:", "L1:") == good.of("H1:", "L1:")
    assert len(found.of("X1:")[1]) == 10_000


def test_a_rate_that_is_claimed_takes_no_room(good: Heard, hear: Callable[[Sent], Heard]) -> None:
    """A message of 30 kB whose 400 channels have a sample each and say 131072 Hz: as arrays they are a gigabyte."""
    claimed = [entry(k, f"X1:PEM-{k}", 131_072) for k in range(400)]
    messages = sent()
    for n in (18, 20, 22):
        messages.insert(n, (messages[n][0], message(claimed, [((GPS + n // 2) * NS, k, [1.0]) for k in range(400)])))
    tracemalloc.start()
    found = hear(messages)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found.of("H1:", "L1:") == good.of("H1:", "L1:")
    assert {msgspec.msgpack.decode(said, type=GwRecord).state for said in found.of("X1:")[1].values()} == {"absent"}
    assert peak < 200e6


def test_ever_further_rates_take_no_engine_each(good: Heard, hear: Callable[[Sent], Heard]) -> None:
    """Each would take some 30 ms a window. Channels of the first rates go on; integers go first."""
    rates = [16 + k / 4 for k in range(400)]
    entries = [entry(k, f"X1:PEM-{k}", rate) for k, rate in enumerate(rates)]
    ones = [(k, [float(n % 7) for n in range(int(rate))]) for k, rate in enumerate(rates)]
    messages = sent()
    for n in (24, 26):
        rows = [((GPS + n // 2) * NS, k, values) for k, values in ones]
        messages.insert(n, (messages[n][0], message(entries, rows)))
    found = hear(messages)
    assert found.of("H1:", "L1:") == good.of("H1:", "L1:")
    said = {key: msgspec.msgpack.decode(one, type=GwRecord) for (_, key), one in found.of("X1:")[1].items()}
    there = {key for key, one in said.items() if one.state != "absent"}
    assert len(there) == 127  # and that of the good channels
    assert {f"X1:PEM-{k}" for k, rate in enumerate(rates) if rate.is_integer()} <= there


def test_messages_that_come_twice_late_or_out_of_order_change_nothing(
    good: Heard, hear: Callable[[Sent], Heard]
) -> None:
    """Within the lateness."""
    messages = sent()
    doubled = [item for item in messages for _ in range(2)]
    assert hear(doubled).of("") == good.of("")
    by_other_order = [(messages[k ^ 1][0], messages[k][1]) for k in range(len(messages))]
    assert hear(by_other_order).of("") == good.of("")
    a_second_late = [(messages[k][0], messages[k ^ 2][1]) for k in range(len(messages))]
    assert hear(a_second_late).of("") == good.of("")


def test_double_precision_and_a_row_for_many_seconds_are_the_same(good: Heard, hear: Callable[[Sent], Heard]) -> None:
    """A message of four seconds has the findings of four messages."""
    single = {n: {k: v.astype(np.float32) for k, v in second("H1", n).items()} for n in range(SECONDS)}
    others = [item for item in sent() if b"L1:" in item[1]]
    doubles = [
        (arrival(n), message(table("H1"), [((GPS + n) * NS, k, v.astype(float).tolist()) for k, v in single[n].items()],
                             pa.float64()))
        for n in range(SECONDS)
    ]  # fmt: skip
    long = [
        (arrival(n + 1), message(table("H1"), [
            ((GPS + n) * NS, k, np.concatenate([single[n][k], single[n + 1][k]]).tolist()) for k in NAMES
        ]))
        for n in range(0, SECONDS, 2)
    ]  # fmt: skip
    for its in (doubles, long):
        assert hear(sorted([*its, *others], key=lambda item: item[0])).of("H1:") == good.of("H1:")


def only(name: str, seconds: Sequence[int], change: Callable[[Samples], Samples | None]) -> Change:
    """Changes some seconds of an interferometer."""
    return lambda its, n, samples: change(samples) if its == name and n in seconds else samples


def put(number: int, to: Callable[[np.ndarray], np.ndarray]) -> Callable[[Samples], Samples]:
    return lambda samples: samples | {number: to(samples[number])}


def nothing(values: np.ndarray) -> np.ndarray:
    return np.full(len(values), np.nan)


def third(values: np.ndarray) -> np.ndarray:
    return np.where(np.arange(len(values)) % 3 == 0, np.nan, values)


def test_a_channel_with_gaps_leaves_its_neighbours_alone(good: Heard, hear: Callable[[Sent], Heard]) -> None:
    """And has no trigger in or beside the gap."""
    for change in (
        put(MIC, nothing),
        put(MIC, lambda v: 0 * v),
        put(MIC, third),
        lambda s: s | {MIC: second("L1", 1)[MIC] * np.inf},
    ):
        found = hear(sent(only("L1", (18, 19), change)))
        neighbours = ("H1:", "L1:GDS", "L1:ASC", "L1:~")
        assert found.of(*neighbours)[1] == good.of(*neighbours)[1]
        assert np.allclose(found.triggers("L1:PEM-MIC_DQ"), BURSTS["L1"], atol=0.02)


def test_no_trigger_lies_beside_a_gap_in_strain(hear: Callable[[Sent], Heard]) -> None:
    for gap in (put(STRAIN, nothing), lambda samples: None, lambda samples: {STATE: samples[STATE]}):
        found = hear(sent(only("H1", (17, 18), gap)))
        assert np.allclose(found.triggers("H1:GDS-CALIB_STRAIN"), BURSTS["H1"], atol=0.02)


def test_a_saturated_and_a_constant_channel(good: Heard, hear: Callable[[Sent], Heard]) -> None:
    clipped = put(COUNTS, lambda v: np.clip(40 * v, -800, 800))
    for change in (clipped, put(COUNTS, lambda v: 0 * v + 7)):
        found = hear(sent(only("L1", range(SECONDS), change)))
        neighbours = ("H1:", "L1:GDS", "L1:PEM", "L1:~")
        assert found.of(*neighbours) == good.of(*neighbours)
        assert found.triggers("L1:ASC-SUM_DQ") == []


def test_a_rate_that_changes_and_changes_back(good: Heard, hear: Callable[[Sent], Heard]) -> None:
    messages = []
    for n in range(SECONDS):
        for name in BURSTS:
            samples, rates = second(name, n), {}
            if name == "H1" and 6 <= n < 18:
                samples[MIC], rates = samples[MIC][::2], {"PEM-MIC_DQ": RATE / 2}
            messages.append((arrival(n), body(name, n, samples, **rates)))
    found = hear(messages)
    neighbours = ("L1:", "H1:GDS", "H1:ASC", "H1:~")
    assert found.of(*neighbours)[1] == good.of(*neighbours)[1]
    assert np.allclose(found.triggers("H1:PEM-MIC_DQ"), BURSTS["H1"], atol=0.03)


def jumping(jump: int) -> Sent:
    """Two messages of H1 have a wrong time."""
    found = []
    for n in range(SECONDS):
        for name in BURSTS:
            moved = jump if name == "H1" and n in (18, 19) else 0
            found.append((arrival(n), body(name, n + moved, second(name, n))))
    return found


@pytest.mark.parametrize("jump", [3600, 86_400, -3600, 5, -5])
def test_a_clock_that_jumps(jump: int, good: Heard, hear: Callable[[Sent], Heard]) -> None:
    found = hear(jumping(jump))
    assert found.of("L1:") == good.of("L1:")
    assert np.allclose(found.triggers("H1:GDS-CALIB_STRAIN"), BURSTS["H1"], atol=0.02)
    assert sum(found.asides.values()) > 0


def test_a_lock_loss_is_a_state_and_no_flood(good: Heard, hear: Callable[[Sent], Heard]) -> None:
    """A ring a thousand times as loud as the noise, then zeros; the state says so for the second it happens in only
    after that."""

    def lost(name: str, n: int, samples: Samples) -> Samples:
        if name != "H1" or n < 24:
            return samples
        t = n - 24.4 + np.arange(RATE) / RATE
        ring = 1e-18 * np.exp(-t / 0.1) * np.cos(2 * np.pi * 35 * t)
        strain = np.where(t < 0, samples[STRAIN], np.where(t < 1, ring, 0.0))
        return samples | {STRAIN: strain, STATE: np.where(np.arange(4) / 4 + n < 24.5, 3.0, 0.0)}

    found = hear(sent(lost))
    assert found.triggers("H1:GDS-CALIB_STRAIN") == good.triggers("H1:GDS-CALIB_STRAIN")
    assert {f["kind"] for f in found.findings.values()} <= {"trigger", "observing", "lock-loss"}
    assert sum(f["kind"] == "lock-loss" for f in found.findings.values()) == 1
    assert found.of("L1:", "H1:PEM") == good.of("L1:", "H1:PEM")


def test_interferometers_do_not_hear_each_other(good: Heard, hear: Callable[[Sent], Heard]) -> None:
    for name in BURSTS:
        alone = [item for item in sent() if f"{name}:".encode() in item[1]]
        assert hear(alone).of(f"{name}:") == good.of(f"{name}:")
