# SPDX-License-Identifier: GPL-3.0-or-later
"""All addresses of the site; /health is answered before them, see board.health."""

from __future__ import annotations

from django.conf import settings
from django.conf.urls.static import static
from django.urls import path

from notes import views

urlpatterns = [
    path("", views.index, name="index"),
    path("notes", views.notes, name="notes"),
    path("slow", views.slow, name="slow"),
    # For a laptop only: empty unless DEBUG, elsewhere the web server has these files.
    *static(settings.MEDIA_URL, document_root=settings.MEDIA_ROOT),
]
