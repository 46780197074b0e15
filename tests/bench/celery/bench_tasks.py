# SPDX-License-Identifier: GPL-3.0-or-later
"""The application whose workers are replaced: tasks that write down when they begin and when they end."""

from __future__ import annotations

import os
import time
from typing import Any

import redis
from celery import Celery, signals

URL = os.environ["BENCH_URL"]
ACK = os.environ["BENCH_ACK"]

app = Celery("bench_tasks", broker=URL)
app.conf.update(
    broker_connection_retry_on_startup=True,
    task_acks_late=ACK != "early",
    task_reject_on_worker_lost=True if ACK == "late, reject" else None,
    worker_soft_shutdown_timeout=float(os.environ.get("BENCH_SOFT", "0")),
    broker_transport_options={"visibility_timeout": int(os.environ["BENCH_VISIBILITY"])},
)
book = redis.Redis.from_url(URL)


@app.task
def work(number: int, seconds: float) -> None:
    """One task."""
    book.hincrby("begun", str(number), 1)
    time.sleep(seconds)
    book.hincrby("done", str(number), 1)
    book.set("last", time.time())


@signals.worker_ready.connect
def ready(**_: Any) -> None:
    """A worker takes tasks."""
    book.incr("ready")
