# SPDX-License-Identifier: GPL-3.0-or-later
"""Gunicorn's configuration: numbers from the environment, and the self-test before it says that it is ready."""

from __future__ import annotations

import signal
import sys
import time
import wsgiref.validate
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.unit.processes.test_entry import Body, load


@pytest.fixture
def config() -> ModuleType:
    return load("gunicorn.conf.py")


def test_numbers_come_from_the_environment(config: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (config.workers, config.threads, config.timeout, config.graceful_timeout) == (2, 4, 30, 60)
    for name, value in {"WEB_WORKERS": "5", "WEB_THREADS": "7", "WEB_TIMEOUT": "9", "STOP_SECONDS": "11"}.items():
        monkeypatch.setenv(f"SLIPWAY_{name}", value)
    again = load("gunicorn.conf.py")
    assert (again.workers, again.threads, again.timeout, again.graceful_timeout) == (5, 7, 9, 11)
    assert again.preload_app


def test_every_setting_is_one_that_gunicorn_knows(config: ModuleType) -> None:
    """Gunicorn passes over a name that it does not know, so a misspelt one would go unnoticed."""
    names = {name for name, value in vars(config).items() if name[0] != "_" and not isinstance(value, ModuleType)}
    assert names - {
        "annotations",
        "Any",
        "Iterator",
        "at_most",
        "health_environ",
        "self_test",
        "close_connections",
    } == {
        "accesslog",
        "control_socket_disable",
        "errorlog",
        "graceful_timeout",
        "on_starting",
        "preload_app",
        "threads",
        "timeout",
        "worker_class",
        "worker_tmp_dir",
        "workers",
    }


def test_the_request_is_one_that_an_application_accepts(config: ModuleType) -> None:
    seen: dict[str, Any] = {}

    body = Body()

    def application(environ: dict[str, Any], start_response: Any) -> Body:
        seen.update(environ)
        start_response("200 OK", [])
        return body

    said = config.self_test(application, path="/health?deep=1", host="shop.example")
    assert said.startswith("GET /health?deep=1: 200 OK in ")
    assert body.closed
    assert (seen["PATH_INFO"], seen["QUERY_STRING"], seen["HTTP_HOST"]) == ("/health", "deep=1", "shop.example")
    assert seen["HTTP_X_FORWARDED_PROTO"] == seen["wsgi.url_scheme"] == "https"
    # PEP 3333 has a checker in the standard library; it checks what it hands on, not what we keep.
    checked = wsgiref.validate.validator(
        lambda _environ, start: (start("200 OK", [("Content-Type", "text/plain")]), [b""])[1]
    )
    assert "200 OK" in config.self_test(checked, path="/health", host="shop.example")


def test_an_application_that_raises_or_refuses_does_not_end_the_start(config: ModuleType) -> None:
    def raises(_environ: Any, _start: Any) -> list[bytes]:
        raise RuntimeError("no database")

    def refuses(_environ: Any, start: Any) -> list[bytes]:
        start("503 Service Unavailable", [])
        return [b"sorry"]

    assert "RuntimeError: no database" in config.self_test(raises, path="/health", host="h")
    assert "503 Service Unavailable" in config.self_test(refuses, path="/health", host="h")
    assert "no answer" in config.self_test(lambda _environ, _start: [], path="/health", host="h")


def test_an_application_that_never_answers_does_not_hold_the_start(
    config: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "timeout", 1)
    begin = time.monotonic()
    said = config.self_test(lambda _environ, _start: time.sleep(60), path="/health", host="h")
    assert "TimeoutError: no answer within 1 s" in said
    assert time.monotonic() - begin < 10
    assert signal.getsignal(signal.SIGALRM) == signal.SIG_DFL


def test_before_it_is_ready(config: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    closed: list[bool] = []

    def application(_environ: Any, start: Any) -> list[bytes]:
        start("200 OK", [])
        return []

    server = SimpleNamespace(
        app=SimpleNamespace(wsgi=lambda: application), log=SimpleNamespace(info=lambda text, *a: lines.append(text % a))
    )
    monkeypatch.setattr(config, "close_connections", lambda: closed.append(True))
    config.on_starting(server)
    assert (lines, closed) == ([], [True])
    monkeypatch.setenv("SLIPWAY_HEALTH_PATH", "/health")
    config.on_starting(server)
    assert lines[0].startswith("self-test: GET /health: 200 OK")


def test_an_application_that_cannot_be_imported_does_end_the_start(
    config: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("does not boot")

    monkeypatch.setenv("SLIPWAY_HEALTH_PATH", "/health")
    with pytest.raises(RuntimeError, match="does not boot"):
        config.on_starting(SimpleNamespace(app=SimpleNamespace(wsgi=broken), log=SimpleNamespace(info=print)))


def test_no_connection_survives_into_the_workers(config: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[str] = []

    class Opened(list[Any]):
        def all(self, initialized_only: bool = False) -> list[Any]:
            assert initialized_only
            return self

    pooled = SimpleNamespace(close=lambda: closed.append("pooled"), close_pool=lambda: closed.append("pool"))
    plain = SimpleNamespace(close=lambda: closed.append("plain"))
    cache = SimpleNamespace(close=lambda: closed.append("cache"))
    fakes = {
        "django": ModuleType("django"),
        "django.core": ModuleType("django.core"),
        "django.db": SimpleNamespace(connections=Opened([pooled, plain])),
        "django.core.cache": SimpleNamespace(caches=Opened([cache])),
        "kombu.pools": SimpleNamespace(reset=lambda: closed.append("broker")),
    }
    config.close_connections()
    assert not closed
    for name, fake in fakes.items():
        monkeypatch.setitem(sys.modules, name, fake)
    config.close_connections()
    assert closed == ["pooled", "pool", "plain", "cache", "broker"]
