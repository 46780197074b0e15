# SPDX-License-Identifier: GPL-3.0-or-later
"""Kill a build or a pruning at every single change it makes: what is left is never taken for good; a rerun ends well.

The work is done in a child process that exits on the spot, as SIGKILL would have it: no handler, no cleanup runs.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _installed
from ansible_collections.slipway.webapp.plugins.module_utils import _release_states as states
from tests.unit.release.fakes import Host
from tests.unit.release.test_build import OLD, ONE, STATIC, TWO, stocked

CHANGES = ("mkdir", "rename", "replace", "symlink", "link", "unlink", "rmdir", "chmod")
KILLED, ENDED, BROKE = 77, 0, 1

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _no_power_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process loses nothing that it wrote: without fsync these thousands of changes are quick."""
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)


class InOrder:
    """A directory listed by name, so that what comes last (a marker, a record) does so on every filesystem."""

    def __init__(self, scandir: Any, path: Any = ".") -> None:
        with scandir(path) as found:
            self._entries = iter(sorted(found, key=lambda entry: str(entry.name)))

    def __enter__(self) -> InOrder:
        return self

    def __exit__(self, *_error: object) -> None:
        return

    def __iter__(self) -> InOrder:
        return self

    def __next__(self) -> Any:
        return next(self._entries)

    def close(self) -> None:
        return


def killed_at(number: int, work: Callable[[], Any]) -> bool:
    """Do the work in a child that dies just before its change with this number; False when it got to its end."""
    child = os.fork()
    if child == 0:
        left = [number]
        changed = {name: _counting(getattr(os, name), left) for name in CHANGES}
        for name, function in {**changed, "scandir": partial(InOrder, os.scandir)}.items():
            setattr(os, name, function)
        ended = BROKE
        try:
            work()
            ended = ENDED
        finally:
            os._exit(ended)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (KILLED, ENDED)
    return code == KILLED


def _counting(original: Any, left: list[int]) -> Any:
    def change(*arguments: Any, **named: Any) -> Any:
        left[0] -= 1
        if left[0] == -1:
            os._exit(KILLED)
        return original(*arguments, **named)

    return change


def sound(host: Host, one: _installed.Installed, name: str) -> None:
    """A release that calls itself complete is complete: code, compiled code, environment, static files, the union."""
    files = {path: text for path, text in host.tree().items() if path.startswith(f"srv/shop/releases/{one.id}/")}
    below = {path[len(f"srv/shop/releases/{one.id}/") :] for path in files}
    assert {"code/manage.py", "code/__pycache__/manage.pyc", "release.json", "venv"} <= below
    assert Path(one.path, "code/shop/settings.py").read_text() == name * 700
    assert Path(one.path, "venv/lib/installed.txt").exists()
    for static in STATIC:
        assert Path(one.path, "static", static).exists()
        assert static == "staticfiles.json" or Path(host.layout.static, static).exists()


def test_a_build_killed_at_any_point(tmp_path: Path) -> None:
    killed = 0
    while True:
        host = Host(tmp_path / str(killed))
        host.programs.static = dict(STATIC)
        wish = host.wish()
        if not killed_at(killed, partial(host.present, wish)):
            break
        for one in _installed.installed(host.layout):
            if one.complete:
                sound(host, one, "1")
        result = host.present(wish)
        assert result["release"]["complete"]
        sound(host, _installed.installed(host.layout)[0], "1")
        assert _installed.partials(host.layout) == ()
        assert len(os.listdir(host.layout.venvs)) == 1
        left = [path for path in host.tree() if path.endswith((".part", ".new")) or "/.release" in path]
        assert not [path for path in left if "artifacts/" in path]
        assert host.present(wish)["changed"] is False
        states.pruned(host.layout, retain=1)
        killed += 1
    assert killed > 30


def test_a_release_that_is_repaired_and_killed_at_any_point(tmp_path: Path) -> None:
    killed = 0
    while True:
        host = Host(tmp_path / str(killed))
        host.programs.static = dict(STATIC)
        wish = host.wish()
        host.present(wish)
        (venv,) = Path(host.layout.venvs).iterdir()
        (venv / "bin/python").unlink()
        Path(host.layout.static, "robots.txt").unlink()
        if not killed_at(killed, partial(host.present, wish)):
            break
        host.present(wish)
        sound(host, _installed.installed(host.layout)[0], "1")
        assert host.present(wish)["changed"] is False
        killed += 1
    assert killed > 10


def test_a_pruning_killed_at_any_point(tmp_path: Path) -> None:
    whole = Host(tmp_path / "whole")
    ids = stocked(whole)
    shutil.copytree(whole.root, tmp_path / "stock", symlinks=True)
    before = Host(tmp_path / "stock").tree()
    states.pruned(whole.layout, retain=2)
    wanted = _without_times(whole)
    killed = 0
    while True:
        host = Host(tmp_path / str(killed))
        shutil.copytree(tmp_path / "stock", host.root, symlinks=True)
        if not killed_at(killed, partial(states.pruned, host.layout, retain=2)):
            break
        needed = [ids[3], ids[1]]
        there = {one.id: one for one in _installed.installed(host.layout)}
        assert all(there[one].complete for one in needed)
        left = host.tree()
        # Whatever still has its final name, or its marker, is as whole as it was.
        for name in (*(f"releases/{one}/" for one in there), *(f"venvs/{one}/" for one in _marked(host))):
            assert _below(left, name) == _below(before, name)
        assert Path(host.layout.static, "app.4.css").exists()
        assert Path(host.layout.static, "robots.txt").exists()
        assert Path(host.layout.config_env(TWO)).exists()
        states.pruned(host.layout, retain=2)
        assert _without_times(host) == wanted
        killed += 1
    assert killed > 20
    configs = {name for name in (ONE, OLD) if Path(whole.layout.config_env(name)).exists()}
    assert configs == {ONE}


def _marked(host: Host) -> list[str]:
    return [venv.parent.name for venv in Path(host.layout.venvs).glob("*/slipway.json")]


def _below(tree: dict[str, str], name: str) -> dict[str, str]:
    return {path: text for path, text in tree.items() if path.startswith(f"srv/shop/{name}")}


def _without_times(host: Host) -> dict[str, str]:
    return {path: text for path, text in host.tree().items() if not path.endswith((".json", ".jsonl"))}
