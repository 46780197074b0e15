# SPDX-License-Identifier: GPL-3.0-or-later
"""How a web task of a swarm lets requests in on its node, and out before it ends; with real sockets and processes."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ansible_runs import ROOT

sys.path.insert(0, str(ROOT / "roles" / "processes" / "files"))

from slipway_container import task as tasks

SERVER = """
import os, socket, sys, threading
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingUnixStreamServer

class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(int(os.environ.get("STATUS", "200")))
        self.send_header("X-Slipway-Release", os.environ["SLIPWAY_RELEASE"])
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def address_string(self):
        return ""
    def log_message(self, *_):
        pass

server = ThreadingUnixStreamServer(sys.argv[1], Answer)
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as mouth:
    mouth.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
server.serve_forever()
"""


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short path: that of a socket has 107 characters at most."""
    with tempfile.TemporaryDirectory(prefix="sl") as directory:
        monkeypatch.setattr(tasks, "UNSEEN", 0.05)
        monkeypatch.setattr(tasks, "UNCONNECTED", 0.01)
        yield Path(directory)


def listener(place: Path, name: str) -> socket.socket:
    found = socket.socket(socket.AF_UNIX)
    found.bind(str(place / f"{name}.sock"))
    found.listen()
    return found


def leads_to(place: Path) -> str:
    return os.readlink(place / "web.sock")


def test_the_newest_task_is_asked_and_gives_back_to_one_that_lives(place: Path) -> None:
    old, new = tasks.Door(str(place), "t1"), tasks.Door(str(place), "t2")
    with listener(place, "t1"), listener(place, "t2"):
        old.open()
        new.open()
        assert leads_to(place) == "t2.sock"
        new.close()
        assert (leads_to(place), (place / "here").exists()) == ("t1.sock", True)


def test_the_last_task_is_out_of_sight_before_its_socket_goes(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    door = tasks.Door(str(place), "t1")
    seen: list[tuple[bool, bool]] = []
    monkeypatch.setattr(
        tasks.time, "sleep", lambda _s: seen.append(((place / "here").exists(), (place / "web.sock").exists()))
    )
    with listener(place, "t1"):
        door.open()
        door.close()
    assert seen == [(False, True)]
    assert not os.path.lexists(place / "web.sock")


def test_one_that_is_not_asked_goes_without_a_word(place: Path) -> None:
    old, new = tasks.Door(str(place), "t1"), tasks.Door(str(place), "t2")
    with listener(place, "t1"), listener(place, "t2"):
        old.open()
        new.open()
        old.close()
    assert (leads_to(place), (place / "here").exists()) == ("t2.sock", True)


def test_what_a_killed_task_left_is_swept(place: Path) -> None:
    listener(place, "dead").close()
    with listener(place, "t1"):
        tasks.Door(str(place), "t1").open()
    assert not (place / "dead.sock").exists()


def start(place: Path, **changes: str) -> subprocess.Popen[bytes]:
    """A web task, as the engine starts it."""
    health: dict[str, Any] = {
        "path": "/health", "host": "shop.example", "status": [200], "json": {}, "successes": 2, "interval": 0.01
    }  # fmt: skip
    (place / "server.py").write_text(SERVER)
    (place / "env").write_text('SECRET_KEY="planted"\n')
    program = (
        "import sys; from slipway_container import task, cli;"
        f"task.READY, task.EAR = {str(place / 'ready')!r}, {str(place / 'ear')!r};"
        "task.UNSEEN = task.UNCONNECTED = 0.05; sys.exit(cli.main(sys.argv[1:]))"
    )
    words = ["task", "web", str(place / "env"), str(place), sys.executable, str(place / "server.py"), "{socket}"]
    own = {
        "SLIPWAY_TASK": "t1",
        "SLIPWAY_TASK_DEADLINE": "3",
        "SLIPWAY_TASK_HEALTH": json.dumps(health),
        "SLIPWAY_RELEASE": "r1",
        "PYTHONPATH": f"{ROOT / 'roles' / 'processes' / 'files'}:{os.pathsep.join(sys.path)}",
    }
    return subprocess.Popen(
        [sys.executable, "-c", program, *words], env={**os.environ, **own, **changes}, stderr=subprocess.PIPE
    )


def test_a_task_is_asked_when_it_is_healthy_and_ends_when_it_is_told(place: Path) -> None:
    with start(place) as running:
        end = time.monotonic() + 20
        while not (place / "ready").exists():
            assert time.monotonic() < end
            assert running.poll() is None, running.communicate()
            time.sleep(0.05)
        assert leads_to(place) == "t1.sock"
        running.send_signal(signal.SIGTERM)
        assert running.wait(timeout=20) == 0
    assert not (place / "here").exists()


def test_a_task_that_does_not_become_healthy_is_never_asked_and_says_why(place: Path) -> None:
    with start(place, STATUS="500") as running:
        _out, said = running.communicate(timeout=20)
        assert running.returncode == 1
    assert b"web is not healthy in time: /health: status 500, not 200" in said
    assert not os.path.lexists(place / "web.sock")
