# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Judges pgBackRest's copies of a PostgreSQL server: ``slipway_physical.py fresh STANZA SECONDS``, ``verify STANZA``.

``fresh`` asks for a good copy that is not older than so many seconds. ``verify`` has every file of every copy, and
every kept change, read again and compared with the checksum of its time; pgBackRest itself ends with 0 whatever it
finds. A unit calls this and fails with it: the exit code is 0 or 1, and what is wrong stands on standard error.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

PROGRAM = "pgbackrest"
# What `verify` may count of a file that it has read: whole, or one of these.
FAULTS = ("missing", "checksum invalid", "size invalid", "other")


def problems_of_age(info: dict[str, Any], *, now: float, limit: int) -> list[str]:
    """What is wrong with the copies that ``pgbackrest info`` tells of; ``now`` and ``limit`` in seconds."""
    good = [copy["timestamp"]["stop"] for copy in info["backup"] if not copy.get("error")]
    problems = [
        f"the copy {copy['label']} holds damaged pages of the server: expected none; next: run pg_amcheck on the server"
        for copy in info["backup"]
        if copy.get("error")
    ]
    if not good:
        found = info["status"]["message"]
        return [*problems, f"there is no good copy: found {found}; expected one; next: start the unit of the full ones"]
    age = now - max(good)
    if age > limit:
        at = datetime.datetime.fromtimestamp(max(good), datetime.UTC)
        found = f"found one of {at:%Y-%m-%d %H:%M:%S} UTC, {age:.0f} s ago; expected at most {limit} s"
        problems.append(f"the newest copy is too old: {found}; next: look at the journal of the units of the copies")
    return problems


def problems_of_content(report: str) -> list[str]:
    """The lines of ``pgbackrest verify --output=text --verbose`` that tell of a file that is not as it was written."""
    problems = [] if "status: " in report else ["nothing was verified: found no status; expected status: ok"]
    for line in map(str.strip, report.splitlines()):
        if line.startswith("status:") and line != "status: ok":
            problems.append(
                f"what is kept is not as it was written: found {line}; next: make a full copy, see the disk"
            )
        for part in line.split(","):
            name, _colon, count = part.strip().rpartition(": ")
            if name in FAULTS and count.isdigit() and int(count):
                problems.append(f"{count} files: {name}, by the line {line!r}")
    return problems


def ask(*words: str) -> str:
    """What pgBackRest prints; its own complaint goes to standard error. Raises CalledProcessError."""
    command = [PROGRAM, "--log-level-console=off", "--log-level-stderr=warn", *words]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def fresh(stanza: str, seconds: str) -> list[str]:
    """The problems of a stanza whose copies should be that new."""
    (info,) = json.loads(ask(f"--stanza={stanza}", "--output=json", "info"))
    return problems_of_age(info, now=time.time(), limit=int(seconds))


def verify(stanza: str) -> list[str]:
    """The problems of what a stanza keeps."""
    report = ask(f"--stanza={stanza}", "--output=text", "--verbose", "verify")
    sys.stdout.write(report)
    return problems_of_content(report)


def main(arguments: list[str]) -> int:
    """The exit code."""
    verbs: dict[str, Callable[..., list[str]]] = {"fresh": fresh, "verify": verify}
    try:
        problems = verbs[arguments[0]](*arguments[1:])
    except (KeyError, IndexError, TypeError, ValueError) as error:
        problems = [f"cannot be judged: {error!r}"]
    except (OSError, subprocess.CalledProcessError) as error:
        problems = [str(error)]
    for problem in problems:
        sys.stderr.write(f"{' '.join(arguments[:2])}: {problem}\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
