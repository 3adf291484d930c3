"""How a Kafka cluster is reached: what a site's YAML says, and the keywords that kafka-python's clients take for it.

Used for the log itself (`site.yaml`) and, in `opintel.streams.connectors.kafka`, for a stream's source topics.
Passwords come from a file or the environment, never from YAML, and no log line shows them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, NewType

import msgspec

from opintel.paths import FilePath
from opintel.streams.certificates import tls_context

Servers = NewType("Servers", list[str])
"""`host:port` of some brokers; in YAML a list, or a text such as `a:9094, b:9094`, which one variable can hold."""
_SERVER = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/\[\]]+):([0-9]{1,5})")


class KafkaSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A cluster and how we present ourselves to it."""

    bootstrap: Servers
    tls: bool = False
    ca_file: FilePath | None = None
    """Who signed the brokers' certificates; left out: the system's authorities."""
    cert_file: FilePath | None = None
    key_file: FilePath | None = None
    """Our own certificate, for mutual TLS."""
    user: str | None = None
    """SASL/SCRAM user; left out: no SASL."""
    mechanism: Literal["SCRAM-SHA-512", "SCRAM-SHA-256"] = "SCRAM-SHA-512"
    password_file: FilePath | None = None
    password_env: str | None = None
    """Where the user's password is; one of the two, with `user`."""

    def __post_init__(self) -> None:
        if not self.bootstrap:
            raise ValueError("bootstrap: expected `host:port` of one broker or more, got none")
        for server in self.bootstrap:
            match = _SERVER.fullmatch(server)
            if match is None or not 0 < int(match[2]) < 65536:
                raise ValueError(f"bootstrap: expected `host:port`, got {server!r}")
        if self.password_file and self.password_env:
            raise ValueError("password_env: expected one of password_file and password_env, got both")
        if (self.password_file or self.password_env) and not self.user:
            raise ValueError("a password needs a `user`")
        if (self.ca_file or self.cert_file or self.key_file) and not self.tls:
            raise ValueError("certificates need `tls: true`; without it nothing is encrypted")
        if self.key_file and not self.cert_file:
            raise ValueError("a key_file needs its cert_file")

    def password(self, secrets: Mapping[str, str]) -> str | None:
        """The user's password. Raises ValueError where a user has none."""
        if self.user and "password" not in secrets:
            raise ValueError("user: needs password_file or password_env")
        return secrets.get("password")

    def client(self, password: str | None = None) -> dict[str, Any]:
        """Keywords for kafka-python's consumer, producer and admin client. Raises ValueError for certificates."""
        known: dict[str, Any] = {
            "bootstrap_servers": list(self.bootstrap),
            "security_protocol": ("SASL_" if self.user else "") + ("SSL" if self.tls else "PLAINTEXT"),
        }
        if self.tls:
            tls_context(self.ca_file, self.cert_file, self.key_file)  # which says what is wrong with them
            known |= {"ssl_check_hostname": True, "ssl_cafile": self.ca_file}
            known |= {"ssl_certfile": self.cert_file, "ssl_keyfile": self.key_file}
        if self.user:
            known |= {"sasl_mechanism": self.mechanism, "sasl_plain_username": self.user}
            known |= {"sasl_plain_password": _Hidden(password or "")}
        return known


def servers(given: object) -> Servers:
    """The servers that YAML names. Raises ValueError.

    >>> servers("a:1, b:2")
    ['a:1', 'b:2']
    """
    return Servers(
        [s.strip() for s in given.split(",")] if isinstance(given, str) else msgspec.convert(given, list[str])
    )


class _Hidden(str):
    """A text that clients can use and that no log line shows: kafka-python logs its whole configuration at DEBUG."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    __str__ = __repr__
