"""The channel table of a message: what its schema's metadata say of the channels whose rows it may hold.

A table comes with every message and hardly ever changes, so it is read once and remembered; an entry is looked at when
a row names it, so that a list of 10^5 channels costs what its JSON does. What is in it is untrusted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from opintel.gw.samples import FLAG, FLAG_MARK, MAX_RATE, SAMPLES, flag_key
from opintel.ids import natural_id

KEY = b"opintel.gw"
"""Of the schema's metadata."""
MAX_TABLE = 16 << 20
"""Bytes of a table."""
MAX_CHANNELS = 100_000
MAX_NAME, MAX_UNIT = 200, 64
"""Bytes of the name of a channel or flag, of a unit."""
MIN_RATE = 1e-3
"""Hz."""
MAX_BITS = 32
"""Of a state vector."""
REMEMBERED = 16 << 20
"""Bytes of tables; then all are forgotten."""
_SNAP = 1e-7
"""Relative: nearer to a whole number of Hz a rate is that number, as spacings come in single precision too."""
Flags = Mapping[str, int]
"""Flag → mask of the bits that are all set where it is active."""


class SentChannel(msgspec.Struct, gc=False):
    """An entry of a table as it is sent, unchecked."""

    id: int
    name: str
    rate: float
    """Samples a second."""
    unit: str = ""
    dtype: str = ""
    """Of its samples where they were taken."""
    bits: list[str] = []
    """Of a state vector: the flags that its bits stand for, the lowest first; empty ones are unused."""


class ChannelOutput(NamedTuple):
    """What the rows of a channel become: its samples, or one flag of its state vector."""

    key: str
    kind: int
    mask: int
    """Of a flag: its bits."""
    hash: int
    """Of key and kind: a part of natural ids."""


class Channel(NamedTuple):
    """A channel, checked."""

    rate: float
    unit: str
    real: bool
    """Whether its samples are no integers, of which a long run of zeros may be the truth."""
    outputs: list[ChannelOutput]


class ChannelTable:
    """The channels of one table."""

    def __init__(self, said: bytes, state: Mapping[str, Flags]) -> None:
        """Raises ValueError that says what is wrong with the table as a whole."""
        if len(said) > MAX_TABLE:
            raise ValueError(f"{KEY.decode()}: expected at most {MAX_TABLE} bytes, got {len(said)}")
        try:
            sent = msgspec.json.decode(said, type=list[SentChannel])
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise ValueError(f"{KEY.decode()}: {str(error)[:200]}") from None
        if len(sent) > MAX_CHANNELS:
            raise ValueError(f"{KEY.decode()}: expected at most {MAX_CHANNELS} channels, got {len(sent)}")
        self._sent = {one.id: one for one in sent}
        if len(self._sent) < len(sent):
            raise ValueError(f"{KEY.decode()}: expected an id for each channel, got one for two")
        self._state = state
        self._known: dict[int, Channel | str] = {}

    def channel(self, number: int) -> Channel | str:
        """The channel with this id, or what is wrong with it."""
        found = self._known.get(number)
        if found is None:
            found = self._known[number] = self._looked_up(number)
        return found

    def _looked_up(self, number: int) -> Channel | str:
        if (sent := self._sent.get(number)) is None:
            return f"id: expected one of the channel table, got {number}"
        if wrong := wrong_channel(sent.name):
            return wrong
        if len(sent.unit.encode()) > MAX_UNIT or not sent.unit.isprintable():
            return f"{sent.name}: expected a unit of at most {MAX_UNIT} printable characters"
        if not MIN_RATE <= sent.rate <= MAX_RATE:
            return f"{sent.name}: expected a rate of {MIN_RATE} to {MAX_RATE} Hz, got {sent.rate:g}"
        flags = self._state.get(sent.name)
        if flags is None:
            flags, wrong = flags_of_bits(sent.bits)
            if wrong:
                return f"{sent.name}: {wrong}"
        outputs = [_output(sent.name, SAMPLES, 0)]
        if flags:
            interferometer = sent.name.partition(":")[0]
            outputs = [_output(flag_key(interferometer, name), FLAG, mask) for name, mask in flags.items()]
        return Channel(rate_of(sent.rate), sent.unit, "int" not in sent.dtype, outputs)


