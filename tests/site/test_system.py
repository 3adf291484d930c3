"""`System`: what it says where it cannot be put together, and topics that are re-created under it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest
import yaml
from kafka import KafkaAdminClient

from opintel.demo.broker import Broker
from opintel.site.errors import UserError
from opintel.site.load import load_site
from opintel.site.services import LOOK_EVERY, Look, Retention
from opintel.site.shipped import copy_shipped
from opintel.site.system import System
from opintel.streams.log import Aside, Entry, LogUnavailable
from opintel.streams.vitals import Vitals


def made(folder: Path, **site: object) -> System:
    """A system over the shipped configuration with this in its `site.yaml`; its stream has topics of its own."""
    copy_shipped(folder / "etc")
    (folder / "etc/site.yaml").write_text(yaml.safe_dump(site))
    stream = folder / "etc/streams/fts.yaml"
    stream.write_text(yaml.safe_dump({**yaml.safe_load(stream.read_text()), "topic": f"t{uuid4().hex}"}))
    return System(folder / "data", load_site(folder / "etc"))


def eventually(holds: Callable[[], bool]) -> None:
    until = time.time() + 30
    while not holds():
        assert time.time() < until, "it did not come about"
        time.sleep(0.1)


def test_a_store_whose_driver_is_not_installed_says_what_to_install(tmp_path: Path) -> None:
    system = made(tmp_path, store="mysql+asyncmy://host/db")
    with pytest.raises(UserError, match="pip install asyncmy"):
        _ = system.store
    system.close()


@pytest.mark.parametrize("url", ["nonsense", "postgresql://u:secret@h:x/x"])
def test_a_store_that_is_no_url_is_told_without_its_password(url: str, tmp_path: Path) -> None:
    system = made(tmp_path, store=url)
    with pytest.raises(UserError, match="no URL of a database") as told:
        _ = system.store
    assert "secret" not in str(told.value)
    system.close()


def test_a_feed_that_cannot_be_used_is_closed(tmp_path: Path) -> None:
    class Feed:
        name, closed = "feed", False

        @property
        def ingester(self) -> object:
            raise LogUnavailable("no")

        def close(self) -> None:
            self.closed = True

    system, feed = made(tmp_path), Feed()
    way_in = system.ingest(system.stream("fts"), lambda: feed)  # type: ignore[arg-type, return-value]
    assert not way_in.step()
    assert feed.closed
    way_in.close()
    system.close()


def test_who_only_looks_at_topics_finds_one_that_was_made_anew(
    tmp_path: Path, kafka: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = made(tmp_path, bus={"bootstrap": [kafka.bootstrap]})
    look, topic = Look(system), system.stream("fts").stream.topic
    system.log.append([Entry(topic, 0, b"old")])
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    admin.delete_topics([topic])

    def unavailable() -> bool:
        try:
            system.log.end(topic, 0)
        except LogUnavailable:
            return True
        return False

    eventually(unavailable)  # its going has come round
    later = time.monotonic()
    monkeypatch.setattr("opintel.site.services.time.monotonic", lambda: later)

    def found() -> bool:
        nonlocal later
        later += LOOK_EVERY + 1
        look.step()
        return not unavailable()

    eventually(found)
    assert system.log.end(topic, 0) == 0
    admin.close()
    system.close()


def test_retention_drops_records_and_asides_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opintel.streams.trimming.PIECE_BYTES", 1000)
    monkeypatch.setattr("opintel.site.services.PIECE_EVERY", 0.0)
    system = made(tmp_path)
    stream = system.stream("fts").stream
    for topic in (stream.topic, stream.derived):
        system.log.append([Entry(topic, 0, bytes(400))] * 10)
        system.log.put_asides([Aside("dead", topic, 0, 0, 0, "no JSON")])
    system.log.put_asides([Aside("dead", f"{stream.name}.ingest", 0, 0, 0, "no JSON")])
    retention = Retention(system)
    retention.step()
    assert [system.log.start(topic, 0) for topic in (stream.topic, stream.derived)] == [0, 0]
    now = time.time_ns()
    monkeypatch.setattr("time.time_ns", lambda: now + 30 * 86_400 * 10**9)
    retention = Retention(system)
    for _ in range(10):
        assert not retention.step()  # others have their turn
    assert [system.log.start(topic, 0) for topic in (stream.topic, stream.derived)] == [10, 10]
    assert system.log.asides() == []
    system.close()


def test_retention_waits_for_the_archive_and_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    site = load_site()
    system = System(tmp_path, site._replace(settings=msgspec.structs.replace(site.settings, archive="archive")))
    watched = system.stream("fts")
    topic, kept = watched.stream.topic, watched.settings.retention
    system.log.append([Entry(topic, 0, bytes(400))] * 10)
    now = time.time_ns()
    vitals = Vitals(system.log, [watched.stream], now=time.time_ns, stalled=bool, stored=lambda: None, archived=True)

    def retained(later: int) -> tuple[int, int]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("time.time_ns", lambda: now + later)
            Retention(system).step()
            text = vitals.text().decode()
        (waiting,) = re.findall(r'opintel_archive_lag_records{stream="fts"} (\S+)', text)
        (age,) = re.findall(r'opintel_archive_age_seconds{stream="fts"} (\S+)', text)
        assert float(age) == pytest.approx((later if float(waiting) else 0) / 1e9, abs=60)
        return system.log.start(topic, 0), int(float(waiting))

    assert retained(kept // 2) == (0, 10)
    assert not caplog.records
    assert retained(2 * kept) == (0, 10)
    assert "outgrows its retention, as it keeps what is not archived yet" in caplog.text
    system.log.commit("archive", topic, 0, 6)
    assert retained(2 * kept) == (6, 4)
    system.log.commit("archive", topic, 0, 10)
    assert retained(2 * kept) == (10, 0)
    system.close()
