# SPDX-License-Identifier: GPL-3.0-or-later
"""Uvicorn and Celery: started with the right words, and ready only when they are."""

from __future__ import annotations

import fcntl
import os
import socket
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._handover import WORKS
from tests.unit.processes.test_entry import FILES, load


@pytest.fixture(autouse=True)
def neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The files import each other by name, as on a host."""
    monkeypatch.syspath_prepend(str(FILES))
    for name in ("slipway_entry", "slipway_notify", "slipway_worker"):
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


@dataclass
class Celery:
    """As much of Celery as the starter touches."""

    listeners: dict[str, Callable[..., None]] = field(default_factory=dict)
    requires: tuple[Any, ...] = ("mingle",)
    initialized: list[str] = field(default_factory=list)
    argv: list[str] = field(default_factory=list)
    shutdown: type[Exception] | None = None

    def signal(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(connect=lambda call, weak: self.listeners.update({name: call}) or weak)

    def maybe_shutdown(self) -> None:
        if self.shutdown:
            raise self.shutdown

    def find_app(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(loader=SimpleNamespace(init_worker=lambda: self.initialized.append(name)))

    def modules(self) -> dict[str, Any]:
        signals = ("worker_ready", "beat_init")
        tasks = SimpleNamespace(Tasks=self)
        return {
            "celery": SimpleNamespace(
                bootsteps=SimpleNamespace(StartStopStep=object),
                signals=SimpleNamespace(**{name: self.signal(name) for name in signals}),
            ),
            "celery.__main__": SimpleNamespace(main=lambda: self.argv.extend(sys.argv)),
            "celery.worker": SimpleNamespace(
                state=SimpleNamespace(maybe_shutdown=self.maybe_shutdown, reserved_requests=[])
            ),
            "celery.worker.consumer": SimpleNamespace(mingle=SimpleNamespace(Mingle="mingle"), tasks=tasks),
            "celery.app.utils": SimpleNamespace(find_app=self.find_app),
            "celery.apps": SimpleNamespace(beat=None),
        }


@dataclass
class Starter:
    """The starter of green, and what it said."""

    module: Any
    celery: Celery
    route: Path
    said: list[str]

    def lead_to(self, slot: str) -> None:
        bucket = self.route / "00.sock"
        bucket.unlink(missing_ok=True)
        bucket.symlink_to(f"/run/shop/{slot}/web.sock")


@pytest.fixture
def starter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Starter:
    celery = Celery()
    said: list[str] = []
    for name, module in celery.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    route = tmp_path / "route"
    route.mkdir()
    own = {"CELERY_APP": "shop", "SLOT": "green", "ROUTE": str(route), "BEAT_LOCK": str(tmp_path / "lock")}
    for name, value in own.items():
        monkeypatch.setenv(f"SLIPWAY_{name}", value)
    module = load("slipway_celery.py")
    monkeypatch.setattr(module.slipway_notify, "ready", said.append)
    return Starter(module=module, celery=celery, route=route, said=said)


def waits(work: Callable[[], object]) -> threading.Thread:
    """The thread in which the work is seen to wait."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    return thread


def test_only_the_slot_that_the_route_leads_to_is_in_traffic(starter: Starter) -> None:
    assert not starter.module.in_traffic(), "before the first switch"
    starter.lead_to("blue")
    assert not starter.module.in_traffic()
    (starter.route / "02.sock").symlink_to("/run/green/blue/web.sock")
    assert not starter.module.in_traffic(), "that is the application's name"
    starter.lead_to("green")
    assert starter.module.in_traffic()
    (starter.route / "01.sock").symlink_to("/run/shop/blue/web.sock")
    assert starter.module.in_traffic(), "one bucket is enough"
    starter.route.rename(starter.route.with_name("gone"))
    assert not starter.module.in_traffic(), "while the route is swapped"


def test_a_worker_takes_no_task_before_its_slot_is_live(starter: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["slipway_celery", "worker", "--concurrency", "2"])
    starter.module.main()
    assert starter.celery.argv == ["celery", "--app", "shop", "worker", "--concurrency", "2"]
    mingle, hold = starter.celery.requires
    assert (mingle, hold.requires) == ("mingle", ("mingle",))
    starter.lead_to("blue")
    thread = waits(lambda: hold().start(None))
    starter.lead_to("green")
    thread.join(5)
    assert not thread.is_alive()
    starter.lead_to("blue")
    starter.celery.shutdown = InterruptedError
    with pytest.raises(InterruptedError):
        hold().start(None)


def test_a_worker_says_what_it_does(starter: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["slipway_celery", "worker"])
    starter.module.main()
    assert starter.said == [], "nothing is ready before Celery says so"
    _mingle, hold = starter.celery.requires
    thread = waits(lambda: hold().start(None))
    assert starter.said == ["is up, and works once green receives traffic"]
    starter.lead_to("green")
    thread.join(5)
    with monkeypatch.context() as patch:
        patch.setattr("signal.signal", lambda *_: None)
        starter.celery.listeners["worker_ready"](sender=None)
    starter.lead_to("blue")
    hold().start(None)  # its broker was away for a while: what it holds must go on
    assert starter.said[1:] == [WORKS["worker"]]


def test_beat_has_its_turn_when_its_slot_is_live_and_the_other_is_gone(
    starter: Starter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["slipway_celery", "beat"])
    starter.lead_to("blue")
    with open(os.environ["SLIPWAY_BEAT_LOCK"], "a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        thread = waits(starter.module.main)
        assert (starter.celery.initialized, starter.said) == (
            ["shop"],
            ["is up, and works once green receives traffic"],
        )
        starter.lead_to("green")
        thread.join(0.2)
        assert starter.celery.argv == [], "another beat is at work"
    thread.join(5)
    assert starter.celery.argv == ["celery", "--app", "shop", "beat"]
    starter.celery.listeners["beat_init"](sender=None)
    assert starter.said[-1] == WORKS["beat"]


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
