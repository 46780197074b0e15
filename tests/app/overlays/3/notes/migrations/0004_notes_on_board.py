# SPDX-License-Identifier: GPL-3.0-or-later
"""An index for the board's order, built while notes go on being written."""

from __future__ import annotations

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # PostgreSQL builds an index concurrently only outside a transaction.
    atomic = False

    dependencies = [("notes", "0003_note_pinned")]

    operations = [
        AddIndexConcurrently(
            model_name="note",
            index=models.Index(fields=["-pinned", "-created_at", "-id"], name="notes_on_board"),
        ),
    ]
