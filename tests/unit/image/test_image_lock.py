# SPDX-License-Identifier: GPL-3.0-or-later
"""One build of a repository at a time on a host: who is refused, and whose place is taken."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _image_lock as lock
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from tests.unit.fakes import Crash, FakeClock

SHOP = "registry.example.org/shop"


@dataclass
class Builder:
    """A host on which builds are at work. ``appears`` are processes by the moment at which they turn up."""

    root: Path
    clock: FakeClock = field(default_factory=FakeClock)
    appears: dict[float, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("proc/self", "proc/1", "run"):
            (self.root / name).mkdir(parents=True)
        (self.root / "proc/1/environ").write_bytes(b"PATH=/bin\0")
        self.clock.sleep = self._sleep  # type: ignore[method-assign]

    def _sleep(self, seconds: float) -> None:
        self.clock.time += seconds
        for moment, owner in self.appears.items():
            if self.clock.time >= moment:
                self.process(owner)

    def process(self, owner: str, number: int = 4711, name: str = "docker-buildx") -> None:
        """A process of that build."""
        place = self.root / "proc" / str(number)
        place.mkdir(exist_ok=True)
        (place / "environ").write_bytes(f"A=b\0{lock.MARK}={owner}\0C=d\0".encode())
        (place / "comm").write_text(f"{name}\n")

    def hold(self, owner: str, by: str = "anna@desk", repository: str = SHOP, **options: Any) -> dict[str, Any]:
        return lock.hold(repository, owner=owner, by=by, clock=self.clock, prefix=str(self.root), **options)

    def release(self, owner: str, **options: Any) -> dict[str, Any]:
        return lock.release(SHOP, owner=owner, prefix=str(self.root), **options)

    @property
    def directories(self) -> list[str]:
        """What is in /run, but for what is locked while the lock is taken."""
        return [path.name for path in (self.root / "run").iterdir() if path.is_dir()]


@pytest.fixture
def host(tmp_path: Path) -> Builder:
    return Builder(tmp_path)


def test_nobody_builds(host: Builder) -> None:
    taken = host.hold("run-1")
    assert taken["actions"] == [f"take {SHOP} for this build"]
    assert taken["lock"] == {"owner": "run-1", "by": "anna@desk", "since": "2027-01-15T08:00:00Z"}
    assert os.listdir(taken["path"]) == []
    for path in (taken["path"], os.path.dirname(taken["path"])):
        assert os.stat(path).st_mode & 0o777 == 0o700
    assert host.hold("run-1") == {**taken, "changed": False, "actions": []}
    assert host.clock.time == FakeClock.time, "nobody has to be waited for"


def test_it_is_given_back_with_the_login(host: Builder) -> None:
    taken = host.hold("run-1")
    (Path(taken["path"]) / "config.json").write_text("{}")
    (Path(taken["path"]) / "cli-plugins").symlink_to(host.root / "proc")
    assert host.release("run-1")["changed"]
    assert host.directories == []
    assert (host.root / "proc" / "1").is_dir()
    assert not host.release("run-1")["changed"]
    assert host.hold("run-2")["actions"] == [f"take {SHOP} for this build"]


def test_one_that_is_at_work_is_not_disturbed(host: Builder) -> None:
    taken = host.hold("run-1")
    host.process("run-1")
    host.clock.time += 3600
    with pytest.raises(SlipwayError) as caught:
        host.hold("run-2", by="bert@ci")
    assert str(caught.value).splitlines() == [
        f"Another build of {SHOP} is at work on this host",
        "found: that of anna@desk, since 2027-01-15T08:00:00Z: docker-buildx (process 4711)",
        "expected: one build of a repository at a time on a host",
        "next: wait until it has ended, then run the same command again; if nobody needs it, end that process",
    ]
    assert caught.value.details == {"lock": taken["lock"]}
    assert host.clock.time == FakeClock.time + 3600, "it was seen at once"
    assert not host.release("run-2")["changed"]
    assert os.path.isdir(taken["path"])


@pytest.mark.parametrize("seconds", [1, 20, lock.PATIENCE - 1])
def test_one_that_is_between_two_tasks_is_not_disturbed(host: Builder, seconds: float) -> None:
    host.hold("run-1")
    host.appears[host.clock.time + seconds] = "run-1"
    with pytest.raises(SlipwayError, match="is at work on this host"):
        host.hold("run-2")


def test_one_that_was_killed_makes_room(host: Builder) -> None:
    login = Path(host.hold("run-1")["path"]) / "config.json"
    login.write_text("secret")
    host.process("run-0")  # of a build before that one, which does not use this login
    began = host.clock.time
    taken = host.hold("run-2", by="bert@ci")
    assert taken["actions"] == ["remove what a build has left that was killed", f"take {SHOP} for this build"]
    assert (taken["lock"]["by"], login.exists(), len(host.directories)) == ("bert@ci", False, 1)
    assert lock.PATIENCE <= host.clock.time - began <= lock.PATIENCE + 1


def test_who_comes_back_after_it_was_given_up_takes_nothing_away(host: Builder) -> None:
    gone, taken = host.hold("run-1"), host.hold("run-2")
    assert gone["path"] != taken["path"]
    assert not host.release("run-1")["changed"]
    assert os.path.isdir(taken["path"])


@pytest.mark.parametrize("at", ["mkdtemp", "write_atomically"])
def test_who_dies_while_it_is_taken_leaves_no_lock(host: Builder, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    def dies(*_given: Any, **_options: Any) -> None:
        raise Crash

    with monkeypatch.context() as planted:
        planted.setattr(tempfile if at == "mkdtemp" else lock, at, dies)
        with pytest.raises(Crash):
            host.hold("run-1")
    assert host.hold("run-2")["actions"][0] == "remove what a build has left that hardly began"
    assert host.clock.time == FakeClock.time


@pytest.mark.parametrize("text", ["", "[]", "{", '{"owner": "run-1"}'])
def test_a_record_that_is_not_whole_is_nobodys(host: Builder, text: str) -> None:
    record = Path(host.hold("run-1")["path"]).parent / "build.json"
    record.write_text(text)
    assert host.hold("run-2")["lock"]["owner"] == "run-2"


def test_another_repository_is_another_lock(host: Builder) -> None:
    host.hold("run-1")
    host.process("run-1")
    assert host.hold("run-2", repository="registry.example.org/front")["changed"]
    assert len(host.directories) == 2


def test_a_repository_is_one_however_it_is_written() -> None:
    assert (
        lock.place_of("acme/shop") == lock.place_of("docker.io/acme/shop") == lock.place_of("index.docker.io/acme/shop")
    )
    assert lock.place_of("acme/shop") != lock.place_of("registry.example.org/acme/shop")


def test_check_mode(host: Builder) -> None:
    foretold = host.hold("run-1", check_mode=True)
    assert (foretold["changed"], foretold["path"], host.directories) == (True, "", [])
    assert host.hold("run-1")["actions"] == foretold["actions"]
    assert host.release("run-1", check_mode=True)["changed"]
    began = host.clock.time
    assert host.hold("run-2", check_mode=True)["changed"]
    assert (len(host.directories), host.clock.time) == (1, began)
    host.process("run-1")
    with pytest.raises(SlipwayError, match="is at work"):
        host.hold("run-2", check_mode=True)


def test_real_processes_are_seen_and_those_that_they_start() -> None:
    words = [sys.executable, "-c", "import subprocess; subprocess.run(['sleep', '30'])"]
    mark = {lock.MARK: f"run-of-{os.getpid()}"}
    with subprocess.Popen(words, env={**os.environ, **mark}, start_new_session=True) as process:
        try:
            assert lock.at_work(mark[lock.MARK]).endswith(")")
            assert lock.at_work("run-of-nobody") == ""
        finally:
            os.killpg(process.pid, 9)
