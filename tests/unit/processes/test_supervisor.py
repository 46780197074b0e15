# SPDX-License-Identifier: GPL-3.0-or-later
"""A container is stopped whether the engine answers or not; the engine here is a script."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from types import ModuleType

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from tests.unit.processes.test_entry import FILES

# `docker wait` hangs while the engine is away, and says the exit code when it is there.
DOCKER = """#!/bin/sh
echo "$@" >>{log}
case $1 in wait) {wait} ;; esac
"""


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(FILES))
    import slipway_container.supervisor as module

    monkeypatch.setattr(module, "TELLS_WITHIN", 0.3)
    loaded: ModuleType = module
    return loaded


@pytest.mark.parametrize(
    ("wait", "removed"), [("exec sleep 60", False), ("while test -e {child}; do :; done; echo 143", True)]
)
def test_the_process_is_asked_to_stop_also_while_the_engine_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, supervisor: ModuleType, wait: str, removed: bool
) -> None:
    log, docker = tmp_path / "asked", tmp_path / "docker"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    one = supervisor.Supervisor(Layout("shop", prefix=str(tmp_path)), process="web", slot="blue")
    one.ready = True
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ear,
        subprocess.Popen(["sleep", "60"]) as child,
    ):
        alive = tmp_path / "alive"
        alive.touch()
        docker.write_text(DOCKER.format(log=log, wait=wait.format(child=alive)))
        docker.chmod(0o755)
        threading.Thread(target=lambda: (child.wait(), alive.unlink()), daemon=True).start()
        one._life = os.pidfd_open(child.pid)
        threading.Timer(0.3, one._stop, (signal.SIGTERM, None)).start()
        began = time.monotonic()
        assert one._watch(ear) == 0
        assert time.monotonic() - began < 20
        assert child.returncode == -signal.SIGTERM
    asked = log.read_text().splitlines()
    assert not [words for words in asked if words.startswith("stop")]
    assert ("rm --force shop-web-blue" in asked) is removed


def test_without_a_handle_the_engine_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, supervisor: ModuleType
) -> None:
    log, docker = tmp_path / "asked", tmp_path / "docker"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    docker.write_text(DOCKER.format(log=log, wait="echo 0"))
    docker.chmod(0o755)
    one = supervisor.Supervisor(Layout("shop", prefix=str(tmp_path)), process="web", slot="blue")
    one._stop(signal.SIGTERM, None)
    one._stopping.wait(20)
    assert log.read_text().startswith("stop -t ")
