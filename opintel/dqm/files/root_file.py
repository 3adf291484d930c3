"""A ROOT file's directories, keys and compressed objects, read from its bytes; `root` makes monitor elements of them.

Only what leads to objects is read here: header, directory records, lists of keys (ROOT's `io/doc/TFile` pages describe
them). uproot takes 0.9 ms an object for the same, a minute where a file holds 60,000 histograms. Every number in a file
is untrusted: what leads out of it, or in a circle, is refused.
"""

from __future__ import annotations

import lzma
import mmap
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

MAGIC = b"root"
LARGE = 1000
"""Added to the version of a key or directory whose places take 8 bytes (of a file: 1,000,000)."""
MAX_DEPTH = 64
"""Of directories."""
MAX_KEYS = 2_000_000
"""Of a file."""
MAX_OBJECT = 256 << 20
"""Bytes of an object, inflated."""
DIRECTORIES = ("TDirectory", "TDirectoryFile")
_BLOCK = 9
"""Bytes of the head of a compressed block: two letters, the method, and the sizes before and after, little-endian."""
_KEY_START = struct.Struct(">iHiIHH")


class BadRootFile(ValueError):
    """It is no ROOT file that can be read on."""


class RootKey(NamedTuple):
    """One object of a file."""

    folder: str
    """`DQM/Pixel`, without slashes around; empty at the top."""
    name: str
    cycle: int
    kind: str
    """Its class."""
    title: str
    seek: int
    """Where its key begins, …"""
    stored: int
    """… the bytes of key and object there, …"""
    head: int
    """… those of the key, …"""
    size: int
    """… and of the object, inflated."""

    @property
    def path(self) -> str:
        """Folder and name."""
        return f"{self.folder}/{self.name}" if self.folder else self.name


class RootBytes:
    """An open ROOT file. Raises BadRootFile."""

    def __init__(self, file: BinaryIO) -> None:
        size = file.seek(0, 2)
        if size < 64:
            raise BadRootFile(f"expected a ROOT file, got {size} bytes")
        self._map = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        if self._map[:4] != MAGIC:
            raise BadRootFile(f"expected a ROOT file, which begins with 'root', got {self._map[:4]!r}")
        (version,) = struct.unpack_from(">i", self._map, 4)
        large = version >= 1_000_000
        begin, end, _, _, _, name_bytes = struct.unpack_from(">iqqiii" if large else ">iiiiii", self._map, 8)
        self._top = begin + name_bytes
        if end > size:
            raise BadRootFile(f"it was cut: expected {end} bytes, got {size}")

    def objects(self) -> Iterator[RootKey]:
        """The objects of all directories, in the order of the lists of keys; directories themselves are left out."""
        left = MAX_KEYS
        seen: set[int] = set()
        waiting: list[tuple[str, int, int]] = [("", self._top, 0)]
        while waiting:
            folder, place, depth = waiting.pop()
            if place in seen or depth > MAX_DEPTH:
                raise BadRootFile(f"folder {folder!r}: directories lead in a circle, or lie deeper than {MAX_DEPTH}")
            seen.add(place)
            inside: list[tuple[str, int, int]] = []
            latest: dict[str, RootKey] = {}
            for key in self._listed(folder, place):
                left -= 1
                if left < 0:
                    raise BadRootFile(f"expected at most {MAX_KEYS} keys")
                if key.kind not in DIRECTORIES:
                    yield key
                elif key.name not in latest or latest[key.name].cycle < key.cycle:
                    latest[key.name] = key
            for key in latest.values():
                inside.append((key.path, key.seek + key.head, depth + 1))
            waiting += reversed(inside)

    def inflated(self, key: RootKey) -> bytes:
        """An object's bytes. Raises BadRootFile."""
        if key.seek + key.stored > len(self._map):
            raise BadRootFile(f"it lies out of the file, which has {len(self._map)} bytes")
        raw = self._map[key.seek + key.head : key.seek + key.stored]
        if len(raw) == key.size:
            return raw
        if key.size > MAX_OBJECT:
            raise BadRootFile(f"expected an object of at most {MAX_OBJECT} bytes, got {key.size}")
        parts: list[bytes] = []
        at = done = 0
        while at < len(raw) and done < key.size:
            parts.append(_inflated(raw, at, key.size - done))
            done += len(parts[-1])
            at += _BLOCK + int.from_bytes(raw[at + 3 : at + 6], "little")
        if done != key.size:
            raise BadRootFile(f"expected {key.size} bytes in its blocks, got {done}")
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _listed(self, folder: str, place: int) -> Iterator[RootKey]:
        try:
            (version,) = struct.unpack_from(">H", self._map, place)
            form = ">iiQQQ" if version > LARGE else ">iiIII"
            listing = struct.unpack_from(form, self._map, place + 10)[4]
            if not listing:  # an empty directory, or a file that was never closed
                return
            head = self._key(listing, "")
            at = listing + head.head
            (number,) = struct.unpack_from(">i", self._map, at)
            at += 4
            if number > MAX_KEYS:
                raise BadRootFile(f"folder {folder!r}: expected at most {MAX_KEYS} keys, got {number}")
            for _ in range(number):
                key = self._key(at, folder)
                at += key.head
                yield key
        except (struct.error, IndexError, OverflowError) as error:
            raise BadRootFile(f"folder {folder!r}: its list of keys is damaged") from error

    def _key(self, at: int, folder: str) -> RootKey:
        buffer = self._map
        stored, version, size, _, head, cycle = _KEY_START.unpack_from(buffer, at)
        large = version > LARGE
        seek = struct.unpack_from(">Q" if large else ">I", buffer, at + 18)[0]
        kind, place = _text(buffer, at + (34 if large else 26))
        name, place = _text(buffer, place)
        title, place = _text(buffer, place)
        if place - at > head:
            raise BadRootFile(f"folder {folder!r}: the key of {name[:80]!r} is longer than it says")
        return RootKey(folder, name, cycle, kind, title, seek, stored, head, size)


