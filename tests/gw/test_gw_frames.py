"""Frame files (GWF), where gwframe is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gw.messages import GPS, NS, UTC
from gw.sample_files import merged, read, series
from opintel.detector import Message
from opintel.gw.wire import GwWire, frames

gwframe = pytest.importorskip("gwframe", reason="gwframe is not installed: pip install -e '.[gwf]'")


def frame(path: Path, channels: dict[str, Any], start: float = GPS, rate: float = 16) -> Path:
    gwframe.write(path, channels, start=start, sample_rate=rate, name="L1")
    return path


def test_frames(tmp_path: Path) -> None:
    channels = {"L1:PEM-MIC": np.arange(1.0, 65.0), "L1:COUNTS": np.arange(64, dtype=np.int32)}
    found = read(frame(tmp_path / "L-L1_R-1-4.gwf", channels))
    assert series(found.rows, "L1:PEM-MIC") == (UTC * NS, pytest.approx(np.arange(1, 65)))
    assert series(found.rows, "L1:COUNTS")[1].tolist() == list(range(64))


def test_frames_through_their_child(tmp_path: Path) -> None:
    path = frame(tmp_path / "f.gwf", {"L1:PEM-MIC": np.arange(1.0, 33.0), "NONE": np.ones(32)})
    (chunk,) = merged([path])
    assert [message.form for message in chunk] == ["refused", "json", "json"]
    assert b"expected INTERFEROMETER:NAME" in chunk[0].body


def test_real_frames_are_what_the_same_in_hdf5_is(shared_data: Path) -> None:
    folder = shared_data / "gw" / "gwpy_testing"
    one, other = (read(folder / f"HLV-HW100916-968654552-1.{suffix}").rows for suffix in ("gwf", "hdf"))
    assert sorted(one.key.values) == ["H1:LDAS-STRAIN", "L1:LDAS-STRAIN", "V1:h_16384Hz"]
    assert sorted(one.id.tolist()) == sorted(other.id.tolist())
    for key in one.key.values:
        assert np.array_equal(series(one, key)[1], series(other, key)[1])


def test_a_frame_that_comes_as_a_message_is_parsed_elsewhere(tmp_path: Path) -> None:
    channels = {"L1:STATE": np.array([1, 1, 0, 0], dtype=np.uint32), "NONE": np.ones(4)}
    body = frame(tmp_path / "f.gwf", channels, rate=2).read_bytes()
    wire = GwWire(state={"L1:STATE": {"DATA": [0]}})
    found = wire.decode([Message(body), Message(body[:300]), Message(b"IGWD"), Message(body)])
    once = found.rows.take(np.flatnonzero(found.message == 0))
    assert series(once, "L1:~DATA") == (UTC * NS, pytest.approx([1, 1, 0, 0]))
    assert set(found.message.tolist()) == {0, 3}
    assert found.rows.id[found.message == 0].tolist() == found.rows.id[found.message == 3].tolist()
    assert [reject.message for reject in found.rejects] == [0, 1, 2, 3]
    assert "expected INTERFEROMETER:NAME" in found.rejects[0].reason
    assert "expected a frame file" in found.rejects[1].reason


def test_a_frame_that_ends_its_process_is_one_dead_letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = frame(tmp_path / "f.gwf", {"L1:PEM-MIC": np.ones(16)}).read_bytes()
    wire = GwWire()
    assert len(wire.decode([Message(body)]).rows) == 1
    process = wire._parser._process
    assert process is not None
    process.kill()
    process.wait()
    assert len(wire.decode([Message(body)]).rows) == 1
    monkeypatch.setattr(frames, "MAX_ANSWER", 100)
    (reject,) = wire.decode([Message(body)]).rejects
    assert "the rest was not read" in reject.reason
    monkeypatch.undo()
    assert len(wire.decode([Message(body)]).rows) == 1
