# SPDX-License-Identifier: GPL-3.0-or-later
"""The web process of a front end alone, as a program: what it says at its socket, and how it ends."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PROGRAM = Path(__file__).parents[3] / "roles" / "processes" / "files" / "slipway_frontend.py"
GIVEN = {"SLIPWAY_RELEASE": "1-abc", "SLIPWAY_SLOT": "blue", "SLIPWAY_HEALTH_PATH": "/up"}


class Connection(http.client.HTTPConnection):
    """HTTP over a socket's path."""

    def __init__(self, path: Path) -> None:
        super().__init__("page.example", timeout=5)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(os.path.relpath(self.path))


def ask(path: Path, address: str, method: str = "GET") -> tuple[int, dict[str, str], Any]:
    connection = Connection(path)
    connection.request(method, address)
    answer = connection.getresponse()
    body = answer.read()
    said = json.loads(body) if body and answer.status != 501 else None
    return answer.status, {name.lower(): text for name, text in answer.getheaders()}, said


def start(place: Path) -> subprocess.Popen[bytes]:
    words = [sys.executable, str(PROGRAM), "web.sock", "index.html"]
    return subprocess.Popen(words, cwd=place, env={**os.environ, **GIVEN}, stderr=subprocess.PIPE)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, subprocess.Popen[bytes]]]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "index.html").write_text("<html>")
    (tmp_path / "web.sock").touch()  # a killed one leaves its socket behind
    program = start(tmp_path)
    for _tenth in range(100):
        if stat.S_ISSOCK((tmp_path / "web.sock").stat().st_mode):
            break
        time.sleep(0.1)
    yield tmp_path, program
    program.kill()
    program.wait()


def test_it_says_which_release_is_there(served: tuple[Path, subprocess.Popen[bytes]]) -> None:
    place, _program = served
    status, headers, said = ask(place / "web.sock", "/up?deep=1")
    assert (status, said) == (200, {"status": "ok", "release": "1-abc", "slot": "blue"})
    assert (headers["x-slipway-release"], headers["x-slipway-slot"]) == ("1-abc", "blue")
    assert headers["cache-control"] == "no-store"
    assert ask(place / "web.sock", "/up", "HEAD")[::2] == (200, None)
    assert ask(place / "web.sock", "/other")[0] == 404
    assert ask(place / "web.sock", "/up", "POST")[0] == 501
    assert stat.S_IMODE((place / "web.sock").stat().st_mode) == 0o660


def test_a_page_that_is_gone_is_no_health(served: tuple[Path, subprocess.Popen[bytes]]) -> None:
    place, _program = served
    (place / "index.html").unlink()
    status, _headers, said = ask(place / "web.sock", "/up")
    assert (status, said["detail"]) == (503, "index.html: No such file or directory")


def test_it_ends_when_it_is_told(served: tuple[Path, subprocess.Popen[bytes]]) -> None:
    place, program = served
    ask(place / "web.sock", "/up")
    program.send_signal(signal.SIGTERM)
    assert program.wait(5) == 0


def test_without_a_page_it_does_not_start(tmp_path: Path) -> None:
    program = start(tmp_path)
    _out, said = program.communicate(timeout=10)
    assert program.returncode == 1
    assert b"index.html: No such file or directory" in said
