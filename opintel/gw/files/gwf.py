"""Series in frame files (GWF, LIGO-T970130), read with gwframe: under the GPL, and so imported here only, in a process
of its own (`opintel.gw.files`).

Samples that a frame says are not valid, for a whole channel or in a vector beside it, are NaN. A channel that is not in
a frame is a gap.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from opintel.extras import install
from opintel.gw.files import FRAMES
from opintel.gw.files.series import FileSeries, series_of
from opintel.gw.wire.channels import MAX_CHANNELS, wrong_channel

BEGIN = b"IGWD"
_MASK = re.compile(r"\w+:(GWOSC|LOSC)-\w*DQMASK")
_MASK_BITS = ("DATA", "CBC_CAT1", "CBC_CAT2", "CBC_CAT3", "BURST_CAT1", "BURST_CAT2", "BURST_CAT3")
"""Of GWOSC's frames, which do not name them (https://gwosc.org/archive/dataset)."""


def read(file: BinaryIO) -> Iterator[list[FileSeries] | str]:
    """The series of each frame, and what is wrong with others. Raises ValueError where nothing of it can be read."""
    try:
        import gwframe
    except ModuleNotFoundError as error:
        raise ValueError(f"reading frames needs gwframe: {install(FRAMES)}") from error
    try:
        # by its path, as the bytes of a file would be parsed again for each channel
        opened = gwframe.FrameReader(f"/dev/fd/{file.fileno()}")
        frames, channels = opened.num_frames, sorted(set(opened.channels))
    except Exception as error:  # whatever a damaged one makes its reader raise
        raise ValueError(f"expected a frame file: {error}") from error
    if len(channels) > MAX_CHANNELS:
        raise ValueError(f"expected at most {MAX_CHANNELS} channels, got {len(channels)}")
    bad: set[str] = set()
    for number in range(frames):
        found = []
        for name in channels:
            try:
                if wrong := wrong_channel(name):
                    raise ValueError(wrong)
                found.append(_series(name, opened.read(name, number, allow_invalid=True, aux_mask=True)))
            except gwframe.errors.ChannelNotFoundError:
                continue
            except Exception as problem:  # whatever a damaged one makes its reader raise
                if name not in bad:
                    yield f"{name[:200]!r}: {problem}"
                bad.add(name)
        yield found


def _series(name: str, one: Any) -> FileSeries:
    samples = one.array
    if one.mask is not None and np.any(one.mask):
        samples = np.where(one.mask, np.nan, samples)
    bits = _MASK_BITS if _MASK.fullmatch(name) else ()
    return series_of(name, one.start, one.sample_rate, samples, one.unit, bits)
