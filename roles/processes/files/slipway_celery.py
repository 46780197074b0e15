# SPDX-License-Identifier: GPL-3.0-or-later
"""Celery's worker or beat of a slot: started early, it waits until its slot receives traffic, and says what it does.

A worker of new code is up and has met the other workers before the first request reaches the new release, and takes its
first task when the route leads to its slot; it rests when the route leads elsewhere (slipway_worker.py). Beat takes its
turn when, besides, no other beat of this host is at work: a lock, which dies with the process that holds it, makes two
impossible. To systemd a worker is ready when it has met the others, so its broker is there, and beat when its code is
imported; the status line (`systemctl status`) says whether they wait or work.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import sys
import time
from typing import IO, Any

import slipway_notify

# _handover.py waits for it.
BEAT_WORKS = "sends what is due"
LOOK_EVERY = 0.05  # seconds


def in_traffic() -> bool:
    """Whether a bucket of the route leads to this slot. While the route is swapped, the second look tells.

    In a swarm there is no route to follow: what runs shall work, and the engine stops what shall not.
    """
    route, mine = os.environ.get("SLIPWAY_ROUTE", ""), f"/{os.environ['SLIPWAY_SLOT']}/web.sock"
    if not route:
        return True
    for _look in range(2):
        with contextlib.suppress(FileNotFoundError):
            return any(os.readlink(bucket.path).endswith(mine) for bucket in os.scandir(route))
    return False


def _say_waiting() -> None:
    slipway_notify.ready(f"is up, and works once {os.environ['SLIPWAY_SLOT']} receives traffic")


def _say_beat_works(**_: Any) -> None:
    slipway_notify.ready(BEAT_WORKS)


def follow_route() -> contextlib.AbstractContextManager[None]:
    """Make the worker take tasks while its slot receives traffic, and at no other time; see slipway_worker.py."""
    import slipway_worker

    slipway_worker.install(in_traffic)
    return contextlib.nullcontext()


def hold_beat(app: str) -> IO[str]:
    """Import all that beat needs, then wait for its turn; the turn lasts until the returned file is closed."""
    from celery import signals
    from celery.app.utils import find_app
    from celery.apps import beat as _beat  # noqa: F401 - imported now, so that the turn begins at once

    find_app(app).loader.init_worker()
    signals.beat_init.connect(_say_beat_works, weak=False)
    lock = open(os.environ["SLIPWAY_BEAT_LOCK"], "a")  # noqa: SIM115 - the caller closes it
    _say_waiting()
    while not (in_traffic() and _locked(lock)):
        time.sleep(LOOK_EVERY)
    return lock


def _locked(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def main() -> None:
    """Celery's own program, after the preparations for the process that it shall be."""
    from celery.__main__ import main as celery

    app, process = os.environ["SLIPWAY_CELERY_APP"], sys.argv[1]
    sys.argv = ["celery", "--app", app, *sys.argv[1:]]
    with hold_beat(app) if process == "beat" else follow_route():
        celery()


if __name__ == "__main__":
    main()
