# SPDX-License-Identifier: GPL-3.0-or-later
"""manage.py enqueue: ask for a batch of jobs."""

from __future__ import annotations

import uuid
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from jobs.models import Job
from jobs.tasks import work

LIMIT = 10_000


class Command(BaseCommand):
    """Prints the batch's name, which jobs_report takes."""

    help = "Ask for a batch of jobs and print its name."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--count", type=int, default=100, help="how many jobs")
        parser.add_argument("--seconds", type=float, default=0.1, help="how long each of them works")
        parser.add_argument("--batch", default="", help="a name for them; a new one by default")

    def handle(self, *, count: int, seconds: float, batch: str, **_: Any) -> None:
        if not 1 <= count <= LIMIT:
            raise CommandError(f"--count is {count}, expected 1 to {LIMIT}.")
        name = batch or uuid.uuid4().hex[:12]
        # The rows first: a job that the queue loses is missed only if it was written down before.
        jobs = Job.objects.bulk_create([Job(batch=name, seconds=seconds) for _number in range(count)])
        for job in jobs:
            work.delay(str(job.pk))
        self.stdout.write(name)
