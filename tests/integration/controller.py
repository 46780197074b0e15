# SPDX-License-Identifier: GPL-3.0-or-later
"""A controller: runs playbooks of the collection as programs, as operators do, and counts what they say."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / ".build"
LIMIT_SECONDS = 600
TAIL_LINES = 60
# An address may have been another host's a minute ago, and connections to that one may still be open elsewhere.
_CONNECTIONS = tempfile.TemporaryDirectory(prefix="it-")
_RECAP = re.compile(
    r"^(?P<host>\S+)\s+: ok=(?P<ok>\d+)\s+changed=(?P<changed>\d+)\s+unreachable=(?P<unreachable>\d+)\s+"
    r"failed=(?P<failed>\d+)\s+skipped=(?P<skipped>\d+)\s+rescued=(?P<rescued>\d+)",
    re.MULTILINE,
)


@dataclass(frozen=True, kw_only=True)
class Recap:
    """Ansible's own counts of one host."""

    ok: int
    changed: int
    unreachable: int
    failed: int
    skipped: int
    rescued: int


@dataclass(frozen=True, kw_only=True)
class Run:
    """One program that has ended; ``began`` in seconds since the epoch."""

    command: tuple[str, ...]
    code: int
    output: str
    began: float
    seconds: float

    @cached_property
    def recap(self) -> dict[str, Recap]:
        """By host; empty when the run ended before its first task."""
        found = {}
        for match in _RECAP.finditer(self.output):
            counts = match.groupdict()
            host = counts.pop("host")
            found[host] = Recap(**{name: int(count) for name, count in counts.items()})
        return found

    @property
    def changed(self) -> int:
        """Changes of all hosts together."""
        return sum(counts.changed for counts in self.recap.values())

    @property
    def said(self) -> str:
        """The output as one line, so that a sentence can be looked for however it was wrapped."""
        return " ".join(self.output.split())

    def ended(self, code: int) -> Run:
        """This run, after making sure how it ended."""
        tail = "\n".join(self.output.splitlines()[-TAIL_LINES:])
        assert self.code == code, f"{' '.join(self.command)}\nended with {self.code}, expected {code}:\n{tail}"
        return self

    def refused(self) -> Run:
        """This run, after making sure that it failed by its own decision and not by a mistake in Ansible."""
        assert self.code != 0, f"{' '.join(self.command)}\nended with 0, expected a refusal:\n{self.output[-4000:]}"
        for word in ("Traceback (most recent call last)", "unexpected exception", "undefined variable"):
            assert word not in self.output, self.output[-6000:]
        return self


@dataclass(frozen=True, kw_only=True)
class Controller:
    """One installation of Ansible with the collections that fit it."""

    name: str = ""
    collections: Path = BUILD / "collections"
    directory: Path = ROOT
    settings: Mapping[str, str] = field(default_factory=dict)
    errors: int = subprocess.STDOUT

    @property
    def programs(self) -> Path:
        return BUILD / f"venv{self.name}" / "bin"

    def environment(self) -> dict[str, str]:
        """Nothing of the caller's Ansible, so that a run means the same everywhere. An empty setting is left out."""
        own = ("ANSIBLE_", "MOLECULE_")
        merged = {
            **{name: value for name, value in os.environ.items() if not name.startswith(own)},
            "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}",
            "LC_ALL": "C.UTF-8",
            "ANSIBLE_CONFIG": str(ROOT / "ansible.cfg"),
            "ANSIBLE_COLLECTIONS_PATH": str(self.collections),
            "ANSIBLE_SSH_CONTROL_PATH_DIR": _CONNECTIONS.name,
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_STDOUT_CALLBACK": "ansible.builtin.default",
            "ANSIBLE_CALLBACK_RESULT_FORMAT": "yaml",
            **self.settings,
        }
        return {name: value for name, value in merged.items() if value}

    def start(self, *command: str) -> Started:
        """Start a program in a session of its own, so that all of it can be ended."""
        log = tempfile.TemporaryFile()  # noqa: SIM115 (closed by Started.wait)
        began, clock = time.time(), time.monotonic()
        process = subprocess.Popen(
            [str(self.programs / command[0]), *command[1:]],
            cwd=self.directory,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=self.errors,
            start_new_session=True,
        )
        return Started(command=command, process=process, log=log, began=began, clock=clock)

    def run(self, *command: str, limit: float = LIMIT_SECONDS) -> Run:
        """Run a program to its end."""
        return self.start(*command).wait(limit=limit)


class Started:
    """A program that runs."""

    def __init__(
        self, *, command: Sequence[str], process: subprocess.Popen[bytes], log: object, began: float, clock: float
    ) -> None:
        self._command = tuple(command)
        self._process = process
        self._log = log
        self._began = began
        self._clock = clock
        self._ended: Run | None = None

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the program itself, which leads its process group."""
        return self._process.pid

    def signal(self, number: int) -> None:
        """Send a signal to the program itself."""
        self._process.send_signal(number)

    def kill(self) -> None:
        """End it and all its children at once, as a power cut would."""
        os.killpg(self._process.pid, signal.SIGKILL)

    def wait(self, *, limit: float = LIMIT_SECONDS) -> Run:
        """Wait for its end; kill it when the limit has passed. Whoever asks again gets the same answer."""
        if self._ended is None:
            self._ended = self._wait(limit)
        return self._ended

    def _wait(self, limit: float) -> Run:
        try:
            code = self._process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            self.kill()
            code = self._process.wait()
        log = self._log
        log.seek(0)  # type: ignore[attr-defined]
        output = log.read().decode(errors="replace")  # type: ignore[attr-defined]
        log.close()  # type: ignore[attr-defined]
        seconds = time.monotonic() - self._clock
        return Run(command=self._command, code=code, output=output, began=self._began, seconds=seconds)