class ChannelTables:
    """Reads tables. `state`: state vector → its flags, of channels whose table does not say them."""

    def __init__(self, state: Mapping[str, Flags]) -> None:
        self._state = state
        self._known: dict[bytes, ChannelTable] = {}
        self._size = 0

    def of(self, metadata: Mapping[bytes, bytes] | None) -> ChannelTable:
        """The table in a schema's metadata. Raises ValueError."""
        said = (metadata or {}).get(KEY)
        if said is None:
            raise ValueError(f"expected the channel table {KEY.decode()!r} in the schema's metadata, got none")
        if (known := self._known.get(said)) is not None:
            return known
        table = ChannelTable(said, self._state)
        if self._size > REMEMBERED:
            self._known.clear()
            self._size = 0
        self._known[said] = table
        self._size += len(said)
        return table


def rate_of(rate: float) -> float:
    """A rate, a whole number where it is one but for rounding.

    >>> rate_of(1 / (1 / 3000)), rate_of(1 / 0.06)
    (3000.0, 16.666666666666668)
    """
    whole = round(rate)
    return float(whole) if whole and math.isclose(rate, whole, rel_tol=_SNAP) else rate


def wrong_channel(name: str) -> str:
    """What is wrong with a channel's name; empty where nothing is.

    >>> wrong_channel("L1:PEM-EY_MIC_VEA_DQ"), wrong_channel("PEM-EY")
    ('', "expected INTERFEROMETER:NAME as a channel's name, got 'PEM-EY'")
    """
    interferometer, _, rest = name.partition(":")
    if not (interferometer.isascii() and interferometer.isalnum() and rest):
        return f"expected INTERFEROMETER:NAME as a channel's name, got {name[:100]!r}"
    return _wrong_name(rest)


def _wrong_name(name: str) -> str:
    if len(name) > MAX_NAME or len(name.encode("utf-8", "replace")) > MAX_NAME:
        return f"expected a name of at most {MAX_NAME} bytes, got {name[:50]!r} and more"
    if not name.isprintable() or FLAG_MARK in name:
        return f"expected a name of printable characters without {FLAG_MARK!r}, got {name[:100]!r}"
    return ""


def flags_of_bits(bits: Sequence[str]) -> tuple[dict[str, int], str]:
    """Flag → mask of a state vector whose bits have these names, the lowest first, and what is wrong with them.

    >>> flags_of_bits(["DATA", "", "LOCKED"])
    ({'DATA': 1, 'LOCKED': 4}, '')
    """
    if len(bits) > MAX_BITS:
        return {}, f"expected at most {MAX_BITS} bits, got {len(bits)}"
    named = [(name, bit) for bit, name in enumerate(bits) if name]
    wrong = next(filter(None, (_wrong_name(name) for name, _ in named)), "")
    flags: dict[str, int] = {}
    for name, bit in named:
        flags[name] = flags.get(name, 0) | 1 << bit
    return flags, wrong


def flags_of_settings(state: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, int]]:
    """State vector → flag → mask, of settings that list a flag's bits. Raises ValueError with the place.

    >>> flags_of_settings({"L1:DMT-DQ_VECTOR": {"DATA": [0, 2]}})
    {'L1:DMT-DQ_VECTOR': {'DATA': 5}}
    """
    found: dict[str, dict[str, int]] = {}
    for channel, flags in state.items():
        if wrong := wrong_channel(channel):
            raise ValueError(f"state: {wrong}")
        for flag, bits in flags.items():
            if wrong := _wrong_name(flag):
                raise ValueError(f"state: {channel}: {wrong}")
            if not bits or not all(0 <= bit < MAX_BITS for bit in bits):
                raise ValueError(f"state: {channel}: {flag}: expected bits of 0 to {MAX_BITS - 1}, got {bits}")
            found.setdefault(channel, {})[flag] = sum(1 << bit for bit in set(bits))
    return found


def _output(key: str, kind: int, mask: int) -> ChannelOutput:
    return ChannelOutput(key, kind, mask, natural_id(key, kind))
