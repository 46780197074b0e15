# SPDX-License-Identifier: GPL-3.0-or-later
"""The tools that migrations are written for, behind one interface (base.Adapter)."""

from __future__ import annotations

import os

from slipway_migrate.request import Request

from . import environment
from .base import Adapter


def make(request: Request) -> Adapter:
    """The adapter that the request names, imported only then: a release has Django or Alembic, seldom both."""
    if request.scratch:
        environment.redirect(request.scratch)
    if request.adapter == "django":
        from .django import DjangoAdapter

        return DjangoAdapter(request.settings_module, request.database, scratch=request.scratch)
    if request.adapter == "alembic":
        from .alembic import AlembicAdapter

        return AlembicAdapter(request.alembic.get("config", "alembic.ini"), scratch=request.scratch)
    from .command import CommandAdapter

    return CommandAdapter(request.command, dict(os.environ))
