"""A connection for administering a cluster, and the plain reason where there is none.

kafka-python only says after a while that it could not begin; what a person needs to know (no such host, another
authority's certificate, a port that expects TLS) is found by knocking once at each broker, with the standard library.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from kafka import KafkaAdminClient
from kafka.errors import AuthorizationError, KafkaConnectionError, KafkaError, KafkaTimeoutError, NodeNotReadyError

from opintel.streams.kafka.settings import KafkaSettings
from opintel.streams.log import LogError, LogUnavailable

PATIENCE = 8.0
"""s that a cluster may take to answer at first."""
_KNOCK = 3.0
_API_VERSIONS = b"\x00\x00\x00\x0a\x00\x12\x00\x00\x00\x00\x00\x00\xff\xff"
"""The first request of every client: length, key 18, version 0, correlation 0, no client id."""


@contextmanager
def administer(settings: KafkaSettings, password: str | None = None) -> Iterator[KafkaAdminClient]:
    """kafka-python's admin client. Raises LogUnavailable where no broker serves us, LogError where one refuses what is
    asked of it later; both say why and never the password.
    """
    try:
        client = KafkaAdminClient(
            **settings.client(password),
            client_id="opintel",
            bootstrap_timeout_ms=int(1000 * PATIENCE),
            request_timeout_ms=int(1000 * PATIENCE),
            reconnect_backoff_max_ms=1000,
        )
    except (KafkaError, OSError) as error:
        raise LogUnavailable("; ".join(knock(settings, server) for server in settings.bootstrap)) from error
    try:
        yield client
    except (KafkaConnectionError, KafkaTimeoutError, NodeNotReadyError) as error:
        servers = ", ".join(settings.bootstrap)
        raise LogUnavailable(f"{servers}: a broker's own address (advertised.listeners) fails: {error}") from error
    except AuthorizationError as error:
        who = f"the user {settings.user!r}" if settings.user else "who comes like this"
        raise LogError(f"{', '.join(settings.bootstrap)}: {who} may not do that ({type(error).__name__})") from error
    except KafkaError as error:
        raise LogError(f"{', '.join(settings.bootstrap)}: {' '.join(str(error).split())}") from error
    finally:
        client.close()


def knock(settings: KafkaSettings, server: str) -> str:
    """Why a broker cannot be talked to, as far as a first knock tells."""
    host, _, port = server.rpartition(":")
    host = host.strip("[]")
    try:
        with socket.create_connection((host, int(port)), _KNOCK) as connection:
            if not settings.tls:
                return f"{server}: {_plain(connection, settings)}"
            context = ssl.create_default_context(cafile=settings.ca_file)
            if settings.cert_file:
                context.load_cert_chain(settings.cert_file, settings.key_file)
            with context.wrap_socket(connection, server_hostname=host) as secure:
                return f"{server}: {_plain(secure, settings)}"
    except ssl.SSLCertVerificationError as error:
        return f"{server}: its certificate is not accepted: {error.verify_message}"
    except ssl.SSLError as error:
        reason = error.reason or str(error)
        what = "asks for a certificate of ours, or refuses it" if "CERTIFICATE" in reason else "no TLS as we speak it"
        return f"{server}: {what} ({reason})"
    except TimeoutError:
        return f"{server}: does not answer"
    except OSError as error:
        return f"{server}: {error.strerror or error}"


def _plain(connection: socket.socket, settings: KafkaSettings) -> str:
    try:
        connection.sendall(_API_VERSIONS)
        answer = connection.recv(64)
    except ConnectionError:
        answer = b""
    if answer.startswith(b"\x00"):
        doubt = f"is the password of {settings.user!r} right" if settings.user else "does it ask for a user"
        return f"answers, but does not serve us; {doubt}?"
    return "hangs up on us" + ("" if settings.tls else "; does it expect TLS?")
