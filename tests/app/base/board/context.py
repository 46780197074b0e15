# SPDX-License-Identifier: GPL-3.0-or-later
"""What every template may show."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest


def deployment(_request: HttpRequest) -> dict[str, str]:
    """Which release answers, and from which slot."""
    return {"release": settings.RELEASE, "slot": settings.SLOT}
