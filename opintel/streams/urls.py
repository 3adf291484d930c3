"""Places by fsspec URL (a folder, also a shared one; S3): opened with the same patience everywhere, and named without
the user and password that a URL may hold.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple
from urllib.parse import unquote

S3_PATIENCE = {"connect_timeout": 3, "read_timeout": 10, "retries": {"max_attempts": 2}}
"""botocore's own takes half a minute to say that no server answers; the stream waits for it."""
_USER = re.compile(r"://([^/]*:.*|[^/@]*)@")
"""A URL's user and password; an S3 secret may hold slashes."""


class Place(NamedTuple):
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
    def of(cls, url: str) -> Place:
        """The place that a URL names. ValueError, ImportError where fsspec cannot open it."""
        import fsspec
        from fsspec.implementations.local import LocalFileSystem

        s3 = url.startswith(("s3://", "s3a://"))
        fs, root = fsspec.core.url_to_fs(url, **({"config_kwargs": S3_PATIENCE} if s3 else {}))
        return cls(fs, root.rstrip("/"), isinstance(fs, LocalFileSystem), not s3, tuple(_secrets(url)))

    def hidden(self, what: object) -> str:
        """As text, without the user and password."""
        text = str(what)
        for secret in self.secret:
            text = text.replace(secret, "***@" if secret.endswith("@") else "***")
        return text


def _secrets(url: str) -> list[str]:
    """The user and password in a URL (of several links) as an error may show them, the longest first."""
    users = {user for link in url.split("::") for user in _USER.findall(link)}
    found = {f"{user}@" for user in users} | {user.partition(":")[2] for user in users} - {""}
    return sorted(found | set(map(unquote, found)), key=len, reverse=True)
