# SPDX-License-Identifier: GPL-3.0-or-later
"""The application notes."""

from __future__ import annotations

from django.apps import AppConfig


class NotesConfig(AppConfig):
    """Registers the application."""

    name = "notes"
