# SPDX-License-Identifier: GPL-3.0-or-later
"""A server on a Unix socket that misbehaves in a chosen way."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Sequence


def answer(body: str, *, status: str = "200 OK", headers: Sequence[str] = ()) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body.encode())}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body.encode()


class Server:
    """Gives each connection the next of ``replies``, the last one for ever.

    Bytes are sent and the connection closed. ``silent`` sends nothing and waits, ``dribble`` sends a byte now and then
    for ever, ``slam`` closes at once, ``endless`` sends a body that never ends.
    """

    def __init__(self, path: str, replies: Sequence[bytes | str]) -> None:
        self.replies = list(replies)
        self.requests: list[bytes] = []
        self._closing = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(16)
        self._listener.settimeout(0.05)
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while not self._closing.is_set():
            with contextlib.suppress(TimeoutError):
                connection, _peer = self._listener.accept()
                reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
                thread = threading.Thread(target=self._serve, args=(connection, reply), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket, reply: bytes | str) -> None:
        with connection, contextlib.suppress(OSError):
            if reply == "slam":
                return
            self.requests.append(connection.recv(65536))
            if isinstance(reply, bytes):
                connection.sendall(reply)
            elif reply == "silent":
                self._closing.wait(10)
            elif reply == "dribble":
                self._drip(connection)
            elif reply == "endless":
                self._pour(connection)

    def _drip(self, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nX-Long: ")
        while not self._closing.wait(0.02):
            connection.sendall(b"x")

    def _pour(self, connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        end = time.monotonic() + 10
        while not self._closing.is_set() and time.monotonic() < end:
            connection.sendall(b"y" * 65536)

    def close(self) -> None:
        self._closing.set()
        for thread in self._threads:
            thread.join(timeout=5)
        self._listener.close()


@contextlib.contextmanager
def serving(path: str, *replies: bytes | str) -> Iterator[Server]:
    server = Server(path, replies)
    try:
        yield server
    finally:
        server.close()
