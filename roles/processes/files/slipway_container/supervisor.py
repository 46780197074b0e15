# SPDX-License-Identifier: GPL-3.0-or-later
"""One container under one unit: systemd starts, stops and watches this process, and this process the container.

So a slot is started, stopped, enabled and retired in the same way whatever runs in it, and what a process says of
itself reaches systemd, which believes only its own. A restart of the engine (live-restore) goes by unnoticed: the
container runs on, and is found again.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._config import parse_env
from ansible_collections.slipway.webapp.plugins.module_utils._container import (
    Container,
    Options,
    read_options,
    serving,
)
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._installed import read_record
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout

LOOK_EVERY = 0.2  # seconds
LAST_LINES = "30"
_NO_IMAGE = "no such image"  # in what the engine says
# Longer than any unit waits for its process to stop: systemd's patience counts, not the engine's.
PATIENCE = 24 * 3600
ANSWERS_WITHIN = 20.0  # seconds in which an engine that is there has taken a container away
TELLS_WITHIN = 5.0  # seconds after its process has ended in which the engine says how, if it is there


class Supervisor:
    """The container of one process in one slot."""

    def __init__(self, layout: Layout, *, process: str, slot: str) -> None:
        self.layout = layout
        self.process = process
        self.slot = slot
        self.name = layout.container(process, slot)
        self.ready = False
        self._asked = False  # to stop
        self._life: int | None = None  # a handle of the container's first process
        self._stopping: subprocess.Popen[bytes] | None = None

    def run(self, words: Sequence[str]) -> int:
        """Until the container has ended; its exit code, 0 when it was asked to stop."""
        user = pwd.getpwnam(self.layout.app)
        record = read_record(os.path.realpath(self.layout.slot_link(self.slot)))
        if record is None or not record.image:
            raise SlipwayError(
                f"The {self.slot} slot of {self.layout.app} has no image to run",
                found=f"{self.layout.slot_link(self.slot)} leads to {'a release without one' if record else 'nothing'}",
                next_step="deploy a release that is an image",
            )
        container = serving(
            self.layout,
            process=self.process,
            slot=self.slot,
            image=record.image,
            owner=(user.pw_uid, user.pw_gid),
            words=words,
            given=self._given(),
        )
        self.remove()
        with self._ear(user.pw_gid) as ear:
            self._create(container, read_options(self.layout))
            signal.signal(signal.SIGTERM, self._stop)
            self._docker("start", self.name)
            self._hold()
            if self._asked:  # while it was being started: the engine had nothing to stop, and said that all is well
                self._stopping = None
                self._stop(signal.SIGTERM, None)
            return self._watch(ear)

    def _create(self, container: Container, options: Options) -> None:
        """It is never pulled here: the login of the registry is known to the run of a deploy only."""
        try:
            self._docker("create", *container.arguments(options))
        except SlipwayError as error:
            if _NO_IMAGE not in error.found.lower():
                raise
            raise SlipwayError(
                f"The engine has not the image of the {self.slot} slot of {self.layout.app} any more",
                found=error.found,
                expected=container.image,
                next_step="deploy the release again, which pulls it",
            ) from error

    def _given(self) -> dict[str, str]:
        """What the unit says besides the slot's file, which may hold secrets and is read inside."""
        path = self.layout.slot_env(self.slot)
        with open(path, encoding="utf-8", newline="") as stream:
            own = parse_env(stream.read(), where=path)
        return {name: value for name, value in os.environ.items() if name.startswith("SLIPWAY_") and name not in own}

    def remove(self) -> int:
        """Take away the container that an earlier run has left, if there is one, and if the engine answers.

        A unit that is being stopped must not wait for it: the next start takes it away.
        """
        words = ["docker", "rm", "--force", self.name]
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=ANSWERS_WITHIN)
        return 0

    @contextlib.contextmanager
    def _ear(self, gid: int) -> Iterator[socket.socket]:
        """The socket on which the process in the container says how it is."""
        path = self.layout.notify(self.process, self.slot)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as ear:
            ear.bind(path)
            os.chown(path, 0, gid)
            os.chmod(path, 0o660)
            yield ear
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)

    def _hold(self) -> None:
        """Where the process has ended already there is none to hold."""
        with contextlib.suppress(SlipwayError, OSError, ValueError):
            self._life = os.pidfd_open(int(self._docker("inspect", "--format", "{{.State.Pid}}", self.name)))

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        """Ask the process itself, and not the engine, which may be away.

        systemd does not start the engine while a unit that comes after it is being stopped, so that one must not wait.
        """
        self._asked = True
        if self._life is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._life, signal.SIGTERM)
        elif self._stopping is None:
            words = ["docker", "stop", "-t", str(PATIENCE), self.name]
            self._stopping = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def _watch(self, ear: socket.socket) -> int:
        waiting, gone = self._wait(), 0.0
        while True:
            watched: list[Any] = [ear] if gone or self._life is None else [ear, self._life]
            heard = select.select(watched, [], [], LOOK_EVERY)[0]
            if ear in heard:
                self._pass_on(ear.recv(4096))
            if self._life in heard:
                gone = time.monotonic()
            if self._asked and gone and time.monotonic() - gone > TELLS_WITHIN:
                waiting.kill()
                return 0  # its container is removed by the next start
            if self._stopping and self._stopping.poll():  # the engine was not there to be asked
                time.sleep(1)
                self._stopping = None
                self._stop(signal.SIGTERM, None)
            if waiting.poll() is not None:
                said, why = waiting.communicate()
                if waiting.returncode == 0 and said.strip().isdigit():
                    return self._ended(int(said))
                if b"No such container" in why:  # somebody has removed it: systemd starts another one
                    return 0 if self._asked else 1
                # The engine is away. With live-restore the container runs on; without, it is told when it is back.
                time.sleep(1)
                waiting = self._wait()

    def _wait(self) -> subprocess.Popen[bytes]:
        words = ["docker", "wait", self.name]
        return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def _ended(self, code: int) -> int:
        if not self.ready or (code and not self._asked):
            # systemd's own log shows why it did not start, or ended.
            subprocess.run(["docker", "logs", "--tail", LAST_LINES, self.name], stderr=subprocess.STDOUT, check=False)
        self.remove()
        return 0 if self._asked else code

    def _pass_on(self, message: bytes) -> None:
        self.ready = self.ready or b"READY=1" in message.splitlines()
        address = os.environ.get("NOTIFY_SOCKET", "")
        if address:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as mouth:
                mouth.connect("\0" + address[1:] if address.startswith("@") else address)
                kept = [line for line in message.splitlines() if line.startswith((b"READY=1", b"STATUS="))]
                mouth.sendall(b"\n".join(kept))

    def _docker(self, *words: str) -> str:
        done = subprocess.run(
            ["docker", *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False
        )
        if done.returncode:
            raise SlipwayError(
                f"The engine did not {words[0]} the container {self.name}",
                found=(done.stderr or done.stdout).strip(),
                next_step="journalctl -u docker on this host; docker info",
            )
        return done.stdout
