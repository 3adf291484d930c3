"""A stream's live source, from its YAML to the log."""

from __future__ import annotations

from pathlib import Path

from contract.cases import batched_messages

from opintel.arrow_ipc import is_arrow
from opintel.site.load import load_site
from opintel.site.sources import configured
from opintel.site.system import System


def test_a_folder_of_arrow_files_is_ingested_once(tmp_path: Path) -> None:
    for folder in ("etc/streams", "etc/alerts", "in"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "etc/streams/fts.yaml").write_text(
        "name: fts\ndomain: fts\ntopic: t\npartitions: 1\nskew: 5m\narrow_dir: {path: ../../in}\n"
    )
    packed = [body for _, body in batched_messages() if is_arrow(body)][:3]
    for n, body in enumerate(packed):
        (tmp_path / f"in/{n}.arrow").write_bytes(body)

    def ingested() -> tuple[int, int]:
        """Records of rows in the log, and dead letters, after a process has read what is there."""
        system = System(tmp_path / "data", load_site(tmp_path / "etc"))
        watched = system.stream("fts")
        feed = configured(system, watched)
        assert feed is not None
        way_in = system.ingest(watched, feed)
        for _ in range(10):
            way_in.step()
        way_in.close()
        dead = sum(n for (_, kind), n in system.log.aside_counts().items() if kind == "dead")
        # records of rows are long, ticks and controls are not
        rows = sum(len(record) > 1000 for _, record, _ in system.log.read("t", 0, 0, 1000))
        system.close()
        return rows, dead

    first, dead = ingested()
    assert first > 0
    assert ingested() == (first, dead)
    (tmp_path / "in/3.arrow").write_bytes(packed[0])
    assert ingested()[0] > first


def test_a_stream_without_a_source_has_none(tmp_path: Path) -> None:
    for folder in ("streams", "alerts"):
        (tmp_path / folder).mkdir()
    (tmp_path / "streams/fts.yaml").write_text("name: fts\ndomain: fts\ntopic: t\n")
    system = System(tmp_path / "data", load_site(tmp_path))
    assert configured(system, system.stream("fts")) is None
    system.close()