def _text(buffer: mmap.mmap, at: int) -> tuple[str, int]:
    """A TString and the place behind it."""
    length = buffer[at]
    at += 1
    if length == 255:
        (length,) = struct.unpack_from(">I", buffer, at)
        at += 4
    end = at + length
    if end > len(buffer):
        raise IndexError
    return buffer[at:end].decode("utf-8", "replace"), end


def _inflated(raw: bytes, at: int, room: int) -> bytes:
    """One block, which says how many bytes it becomes."""
    method = raw[at : at + 2]
    packed = int.from_bytes(raw[at + 3 : at + 6], "little")
    size = int.from_bytes(raw[at + 6 : at + 9], "little")
    begin, end = at + _BLOCK, at + _BLOCK + packed
    if size > room or end > len(raw):
        raise BadRootFile(f"a block of {size} bytes where {room} are left")
    try:
        if method == b"ZL":
            found = zlib.decompressobj().decompress(raw[begin:end], size)
        elif method == b"XZ":
            found = lzma.LZMADecompressor(memlimit=MAX_OBJECT).decompress(raw[begin:end], size)
        elif method == b"L4":
            import cramjam

            found = bytes(cramjam.lz4.decompress_block(raw[begin + 8 : end], output_len=size))  # a checksum is first
        elif method == b"ZS":
            import cramjam

            target = bytearray(size)
            found = bytes(target[: cramjam.zstd.decompress_into(raw[begin:end], target)])
        else:
            raise BadRootFile(f"expected blocks of zlib, LZMA, LZ4 or ZSTD, got {method!r}")
    except BadRootFile:
        raise
    except Exception as error:  # each library has its own
        raise BadRootFile(f"a damaged block: {error}") from error
    if len(found) != size:
        raise BadRootFile(f"expected a block of {size} bytes, got {len(found)}")
    return found
