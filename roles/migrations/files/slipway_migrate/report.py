# SPDX-License-Identifier: GPL-3.0-or-later
"""What people read meanwhile (standard error), and the journal that survives a crash."""

from __future__ import annotations

import datetime
import json
import os
import sys
from typing import Any


def say(line: str) -> None:
    """One line of progress for people."""
    sys.stderr.write(f"slipway-migrate: {line}\n")
    sys.stderr.flush()


class Journal:
    """One JSON line for each step, on disk before the step begins; path '' keeps none."""

    def __init__(self, path: str, *, run: str) -> None:
        self._path = path
        self._run = run

    def write(self, event: str, **facts: Any) -> None:
        """Append one line and wait until the disk has it."""
        if not self._path:
            return
        at = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
        line = json.dumps({"at": at, "run": self._run, "event": event, **facts}, sort_keys=True) + "\n"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        try:
            os.write(descriptor, line.encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def unfinished(self) -> dict[str, Any]:
        """The last line, if it says that a migration began (or was to be tried again) and no line says how it ended."""
        try:
            with open(self._path, encoding="utf-8") as file:
                steps = [_step(line) for line in file]
        except FileNotFoundError:
            return {}
        known = [step for step in steps if step]
        return known[-1] if known and known[-1].get("event") in ("begin", "retry") else {}


def _step(line: str) -> dict[str, Any]:
    """{} for the line that was being written when the machine went down."""
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
