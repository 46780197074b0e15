# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/tasks/judge.yml in real runs: all hosts of the play go on together, or all of them enter their rescue."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ansible_runs import ROOT, Run, local, playbook

ROLES = {"a": ["web"], "b": ["web"], "c": ["worker", "beat", "database", "broker", "edge"]}
GOOD: dict[str, Any] = {
    "slot": "green",
    "log": {"state": "ok", "said": "", "lines": 9, "broken": 0, "whole": True},
    "slots": {side: {"requests": 60, "errors": 0, "times": {"40": 60}} for side in ("blue", "green")},
}
BAD = {**GOOD, "slots": {**GOOD["slots"], "green": {"requests": 60, "errors": 30, "times": {"40": 60}}}}
FEW = {**GOOD, "slots": {**GOOD["slots"], "green": {"requests": 6, "errors": 0, "times": {"40": 6}}}}

# Stands in for the module that looks at a host, whose answer is a variable of the host, and for one that waits.
SEES = """\
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        result = super().run(tmp, task_vars)
        look = self._task.args.get("last") and "sees_last" in task_vars and "sees_last" or "sees"
        return {**result, "changed": False, **self._templar.template(task_vars.get(look, {}))}
"""


def judge(place: Path, sees: dict[str, Any], *, eyes: str = "sees") -> Run:
    """Run it on two web hosts and one without. ``eyes`` is the module that looks."""
    (place / "action_plugins").mkdir()
    (place / "action_plugins" / "sees.py").write_text(SEES)
    tasks = place / "tasks"
    tasks.mkdir()
    for name in ("judge.yml", "judge_look.yml"):
        text = (ROOT / "playbooks" / "tasks" / name).read_text()
        text = text.replace("slipway.webapp.transaction:", "sees:")
        (tasks / name).write_text(text.replace("slipway.webapp.traffic_info:", f"{eyes}:"))
    play = {
        "hosts": "all",
        "gather_facts": False,
        "any_errors_fatal": True,
        "module_defaults": {"group/slipway.webapp.webapp": {"app": "shop"}},
        "roles": ["slipway.webapp.webapp"],
        "vars": {"__run_slot": "green", "__judge_name": "canary 25 %", "__judge_since": 0, "__judge_seconds": 0},
        "tasks": [
            {
                "block": [
                    {"ansible.builtin.include_tasks": "tasks/judge.yml"},
                    {"ansible.builtin.debug": {"msg": "{{ inventory_hostname }} goes on"}},
                ],
                "rescue": [{"ansible.builtin.fail": {"msg": "{{ inventory_hostname }} goes back"}}],
            }
        ],
    }
    (place / "play.yml").write_text(json.dumps([play]))
    hosts = {name: local(webapp_host_roles=roles, **(sees if "web" in roles else {})) for name, roles in ROLES.items()}
    shared = {"webapp_name": "shop", "webapp_domain": "shop.example.org"}
    inventory = {"staging": {"hosts": hosts, "vars": shared}}
    return playbook("play.yml", cwd=place, inventory=inventory, callback="default")


def went(run: Run, word: str) -> list[str]:
    return [host for host in ROLES if f"{host} goes {word}" in run.stdout]


def test_all_go_on(tmp_path: Path) -> None:
    run = judge(tmp_path, {"sees": GOOD})
    assert run.code == 0, run.everything
    assert went(run, "on") == [*ROLES]
    assert run.stdout.count("Judge | compare new and old: canary 25 %") == 1
    assert "canary 25 %: users (at the same time): 0 of 120 (0.00 %) failed on the new side" in run.stdout
    assert "WARNING" not in run.everything


@pytest.mark.parametrize(
    ("sees", "looks", "said"),
    [
        ({"sees": BAD}, 1, "60 of 120 (50.00 %) failed on the new side"),
        ({"sees": FEW, "sees_last": BAD}, 3, "60 of 120"),
        ({"sees": {"unreachable_log": True}}, 3, "a gave no answer; b gave no answer"),
    ],
)
def test_all_go_back(tmp_path: Path, sees: dict[str, Any], looks: int, said: str) -> None:
    run = judge(tmp_path, sees)
    assert run.code == 2, run.everything
    assert went(run, "back") == [*ROLES]
    assert went(run, "on") == []
    assert run.stdout.count("Judge | compare new and old: canary 25 %") == looks
    assert said in " ".join(run.stdout.split())
    assert "after: canary 25 %" in run.stdout


def test_what_comes_later_is_enough(tmp_path: Path) -> None:
    assert judge(tmp_path, {"sees": FEW, "sees_last": GOOD}).code == 0


def test_without_a_log(tmp_path: Path) -> None:
    """The real module, on a machine that has none."""
    run = judge(tmp_path, {}, eyes="slipway.webapp.traffic_info")
    assert run.code == 2, run.everything
    assert went(run, "back") == [*ROLES]
    assert "a has no log that can be read (/var/log/nginx/shop.access.json: No such file or directory)" in run.stdout
