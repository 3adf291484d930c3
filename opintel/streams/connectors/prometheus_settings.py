"""How a Prometheus server is reached and what it is asked: what a stream's YAML says.

Apart from the source itself, because every command reads settings and few speak HTTP.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated
from urllib.parse import urlsplit

import msgspec

from opintel.durations import Duration
from opintel.finding import NS
from opintel.loopback import is_loopback

_HOST = re.compile(r"(?!xn--)[A-Za-z0-9_-]+(\.(?!xn--)[A-Za-z0-9_-]+)*\.?")
_PATH = re.compile(r"[A-Za-z0-9/._~-]*")


class PrometheusSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A server and what it is asked; the password or token itself is never part of the settings."""

    url: str
    """As its web page has it, a path before `/api` included."""
    queries: Annotated[list[Annotated[str, msgspec.Meta(min_length=1, max_length=4000)]], msgspec.Meta(max_length=100)]
    """PromQL. What it gives must have names: a selector's series do, those of `rate` need a `label_replace`."""
    step: Duration = Duration(60 * NS)
    """Between two samples of a series."""
    delay: Duration = Duration(60 * NS)
    """How long after their time samples may still come in; what comes later is not seen."""
    history: Duration = Duration(0)
    """How far back to begin the first time; at least one step."""
    user: str = ""
    password_file: str = ""
    password_env: str = ""
    token_file: str = ""
    token_env: str = ""
    """Where the user's password is, or else a bearer token."""
    ca_file: str = ""
    """Certificates to trust instead of the system's."""

    def __post_init__(self) -> None:
        scheme, host = _parts(self.url)
        if not self.queries or len(set(self.queries)) < len(self.queries):
            raise ValueError("queries: expected one or more, each of them once")
        if self.step < NS:
            raise ValueError("step: at least 1s")
        secrets = [s for s in (self.password_file, self.password_env, self.token_file, self.token_env) if s]
        if len(secrets) > 1:
            raise ValueError("one of password_file, password_env, token_file and token_env is right")
        if bool(self.user) != bool(self.password_file or self.password_env):
            raise ValueError("a `user` has a password_file or password_env, and these need a `user`")
        if secrets and scheme == "http" and not is_loopback(host):
            raise ValueError("url: a password or token over http:// can be read on its way; use https://")
        if self.ca_file and scheme == "http":
            raise ValueError("a ca_file needs https://; without it nothing is encrypted")


def _parts(url: str) -> tuple[str, str]:
    """Scheme and host. Raises ValueError, which does not repeat a URL that may hold a password."""
    right = "url: expected http://HOST:PORT or https://HOST, and a path where there is one"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        if ":" in host or host.replace(".", "").isdigit():
            ip_address(host)
    except ValueError as error:
        raise ValueError(right) from error
    if parts.username or parts.password:
        raise ValueError("url holds a user or password; use `user` and `password_file` or `password_env`")
    known = parts.scheme in ("http", "https") and port != 0 and (":" in host or _HOST.fullmatch(host))
    if not known or not _PATH.fullmatch(parts.path) or parts.query or parts.fragment:
        raise ValueError(right)
    return parts.scheme, host
