# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One build of a repository at a time on a host: who has it, and where the login of that build is.

A build is many tasks, between which no process of it is on the host that could hold an flock(2). So a directory is the
lock. Who has it is alive as long as processes of it turn up: each task of a build has ``MARK`` in its environment, and
hands it down. Whoever comes next watches for ``PATIENCE`` seconds, and takes the place of one that shows none; it was
killed, be it by the controller's end. The directory is in memory, so that a login in it does not outlive a boot.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import locked, read_json, write_atomically
from ansible_collections.slipway.webapp.plugins.module_utils._host import iso_time
from ansible_collections.slipway.webapp.plugins.module_utils._image_names import DIGITS, familiar
from ansible_collections.slipway.webapp.plugins.module_utils._plan import Step, carry_out
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Clock

MARK = "SLIPWAY_BUILD"
# Between two tasks the controller asks for seconds, over a slow line too. What takes longer, the source on its way to
# the host, comes before.
PATIENCE = 60.0
_LOOK = 0.5  # seconds between two looks
_RECORD = "build.json"


@dataclass(frozen=True)
class Lock:
    """Who builds, since when (seconds since the epoch), and the directory for the login of that build."""

    owner: str
    by: str
    since: float
    path: str

    def shown(self) -> dict[str, str]:
        return {"owner": self.owner, "by": self.by, "since": iso_time(self.since)}


def place_of(repository: str, *, prefix: str = "") -> str:
    """The directory that is the lock; the same for all ways to write a repository."""
    digits = hashlib.sha256(familiar(repository).encode()).hexdigest()[:DIGITS]
    return f"{prefix}/run/slipway-image-{digits}"


def read(place: str) -> Lock | None:
    """Who has it; None where nobody does. Whoever died while taking it has left no whole record, and no login."""
    try:
        value = read_json(os.path.join(place, _RECORD))
        return Lock(str(value["owner"]), str(value["by"]), float(value["since"]), str(value["path"]))
    except (SlipwayError, KeyError, TypeError, ValueError):
        return None


def at_work(owner: str, *, prefix: str = "") -> str:
    """A process of the build of ``owner``, as 'docker-buildx (process 4711)'; '' where there is none at this moment."""
    wanted = f"{MARK}={owner}".encode()
    for number in filter(str.isdigit, os.listdir(f"{prefix}/proc")):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            with open(f"{prefix}/proc/{number}/environ", "rb") as stream:
                marked = wanted in stream.read().split(b"\0")
            if marked:
                with open(f"{prefix}/proc/{number}/comm", encoding="utf-8", errors="replace") as stream:
                    return f"{stream.read().strip()} (process {number})"
    return ""


def _seen(owner: str, clock: Clock, *, prefix: str, patience: float) -> str:
    """The first process of that build that turns up within ``patience`` seconds; '' for none."""
    deadline = clock.monotonic() + patience
    while True:
        found = at_work(owner, prefix=prefix)
        if found or clock.monotonic() >= deadline:
            return found
        clock.sleep(_LOOK)


def _refuse(repository: str, there: Lock, process: str) -> None:
    raise SlipwayError(
        f"Another build of {repository} is at work on this host",
        found=f"that of {there.by or there.owner}, since {iso_time(there.since)}: {process}",
        expected="one build of a repository at a time on a host",
        next_step="wait until it has ended, then run the same command again; if nobody needs it, end that process",
        details={"lock": there.shown()},
    )


@contextlib.contextmanager
def _alone(place: str, repository: str, *, check_mode: bool) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        if not check_mode:
            wait = PATIENCE + 15  # somebody else may be watching
            stack.enter_context(locked(f"{place}.lock", wait_seconds=wait, what=f"a build of {repository}"))
        yield


def _take(place: str, *, owner: str, by: str, now: float) -> None:
    os.mkdir(place, 0o700)
    lock = Lock(owner, by, now, tempfile.mkdtemp(prefix="login-", dir=place))
    write_atomically(os.path.join(place, _RECORD), json.dumps(asdict(lock)).encode() + b"\n", mode=0o600)


def hold(
    repository: str, *, owner: str, by: str, clock: Clock, prefix: str = "", check_mode: bool = False
) -> dict[str, Any]:
    """Take the repository for the build of ``owner``, or refuse; a module's result. In check mode nobody waits."""
    place = place_of(repository, prefix=prefix)
    with _alone(place, repository, check_mode=check_mode):
        there = read(place)
        if there and there.owner == owner:
            return _result([], there)
        patience = 0.0 if check_mode else PATIENCE
        process = _seen(there.owner, clock, prefix=prefix, patience=patience) if there else ""
        if there and process:
            _refuse(repository, there, process)
        left = f"remove what a build has left that {'was killed' if there else 'hardly began'}"
        steps = [Step("clear", left)] if os.path.lexists(place) else []
        steps.append(Step("take", f"take {repository} for this build"))

        def do(step: Step) -> None:
            if step.name == "clear":
                shutil.rmtree(place)
            else:
                _take(place, owner=owner, by=by, now=clock.now())

        actions = carry_out(steps, do, check_mode=check_mode)
        return _result(actions, None if check_mode else read(place))


def release(repository: str, *, owner: str, prefix: str = "", check_mode: bool = False) -> dict[str, Any]:
    """Give it back, with all that is in its directory; a module's result. That of another owner is left alone."""
    place = place_of(repository, prefix=prefix)
    with _alone(place, repository, check_mode=check_mode):
        there = read(place)
        mine = there is not None and there.owner == owner
        steps = [Step("give back", f"give {repository} back")] if mine else []
        actions = carry_out(steps, lambda _step: shutil.rmtree(place), check_mode=check_mode)
        return _result(actions, None if mine else there)


def _result(actions: list[str], lock: Lock | None) -> dict[str, Any]:
    return {
        "changed": bool(actions),
        "actions": actions,
        "path": lock.path if lock else "",
        "lock": lock.shown() if lock else None,
    }
