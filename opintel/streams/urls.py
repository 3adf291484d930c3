"""Places by fsspec URL (a folder, also a shared one; S3): opened with the same patience everywhere, and named without
the user and password that a URL may hold.
"""

from __future__ import annotations

import os
import re
import uuid
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

S3_PATIENCE = {"connect_timeout": 3, "read_timeout": 10, "retries": {"max_attempts": 2}}
"""botocore's own takes half a minute to say that no server answers; the stream waits for it."""
_USER = re.compile(r"://([^/]*:.*|[^/@]*)@")
"""A URL's user and password; an S3 secret may hold slashes."""


def is_url(place: str) -> bool:
    """Whether a place is named by a URL, not by a path."""
    return "://" in place or place.startswith("file:")


class Location(NamedTuple):
    """A folder on a file system of fsspec's."""

    fs: Any
    root: str
    """Its path there, without a slash at the end."""
    local: bool
    """Whether it is a folder of this machine's: a file there is seen while it is written."""
    folders: bool
    """Whether folders have to be made."""
    secret: tuple[str, ...]
    """What no message may show."""

    @classmethod
    def of(cls, url: str) -> Location:
        """The place that a URL names. ValueError, ImportError where fsspec cannot open it."""
        import fsspec
        from fsspec.implementations.local import LocalFileSystem

        s3 = url.startswith(("s3://", "s3a://"))
        fs, root = fsspec.core.url_to_fs(url, **({"config_kwargs": S3_PATIENCE} if s3 else {}))
        return cls(fs, root.rstrip("/"), isinstance(fs, LocalFileSystem), not s3, tuple(_secrets(url)))

    def path(self, name: str) -> str:
        """Of what lies below."""
        return f"{self.root}/{name}"

    def put(self, name: str, body: bytes) -> None:
        """Writes a file below, whole or not at all; when this returns it is durable.

        In a folder it is written aside (`.NAME.….part`), synced and renamed, and the folders are synced; elsewhere an
        object shows when it is whole. Raises what the file system raises.
        """
        if self.local:
            _put_here(Path(self.path(name)), body, Path(self.root))
            return
        if self.folders:
            self.fs.makedirs(self.path(name).rpartition("/")[0], exist_ok=True)
        self.fs.pipe_file(self.path(name), body)

    def hidden(self, what: object) -> str:
        """As text, without the user and password."""
        text = str(what)
        for secret in self.secret:
            text = text.replace(secret, "***@" if secret.endswith("@") else "***")
        return text


def _put_here(path: Path, body: bytes, root: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except FileNotFoundError:
        if not path.exists():  # else another process has written the same, and swept ours
            raise
    except OSError:
        part.unlink(missing_ok=True)  # or tries on a full disk would fill it
        raise
    for folder in path.parents:
        _sync_folder(folder)
        if folder == root:
            break


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _secrets(url: str) -> list[str]:
    """The user and password in a URL (of several links) as an error may show them, the longest first."""
    users = {user for link in url.split("::") for user in _USER.findall(link)}
    found = {f"{user}@" for user in users} | {user.partition(":")[2] for user in users} - {""}
    return sorted(found | set(map(unquote, found)), key=len, reverse=True)
