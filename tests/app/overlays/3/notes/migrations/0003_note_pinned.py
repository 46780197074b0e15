# SPDX-License-Identifier: GPL-3.0-or-later
"""Pinned notes."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("notes", "0002_note_mood")]

    operations = [
        migrations.AddField(
            model_name="note",
            name="pinned",
            field=models.BooleanField(db_default=False, default=False),
        ),
        # Django's own bookkeeping, no SQL.
        migrations.AlterModelOptions(name="note", options={"ordering": ["-pinned", "-created_at", "-pk"]}),
    ]
