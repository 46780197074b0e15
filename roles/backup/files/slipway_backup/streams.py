# SPDX-License-Identifier: GPL-3.0-or-later
"""Bytes on their way through another program: hashed while they pass, within a time limit, never held as a whole."""

from __future__ import annotations

import contextlib
import hashlib
import io
import threading
from collections.abc import Iterator
from typing import IO

from . import processes

CHUNK = 1 << 20  # bytes


class Hashing(io.RawIOBase):
    """A reader that passes bytes on and remembers their number and hash."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self.bytes = 0

    @property
    def sha256(self) -> str:
        """Of what was read so far."""
        return self._digest.hexdigest()

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._digest.update(data)
        self.bytes += len(data)
        return data

    def drain(self) -> None:
        """Read to the end."""
        while self.read(CHUNK):
            pass


@contextlib.contextmanager
def piped(
    command: processes.Command,
    deadline: processes.Deadline,
    *,
    stdin: int | IO[bytes],
    stdout: int | IO[bytes],
) -> Iterator[processes.Running]:
    """A child whose pipes the caller reads and writes: at the deadline it is killed, which ends every such wait."""
    with processes.Running(command, stdin=stdin, stdout=stdout) as running:
        timer = threading.Timer(deadline.left(), running.child.kill)
        timer.daemon = True
        timer.start()
        try:
            yield running
        finally:
            timer.cancel()
