# SPDX-License-Identifier: GPL-3.0-or-later
"""The web process of a front end that has no back end: answers the health path for the release of its slot.

Nginx serves the files by itself. But the gate, the route and whoever looks at the log ask a slot by its socket which
release it is, and a slot whose pages cannot be read must be found before visitors find it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socketserver
import sys
import threading
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

import slipway_entry
import slipway_notify

SECONDS = 10  # for one request


class Handler(BaseHTTPRequestHandler):
    """One connection; every request of Nginx has one of its own."""

    timeout = SECONDS
    index = ""

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path != os.environ.get("SLIPWAY_HEALTH_PATH", "/health"):
            self._answer(404, {"detail": "there is no back end"})
        elif problem := unreadable(self.index):
            self._answer(503, {"status": "failing", "detail": problem})
        else:
            self._answer(200, {"status": "ok"})

    def do_HEAD(self) -> None:
        self.do_GET()

    def _answer(self, status: int, value: dict[str, str]) -> None:
        release, slot = (value for _name, value in slipway_entry.own_headers())
        body = json.dumps({**value, "release": release, "slot": slot}).encode()
        self.send_response(status)
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body)), "Cache-Control": "no-store"}
        for name, text in (*headers.items(), *slipway_entry.own_headers()):
            self.send_header(name, text)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nginx keeps the log."""

    def version_string(self) -> str:
        return "slipway"


def unreadable(path: str) -> str:
    """Why the page cannot be served, or ''."""
    try:
        with open(path, "rb") as stream:
            return "" if stream.read(1) else f"{path} is empty"
    except OSError as error:
        return f"{path}: {error.strerror}"


class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Requests that have begun are finished when it stops."""

    daemon_threads = False
    request_queue_size = 64


def serve(place: str, index: str) -> None:
    """Answer at the socket until SIGTERM."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(place)
    Handler.index = index
    with Server(place, Handler) as server:
        os.chmod(place, 0o660)  # who may connect is decided by the rights of the directory
        signal.signal(signal.SIGTERM, lambda *_signal: threading.Thread(target=server.shutdown).start())
        slipway_notify.ready("serves")
        server.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    if problem := unreadable(sys.argv[2]):
        sys.exit(problem)
    serve(sys.argv[1], sys.argv[2])
