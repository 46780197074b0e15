# SPDX-License-Identifier: GPL-3.0-or-later
"""A swarm is refused where the engine maps users to others, or shall: its tasks cannot be kept out of that."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.ansible_runs import ROOT, Run, local, playbook

ROLE = ROOT / "roles" / "docker_swarm"
INVENTORY = {"all": {"hosts": {"app1": local()}}}
SAYS = "expected: no"


def play(cwd: Path, tasks: list[dict[str, Any]], **variables: Any) -> Run:
    """Those tasks of the role, with its variables."""
    files = [str(ROLE / "vars" / "main.yml")]
    here = {"hosts": "all", "gather_facts": False, "vars_files": files, "vars": variables, "tasks": tasks}
    (cwd / "play.yml").write_text(json.dumps([here]))
    return playbook("play.yml", cwd=cwd, inventory=INVENTORY, callback="default")


@pytest.mark.parametrize(
    ("settings", "refused"),
    [
        ({}, False),
        ({"docker_host_userns_remap": "", "docker_host_settings": {"icc": True}}, False),
        ({"docker_host_userns_remap": "default"}, True),
        ({"docker_host_settings": {"userns-remap": "shop"}}, True),
    ],
)
def test_what_the_engine_shall_do(tmp_path: Path, settings: dict[str, Any], refused: bool) -> None:
    done = play(tmp_path, yaml.safe_load((ROLE / "tasks" / "refuse.yml").read_text()), **settings)
    assert (done.code != 0, SAYS in done.everything) == (refused, refused), done.everything


@pytest.mark.parametrize(
    ("said", "refused"), [('["name=apparmor","name=cgroupns"]', False), ('["name=apparmor","name=userns"]', True)]
)
def test_what_the_engine_does(tmp_path: Path, said: str, refused: bool) -> None:
    tasks = yaml.safe_load((ROLE / "tasks" / "look.yml").read_text())
    (judged,) = [task for task in tasks if task["name"] == "look | It maps no users to others"]
    done = play(tmp_path, [judged], __docker_swarm_security={"stdout": said})
    assert (done.code != 0, SAYS in done.everything) == (refused, refused), done.everything
