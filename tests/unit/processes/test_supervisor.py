# SPDX-License-Identifier: GPL-3.0-or-later
"""A container is stopped whether the engine answers or not; the engine here is a script."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
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


def note_end(child: subprocess.Popen[bytes], alive: Path) -> None:
    child.wait()
    alive.unlink(missing_ok=True)


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
        threading.Thread(target=note_end, args=(child, alive), daemon=True).start()
        one._life = os.pidfd_open(child.pid)
        threading.Timer(0.3, one._stop, (signal.SIGTERM, None)).start()
        began = time.monotonic()
        assert one._watch(ear) == 0
        assert time.monotonic() - began < 20
        assert child.returncode == -signal.SIGTERM
    asked = log.read_text().splitlines()
    assert not [words for words in asked if words.startswith("stop")]
    assert ("rm --force shop-web-blue" in asked) is removed


def test_an_image_that_the_engine_has_not_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, supervisor: ModuleType
) -> None:
    docker = tmp_path / "docker"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    docker.write_text("#!/bin/sh\necho 'Error response from daemon: No such image: shop@sha256:1' >&2\nexit 1\n")
    docker.chmod(0o755)
    one = supervisor.Supervisor(Layout("shop", prefix=str(tmp_path)), process="web", slot="blue")
    with pytest.raises(SlipwayError, match="has not the image of the blue slot of shop") as caught:
        one._create(SimpleNamespace(image="shop@sha256:1", arguments=lambda _options: []), None)
    assert "No such image: shop@sha256:1" in caught.value.found
    assert "deploy the release again" in caught.value.next_step


# The stop of a container that was only created does nothing, and is well.
EARLY = """#!/bin/sh
echo "$@" >>{log}
case $1 in
    start) kill -TERM $PPID; sleep 0.5 ;;
    inspect) echo {inspected} ;;
    wait) while test -e {alive}; do sleep 0.05; done; echo 143 ;;
    stop) grep -q ^inspect {log} && rm -f {alive} ;;
esac
exit 0
"""


@pytest.mark.parametrize("held", [True, False])
def test_a_stop_that_comes_while_the_container_is_started_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, supervisor: ModuleType, held: bool
) -> None:
    log, docker, alive = tmp_path / "asked", tmp_path / "docker", tmp_path / "alive"
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    layout = Layout("shop", prefix=str(tmp_path))
    for path in (layout.slot_env("blue"), layout.notify("web", "blue"), layout.container_options):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    Path(layout.slot_env("blue")).write_text("")
    Path(layout.container_options).write_text("{}")
    monkeypatch.setattr(supervisor, "read_record", lambda _path: SimpleNamespace(image="shop@sha256:1"))
    monkeypatch.setattr(pwd, "getpwnam", lambda _name: SimpleNamespace(pw_uid=os.getuid(), pw_gid=os.getgid()))
    monkeypatch.setattr(os, "chown", lambda *_words: None)
    before = signal.getsignal(signal.SIGTERM)
    with subprocess.Popen(["sleep", "60"]) as child:
        alive.touch()
        docker.write_text(EARLY.format(log=log, alive=alive, inspected=child.pid if held else "nothing"))
        docker.chmod(0o755)
        threading.Thread(target=note_end, args=(child, alive), daemon=True).start()
        limit = threading.Timer(20, child.kill)  # what is not told to stop ends in the end
        limit.start()
        try:
            began = time.monotonic()
            assert supervisor.Supervisor(layout, process="web", slot="blue").run(["python"]) == 0
            assert time.monotonic() - began < 10
        finally:
            signal.signal(signal.SIGTERM, before)
            limit.cancel()
            child.kill()
        if held:
            assert child.wait() == -signal.SIGTERM
    told = [words.split()[0] for words in log.read_text().splitlines()]
    assert told.count("stop") == (1 if held else 2), told


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
