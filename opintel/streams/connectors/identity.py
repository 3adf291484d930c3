"""Which file is which: files are known by device and inode and by how they begin, not by name and length.

So a file that was renamed is read on under its new name, one that was cut and written again is read from its start, and
a new one under an old name is new. What a folder holds is untrusted: only regular files are opened, links are followed
to files of the same folder only.
"""

from __future__ import annotations

import errno
import logging
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path, PurePath
from typing import BinaryIO, NamedTuple

HEAD = 1024
"""Bytes by whose hash a file is known, fewer where fewer were read."""
log = logging.getLogger(__name__)


class File(NamedTuple):
    """A file of a source."""

    name: str
    """As messages name it."""
    path: Path
    suffix: str
    """As `suffix_of` says."""

    def open(self) -> BinaryIO:
        """Opens it without waiting; OSError where it is no regular file (any more)."""
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EINVAL, "expected a regular file", str(self.path))
        return open(descriptor, "rb")

    @staticmethod
    def size(opened: BinaryIO) -> int:
        """Its bytes now."""
        return os.fstat(opened.fileno()).st_size


class Place(NamedTuple):
    """How far a file was read, and which one it was."""

    offset: int = 0
    row: int = 0
    """Messages."""
    node: int = 0
    """A hash of its device and inode, 0 where an earlier build did not keep it."""
    head: int = 0
    """A hash of its first HEAD bytes, of `offset` bytes if that is less."""

    def moved(self, opened: BinaryIO, offset: int, row: int) -> Place:
        """The place after more was read of its file, or the same file under its identity of today."""
        unchanged = self.head and min(self.offset, HEAD) == min(offset, HEAD)
        return Place(offset, row, _node(os.fstat(opened.fileno())), self.head if unchanged else _head(opened, offset))

    def is_of(self, opened: BinaryIO, *, packed: bool = False) -> bool:
        """Whether an open file begins as the one that was read so far; only its length counts where that is unknown.
        That of a `packed` one says nothing, as its offsets are those of what it holds.
        """
        if not packed and os.fstat(opened.fileno()).st_size < self.offset:
            return False
        return not self.head or self.head == _head(opened, self.offset)


def suffix_of(name: str) -> str:
    """The suffix by which a file is read: the last, or the last two of what is gzipped.

    >>> suffix_of("part-0.c000.json.gz"), suffix_of("part-0.gz"), suffix_of("a.log"), suffix_of("README")
    ('.json.gz', '.gz', '.log', '')
    """
    suffixes = PurePath(name).suffixes
    return "".join(suffixes[-2:] if suffixes[-1:] == [".gz"] else suffixes[-1:])


def listed(
    folder: Path, suffixes: Sequence[str], *, deep: bool = False, before: str = ""
) -> tuple[list[File], list[tuple[str, str]]]:
    """The files with messages in a folder, by name, and (name, why) of what is passed over. With `deep` those in its
    subfolders too, but for hidden ones and those that begin with `_`; they are named from the folder on.
    """
    files: list[File] = []
    passed_over: list[tuple[str, str]] = []
    home = folder.resolve()
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path, name, suffix = Path(entry.path), before + entry.name, suffix_of(entry.name)
        if deep and entry.is_dir(follow_symlinks=False) and not entry.name.startswith((".", "_")):
            inside, not_read = listed(path, suffixes, deep=True, before=f"{name}/")
            files, passed_over = files + inside, passed_over + not_read
            continue
        if suffix not in suffixes or entry.name.startswith("."):
            continue
        if entry.is_symlink():
            target = Path(os.path.realpath(path))
            if target.parent != home or not target.is_file():
                passed_over.append((name, "it is a link, and leads to no file of its folder"))
                continue
            path = target
        elif not entry.is_file():
            if not entry.is_dir():
                passed_over.append((name, "expected a file, got a pipe, socket or device"))
            continue
        files.append(File(shown(name), path, suffix))
    return files, passed_over


def recognised(
    files: Sequence[File], known: Mapping[str, Place], folders: Sequence[Path], suffixes: Sequence[str]
) -> list[tuple[File, Place]]:
    """Each file with the place up to which it was read, whatever it was called then.

    A file of `folders` that now has a name which is not read (`a.jsonl.1`), or whose rest is only in such a copy, is
    among them, after the others.
    """
    if not known:
        return [(file, Place()) for file in files]
    by_node = {place.node: name for name, place in known.items() if place.node}
    nodes = [_node(file.path.stat()) for file in files]
    here = set(nodes)
    lost = dict(known)
    found: list[tuple[File, Place]] = []
    for file, node in zip(files, nodes, strict=True):
        name = by_node.get(node, file.name)
        place = known.get(name)
        if place is not None and (place.node == node or place.node not in here) and _continues(file, place):
            found.append((file, place))
            lost.pop(name, None)
            continue
        if file.name in known:
            log.warning("%s is another file now, or became shorter; it is read from its start", file.path)
        # rows go on, so that those of two files that had one name stay apart
        base = _base(file.name, suffixes)
        found.append((file, Place(row=max((p.row for n, p in known.items() if _base(n, suffixes) == base), default=0))))
    if lost:
        found += _elsewhere(lost, folders, here, suffixes)
    return found


def _elsewhere(
    lost: Mapping[str, Place], folders: Sequence[Path], here: set[int], suffixes: Sequence[str]
) -> Iterator[tuple[File, Place]]:
    """The files that hold the rest of what was read under these names, by a name that begins with one of them."""
    taken = set(here)
    entries = [entry for folder in sorted(set(folders)) for entry in os.scandir(folder) if entry.is_file()]
    entries = sorted((entry for entry in entries if not entry.is_symlink()), key=lambda entry: entry.name)
    for name, place in sorted(lost.items()):
        base = _base(name, suffixes)
        rest = [(e, _node(e.stat())) for e in entries if place.head and shown(e.name).startswith(base)]
        for entry, node in sorted(rest, key=lambda one: one[1] != place.node):
            file = File(shown(entry.name), Path(entry.path), Path(base).suffix)
            if node not in taken and _continues(file, place):
                taken.add(node)
                yield file, place
                break


def _continues(file: File, place: Place) -> bool:
    with file.open() as opened:
        return place.is_of(opened, packed=file.suffix.endswith(".gz"))


def _base(name: str, suffixes: Sequence[str]) -> str:
    """The name under which a rotated file was written: `a.jsonl` of `a.jsonl.1`."""
    ends = [name.find(suffix) + len(suffix) for suffix in suffixes if f"{suffix}." in f"{name}."]
    return name[: min(ends)] if ends else name


def _node(status: os.stat_result) -> int:
    return _hash(f"{status.st_dev} {status.st_ino}".encode())


def _head(opened: BinaryIO, offset: int) -> int:
    opened.seek(0)
    return _hash(opened.read(min(offset, HEAD)))


def _hash(content: bytes) -> int:
    """56 bits, never 0."""
    return int.from_bytes(blake2b(content, digest_size=7).digest(), "big") or 1


def shown(name: str) -> str:
    """A file's name as text that can be stored, whatever its bytes are."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
