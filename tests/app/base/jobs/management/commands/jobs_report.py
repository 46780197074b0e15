# SPDX-License-Identifier: GPL-3.0-or-later
"""manage.py jobs_report: what became of a batch, and of the beats."""

from __future__ import annotations

import datetime
import json
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand
from django.utils import timezone

from jobs.audit import audit_beats, audit_jobs


class Command(BaseCommand):
    """Prints one JSON object."""

    help = "Print, as JSON, what became of a batch of jobs and which beats ticked."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--batch", default="", help="the name that enqueue printed")
        parser.add_argument("--minutes", type=float, default=60, help="how far to look back for beats")

    def handle(self, *, batch: str, minutes: float, **_: Any) -> None:
        since = timezone.now() - datetime.timedelta(minutes=minutes)
        report = {"jobs": audit_jobs(batch=batch), "beats": audit_beats(since=since)}
        self.stdout.write(json.dumps(report, indent=2))
