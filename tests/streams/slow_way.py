"""A way to a server that takes its time, and that can be cut: it stands between a client and a port of this machine."""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
import time
from types import TracebackType


class SlowWay:
    """Forwards TCP from `port` to `to`, each piece `delay` s late; while not `open`, connections break."""

    def __init__(self, to: int, delay: float) -> None:
        self.delay, self.open = delay, True
        self._to = to
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])

    def __enter__(self) -> SlowWay:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open = False
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):  # until it is closed
            while True:
                near, _ = self._listener.accept()
                if not self.open:
                    near.close()
                    continue
                try:
                    far = socket.create_connection(("127.0.0.1", self._to))
                except ConnectionRefusedError:
                    near.close()
                    continue
                for one, other in ((near, far), (far, near)):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    late: queue.Queue[tuple[float, bytes]] = queue.Queue()
                    threading.Thread(target=self._take, args=(one, late), daemon=True).start()
                    threading.Thread(target=self._give, args=(other, late), daemon=True).start()

    def _take(self, one: socket.socket, late: queue.Queue[tuple[float, bytes]]) -> None:
        one.settimeout(0.1)
        piece = b"-"
        while piece and self.open:
            try:
                piece = one.recv(65536)
            except TimeoutError:
                continue
            except OSError:
                piece = b""
            late.put((time.monotonic() + self.delay, piece))
        late.put((0.0, b""))

    def _give(self, other: socket.socket, late: queue.Queue[tuple[float, bytes]]) -> None:
        with contextlib.suppress(OSError):
            while self.open:
                when, piece = late.get()
                time.sleep(max(when - time.monotonic(), 0))
                if not piece:
                    break
                other.sendall(piece)
        other.close()
