"""Opening a ROOT file of many histograms and reading all of them: our reader beside uproot, key by key.

python benchmarks/root_files.py [--histograms 60000]

One file of TH1F with 100 bins, zlib, Poisson contents of mean 50. Times are CPU seconds, opening included; The last
line is what `opintel dqm compare` does: reading in another process, and the monitor elements here. Contents must be
the same.
"""

from __future__ import annotations

import argparse
import struct
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage

import numpy as np
import uproot
from uproot.writing.identify import to_TAxis, to_TH1x

from opintel.dqm.files import root
from opintel.dqm.files.found import FileElement
from opintel.dqm.files.opened import opened

BINS = 100
KEY = ">iHiIHHII"


def written(path: Path, number: int) -> np.ndarray:
    """A file of so many TH1F, the bytes of one repeated with other names and contents; (number, BINS) the contents."""
    rng = np.random.default_rng(1)
    with uproot.recreate(path, compression=None) as file:
        x = to_TAxis("xaxis", "charge", BINS, 0.0, 1.0)
        file["h000000"] = to_TH1x("", "h", np.zeros(BINS + 2, ">f4"), 0.0, 0.0, 0.0, 0.0, 0.0, None, x)
    with uproot.open(path) as file:
        key = file.key("h000000;1")
        place, head, stored = key.fSeekKey, key.fKeylen, key.fNbytes
    content = bytearray(path.read_bytes())
    begin, name_bytes = struct.unpack_from(">i", content, 8)[0], struct.unpack_from(">i", content, 28)[0]
    listing = struct.unpack_from(">I", content, begin + name_bytes + 26)[0]
    heading = bytes(content[place : place + head])
    body = bytes(content[place + head : place + stored])
    counts = rng.poisson(50.0, (number, BINS))
    flowing = np.pad(counts, ((0, 0), (1, 1))).astype(">f4")
    keys = []
    for n in range(number):
        name = b"h%06d" % n
        data = body[: -flowing[n].nbytes].replace(b"h000000", name) + flowing[n].tobytes()
        packed = zlib.compress(data, 1)
        block = b"ZL\x08" + len(packed).to_bytes(3, "little") + len(data).to_bytes(3, "little") + packed
        fields = (head + len(block), 4, len(data), 0, head, 1, len(content), begin)
        keys.append(struct.pack(KEY, *fields) + heading[struct.calcsize(KEY) :].replace(b"h000000", name))
        content += keys[-1] + block
    listed = struct.pack(">i", number) + b"".join(keys)
    head_of_list = struct.unpack_from(">H", content, listing + 14)[0]
    tail = bytes(content[listing + struct.calcsize(KEY) : listing + head_of_list])
    fields = (head_of_list + len(listed), 4, len(listed), 0, head_of_list, 1, len(content), begin)
    struct.pack_into(">i", content, begin + name_bytes + 10, fields[0])
    struct.pack_into(">I", content, begin + name_bytes + 26, len(content))
    content += struct.pack(KEY, *fields) + tail + listed
    struct.pack_into(">i", content, 12, len(content))
    path.write_bytes(content)
    return counts


def by_uproot(path: Path) -> np.ndarray:
    """Contents of all, key by key."""
    with uproot.open(path) as file:
        return np.array([file[key].values() for key in list(file.keys())])


def here(path: Path) -> np.ndarray:
    """The same by our reader, in this process."""
    with path.open("rb") as file:
        return np.array([one.element.values[1:-1] for one in root.read(file) if isinstance(one, FileElement)])


def elsewhere(path: Path) -> np.ndarray:
    """The same by our reader, in another process."""
    return np.array([one.element.values[1:-1] for one in opened(path).elements])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--histograms", type=int, default=60_000)
    number = parser.parse_args().histograms
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "many.root"
        counts = written(path, number)
        size = path.stat().st_size / 1e6
        print(
            f"{number} TH1F × {BINS} in one file of {size:.0f} MB\n\n| reader | CPU s | µs a histogram |\n|---|---|---|"
        )
        readers: list[tuple[str, Callable[[Path], np.ndarray]]] = [
            ("uproot, key by key", by_uproot),
            ("ours, in this process", here),
            ("ours, in another process", elsewhere),
        ]
        for name, reader in readers:
            begin = spent()
            found = reader(path)
            seconds = spent() - begin
            assert np.array_equal(found, counts), name
            print(f"| {name} | {seconds:.1f} | {1e6 * seconds / number:.0f} |", flush=True)


def spent() -> float:
    """CPU seconds of this process and of those that it started and that have ended."""
    return time.process_time() + sum(getrusage(RUSAGE_CHILDREN)[:2])


if __name__ == "__main__":
    main()
