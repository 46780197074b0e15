# SPDX-License-Identifier: GPL-3.0-or-later
"""playbooks/tasks/ready_to_judge.yml in real runs: what a judgement lacks is found before anything changes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ansible_runs import ROOT, Run, local, playbook

ROLES = {"app1": ["web"], "app2": ["web"], "worker1": ["worker", "beat", "database", "broker"], "edge1": ["edge"]}
LIVE = {"slot": "blue", "release": "r1"}
READ = {"state": "ok", "said": ""}
GONE = {"state": "missing", "said": "/var/log/nginx/shop.access.json: No such file or directory"}
# Stands in for the module that asks an edge host.
EDGE = """\
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        out = self._templar.template(task_vars["out"])
        return {**super().run(tmp, task_vars), "changed": False, "hosts": ["app1", "app2"], "out": out}
"""


def ready(place: Path, before: dict[str, dict[str, Any]], out: list[str] | None = None, **settings: Any) -> Run:
    """Run it for hosts of which these are the exceptions."""
    (place / "action_plugins").mkdir()
    (place / "action_plugins" / "edge.py").write_text(EDGE)
    (place / "tasks").mkdir()
    tasks = (ROOT / "playbooks" / "tasks" / "ready_to_judge.yml").read_text()
    (place / "tasks" / "ready_to_judge.yml").write_text(tasks.replace("slipway.webapp.edge_info:", "edge:"))
    play = {
        "hosts": "all",
        "gather_facts": False,
        "any_errors_fatal": True,
        "roles": ["slipway.webapp.webapp"],
        "vars": {
            "__ready_release": "r2",
            "__run_preflight": {"primary": "app1", "hosts": list(ROLES)},
            "out": out or [],
            **settings,
        },
        "tasks": [{"ansible.builtin.include_tasks": "tasks/ready_to_judge.yml"}],
    }
    (place / "play.yml").write_text(json.dumps([play]))
    hosts = {}
    for name, roles in ROLES.items():
        seen = {"live": LIVE, "access_log": READ} if name != "edge1" else {"skipped": True}
        seen = {"live": LIVE, "access_log": GONE} if name == "worker1" else seen
        hosts[name] = local(webapp_host_roles=roles, __run_before={**seen, **before.get(name, {})})
    shared = {"webapp_name": "shop", "webapp_domain": "shop.example", "webapp_celery": "shop"}
    inventory = {"staging": {"hosts": hosts, "vars": shared}}
    return playbook("play.yml", cwd=place, inventory=inventory, callback="default")


NOTHING: dict[str, Any] = {"webapp_canary_analysis": False, "webapp_bake_seconds": 0}
NO_LOG = {"app2": {"access_log": GONE}}


@pytest.mark.parametrize(
    ("before", "out", "settings"),
    [
        ({}, [], {}),
        # Nobody reads it then, or there is nothing to compare with.
        (NO_LOG, [], NOTHING),
        ({name: {"live": None, "access_log": GONE} for name in ("app1", "app2", "worker1")}, ["app1"], {}),
        # The second batch has users all the same, or nothing is judged before all have it.
        ({}, ["app2"], {}),
        ({}, ["app1"], {"webapp_batches": ["100%"], "webapp_bake_seconds": 30}),
        ({}, ["app1"], {"webapp_batches": [2], "webapp_canary_steps": [50, 100]}),
        ({}, ["app1"], NOTHING),
    ],
)
def test_all_is_there(tmp_path: Path, before: dict[str, Any], out: list[str], settings: dict[str, Any]) -> None:
    run = ready(tmp_path, before, out, **settings)
    assert run.code == 0, run.everything


@pytest.mark.parametrize("settings", [{}, {"webapp_canary_analysis": False, "webapp_bake_seconds": 30}])
def test_an_analysis_without_a_log(tmp_path: Path, settings: dict[str, Any]) -> None:
    run = ready(tmp_path, {"app1": {"access_log": GONE}, **NO_LOG}, **settings)
    assert run.code != 0, run.everything
    said = " ".join(run.stdout.split())
    assert "r2 could not be judged; nothing was changed" in said
    assert f"app1 has no log that can be read ({GONE['said']}); app2 has no log that can be read" in said
    assert "worker1 has no log" not in said


@pytest.mark.parametrize(
    ("out", "settings", "hosts"),
    [
        (["app1"], {}, "app1"),
        (["app1", "app2"], {"webapp_batches": [2], "webapp_canary_steps": [50, 100]}, "app1,app2"),
    ],
)
def test_a_canary_without_traffic(tmp_path: Path, out: list[str], settings: dict[str, Any], hosts: str) -> None:
    run = ready(tmp_path, {}, out, **settings)
    assert run.code != 0, run.everything
    said = " ".join(run.stdout.split())
    assert f"found: {hosts.replace(',', ', ')}, which would have it first, out of rotation" in said
    assert f"rotation.yml -e back={hosts}" in said
