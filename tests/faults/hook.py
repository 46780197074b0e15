# SPDX-License-Identifier: GPL-3.0-or-later
"""A run of a playbook that stops at a step, and can be killed with all that it has started."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.faults.steps import Step
from tests.integration.controller import Run, Started
from tests.integration.site import Site

HERE = Path(__file__).resolve().parent
PROC = Path("/proc")
POLL_SECONDS = 0.005
WORKER_SECONDS = 5


class Processes:
    """The processes of one run. Ansible's workers are sessions of their own, and so are SSH's shared connections."""

    def __init__(self, *, marker: str, connections: str) -> None:
        self._words = (marker.encode(), connections.encode())

    def found(self) -> list[int]:
        """Their ids, by what they were given; SSH overwrites its environment, and shows where its connection is."""
        found = []
        for path in PROC.iterdir():
            if path.name.isdigit() and int(path.name) != os.getpid():
                with contextlib.suppress(OSError):
                    given = (path / "cmdline").read_bytes() + (path / "environ").read_bytes()
                    if any(word in given for word in self._words):
                        found.append(int(path.name))
        return found

    def workers(self, main: int) -> list[int]:
        """What Ansible's main process has forked: one for each host that a task runs on."""
        return [pid for pid in self.found() if _parent(pid) == main and _command(pid) == _command(main)]

    def kill(self) -> int:
        """End all of them as a power cut would: none is left to do anything when this returns. How many there were."""
        killed = 0
        while pids := self.found():
            for number in (signal.SIGSTOP, signal.SIGKILL):
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, number)
            killed = max(killed, len(pids))
            time.sleep(POLL_SECONDS)
        return killed


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int((PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()[1])
    return 0


def _command(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return (PROC / str(pid) / "cmdline").read_bytes()
    return b""


class Stopped:
    """A playbook that runs until a step, waits there, and goes on when told."""

    def __init__(self, site: Site, playbook: str, *, step: Step, settings: dict[str, Any]) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="fault-"))
        self._step = step
        marker = uuid.uuid4().hex
        (self._directory / "ssh").mkdir()
        controller = dataclasses.replace(
            site.controller,
            settings={
                **site.controller.settings,
                "ANSIBLE_CALLBACK_PLUGINS": str(HERE / "callback"),
                "ANSIBLE_CALLBACKS_ENABLED": "faults_stop",
                "ANSIBLE_SSH_CONTROL_PATH_DIR": str(self._directory / "ssh"),
                "SLIPWAY_FAULTS_DIRECTORY": str(self._directory),
                "SLIPWAY_FAULTS_TASK": step.task,
                "SLIPWAY_FAULTS_NTH": str(step.nth),
                "SLIPWAY_FAULTS_BLOCKS": "1" if step.after is None else "0",
                "SLIPWAY_FAULTS_RUN": marker,
            },
        )
        self.processes = Processes(marker=marker, connections=str(self._directory / "ssh"))
        self.started: Started = site.start(playbook, controller=controller, **settings)

    @property
    def running(self) -> bool:
        return self.started.running

    def reach(self, *, limit: float) -> bool:
        """Wait for the step; false when the run ended before it."""
        end = time.monotonic() + limit
        while not (self._directory / "reached").exists():
            if not self.running or time.monotonic() > end:
                return False
            time.sleep(POLL_SECONDS)
        if self._step.after is not None:
            time.sleep(self._step.after)
        return True

    def go_on(self) -> None:
        (self._directory / "go").touch()

    def kill(self) -> int:
        """The controller loses its power; its open connections are gone with it."""
        return self.processes.kill()

    def kill_worker(self) -> bool:
        """One of Ansible's own processes is ended, as by a machine that is out of memory."""
        end = time.monotonic() + WORKER_SECONDS
        while self.running and time.monotonic() < end:
            for pid in self.processes.workers(self.started.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    return True
            time.sleep(POLL_SECONDS)
        return False

    def interrupt(self) -> None:
        """Ctrl-C at its terminal."""
        os.killpg(self.started.pid, signal.SIGINT)

    def drop_connections(self) -> int:
        """The shared connections to all hosts end, in the middle of whatever they carry."""
        pids = [pid for pid in self.processes.found() if b"[mux]" in _command(pid)]
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(pids)

    def tasks(self) -> list[str]:
        """The names of the tasks that have begun so far."""
        path = self._directory / "tasks"
        return [json.loads(line)[1] for line in path.read_text().splitlines()] if path.exists() else []

    def end(self) -> Run:
        """What is left of it is ended; what it said."""
        self.go_on()
        self.processes.kill()
        run = self.started.wait()
        shutil.rmtree(self._directory)
        return run


@contextlib.contextmanager
def stopped_at(step: Step, site: Site, playbook: str, *, limit: float, **settings: Any) -> Iterator[Stopped]:
    """A run that waits at a step, which it must reach; in the end nothing is left of it."""
    run = Stopped(site, playbook, step=step, settings=settings)
    try:
        if not run.reach(limit=limit):
            run.kill()
            raise AssertionError(f"{step.name} was not reached in {limit} s:\n{run.started.wait().output[-6000:]}")
        yield run
    finally:
        run.end()
