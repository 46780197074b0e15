# SPDX-License-Identifier: GPL-3.0-or-later
"""The health check of our image asks the socket or the port that the environment names, and nobody else."""

from __future__ import annotations

import http.server
import json
import os
import socketserver
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.ansible_runs import ROOT

SCRIPT = (ROOT / "roles" / "image" / "files" / "healthcheck.py").read_text()
HOST = "shop.example.org"


class Handler(http.server.BaseHTTPRequestHandler):
    """Well on one path, by one name, over what it takes for TLS."""

    def do_GET(self) -> None:
        good = (self.path, self.headers["Host"], self.headers["X-Forwarded-Proto"]) == ("/health", HOST, "https")
        self.send_response(204 if good else 301)
        self.end_headers()

    def address_string(self) -> str:
        return ""

    def log_message(self, *_words: object) -> None:
        pass


def served(server: socketserver.BaseServer) -> Iterator[socketserver.BaseServer]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def port() -> Iterator[str]:
    for server in served(http.server.HTTPServer(("127.0.0.1", 0), Handler)):
        yield str(server.server_address[1])  # type: ignore[attr-defined]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[str]:
    path = str(tmp_path / "web.sock")
    for _server in served(socketserver.UnixStreamServer(path, Handler)):
        yield path


def check(path: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """As the engine runs it: the words of the Dockerfile, from JSON."""
    words = json.loads(json.dumps([sys.executable, "-c", SCRIPT, path]))
    given = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(words, env=given, capture_output=True, text=True, timeout=30, check=False)


def test_a_port(port: str) -> None:
    assert check("/health", PORT=port, SLIPWAY_HEALTH_HOST=HOST).returncode == 0
    assert check("/other", PORT=port, SLIPWAY_HEALTH_HOST=HOST, SLIPWAY_HEALTH_PATH="/health").returncode == 0
    bad = check("/other", PORT=port, SLIPWAY_HEALTH_HOST=HOST)
    assert (bad.returncode, bad.stderr.strip()) == (1, "status 301")


def test_a_socket(place: str) -> None:
    assert check("/health", SLIPWAY_SOCKET=place, SLIPWAY_HEALTH_HOST=HOST).returncode == 0
    assert check("/health", SLIPWAY_SOCKET=place).returncode == 1
    assert check("/health", SLIPWAY_SOCKET=place + ".gone").returncode == 1


def test_nobody_listens(port: str) -> None:
    assert check("/health", PORT="1").returncode == 1
    assert check("/health").returncode == 0, "a worker is not asked"
    assert port != "1"
