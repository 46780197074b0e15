# SPDX-License-Identifier: GPL-3.0-or-later
"""A record of background work that can be audited: was anything lost, was anything done twice?"""

from __future__ import annotations

import uuid

from django.db import models


class Job(models.Model):
    """A job that was asked for."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    batch = models.CharField(max_length=64, db_index=True)
    seconds = models.FloatField(help_text="How long the work takes.")
    created_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.batch}/{self.pk}"


class JobRun(models.Model):
    """One attempt at a job. Nothing keeps a second one out: doubled work must be seen, not hidden."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="runs")
    release = models.CharField(max_length=64)
    slot = models.CharField(max_length=16)
    pid = models.PositiveIntegerField()
    started_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"{self.job_id} in {self.slot}"


class Tick(models.Model):
    """A sign of life of a beat, signed by that beat's own process."""

    host = models.CharField(max_length=255)
    slot = models.CharField(max_length=16)
    release = models.CharField(max_length=64)
    pid = models.PositiveIntegerField()
    sent_at = models.DateTimeField(db_index=True)
    received_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.host}/{self.slot}/{self.pid} at {self.sent_at:%H:%M:%S}"
