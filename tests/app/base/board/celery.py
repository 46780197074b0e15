# SPDX-License-Identifier: GPL-3.0-or-later
"""The Celery application (celery -A board worker, celery -A board beat)."""

from __future__ import annotations

import os
import socket
import time
from typing import Any

from celery import Celery
from celery.signals import before_task_publish

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "board.settings")

TICK = "jobs.tick"

app = Celery("board")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@app.on_after_finalize.connect
def plan_ticks(sender: Celery, **_: Any) -> None:
    """The schedule: one tick every BEAT_SECONDS."""
    from django.conf import settings

    sender.add_periodic_task(settings.BEAT_SECONDS, sender.signature(TICK), name="tick")


@before_task_publish.connect(sender=TICK)
def sign_tick(body: tuple[list[Any], dict[str, Any], dict[str, Any]], **_: Any) -> None:
    """Who publishes a tick is a beat: it signs with its own name, so that two beats at once can be told apart."""
    from django.conf import settings

    body[1].update(
        host=socket.gethostname(),
        slot=settings.SLOT,
        release=settings.RELEASE,
        pid=os.getpid(),
        sent_at=time.time(),
    )
