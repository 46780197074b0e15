# SPDX-License-Identifier: GPL-3.0-or-later
"""The first tables."""

from __future__ import annotations

import django.core.validators
from django.db import migrations, models

import notes.models


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Note",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("author", models.CharField(max_length=80)),
                ("text", models.TextField(max_length=2000)),
                ("token", models.CharField(blank=True, db_index=True, default=notes.models.new_token, max_length=64)),
                (
                    "attachment",
                    models.FileField(
                        blank=True,
                        upload_to="notes/%Y/%m",
                        validators=[
                            django.core.validators.FileExtensionValidator(["gif", "jpeg", "jpg", "pdf", "png", "txt"])
                        ],
                    ),
                ),
                ("word_count", models.PositiveIntegerField(editable=False, null=True)),
                ("written_by_release", models.CharField(editable=False, max_length=64)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "ordering": ["-created_at", "-pk"],
            },
        ),
    ]
