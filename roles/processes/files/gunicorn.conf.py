# Ansible managed
# SPDX-License-Identifier: GPL-3.0-or-later
"""Gunicorn for any application. The numbers come from the environment, so a changed number passes the same gates."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any


def _number(name: str, default: int) -> int:
    return int(os.environ.get(name) or default)


workers = _number("SLIPWAY_WEB_WORKERS", 2)
threads = _number("SLIPWAY_WEB_THREADS", 4)
timeout = _number("SLIPWAY_WEB_TIMEOUT", 30)
graceful_timeout = _number("SLIPWAY_STOP_SECONDS", 60)
worker_class = "gthread"
# Imported once, before systemd is told that we are ready: a broken application never becomes ready, and the first
# request finds everything loaded.
preload_app = True
# The heartbeat of the workers must not wait for a disk.
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
# Nginx writes the access log.
accesslog = None
errorlog = "-"
# Nobody but systemd steers this server.
control_socket_disable = True


def health_environ(path: str, host: str) -> dict[str, Any]:
    """A WSGI request for the health path, as it comes from Nginx (PEP 3333)."""
    path, _mark, query = path.partition("?")
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "SERVER_NAME": host,
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": host,
        "HTTP_USER_AGENT": "slipway-health",
        "HTTP_X_FORWARDED_PROTO": "https",
        "HTTP_X_FORWARDED_FOR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": threads > 1,
        "wsgi.multiprocess": workers > 1,
        "wsgi.run_once": False,
    }


def self_test(application: Any, *, path: str, host: str) -> str:
    """Ask for the health once, which loads what is loaded late. The answer in words: the gate judges, not we."""
    answer: list[str] = []

    def start_response(status: str, _headers: list[tuple[str, str]], *_error: Any) -> Any:
        answer.append(status)
        return lambda _data: None

    begin = time.monotonic()
    try:
        with at_most(timeout):
            body = application(health_environ(path, host), start_response)
            try:
                for _part in body:
                    pass
            finally:
                if hasattr(body, "close"):
                    body.close()
    except Exception as error:  # noqa: BLE001 - whatever it is, the gate will see it too and refuse the release
        answer.append(f"{type(error).__name__}: {error}")
    return f"GET {path}: {answer[-1] if answer else 'no answer'} in {1000 * (time.monotonic() - begin):.0f} ms"


@contextlib.contextmanager
def at_most(seconds: int) -> Iterator[None]:
    """Raise TimeoutError when the work takes longer: one that never answers must not keep us from starting."""

    def over(_signal: int, _frame: Any) -> None:
        raise TimeoutError(f"no answer within {seconds} s")

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def close_connections() -> None:
    """Close what the self-test opened: a connection that two processes share after the fork mixes up its answers."""
    if "django.db" in sys.modules:
        from django.core.cache import caches
        from django.db import connections

        for connection in connections.all(initialized_only=True):
            connection.close()
            getattr(connection, "close_pool", lambda: None)()
        for cache in caches.all(initialized_only=True):
            cache.close()
    if "kombu.pools" in sys.modules:
        sys.modules["kombu.pools"].reset()


def on_starting(server: Any) -> None:
    """Before the workers are forked and before systemd is told that we are ready."""
    path = os.environ.get("SLIPWAY_HEALTH_PATH", "")
    if path:
        host = os.environ.get("SLIPWAY_HEALTH_HOST") or "localhost"
        server.log.info("self-test: %s", self_test(server.app.wsgi(), path=path, host=host))
    with contextlib.suppress(ImportError):
        close_connections()
