"""ROOT files: the same numbers as uproot's, names and cycles, and damage that costs one object."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import uproot
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opintel.dqm.elements import BinAxis, MonitorElement
from opintel.dqm.files import reading, root_histograms, root_trees
from opintel.dqm.files.found import FileElement, Unread
from opintel.dqm.files.opened import Opened, opened
from opintel.dqm.files.root_file import RootBytes
from opintel.dqm.files.root_histograms import histogram
from opintel.streams.connectors.parsed import FileRefused

from .root_files import axis, profile, profile2d, th1, th2, th3, write

COUNTS = [3, 1, 4, 1, 5, 9, 2, 6]


def elements(found: Opened) -> dict[str, MonitorElement]:
    return {one.element.path: one.element for one in found.elements}


def read(path: Path) -> Opened:
    """The file, read in this process."""
    with path.open("rb") as file:
        found = list(reading.read(file))
    return Opened([x for x in found if isinstance(x, FileElement)], [x for x in found if isinstance(x, Unread)])


def only(path: Path) -> MonitorElement:
    [one] = read(path).elements
    return one.element


@pytest.mark.parametrize("form", [">f8", ">f4", ">i4", ">i2", ">i1"])
def test_contents_of_every_type(tmp_path: Path, form: str) -> None:
    found = only(write(tmp_path / "a.root", {"h": th1(COUNTS, form)}))
    assert (found.path, found.storage, found.flow, found.entries, found.title) == ("h", "count", True, 7.0, "a title")
    assert found.values.tolist() == COUNTS
    assert found.variances is None
    assert found.axes == (BinAxis.regular(6, 0.0, 6.0, title="title"),)


def test_variable_bins_labels_and_weights(tmp_path: Path) -> None:
    edges, labels = [0.0, 1.0, 4.0, 9.0, 16.0, 25.0, 36.0], ["EB", "EE", "HB", "HE", "HO", "HF"]
    path = write(
        tmp_path / "a.root",
        {
            "edges": th1(COUNTS, x=axis(6, 0.0, 36.0, edges=edges)),
            "labels": th1(COUNTS, x=axis(6, 0.0, 6.0, labels=labels)),
            "fewer": th1(COUNTS, x=axis(6, 0.0, 6.0, labels=labels[:4])),
            "weighted": th1(COUNTS, sumw2=np.square(COUNTS)),
            "unweighted": th1(COUNTS, sumw2=COUNTS),
            "twice": th1(COUNTS, x=axis(6, 0.0, 6.0, labels=["EB", "EB", "HB", "HE", "HO", "HF"])),
        },
    )
    found = read(path)
    by_name = elements(found)
    assert by_name["edges"].axes == (BinAxis(tuple(edges), (), "title"),)
    assert by_name["labels"].axes == (BinAxis((), tuple(labels), "title"),)
    assert by_name["fewer"].axes[0].labels == ("EB", "EE", "HB", "HE", "#5", "#6")
    assert by_name["weighted"].storage == "weighted"
    assert by_name["weighted"].variances is not None
    assert by_name["weighted"].variances.tolist() == np.square(COUNTS).tolist()
    assert by_name["unweighted"].storage == "count"
    assert found.unread == [Unread("twice", "two bins have the label 'EB'")]


def test_maps_have_rows_of_y(tmp_path: Path) -> None:
    contents = np.arange(5 * 7).reshape(5, 7)
    path = write(tmp_path / "a.root", {"m": th2(contents)})
    found = only(path)
    assert found.values.tolist() == contents.tolist()
    assert found.values.tolist() == uproot.open(path)["m"].values(flow=True).T.tolist()
    assert [one.bins for one in found.axes] == [5, 3]


def test_profiles_are_means_with_the_variances_of_the_means(tmp_path: Path) -> None:
    samples = [[], [1.0, 2.0, 4.0], [5.0], [2.0, 2.0]]
    sums, squares, entries = ([sum(y**k for y in bin_) for bin_ in samples] for k in (1, 2, 0))
    found = only(write(tmp_path / "a.root", {"p": profile(sums, squares, entries)}))
    assert (found.storage, found.path) == ("mean", "p")
    np.testing.assert_allclose(found.values, [np.nan, 7 / 3, 5.0, 2.0])
    np.testing.assert_allclose(found.variances, [np.nan, np.var(samples[1], ddof=1) / 3, np.nan, 0.0])


def test_profiles_of_two_axes(tmp_path: Path) -> None:
    entries = np.arange(4 * 5).reshape(4, 5)
    found = only(write(tmp_path / "a.root", {"p": profile2d(3.0 * entries, 10.0 * entries, entries)}))
    assert found.values.shape == (4, 5)
    assert np.isnan(found.values[0, 0])
    np.testing.assert_allclose(found.values[1:], 3.0)
    assert found.variances is not None
    np.testing.assert_allclose(found.variances[1:], 1.0 / (entries[1:] - 1))


def test_uproot_reads_the_same(tmp_path: Path) -> None:
    """What another version of a class is read by; the layouts of this one are held against it."""
    labels = axis(6, 0, 6, labels=["a", "b", "c", "d", "e", "f"])
    objects = {
        "h": th1(COUNTS, ">f4", x=axis(6, 0, 9, edges=[0, 1, 2, 3, 5, 8, 9])),
        "labels": th1(COUNTS, sumw2=np.square(COUNTS), x=labels),
        "m": th2(np.arange(30).reshape(5, 6), ">i4"),
        "p": profile(COUNTS, np.square(COUNTS), [2] * 8),
        "p2": profile2d(*[np.arange(20.0).reshape(4, 5)] * 3),
    }
    path = write(tmp_path / "a.root", objects)
    with path.open("rb") as file:
        opened_file = RootBytes(file)
        for key in opened_file.objects():
            mine = histogram(key.kind, opened_file.inflated(key), key.head)
            theirs = root_trees.streamed(file, key)
            assert mine[1:4] == theirs[1:4]
            assert all(np.array_equal(one, other) for one, other in zip(mine[4:], theirs[4:], strict=True))


def test_another_version_of_a_class_is_left_to_uproot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(root_histograms._LAYOUTS, "TH1", 3)
    assert only(write(tmp_path / "a.root", {"h": th1(COUNTS)})).values.tolist() == COUNTS


class Tree:
    """A tree as uproot shows it."""

    def __init__(self, **columns: list[Any]) -> None:
        self._columns = columns
        self.num_entries = len(next(iter(columns.values())))

    def arrays(
        self, names: list[str], library: str, entry_start: int = 0, entry_stop: int | None = None
    ) -> dict[str, list[Any]]:
        return {name: self._columns[name][entry_start:entry_stop] for name in names}


def test_dqmio_trees_as_their_description_has_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = uproot.open(write(tmp_path / "a.root", {f"h{n}": th1([n] * 8, ">f4") for n in range(4)}))
    names = ["Pixel/a", "Pixel/b", "Pixel/a", "Pixel/run"]
    indices = {"Run": [7, 7, 7, 7], "Lumi": [2, 1, 0, 1], "Type": [3, 3, 3, 0]}
    trees = {
        "Indices": Tree(**indices, FirstIndex=[2, 0, 3, 0], LastIndex=[2, 1, 9, 0]),
        "TH1Fs": Tree(FullName=names, Value=[file[f"h{n}"] for n in range(4)]),
    }

    class File(dict):  # type: ignore[type-arg]
        def keys(self, recursive: bool = True) -> list[str]:  # type: ignore[override]
            return [f"{name};1" for name in trees]

    monkeypatch.setattr(root_trees, "_opened", lambda _: File(trees))
    unread, *found = root_trees.dqmio(None)  # type: ignore[arg-type]
    assert unread == Unread("run 7 LS 0 TH1Fs", "entries 3 to 9 are not there")
    places = [(one.run, one.lumisection, one.element.path) for one in found if isinstance(one, FileElement)]
    assert places == [(7, 1, "Pixel/a"), (7, 1, "Pixel/b"), (7, 2, "Pixel/a")]


def test_compressions_and_large_contents_of_many_blocks(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    contents = rng.integers(0, 1 << 30, (1202, 802)).astype(float)
    for compression in (None, uproot.ZLIB(1), uproot.LZ4(1), uproot.ZSTD(1)):
        path = write(tmp_path / "a.root", {"m": th2(contents, ">i4"), "h": th1(COUNTS)}, compression=compression)
        assert np.array_equal(elements(read(path))["m"].values, contents)


def test_folders_cycles_and_what_is_no_histogram(tmp_path: Path) -> None:
    many = [0, *range(5), 0]
    three = th3(np.ones((3, 3, 3)))
    objects = {"A/x": th1(COUNTS), "A/B/x": th1(many), "A/x;2": th1([9] * 8), "note": "a text", "A/three": three}
    found = read(write(tmp_path / "a.root", objects))
    assert {path: one.values.tolist() for path, one in elements(found).items()} == {"A/B/x": many, "A/x": [9] * 8}
    assert found.unread == [Unread("A/three", "a TH3D is not read; expected TH1, TH2, TProfile or TProfile2D")]


def test_runs_and_lumisections_in_names_order_the_elements(tmp_path: Path) -> None:
    names = ["run7_ls10_Pixel_x", "run7_ls2_Pixel_x", "run6_ls3_a/b", "plain", "DQMData/Run 5/Pixel/Run summary/D/h"]
    found = read(write(tmp_path / "a.root", dict.fromkeys(names, th1(COUNTS)))).elements
    assert [(one.run, one.lumisection, one.element.path) for one in found] == [
        (None, None, "plain"),
        (5, None, "Pixel/D/h"),
        (6, 3, "a/b"),
        (7, 2, "Pixel_x"),
        (7, 10, "Pixel_x"),
    ]


def test_a_damaged_object_costs_itself(tmp_path: Path) -> None:
    path = write(tmp_path / "a.root", {name: th1(COUNTS * 50, ">f8") for name in ("a", "b", "c")})
    content = bytearray(path.read_bytes())
    start = content.index(b"ZL", content.index(b"ZL") + 2)
    content[start + 20 : start + 60] = bytes(40)
    path.write_bytes(content)
    found = opened(path)
    [unread] = found.unread
    assert {unread.name, *elements(found)} == {"a", "b", "c"}
    assert all(one.values.tolist() == COUNTS * 50 for one in elements(found).values())
    assert "damaged block" in unread.reason


@pytest.mark.parametrize("where", [1 << 30, 0])
def test_a_key_that_leads_elsewhere_costs_its_object(tmp_path: Path, where: int) -> None:
    path = write(tmp_path / "a.root", {name: th1(COUNTS) for name in ("a", "b", "c")})
    content = bytearray(path.read_bytes())
    listed = content.rindex(b"\4TH1D\1b")  # its class and name in the list of keys; 8 bytes before, where it lies
    struct.pack_into(">I", content, listed - 8, where)
    path.write_bytes(content)
    found = opened(path)
    assert [unread.name for unread in found.unread] == ["b"]
    assert {name: one.values.tolist() for name, one in elements(found).items()} == {"a": COUNTS, "c": COUNTS}


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html>", "expected ROOT"),
        (b"root" + bytes(100), "no histogram|damaged|cut"),
    ],
)
def test_what_is_no_root_file_is_one_line_that_names_it(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "bad.root"
    path.write_bytes(content)
    with pytest.raises(FileRefused, match=f"bad.root: .*({why})"):
        opened(path)


def test_a_file_cut_short_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.root", {"h": th1(COUNTS)})
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(FileRefused, match="it was cut"):
        opened(path)


def test_one_without_histograms_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileRefused, match="no histogram in it"):
        opened(write(tmp_path / "a.root", {"note": "a string"}))


def test_a_directory_that_leads_to_itself_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "a.root", {"A/x": th1(COUNTS)})
    content = bytearray(path.read_bytes())
    begin, name_bytes = struct.unpack_from(">i", content, 8)[0], struct.unpack_from(">i", content, 28)[0]
    top = struct.unpack_from(">I", content, begin + name_bytes + 26)[0]  # where the top's list of keys is
    folder = content.index(struct.pack(">H", 5), content.index(b"\nTDirectory")) if b"\nTDirectory" in content else 0
    inner = [at for at in range(folder, len(content) - 30) if _is_directory(content, at, top)]
    assert inner
    for at in inner:
        struct.pack_into(">I", content, at + 26, top)
    path.write_bytes(content)
    with pytest.raises(FileRefused, match="circle"):
        opened(path)


def _is_directory(content: bytearray, at: int, top: int) -> bool:
    version, listing = struct.unpack_from(">H", content, at)[0], struct.unpack_from(">I", content, at + 26)[0]
    return (
        version == 5
        and 100 < listing < len(content)
        and listing != top
        and content[listing + 4 : listing + 6] == b"\0\4"
    )


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    objects: dict[str, Any] = {"A/x": th1(COUNTS, x=axis(6, 0, 6, labels=list("abcdef"))), "m": th2(np.ones((4, 4)))}
    return write(tmp_path_factory.mktemp("sound") / "a.root", objects, compression=None).read_bytes()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 1 << 16), st.binary(min_size=1, max_size=4)), min_size=1, max_size=3))
def test_no_bytes_make_it_raise_anything_else(tmp_path: Path, sound: bytes, changes: list[tuple[int, bytes]]) -> None:
    from opintel.dqm.files import root

    content = bytearray(sound)
    for at, piece in changes:
        at %= len(content) - len(piece)
        content[at : at + len(piece)] = piece
    path = tmp_path / "fuzzed.root"
    path.write_bytes(content)
    with path.open("rb") as file:
        try:
            found = list(root.read(file))
        except ValueError:
            return
    assert all(isinstance(one, (FileElement, Unread)) for one in found)
