# SPDX-License-Identifier: GPL-3.0-or-later
"""The role image in real runs, with modules that only say what they were asked for: whose lock, whose names."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._image_lock import MARK
from tests.unit.ansible_runs import ROOT, Run, local, playbook

ROLE = ROOT / "roles" / "image"
MODULES = re.compile(
    r"^( +)(slipway\.webapp\.\w+|community\.docker\.\w+"
    r"|ansible\.builtin\.(command|copy|file|find|slurp|tempfile|template|unarchive)):$",
    re.MULTILINE,
)
REPOSITORY = "registry.example.org/shop"
# Stands in for all of them: it remembers what it was asked and in which environment, and fails at the task `fails_at`.
ACTS = """\
import json
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        result, name = super().run(tmp, task_vars), self._task.get_name().rpartition(" : ")[2]
        given = {}
        for one in self._task.environment or []:
            given.update(one or {})
        with open("asked", "a") as stream:
            stream.write(json.dumps([name, dict(self._task.args), given]) + "\\n")
        if name.startswith(task_vars.get("fails_at", "nothing")):
            return {**result, "failed": True, "msg": "no"}
        return {**result, "changed": True, "rc": 0, **task_vars["said"].get(name, {})}
"""
SAID: dict[str, dict[str, Any]] = {
    "pack | The source, as a deploy packs it": {"path": "/a", "sha256": "9a" * 32, "commit": "", "uncommitted": False},
    "lay | See what builds have left that were killed": {"files": []},
    "lay | A place for the source": {"path": "/tmp/slipway-image-x"},
    "lay | See what it is, and whether it says how it is built": {"own": True, "frontend": False},
    "lock | One build of a repository at a time": {"path": "/run/slipway-image-1/login-x"},
    "scan | Ask what is known of it": {"passed": True, "refusal": "", "table": "", "report": {}},
    "push | Which digest the registry has given it": {"images": [{"RepoDigests": [f"{REPOSITORY}@sha256:{'c' * 64}"]}]},
}
Asked = list[tuple[str, dict[str, Any], dict[str, str]]]


def build(place: Path, **settings: Any) -> tuple[Run, Asked]:
    """Run the role; what was asked: (task, arguments, environment)."""
    shutil.copytree(ROLE, place / "roles" / "image")
    for path in (place / "roles" / "image" / "tasks").iterdir():
        path.write_text(MODULES.sub(r"\1acts:", path.read_text()))
    (place / "action_plugins").mkdir()
    (place / "action_plugins" / "acts.py").write_text(ACTS)
    play = {"hosts": "app1", "gather_facts": False, "roles": ["slipway.webapp.webapp", "image"]}
    (place / "play.yml").write_text(json.dumps([play]))
    given = {
        "webapp_name": "shop",
        "webapp_image_repository": REPOSITORY,
        "webapp_image_scanner": "trivy",
        "webapp_registry_username": "ci",
        "webapp_registry_password": "planted",
        "__run_preflight": {"run": "run-1", "by": "anna@desk7"},
        "said": SAID,
        **settings,
    }
    inventory = {"production": {"hosts": {"app1": local()}, "vars": given}}
    run = playbook("play.yml", cwd=place, inventory=inventory, callback="default")
    return run, [tuple(json.loads(line)) for line in (place / "asked").read_text().splitlines()]


def test_whatever_a_build_does_with_its_lock_is_marked_as_its_own(tmp_path: Path) -> None:
    run, asked = build(tmp_path)
    assert run.code == 0, run.everything
    names = [name for name, _arguments, _environment in asked]
    taken = names.index("lock | One build of a repository at a time")
    assert asked[taken][1] == {"repository": REPOSITORY, "owner": "run-1", "by": "anna@desk7"}
    assert names[-1] == "leave | The repository to the next build"
    assert asked[-1][1] == {"repository": REPOSITORY, "owner": "run-1", "state": "released"}
    phases = [name.partition(" |")[0] for name in names]
    assert list(dict.fromkeys(phases)) == ["pack", "lay", "lock", "login", "build", "scan", "push", "leave"]
    assert {environment.get(MARK) for _name, _arguments, environment in asked[taken:]} == {"run-1"}
    (laid,) = (arguments for name, arguments, _environment in asked if name == "lay | The source")
    assert laid["extra_opts"] == ["--preserve-permissions"], "nobody could read it under a umask of 077"
    private = {
        name for name, _arguments, given in asked if given.get("DOCKER_CONFIG") == "/run/slipway-image-1/login-x"
    }
    assert {"login | As whom", "build | With BuildKit and its cache", "push | To the registry"} <= private


@pytest.mark.parametrize("fails_at", ["lay | See what it is", "lock | One build"])
def test_who_has_no_lock_takes_nothing_of_another_build_away(tmp_path: Path, fails_at: str) -> None:
    run, asked = build(tmp_path, fails_at=fails_at)
    assert run.code != 0, run.everything
    left = [(name, arguments) for name, arguments, _environment in asked if name.startswith("leave")]
    assert left == [("leave | Neither the source nor a login", {"path": "/tmp/slipway-image-x", "state": "absent"})]
    assert not [name for name, _arguments, _environment in asked if name.startswith(("login", "build", "push"))]


def test_a_build_that_fails_gives_the_lock_back(tmp_path: Path) -> None:
    run, asked = build(tmp_path, fails_at="build | With BuildKit")
    assert run.code != 0, run.everything
    left = [name for name, _arguments, _environment in asked if name.startswith("leave")]
    assert left == [
        *2 * ["leave | Neither the source nor a login"],
        "leave | No names of the build",
        "leave | The repository to the next build",
    ]
