# SPDX-License-Identifier: GPL-3.0-or-later
"""The entry for Gunicorn: board.wsgi:application."""

from __future__ import annotations

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "board.settings")
# Gunicorn's threads live on and may keep their connections. Under ASGI each request has a thread of its own, and a
# kept connection would never be used again: there the default of the settings, none, is right.
os.environ.setdefault("DATABASE_KEEP_SECONDS", "60")
application = get_wsgi_application()
