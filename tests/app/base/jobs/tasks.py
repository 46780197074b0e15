# SPDX-License-Identifier: GPL-3.0-or-later
"""The background work."""

from __future__ import annotations

import datetime
import os
import time

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from board.celery import TICK
from jobs.models import Job, JobRun, Tick

TICKS_KEPT = datetime.timedelta(days=1)


@shared_task(name="jobs.work")
def work(job_id: str) -> None:
    """Do a job: a row when it begins, completed when it ends."""
    job = Job.objects.get(pk=job_id)
    run = JobRun.objects.create(job=job, release=settings.RELEASE, slot=settings.SLOT, pid=os.getpid())
    time.sleep(job.seconds)
    run.finished_at = timezone.now()
    run.save(update_fields=["finished_at"])


# typing: the arguments are added while it is published, see board.celery.sign_tick.
@shared_task(name=TICK, typing=False)
def tick(*, host: str, slot: str, release: str, pid: int, sent_at: float) -> None:
    """Note that a beat lives, and forget what is old."""
    moment = datetime.datetime.fromtimestamp(sent_at, tz=datetime.UTC)
    Tick.objects.create(host=host, slot=slot, release=release, pid=pid, sent_at=moment)
    Tick.objects.filter(sent_at__lt=moment - TICKS_KEPT).delete()
