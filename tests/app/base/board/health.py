# SPDX-License-Identifier: GPL-3.0-or-later
"""/health: is this process able to serve, and which release is it?"""

from __future__ import annotations

import logging
from collections.abc import Callable

import redis
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection
from django.http import HttpRequest, HttpResponse, JsonResponse

PATH = "/health"
BROKER_TIMEOUT_SECONDS = 1.0
logger = logging.getLogger(__name__)


class HealthMiddleware:
    """Answers /health before host names, redirects and sessions come into play."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path == PATH:
            return health()
        return self.get_response(request)


def health() -> HttpResponse:
    """503 without the database, for then no page works; a missing broker only delays tasks and stays 200."""
    database, broker = database_state(), broker_state()
    answer = {
        "status": "ok" if database == "ok" else "failing",
        "release": settings.RELEASE,
        "slot": settings.SLOT,
        "database": database,
        "broker": broker,
    }
    response = JsonResponse(answer, status=200 if database == "ok" else 503)
    response["Cache-Control"] = "no-store"
    return response


def database_state() -> str:
    """ok, or down; the reason goes to the log and not to the public."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        logger.error("health: database: %s", error)
        return "down"
    return "ok"


def broker_state() -> str:
    """ok, down, or none when no broker is configured."""
    url = settings.CELERY_BROKER_URL.replace("redis+socket://", "unix://", 1)
    if not url:
        return "none"
    timeouts = {"socket_timeout": BROKER_TIMEOUT_SECONDS, "socket_connect_timeout": BROKER_TIMEOUT_SECONDS}
    try:
        with redis.Redis.from_url(url, **timeouts) as client:
            client.ping()
    except (redis.RedisError, ValueError) as error:
        logger.error("health: broker: %s", error)
        return "down"
    return "ok"
