# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a host, in a release's Python: asks for one job after the other until it is told to end; prints JSON."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading

import django

SECONDS_BETWEEN = 0.5
SHORT, LONG = 0.1, 2.0
EACH = 15  # one in so many is long


def feed(batch: str, end: threading.Event) -> dict[str, list[str]]:
    """The jobs that the queue has taken, and those of which nobody knows whether it has."""
    from django.db import connections
    from jobs.models import Job
    from jobs.tasks import work

    sent: list[str] = []
    doubtful: list[str] = []
    while not end.wait(SECONDS_BETWEEN):
        key = ""
        try:
            job = Job.objects.create(batch=batch, seconds=SHORT if (len(sent) + 1) % EACH else LONG)
            key = str(job.pk)
            work.delay(key)
        except Exception as error:  # noqa: BLE001 (database or queue are down, in whatever way: that is what is tested)
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            doubtful += [key] if key else []
            connections.close_all()
        else:
            sent.append(key)
    return {"sent": sent, "doubtful": doubtful}


def main() -> None:
    end = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: end.set())
    sys.path.insert(0, os.getcwd())
    django.setup()
    print(json.dumps(feed(sys.argv[1], end)), flush=True)


if __name__ == "__main__":
    main()
