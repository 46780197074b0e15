# SPDX-License-Identifier: GPL-3.0-or-later
"""What the units of containers run on the host, and what starts the program inside of them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from ansible_collections.slipway.webapp.plugins.module_utils._config import parse_env
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._layout import PROCESSES, SLOTS, Layout

USAGE = """usage: slipway-container run APPLICATION PROCESS SLOT PROGRAM...
       slipway-container gone APPLICATION PROCESS SLOT
       slipway-container launch ENVIRONMENT-FILE PROGRAM...
       slipway-container once SECONDS PROGRAM...
       slipway-container task PROCESS ENVIRONMENT-FILE DIRECTORY PROGRAM...
       slipway-container healthy PROCESS DIRECTORY
"""
WRONG = 2


def launch(path: str, words: Sequence[str]) -> None:
    """Inside: become the program, with the variables of the file. So no value is in what the engine shows."""
    os.execvpe(words[0], list(words), _with(path))


def _with(path: str) -> dict[str, str]:
    # A secret may hold carriage returns: nothing is made of line ends.
    with open(path, encoding="utf-8", newline="") as stream:
        return {**os.environ, **parse_env(stream.read(), where=path)}


def in_swarm(verb: str, rest: Sequence[str]) -> int:
    """Inside of a task of a swarm."""
    from slipway_container.task import Task, healthy

    if verb == "healthy":
        return 0 if healthy(rest[0], rest[1], os.environ) else 1
    return Task(rest[0], rest[2], _with(rest[1])).run(rest[3:])


def once(seconds: int, words: Sequence[str]) -> None:
    """Inside: become the program, which the kernel ends after so many seconds: an alarm outlives this exec."""
    signal.alarm(seconds)
    os.execvp(words[0], list(words))


def main(given: Sequence[str]) -> int:
    """Do what the verb says."""
    verb, rest = (given[0], list(given[1:])) if given else ("", [])
    try:
        if verb == "launch" and len(rest) > 1:
            launch(rest[0], rest[1:])
        if verb == "once" and len(rest) > 1 and rest[0].isdigit():
            once(int(rest[0]), rest[1:])
        if (verb == "task" and len(rest) > 3) or (verb == "healthy" and len(rest) == 2):
            return in_swarm(verb, rest)
        if verb in ("run", "gone") and len(rest) > 2 and rest[1] in PROCESSES and rest[2] in SLOTS:
            # Not inside of a container, where its parts may be missing.
            from slipway_container.supervisor import Supervisor

            supervisor = Supervisor(Layout(rest[0]), process=rest[1], slot=rest[2])
            return supervisor.run(rest[3:]) if verb == "run" else supervisor.remove()
    except (SlipwayError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stderr.write(USAGE)
    return WRONG
