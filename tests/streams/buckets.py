"""A bucket `states` on S3, as moto's server plays it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import fsspec
import pytest


class Store:
    """A moto server with one bucket."""

    def __init__(self) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self.server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        code = f"from moto.server import main; main(['-p', '{self.port}'])"
        quiet = subprocess.DEVNULL
        self.server = subprocess.Popen([sys.executable, "-c", code], stdout=quiet, stderr=quiet)
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    break
            time.sleep(0.1)
        self.files().mkdir("states")

    def files(self) -> fsspec.AbstractFileSystem:
        """Another client, that remembers nothing."""
        return fsspec.filesystem("s3", endpoint_url=self.endpoint, skip_instance_cache=True, use_listings_cache=False)

    def stop(self) -> None:
        assert self.server is not None
        self.server.send_signal(signal.SIGKILL)
        self.server.wait()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    made = Store()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "FSSPEC_S3_ENDPOINT_URL": made.endpoint,
    }.items():
        monkeypatch.setenv(name, value)
    made.start()
    import fsspec.config

    fsspec.config.set_conf_env(fsspec.config.conf)
    yield made
    fsspec.config.conf.clear()
    made.stop()
