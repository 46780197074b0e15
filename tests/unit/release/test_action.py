# SPDX-License-Identifier: GPL-3.0-or-later
"""The controller's half of `release`: what is shipped, and when. The connection is imitated."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible.errors import AnsibleActionFail

from ansible_collections.slipway.webapp.plugins.action.release import ActionModule

SHA = "a" * 64


class Fake(ActionModule):
    """`there` says whether the host has it; `answers` is what the module says in turn."""

    def __init__(self, arguments: dict[str, Any], *, there: bool, answers: list[dict[str, Any]], check: bool) -> None:
        self._task = SimpleNamespace(args=arguments, check_mode=check, async_val=0)
        shell = SimpleNamespace(tmpdir=None, join_path="/".join)
        shell.join_path = lambda *parts: "/".join(parts)
        self._connection = SimpleNamespace(_shell=shell)
        self.there, self.answers = there, answers
        self.asked: list[str] = []
        self.shipped: list[tuple[str, str]] = []
        self.modules: list[dict[str, Any]] = []

    def _low_level_execute_command(self, cmd: str, **_options: Any) -> dict[str, Any]:
        self.asked.append(cmd)
        return {"rc": 0 if self.there else 1}

    def _make_tmp_path(self, *_arguments: Any, **_options: Any) -> str:
        self._connection._shell.tmpdir = "/tmp/remote"
        return "/tmp/remote"

    def _remove_tmp_path(self, *_arguments: Any, **_options: Any) -> None:
        self._connection._shell.tmpdir = None

    def _transfer_file(self, local_path: str, remote_path: str) -> str:
        self.shipped.append((local_path, remote_path))
        return remote_path

    def _fixup_perms2(self, *_arguments: Any, **_options: Any) -> None:
        return

    def _execute_module(self, **given: Any) -> dict[str, Any]:
        self.modules.append(dict(given["module_args"]))
        return self.answers.pop(0)


@pytest.fixture(autouse=True)
def _no_base(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ansible.plugins.action.ActionBase.run", lambda *_arguments: {})


@pytest.fixture
def arguments(tmp_path: Path) -> dict[str, Any]:
    artifact = tmp_path / "a.tar.gz"
    artifact.write_bytes(b"12345")
    return {"app": "shop", "release": "1-a", "sha256": SHA, "artifact": str(artifact)}


DONE = {"changed": True, "needs_artifact": False}
NEEDS = {"changed": False, "needs_artifact": True}


@pytest.mark.parametrize(
    ("there", "check", "answers", "shipped", "runs"),
    [
        (True, False, [DONE], 0, 1),
        (False, False, [DONE], 1, 1),
        (True, False, [NEEDS, DONE], 1, 2),  # it is there, but damaged
        (False, True, [DONE], 0, 1),
    ],
)
def test_when_the_artifact_travels(
    arguments: dict[str, Any], there: bool, check: bool, answers: list[dict[str, Any]], shipped: int, runs: int
) -> None:
    action = Fake(arguments, there=there, answers=[dict(answer) for answer in answers], check=check)
    assert action.run(task_vars={}) == {"changed": True}
    assert len(action.shipped) == shipped
    assert len(action.modules) == runs
    assert all(given["artifact_size"] == 5 for given in action.modules)
    assert ("artifact_upload" in action.modules[-1]) is bool(shipped)
    assert action._connection._shell.tmpdir is None


def test_what_is_asked(arguments: dict[str, Any]) -> None:
    action = Fake(arguments, there=True, answers=[dict(DONE)], check=False)
    action.run(task_vars={})
    assert action.asked == [f"test -e /srv/shop/releases/1-a/release.json || test -e /srv/shop/artifacts/{SHA}.tar.gz"]


@pytest.mark.parametrize("change", [{"state": "pruned"}, {"app": "../x"}, {"release": "a;b"}, {"release": None}])
def test_nothing_is_asked_when_it_would_mean_nothing(arguments: dict[str, Any], change: dict[str, Any]) -> None:
    action = Fake({**arguments, **change}, there=True, answers=[dict(DONE)], check=False)
    action.run(task_vars={})
    assert action.asked == []
    assert action.shipped == []


def test_an_artifact_that_is_missing_here_and_there_is_said(arguments: dict[str, Any]) -> None:
    action = Fake({**arguments, "artifact": "/nowhere.tar.gz"}, there=False, answers=[dict(NEEDS)], check=False)
    with pytest.raises(AnsibleActionFail, match=r"found: /nowhere.tar.gz"):
        action.run(task_vars={})


def test_a_front_end_travels_beside_it(arguments: dict[str, Any], tmp_path: Path) -> None:
    front = tmp_path / "f.tar.gz"
    front.write_bytes(b"123")
    given = {**arguments, "frontend": str(front), "frontend_sha256": "b" * 64}
    action = Fake(given, there=False, answers=[dict(DONE)], check=False)
    action.run(task_vars={})
    assert [remote for _local, remote in action.shipped] == ["/tmp/remote/a.tar.gz", "/tmp/remote/f.tar.gz"]
    assert action.asked[1].endswith(f"test -e /srv/shop/artifacts/{'b' * 64}.tar.gz")
    (module,) = action.modules
    assert (module["frontend_upload"], module["frontend_size"]) == ("/tmp/remote/f.tar.gz", 3)


@pytest.mark.parametrize("name", ["artifact_upload", "artifact_size", "frontend_upload", "frontend_size"])
def test_its_own_options_are_nobody_elses(arguments: dict[str, Any], name: str) -> None:
    action = Fake({**arguments, name: 1}, there=True, answers=[dict(DONE)], check=False)
    with pytest.raises(AnsibleActionFail, match="is set by the module itself"):
        action.run(task_vars={})
