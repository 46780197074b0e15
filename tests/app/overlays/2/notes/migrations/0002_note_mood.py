# SPDX-License-Identifier: GPL-3.0-or-later
"""A mood for each note; the database supplies it to whoever does not know of it."""

from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("notes", "0001_initial")]

    operations = [
        migrations.AddField(
            model_name="note",
            name="mood",
            field=models.CharField(
                choices=[("plain", "plain"), ("glad", "glad"), ("cross", "cross")],
                db_default="plain",
                default="plain",
                max_length=16,
            ),
        ),
    ]
