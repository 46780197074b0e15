# SPDX-License-Identifier: GPL-3.0-or-later
"""What /proc says of processes, and whose session of the server a process is. Runs on the host."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TICKS = os.sysconf("SC_CLK_TCK")
ASK_EVERY = 0.05  # seconds; what a session works between the last look and its end is not seen
OURS = "slipway-backup"  # the name of our own session; those of our dump have another word behind it
# PostgreSQL's own programs: their memory is not ours.
FOREIGN = ("postgres", "pg_dump", "pg_restore", "initdb", "pg_amcheck", "pg_ctl", "psql")


@dataclass(frozen=True)
class Process:
    """What /proc says of one process; ``ticks`` of itself and of the children that it has waited for."""

    pid: int
    parent: int
    name: str
    own_ticks: int
    waited_ticks: int
    pages: int


def parse_stat(text: str) -> Process:
    """The line of /proc/PID/stat; a name may hold spaces and brackets."""
    head, _bracket, rest = text.rpartition(")")
    pid, _space, name = head.partition(" (")
    words = rest.split()
    utime, stime, cutime, cstime = (int(word) for word in words[11:15])
    return Process(int(pid), int(words[1]), name, utime + stime, cutime + cstime, int(words[21]))


def cpu_ticks(processes: Sequence[Process], root: int) -> int:
    """The processor time of a server: of its first process, of the children it has seen end, and of those that live."""
    first = sum(one.own_ticks + one.waited_ticks for one in processes if one.pid == root)
    return first + sum(one.own_ticks + one.waited_ticks for one in processes if one.parent == root)


def own_pages(processes: Sequence[Process], root: int) -> int:
    """Resident pages of a process and its descendants, without PostgreSQL's programs and whatever these start."""
    found, family = 0, {root}
    by_parent: dict[int, list[Process]] = {}
    for one in processes:
        by_parent.setdefault(one.parent, []).append(one)
    waiting = [one for one in processes if one.pid == root]
    while waiting:
        one = waiting.pop()
        if one.name in FOREIGN:
            continue
        found += one.pages
        new = [child for child in by_parent.get(one.pid, []) if child.pid not in family]
        family.update(child.pid for child in new)
        waiting.extend(new)
    return found


def processes() -> list[Process]:
    """All that run now."""
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            try:
                found.append(parse_stat((place / "stat").read_text()))
            except (OSError, ValueError):
                continue
    return found


def kind_of_session(name: str) -> str:
    """Whose session it is, by the name that it gives itself."""
    if name == OURS:
        return "own"
    return "dump" if name == "pg_dump" or name.startswith(f"{OURS} ") else "other"


class Sessions(threading.Thread):
    """Looks at the processor time of each session of the server, as the server and /proc tell it, until stopped."""

    def __init__(self, connection: Any) -> None:
        super().__init__()
        self._connection = connection
        self._stop_it = threading.Event()
        self._seen: dict[int, tuple[str, int]] = {}

    def run(self) -> None:
        """The connection's own work is counted for nobody."""
        with self._connection:
            while not self._stop_it.wait(ASK_EVERY):
                for pid, name in self._connection.execute("SELECT pid, application_name FROM pg_stat_activity"):
                    with suppress(OSError):
                        found = parse_stat(Path(f"/proc/{pid}/stat").read_text())
                        self._seen[pid] = (kind_of_session(name), found.own_ticks)

    def stop(self) -> dict[str, float]:
        """Seconds by kind."""
        self._stop_it.set()
        self.join()
        found = {"own": 0.0, "dump": 0.0, "other": 0.0}
        for kind, ticks in self._seen.values():
            found[kind] += ticks / TICKS
        return found
