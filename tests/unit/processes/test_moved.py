# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a worker and a beat on a host that loses these roles, in a real run of the role's own tasks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.ansible_runs import ROOT, local, playbook

RETIRE = ROOT / "roles" / "processes" / "tasks" / "retire.yml"
# Stands in for what asks systemd: it remembers the units, and whether their template was still there.
ASKED = """\
import json
from pathlib import Path
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        there = [path.name for path in Path("units").iterdir()]
        with open("asked", "a") as stream:
            stream.write(json.dumps([dict(self._task.args), sorted(there)]) + "\\n")
        return {**super().run(tmp, task_vars), "changed": True}
"""


def tasks(units: Path) -> list[dict[str, Any]]:
    """The role's, with another place for the units."""
    text = RETIRE.read_text().replace("/etc/systemd/system", str(units))
    found: list[dict[str, Any]] = yaml.safe_load(text.replace("ansible.builtin.systemd_service:", "asked:"))
    return found


def test_provision_comes_to_every_host_that_lost_a_role() -> None:
    """Also to one that runs nothing of the application any more."""
    configure = yaml.safe_load((RETIRE.parent / "configure.yml").read_text())
    assert configure[-1]["ansible.builtin.import_tasks"] == RETIRE.name
    (play,) = yaml.safe_load((ROOT / "playbooks" / "provision.yml").read_text())
    named = {task["name"]: task for task in play["tasks"]}
    without = named["No processes where there were some"]
    assert without["ansible.builtin.include_role"]["tasks_from"] == RETIRE.stem
    assert without["when"] == "not " + named["Set up the application's processes"]["when"]


@pytest.mark.parametrize(
    ("units", "there", "stopped"),
    [
        (["web"], ["web", "worker", "beat"], ["worker", "beat"]),
        (["web", "worker"], ["web", "worker", "beat"], ["beat"]),
        (["web", "worker", "beat"], ["web", "worker", "beat"], []),
        (["worker", "beat"], ["web", "worker", "beat"], []),
        (["web"], ["web"], []),
        ([], [], []),
    ],
)
def test_they_are_stopped_before_their_units_go(
    tmp_path: Path, units: list[str], there: list[str], stopped: list[str]
) -> None:
    (tmp_path / "action_plugins").mkdir()
    (tmp_path / "action_plugins" / "asked.py").write_text(ASKED)
    place = tmp_path / "units"
    place.mkdir()
    for process in there:
        (place / f"shop-{process}@.service").touch()
    given = {"webapp_name": "shop", "__webapp_units": units}
    play = {"hosts": "all", "gather_facts": False, "vars": given, "tasks": tasks(place)}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    inventory = {"production": {"hosts": {"a": local()}}}
    for _again in range(2):
        run = playbook("play.yml", cwd=tmp_path, inventory=inventory)
        assert run.code == 0, run.everything
    lines = (tmp_path / "asked").read_text().splitlines() if (tmp_path / "asked").exists() else []
    asked = [json.loads(line) for line in lines]
    assert [args for args, _there in asked] == [
        {"name": f"shop-{process}@{slot}.service", "state": "stopped", "enabled": False}
        for process in stopped
        for slot in ("blue", "green")
    ]
    assert all(names == sorted(f"shop-{process}@.service" for process in there) for _args, names in asked)
    assert sorted(path.name for path in place.iterdir()) == sorted(
        f"shop-{process}@.service" for process in there if process in units
    )
