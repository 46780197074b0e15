# SPDX-License-Identifier: GPL-3.0-or-later
"""A program on a terminal of its own, as somebody who sits in front of it sees it."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

SECONDS = 300


class Terminal:
    """Runs a program whose controlling terminal is ours; what it prints is in ``text``."""

    def __init__(self, command: Sequence[str], *, cwd: Path, environment: Mapping[str, str]) -> None:
        self.text = ""
        self._process, self._end = pty.fork()
        if self._process == 0:
            try:
                os.chdir(cwd)
                os.execve(command[0], list(command), dict(environment))
            finally:
                os._exit(127)

    def _read(self) -> bool:
        """Read what is there; False when the program has closed its side."""
        ready, _w, _x = select.select([self._end], [], [], 0.1)
        if ready:
            try:
                data = os.read(self._end, 65536)
            except OSError:
                return False
            self.text += data.decode(errors="replace")
            return bool(data)
        return True

    def wait_for(self, words: str, *, seconds: float = SECONDS) -> None:
        """Wait until it has printed this."""
        until = time.monotonic() + seconds
        while words not in self.text:
            assert self._read(), f"it ended without {words!r}:\n{self.text[-4000:]}"
            assert time.monotonic() < until, f"no {words!r} within {seconds} s:\n{self.text[-4000:]}"

    def type(self, keys: str) -> None:
        """Press keys; a terminal's Enter is \\r. A program that asks throws away what was typed before."""
        time.sleep(0.5)
        os.write(self._end, keys.encode())

    def ended(self, *, seconds: float = SECONDS) -> int:
        """Its exit code."""
        until = time.monotonic() + seconds
        while self._read():
            if time.monotonic() > until:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._process, signal.SIGKILL)
        _pid, status = os.waitpid(self._process, 0)
        os.close(self._end)
        return os.waitstatus_to_exitcode(status)
