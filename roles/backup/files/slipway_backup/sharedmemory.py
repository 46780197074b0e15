# SPDX-License-Identifier: GPL-3.0-or-later
"""The System V segment that a killed server leaves: the kernel keeps it until somebody removes it."""

from __future__ import annotations

import contextlib
import os
import subprocess
from pathlib import Path

_LONGEST = 1 << 14  # bytes; the file has eight short lines
_TABLE = Path("/proc/sysvipc/shm")


def release(data: Path) -> bool:
    """Remove the segment of the data directory ``data``; False when there is none that is certainly its own.

    The seventh line of the server's pid file names it. The server's user can write there whatever it likes, so the
    segment must belong to the directory's owner, and nobody may be using it.
    """
    with contextlib.suppress(OSError, IndexError, ValueError):
        segment = int(_pid_file(data).splitlines()[6].split()[1])
        if _is_unused(segment, data.lstat().st_uid):
            done = subprocess.run(["ipcrm", "--shmem-id", str(segment)], check=False, capture_output=True)
            return done.returncode == 0
    return False


def _pid_file(data: Path) -> str:
    """Its beginning; neither through a link nor waiting for the other end of a pipe."""
    handle = os.open(data / "postmaster.pid", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(handle, "rb") as file:
        return file.read(_LONGEST).decode(errors="replace")


def _is_unused(segment: int, owner: int) -> bool:
    names, *lines = [line.split() for line in _TABLE.read_text().splitlines()]
    for line in lines:
        found = dict(zip(names, line, strict=False))
        if int(found["shmid"]) == segment:
            return (int(found["uid"]), int(found["nattch"])) == (owner, 0)
    return False
