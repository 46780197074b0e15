# SPDX-License-Identifier: GPL-3.0-or-later
"""The application jobs."""

from __future__ import annotations

from django.apps import AppConfig


class JobsConfig(AppConfig):
    """Registers the application."""

    name = "jobs"
