# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/tasks/attempt.yml in real runs: the database is touched only while the lease is this run's."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.unit.ansible_runs import ROOT, local, playbook

MODULES = re.compile(r"^( +)slipway\.webapp\.(lease|release):$", re.MULTILINE)
# Stands in for the modules, and for what the file includes. The lease is somebody else's where a host says so.
ACTS = """\
import json
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        result, name = super().run(tmp, task_vars), self._task.get_name()
        with open("asked", "a") as stream:
            stream.write(json.dumps([task_vars["inventory_hostname"], name]) + "\\n")
        if name.startswith("Lease") and task_vars["taken"]:
            return {**result, "failed": True, "msg": "Somebody else works on this environment"}
        return {**result, "changed": True}
"""
PARTS = ("plan_migrations", "approve", "migrate", "activate", "revert")


@pytest.mark.parametrize(
    ("taken", "check", "parts"),
    [
        (False, False, ["Lease | it is still ours", "plan_migrations", "migrate", "activate"]),
        (True, False, ["Lease | it is still ours", "revert"]),
        (True, True, ["plan_migrations", "migrate", "activate"]),
    ],
)
def test_the_lease_is_asked_for_again_before_the_database(
    tmp_path: Path, taken: bool, check: bool, parts: list[str]
) -> None:
    (tmp_path / "action_plugins").mkdir()
    (tmp_path / "action_plugins" / "acts.py").write_text(ACTS)
    (tmp_path / "tasks").mkdir()
    attempt = (ROOT / "playbooks" / "tasks" / "attempt.yml").read_text()
    (tmp_path / "tasks" / "attempt.yml").write_text(MODULES.sub(r"\1acts:", attempt))
    for part in PARTS:
        (tmp_path / "tasks" / f"{part}.yml").write_text(f"- name: {part}\n  acts:\n")
    play = {
        "hosts": "all",
        "gather_facts": False,
        "any_errors_fatal": True,
        "roles": ["slipway.webapp.webapp"],
        "vars": {
            "taken": taken,
            "__run_release": "r2",
            "__run_attempt": 1,
            "__run_environment": {},
            "__run_secrets": {},
            "__run_preflight": {"run": "run-1", "by": "anna", "primary": "app1"},
            "__run_before": {"lease_turn": "run-0"},
            "__deploy_backend": {"version": "2", "commit": "", "path": "/a", "sha256": "b", "image": ""},
            "webapp_approval": False,
        },
        "tasks": [{"ansible.builtin.include_tasks": "tasks/attempt.yml"}],
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    shared = {"webapp_name": "shop", "webapp_domain": "shop.example", "webapp_settings_module": "shop.settings"}
    inventory = {"staging": {"hosts": {"app1": local(), "app2": local()}, "vars": shared}}
    run = playbook("play.yml", *(["--check"] if check else []), cwd=tmp_path, inventory=inventory)
    asked = [tuple(json.loads(line)) for line in (tmp_path / "asked").read_text().splitlines()]
    assert [name for host, name in asked if host == "app1"][1:] == parts, run.everything
    others = [name for host, name in asked if host == "app2"]
    assert others == ["Stage | build the release", parts[-1]], run.everything
