"""The archive of a log: each record once, the same bytes whoever writes it, in however many goes; what is left of the
log until then."""

from __future__ import annotations

import random
import signal
import time
from hashlib import sha256
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from contract.archived import DAYS, archivers, small_files
from contract.cases import START
from contract.harness import LOGS, Case, MakeLog, drain, feed, workers
from contract.harness import make_log as make_log
from forked import exit_code, exit_codes
from killing import killed

from opintel.streams.archive import cutting
from opintel.streams.archive.archiver import GROUP, Archiver, of_findings, of_raw
from opintel.streams.archive.copies import ArtefactCopies
from opintel.streams.archive.cutting import Cutter
from opintel.streams.archive.found import archive_of
from opintel.streams.archive.reader import Archive, ArchiveError
from opintel.streams.archive.store import ArchiveStore, ArchiveUnavailable
from opintel.streams.artefacts import Artefacts
from opintel.streams.log import Entry, Log, Stored
from opintel.streams.records import Codec, Control
from opintel.streams.stream import FINDINGS

STREAM = DAYS.stream


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    small_files(monkeypatch.setattr)


def fed(bus: Log, case: Case = DAYS) -> Log:
    bus.create(FINDINGS, 1)
    for _ in feed(bus, case):
        pass
    return bus


def archived(bus: Log, url: str, *, final: bool = True) -> list[Archiver]:
    """Archives the raw topic until nothing is left to do."""
    team = archivers(bus, url, DAYS, final=final)
    while sum(one.step() for one in team):
        pass
    assert all(one.idle() for one in team)
    return team


def in_log(bus: Log) -> list[list[Stored]]:
    return [bus.read(STREAM.topic, p, 0, 10**6) for p in range(STREAM.partitions)]


def in_archive(url: str) -> list[list[Stored]]:
    archive = Archive(url)
    (topic,) = archive.epochs(STREAM.topic)
    return [[r for piece in pieces for group in archive.read(piece) for r in group] for pieces in topic.pieces]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Log:
    return fed(LOGS["sqlite"](tmp_path_factory.mktemp("log")))


