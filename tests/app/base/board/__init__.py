# SPDX-License-Identifier: GPL-3.0-or-later
"""The project package: settings, entry points and what concerns the whole site."""

from __future__ import annotations

from board.celery import app as celery_app

__all__ = ["celery_app"]
