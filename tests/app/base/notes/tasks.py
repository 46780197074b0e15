# SPDX-License-Identifier: GPL-3.0-or-later
"""Work that a reader need not wait for."""

from __future__ import annotations

from celery import shared_task

from notes.models import Note


@shared_task(name="notes.count_words")
def count_words(note_id: int) -> None:
    """Harmless when it runs twice: the same note gives the same count."""
    note = Note.objects.get(pk=note_id)
    Note.objects.filter(pk=note_id).update(word_count=len(note.text.split()))
