"""Plays records of an interferometer through a judge, window by window, with its state carried in between."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from opintel.detector import Closing, Controls, Judge, Record
from opintel.finding import NS, Finding, Window
from opintel.gw.records import ChannelWindow, FlagWindow, TriggerSaid

STRAIN, DATA = "L1:GDS-CALIB_STRAIN", "L1:~DATA"
SIZE = 2 * NS
Said = Mapping[str, ChannelWindow | FlagWindow]


def trigger(second: float, snr: float = 9.0, frequency: float = 100.0) -> TriggerSaid:
    time = round(second * NS)
    return TriggerSaid(time, time - NS // 50, time + NS // 50, frequency, 0.8 * frequency, 1.2 * frequency, 8.0, snr)


def channel(n: int, triggers: Sequence[TriggerSaid] = (), *, strain: bool = False, **more: Any) -> ChannelWindow:
    """A channel in window `n`, judged as a whole."""
    said = {"state": "good", "live": [(n * SIZE, (n + 1) * SIZE)], "triggers": list(triggers)} | more
    return ChannelWindow(rate=1024.0, strain=strain, **said)


def flag(n: int, active: bool = True) -> FlagWindow:
    """A flag in window `n` and the second behind it."""
    span = (n * SIZE, (n + 1) * SIZE + NS)
    return FlagWindow([span] if active else [], [span])


def judged(
    make: Callable[[], Judge], windows: Iterable[Said], *, complete: bool = True, first: int = 0, **settings: Any
) -> list[Finding]:
    """The findings; each window has a fresh judge, restored from the last one's state as msgpack keeps it."""
    found: list[Finding] = []
    state: Any = None
    for n, said in enumerate(windows, first):
        judge = make()
        if state is not None:
            judge.restore(msgspec.msgpack.decode(state))
        window = Window(n * SIZE, (n + 1) * SIZE)
        kinds = {ChannelWindow: "channel", FlagWindow: "flag"}
        records = sorted((Record(window, kinds[type(one)], key, "L1", one) for key, one in said.items()), key=_place)
        given = judge.Settings(**settings)
        found += judge.judge(Closing(window, "L1", records, Controls(), given, "m", complete=complete))
        state = msgspec.msgpack.encode(judge.state())
    return found


def _place(record: Record[Any]) -> tuple[str, str]:
    return record.kind, record.key
