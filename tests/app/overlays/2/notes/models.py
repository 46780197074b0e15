# SPDX-License-Identifier: GPL-3.0-or-later
"""What the board holds."""

from __future__ import annotations

import uuid

from django.core.validators import FileExtensionValidator
from django.db import models

# Files are served from our own address: types that a browser would run as a page stay out.
ATTACHMENT_TYPES = ["gif", "jpeg", "jpg", "pdf", "png", "txt"]
MOODS = [("plain", "plain"), ("glad", "glad"), ("cross", "cross")]


def new_token() -> str:
    """A token for those who did not choose one."""
    return uuid.uuid4().hex


class Note(models.Model):
    """A note on the board."""

    author = models.CharField(max_length=80)
    text = models.TextField(max_length=2000)
    # Chosen by the sender and deliberately not unique: a note that was stored twice must be seen, not hidden.
    token = models.CharField(max_length=64, default=new_token, blank=True, db_index=True)
    attachment = models.FileField(
        upload_to="notes/%Y/%m", blank=True, validators=[FileExtensionValidator(ATTACHMENT_TYPES)]
    )
    # db_default: release 1 knows nothing of moods and must go on inserting notes while both releases run.
    mood = models.CharField(max_length=16, choices=MOODS, default="plain", db_default="plain")
    # Counted by a Celery task after the note was stored.
    word_count = models.PositiveIntegerField(null=True, editable=False)
    written_by_release = models.CharField(max_length=64, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at", "-pk"]

    def __str__(self) -> str:
        return f"{self.author}: {self.text[:40]}"
