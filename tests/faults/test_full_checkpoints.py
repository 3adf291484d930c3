"""No room for checkpoints: an error in the log, the stream goes on; with room again they are written again."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .rig import Row, Site
from .test_members import shared

pytestmark = pytest.mark.broker

ERROR = r"goes on without: checkpoint \S+ could not be written"


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    mount = tmp_path / "small"
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(mount)], capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"cannot mount a tmpfs here: {made.stderr.strip()}")
    yield mount
    subprocess.run(["umount", "-l", str(mount)], check=True)


def written(folder: Path) -> list[Path]:
    return [p for p in folder.rglob("*") if p.is_file() and p.name.isdigit()]


@pytest.mark.root
def test_no_room_for_checkpoints(small: Path, make_site: Callable[..., Site], report: Callable[[Row], None]) -> None:
    ballast = small / "ballast"
    with pytest.raises(OSError, match="No space"):
        ballast.write_bytes(bytes(8 << 20))
    site: Site = make_site(checkpoints=str(small))
    site.start("ingest")
    site.start("rest", "alerts", "delivery")
    first = site.start("workers", "stage1", "stage2")
    site.feed(0.4)
    site.until(site.judged, "the first part was judged")
    # partitions move: what is let go would be checkpointed
    second = site.start("joiner", "stage1")
    site.until(lambda: shared(first, second), "the partitions are shared")
    site.says("workers", ERROR, 2)
    site.feed(0.7)
    site.until(site.judged, "it goes on")
    for name in ("joiner", "workers"):  # they leave orderly and say that they leave without
        service = site.services[name]
        site.leave(name)
        assert "goes on without" in service.told()
    assert not written(small)
    # the log serves; with room again, checkpoints do
    ballast.unlink()
    site.start("workers again", "stage1", "stage2")
    site.finish()
    site.settle()
    assert len(written(small)) == 5
    report(site.check("no room for checkpoints"))
