# SPDX-License-Identifier: GPL-3.0-or-later
"""Uvicorn and Celery: started with the right words, and ready only when they are."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from tests.unit.processes.test_entry import FILES, load


@pytest.fixture(autouse=True)
def neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files import each other by name, as on a host."""
    monkeypatch.syspath_prepend(str(FILES))
    for name in ("slipway_entry", "slipway_notify"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    address = "\0slipway-test" if kind == "abstract" else str(tmp_path / "n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(address)
        systemd.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", address.replace("\0", "@"))
        load("slipway_notify.py").ready("takes tasks")
        assert systemd.recv(100) == b"READY=1\nSTATUS=takes tasks"


def test_without_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    load("slipway_notify.py").ready("nobody listens")


def fake_celery(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    seen: dict[str, Any] = {}
    signals = SimpleNamespace(
        worker_ready=SimpleNamespace(connect=lambda call: seen.update(worker=call)),
        beat_init=SimpleNamespace(connect=lambda call: seen.update(beat=call)),
    )
    package = ModuleType("celery")
    package.signals = signals  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "celery", package)
    main = SimpleNamespace(main=lambda: seen.update(argv=list(sys.argv)))
    monkeypatch.setitem(sys.modules, "celery.__main__", main)
    return seen


def test_celery_says_ready_when_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = fake_celery(monkeypatch)
    monkeypatch.setenv("SLIPWAY_CELERY_APP", "shop")
    monkeypatch.setattr(sys, "argv", ["slipway_celery", "worker", "--concurrency", "2"])
    module = load("slipway_celery.py")
    said: list[str] = []
    monkeypatch.setattr(module.slipway_notify, "ready", said.append)
    module.main()
    assert seen["argv"] == ["celery", "--app", "shop", "worker", "--concurrency", "2"]
    assert not said, "nothing is ready before Celery says so"
    seen["worker"](sender=None)
    seen["beat"](sender=None)
    assert said == ["takes tasks", "sends what is due"]


def test_uvicorn_is_ready_only_with_an_application(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    said: list[str] = []
    served: list[list[str]] = []
    serve = SimpleNamespace(main=lambda: served.append(list(sys.argv)))
    monkeypatch.setitem(sys.modules, "uvicorn", ModuleType("uvicorn"))
    monkeypatch.setitem(sys.modules, "uvicorn.main", serve)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["slipway_uvicorn", "--uds", "/run/shop/green/web.sock", "--workers", "2"])
    module = load("slipway_uvicorn.py")
    monkeypatch.setattr(module.slipway_notify, "ready", said.append)
    monkeypatch.setenv("SLIPWAY_APPLICATION", "uvicorn_test_app:application")
    with pytest.raises(ModuleNotFoundError):
        module.main()
    assert (said, served) == ([], [])
    (tmp_path / "uvicorn_test_app.py").write_text("application = object()\n")
    module.main()
    assert len(said) == 1
    assert served[0][:2] == ["uvicorn", "slipway_entry:asgi"]
    assert served[0][-4:] == ["--uds", "/run/shop/green/web.sock", "--workers", "2"]