@pytest.fixture(scope="module")
def clean(log: Log, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The archive that one archiver writes undisturbed."""
    folder = tmp_path_factory.mktemp("clean")
    with pytest.MonkeyPatch.context() as patch:
        small_files(patch.setattr)
        archived(log, str(folder))
    return tree(folder)


def test_the_archive_holds_the_log(make_log: MakeLog, tmp_path: Path) -> None:
    bus = fed(make_log(tmp_path / "log"))
    archived(bus, str(tmp_path / "archive"))
    assert in_archive(str(tmp_path / "archive")) == in_log(bus)


def test_files_are_of_days_and_few(log: Log, clean: dict[str, bytes], tmp_path: Path) -> None:
    days = {name.split("/")[2] for name in clean}
    assert days == {"day=2023-11-14", "day=2023-11-15", "day=2023-11-16", "day=2023-11-17"}
    assert 20 < len(clean) < 100
    for partition in range(STREAM.partitions):  # rows of a day come, at most the lateness after it, with its stamps
        names = sorted((n.rsplit("/", 1)[1], n.split("/")[2]) for n in clean if f"partition={partition}/" in n)
        assert [day for _, day in names] == sorted(day for _, day in names)
        ends = [name.removesuffix(".parquet").split("-") for name, _ in names]
        assert [first for first, _ in ends[1:]] == [following for _, following in ends[:-1]]


def test_any_number_of_goes_of_two_archivers_write_the_same_bytes(
    log: Log, clean: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(4)
    for _ in range(4):
        monkeypatch.setattr("opintel.streams.archive.archiver.BATCH", rng.choice([1, 7, 100]))
        team = [*archivers(log, str(tmp_path), DAYS), *archivers(log, str(tmp_path), DAYS, final=False)]
        for _ in range(rng.randrange(200)):
            rng.choice(team).step()
    archived(log, str(tmp_path))
    assert tree(tmp_path) == clean


def test_a_short_last_file_gives_way_to_the_whole_one(tmp_path: Path, clean: dict[str, bytes]) -> None:
    bus = LOGS["sqlite"](tmp_path / "log")
    url = str(tmp_path / "archive")
    for n, _ in enumerate(feed(bus, DAYS)):
        if n % 20 == 3:
            archived(bus, url)
            assert in_archive(url) == in_log(bus)
    archived(bus, url)
    assert in_archive(url) == in_log(bus)
    assert [name.split("/")[2:] for name in sorted(tree(tmp_path / "archive"))] == [
        name.split("/")[2:] for name in sorted(clean)
    ]
    bus.close()


def test_what_is_read_beside_an_archiver_has_each_record_once(tmp_path: Path) -> None:
    """A reader may see the short file and the whole one."""
    bus = LOGS["sqlite"](tmp_path / "log")
    url = str(tmp_path / "archive")
    turns = feed(bus, DAYS)
    for _ in range(30):
        next(turns)
    archived(bus, url)
    before = tree(tmp_path / "archive")
    for _ in range(100):
        next(turns)
    archived(bus, url)
    for name, body in before.items():  # as if none had been removed yet
        (tmp_path / "archive" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "archive" / name).write_bytes(body)
    assert in_archive(url) == in_log(bus)
    bus.close()


def test_records_before_the_first_stamp_go_with_the_first_day(tmp_path: Path) -> None:
    bus = LOGS["sqlite"](tmp_path / "log")
    first = Control("early", "x", "y", 1, 0, 1)
    bus.create(STREAM.topic, STREAM.partitions)
    bus.append([Entry(STREAM.topic, p, Codec(Control).encode(first)) for p in range(STREAM.partitions)])
    fed(bus)
    archived(bus, str(tmp_path / "archive"))
    assert {name.split("/")[2] for name in tree(tmp_path / "archive")} <= {f"day=2023-11-{d}" for d in range(14, 18)}
    bus.close()


@pytest.mark.parametrize("cuts", [(3,), (3, 5), (1, 2, 3, 4, 5, 6, 7)])
def test_a_cutter_begun_in_the_middle_cuts_where_the_others_do(cuts: tuple[int, ...]) -> None:
    """Restarted at the beginning of any file, with the day of it, as an archiver is that finds its names."""
    rng = random.Random(sum(cuts))
    records = [(n * 3 + n // 7, rng.randrange(900), rng.choice([None, 19000 + n // 40])) for n in range(200)]

    def files(first: int, day: int) -> list[tuple[int, int, int]]:
        cutter, found = Cutter(first, day), []
        for position, size, at in records:
            if position < first:
                continue
            if (end := cutter.end_before(position, at)) is not None:
                found.append((cutter.first, end, cutter.day))
                cutter.begin(end)
            if (end := cutter.take(position, size, at)) is not None:
                found.append((cutter.first, end, cutter.day))
                cutter.begin(end)
        return found

    whole = files(0, cutting.NO_DAY)
    assert len(whole) > 20
    for cut in cuts:
        first, _, day = whole[cut]
        assert files(first, day) == whole[cut:]


def test_a_killed_archiver_goes_on_where_the_names_say(log: Log, clean: dict[str, bytes], tmp_path: Path) -> None:
    path = log.path  # type: ignore[attr-defined]
    steps = {"write": 3, "fsync": 9, "commit": 2, "rename": 5}
    codes = [exit_code(killed, path, str(tmp_path), step, count) for step, count in steps.items()]
    assert codes == [-signal.SIGKILL] * 4
    assert any(name.endswith(".part") for name in tree(tmp_path))
    archived(log, str(tmp_path))
    assert tree(tmp_path) == clean


@pytest.mark.soak
def test_twenty_kills_half_of_them_of_two_at_once_while_the_log_grows(tmp_path: Path) -> None:
    """No record twice, none missing, and the bytes of an archiver that nobody disturbed."""
    rng = random.Random(20)
    bus = LOGS["sqlite"](tmp_path / "log")
    path, url = tmp_path / "log" / "log.db", str(tmp_path / "archive")
    bus.create(FINDINGS, 1)
    turns, kills, rounds = feed(bus, DAYS), 0, 0
    while kills < 20:
        for _ in range(8):
            next(turns, None)
        counts = [rng.randrange(1, 40) for _ in range(1 if kills < 10 else 2)]
        codes = exit_codes(killed, [(path, url, "any", count) for count in counts])
        assert set(codes) <= {0, -signal.SIGKILL}
        kills, rounds = kills + codes.count(-signal.SIGKILL), rounds + 1
    for _ in turns:
        pass
    archived(bus, url)
    records = in_log(bus)
    assert in_archive(url) == records
    archived(bus, str(tmp_path / "undisturbed"))
    assert tree(tmp_path / "archive") == tree(tmp_path / "undisturbed")
    print(
        f"{kills} kills in {rounds} rounds, {sum(map(len, records))} records, {len(tree(tmp_path / 'archive'))} files"
    )
    bus.close()


def test_the_log_keeps_what_is_not_archived(tmp_path: Path) -> None:
    bus = fed(LOGS["sqlite"](tmp_path / "log"))
    url = str(tmp_path / "archive")

    def trim() -> list[int]:
        keep = [bus.committed().get((GROUP, STREAM.topic, p), 0) for p in range(STREAM.partitions)]
        while bus.trim(STREAM.topic, time.time_ns(), 1, keep):
            pass
        return [bus.start(STREAM.topic, p) for p in range(STREAM.partitions)]

    records = in_log(bus)
    assert trim() == [0] * STREAM.partitions
    team = archivers(bus, url, DAYS)
    for _ in range(2):
        [one.step() for one in team]
        assert all(0 <= at < len(its) for at, its in zip(trim(), records, strict=True))
    archived(bus, url)
    starts = trim()
    assert all(0 < at < len(its) for at, its in zip(starts, records, strict=True))  # of the short last file nothing
    archived(bus, url)
    assert in_archive(url) == records
    assert not bus.asides(kind="gap")
    bus.close()


def test_what_fell_out_of_retention_unarchived_is_a_visible_gap(make_log: MakeLog, tmp_path: Path) -> None:
    bus = make_log(tmp_path / "log")
    url = str(tmp_path / "archive")
    for n, _ in enumerate(feed(bus, DAYS)):
        if n == 40:
            archived(bus, url)
        if n == 80:
            assert bus.trim(STREAM.topic, time.time_ns())
    archived(bus, url)
    assert len(bus.asides(kind="gap")) == STREAM.partitions
    with pytest.raises(ArchiveError, match=r"toy\.raw-0: positions \d+ to \d+ are missing"):
        Archive(url).epochs(STREAM.topic)


def test_what_controls_name_goes_along(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = b"weights"
    sha, lost = sha256(data).hexdigest(), sha256(b"lost").hexdigest()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / sha).write_bytes(data)
    bus = fed(LOGS["sqlite"](tmp_path / "log"))
    controls = [Control(name, "model", name, 1, 0, {"sha256": of}) for name, of in (("a", sha), ("b", lost))]
    controls.append(Control("c", "model", "c", 1, 0, "no sha"))
    bus.append([Entry(STREAM.topic, 0, Codec(Control).encode(control)) for control in controls])
    url = str(tmp_path / "archive")
    team = archivers(bus, url, DAYS, door=Artefacts([str(tmp_path / "models")]))
    while sum(one.step() for one in team):
        pass
    assert Artefacts([f"{url}/_artefacts"])(sha).data == data
    assert [r.message.count(lost) for r in caplog.records if "a backfill will lack it" in r.message] == [1]
    assert in_archive(url) == in_log(bus)
    bus.close()


def test_findings_are_archived_by_the_ends_of_windows(tmp_path: Path) -> None:
    bus = fed(LOGS["sqlite"](tmp_path / "log"))
    drain(workers(bus, DAYS, tmp_path))
    store = ArchiveStore(str(tmp_path / "archive"))
    copies = ArtefactCopies(store, Artefacts([]))
    one = Archiver(bus, bus.create(FINDINGS, 1), 0, store, of_findings({"toy": STREAM}), copies, final=True)
    while one.step():
        pass
    (topic,) = Archive(str(tmp_path / "archive")).epochs(FINDINGS)
    assert topic.days == ["2023-11-14", "2023-11-15", "2023-11-16", "2023-11-17"]
    bus.close()


def test_a_stamp_that_the_logs_time_does_not_allow_makes_no_day(tmp_path: Path) -> None:
    bus = fed(LOGS["sqlite"](tmp_path / "log"))
    bounded = of_raw(STREAM._replace(ahead=0))
    late = [(position, value, START) for position, value, _ in in_log(bus)[0]]
    assert {bounded(record).time is None for record in late[-10:]} == {True}
    assert {of_raw(STREAM)(record).time is None for record in late[-10:]} == {False}
    assert bounded((0, b"nothing", 0)).time is None
    bus.close()


def test_files_may_be_compacted(log: Log, clean: dict[str, bytes], tmp_path: Path) -> None:
    archived(log, str(tmp_path))
    store = ArchiveStore(str(tmp_path))
    mine = [f for f in store.files() if (f.partition, f.day) == (0, "2023-11-15")]
    files = sorted(mine, key=lambda f: f.first)
    one = files[0]._replace(following=files[-1].following)
    store.write(one, STREAM.partitions, [r for file in files for group in store.read(file) for r in group])
    assert in_archive(str(tmp_path)) == in_log(log)
    for file in files:
        store.remove(file)
    assert in_archive(str(tmp_path)) == in_log(log)


def test_damage_is_named(log: Log, clean: dict[str, bytes], tmp_path: Path) -> None:
    url = str(tmp_path)
    assert archive_of([url], [".parquet"]) is None
    with pytest.raises(ArchiveError, match=r"no file of topic 'toy\.raw'; its topics: none"):
        Archive(url).epochs(STREAM.topic)
    archived(log, url)
    assert archive_of([url], [".parquet"]) == url
    names = sorted(name for name in clean if "partition=0/" in name)
    whole = (tmp_path / names[1]).read_bytes()
    (tmp_path / names[1]).write_bytes(whole[:-20])
    with pytest.raises(ArchiveError, match="no file of an archive"):
        in_archive(url)
    (tmp_path / names[1]).write_bytes((tmp_path / names[2]).read_bytes())
    with pytest.raises(ArchiveError, match=r"it is of toy\.raw-0 \["):
        in_archive(url)
    (tmp_path / names[1]).unlink()
    with pytest.raises(ArchiveError, match="are missing"):
        in_archive(url)


def test_a_newer_format_is_refused(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opintel.streams.archive.tables.FORMAT", 2)
    archived(log, str(tmp_path))
    with pytest.raises(ArchiveError, match="written by a newer version"):
        Archive(str(tmp_path)).epochs(STREAM.topic)


def test_others_can_read_the_files(log: Log, clean: dict[str, bytes], tmp_path: Path) -> None:
    archived(log, str(tmp_path))
    table = pq.read_table(tmp_path / STREAM.topic)
    assert table.num_rows == sum(map(len, in_log(log)))
    assert [str(table.schema.field(name).type) for name in ("position", "at", "value")] == ["int64", "int64", "binary"]


def test_a_place_that_does_not_open_is_unavailable() -> None:
    with pytest.raises(ArchiveUnavailable, match="archive"):
        ArchiveStore("nosuch://here")
