# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host: prints the command lines of all processes that it sees until a file appears, as JSON."""

from __future__ import annotations

import json
import os
import sys
import time

PAUSE_SECONDS = 0.01
LONGEST_SECONDS = 600


def commands() -> set[str]:
    """The command lines at this moment."""
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/cmdline", "rb") as stream:
                    found.add(stream.read().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue
    return found


def watch(stop: str) -> list[str]:
    """All that were seen until the file is there."""
    seen: set[str] = set()
    end = time.monotonic() + LONGEST_SECONDS
    while not os.path.exists(stop) and time.monotonic() < end:
        seen |= commands()
        time.sleep(PAUSE_SECONDS)
    return sorted(seen)


if __name__ == "__main__":
    print(json.dumps(watch(sys.argv[1])))
