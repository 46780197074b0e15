# SPDX-License-Identifier: GPL-3.0-or-later
"""The first process of a task in a swarm: starts the program, lets requests in when it is healthy, out before it ends.

A web task listens on a socket of its own in a directory of its node. Nginx asks the one that ``web.sock`` leads to, and
that there is one it sees by the file ``here``. So a new task takes over by a rename, and one that is stopped is out of
Nginx's sight before it stops to listen: no request finds it closed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType

from ansible_collections.slipway.webapp.plugins.module_utils._health import Wish, judge
from ansible_collections.slipway.webapp.plugins.module_utils._http import HttpAsker, Target

READY = "/tmp/slipway.ready"  # while it is there the engine's health check is passed
EAR = "/tmp/slipway.notify"
LIVE, HERE, LOCK = "web.sock", "here", ".lock"
ENDING = ".sock"
LOOK_EVERY = 0.2  # seconds
# Between being out of sight and the end: requests that saw the file, or had connected, are in by then.
UNSEEN, UNCONNECTED = 1.0, 0.5


class Door:
    """How requests reach the web task of this node: a directory that all tasks of the application share there."""

    def __init__(self, directory: str, task: str) -> None:
        self.directory = directory
        self.socket = self.path(f"{task}{ENDING}")

    def path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with open(self.path(LOCK), "a", encoding="utf-8") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _lead_to(self, name: str) -> None:
        temporary = self.path(f".{name}.new")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        os.symlink(name, temporary)
        os.replace(temporary, self.path(LIVE))

    def open(self) -> None:
        """Requests come to us from now on."""
        with self._alone():
            for name in self._others():
                if not answers(self.path(name)):  # of a task that was killed
                    os.unlink(self.path(name))
            self._lead_to(os.path.basename(self.socket))
            with open(self.path(HERE), "w", encoding="utf-8"):
                pass

    def close(self) -> None:
        """No more: to another task of this node where there is one, else to another node."""
        with self._alone():
            if not self._ours():
                return
            for name in self._others():
                if answers(self.path(name)):
                    self._lead_to(name)
                    return
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path(HERE))
        time.sleep(UNSEEN)
        with self._alone():
            if self._ours():
                os.unlink(self.path(LIVE))

    def _ours(self) -> bool:
        try:
            return os.readlink(self.path(LIVE)) == os.path.basename(self.socket)
        except FileNotFoundError:
            return False

    def _others(self) -> list[str]:
        mine = (LIVE, os.path.basename(self.socket))
        return [name for name in sorted(os.listdir(self.directory)) if name.endswith(ENDING) and name not in mine]


def answers(path: str) -> bool:
    """Whether somebody listens there."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2.0)
        try:
            connection.connect(path)
        except OSError:
            return False
    return True


class Task:
    """The program, from its start to its end."""

    def __init__(self, process: str, directory: str, environment: Mapping[str, str]) -> None:
        self.process = process
        self.environment = environment
        self.door = Door(directory, environment["SLIPWAY_TASK"]) if process == "web" else None
        self.asked = False
        self.deadline = time.monotonic() + float(environment["SLIPWAY_TASK_DEADLINE"])

    def run(self, words: Sequence[str]) -> int:
        """Until the program has ended; its exit code, 0 when it was asked to end."""
        filled = [
            word.replace("{socket}", self.door.socket if self.door else "").replace(
                "{task}", self.environment["SLIPWAY_TASK"]
            )
            for word in words
        ]
        with contextlib.suppress(FileNotFoundError):
            os.unlink(EAR)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as ear:
            ear.bind(EAR)
            signal.signal(signal.SIGTERM, self._stop)
            child = subprocess.Popen(filled, env={**self.environment, "NOTIFY_SOCKET": EAR})
            try:
                return self._watch(child, ear)
            finally:
                if child.poll() is None:
                    child.kill()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True

    def _watch(self, child: subprocess.Popen[bytes], ear: socket.socket) -> int:
        up, why = False, "it has not said that it is ready"
        while child.poll() is None and not self.asked:
            if select.select([ear], [], [], LOOK_EVERY)[0] and b"READY=1" in ear.recv(4096):
                up = True
            if up and why:
                why = self._unhealthy()
                if not why:
                    self._ready()
            if why and time.monotonic() >= self.deadline:
                sys.stderr.write(f"slipway: {self.process} is not healthy in time: {why}\n")
                return 1
        if self.asked and self.door:
            self.door.close()
            time.sleep(UNCONNECTED)
        if child.poll() is None:
            child.terminate()
        code = child.wait()
        return 0 if self.asked else code or 1

    def _unhealthy(self) -> str:
        """Why it may not have requests yet, or ''."""
        if not self.door:
            return ""
        given = json.loads(self.environment["SLIPWAY_TASK_HEALTH"])
        target = Target(path=given["path"], name=given["host"], socket=self.door.socket)
        wish = Wish(status=given["status"], json=given["json"], release=self.environment["SLIPWAY_RELEASE"])
        for number in range(given["successes"]):
            if number:
                time.sleep(given["interval"])
            why = judge(HttpAsker(target).ask(timeout=wish.timeout), wish)
            if why:
                return f"{given['path']}: {why}"
        return ""

    def _ready(self) -> None:
        if self.door:
            self.door.open()
        with open(READY, "w", encoding="utf-8"):
            pass


def healthy(process: str, directory: str, environment: Mapping[str, str]) -> bool:
    """What the engine asks inside of a task again and again. Not the health path: without its database an application
    must not be restarted for ever.
    """
    return os.path.exists(READY) and (process != "web" or answers(Door(directory, environment["SLIPWAY_TASK"]).socket))
