# SPDX-License-Identifier: GPL-3.0-or-later
"""The second play of restart.yml in real runs, with modules that only say what they were asked for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.ansible_runs import ROOT, Run, local, playbook

ROLES = {"app1": ["web"], "app2": ["web"], "edge1": ["edge"], "db1": ["database", "broker", "worker", "beat"]}
MODULES = re.compile(
    r"^( +)(slipway\.webapp\.(lease|rotation|health_check)|ansible\.builtin\.(command|reboot|systemd_service|uri)):$",
    re.MULTILINE,
)
# Stands in for all of them: it remembers what it was asked, and cannot reach the host at the task `lost_at`.
ACTS = """\
import json
from ansible.plugins.action import ActionBase


class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        result, name = super().run(tmp, task_vars), self._task.get_name()
        with open("asked", "a") as stream:
            stream.write(json.dumps([task_vars["inventory_hostname"], name, dict(self._task.args)]) + "\\n")
        if name.startswith(task_vars.get("lost_at", "nothing")):
            return {**result, "unreachable": True, "msg": "no route to it"}
        return {**result, "changed": True, "rc": 0, "lease": None}
"""


def restart(place: Path, **settings: Any) -> tuple[Run, list[tuple[str, str, dict[str, Any]]]]:
    """Run it for both web hosts; what was asked: (host, task, arguments)."""
    (place / "action_plugins").mkdir()
    (place / "action_plugins" / "acts.py").write_text(ACTS)
    (place / "tasks").mkdir()
    rotate = (ROOT / "playbooks" / "tasks" / "rotate.yml").read_text()
    (place / "tasks" / "rotate.yml").write_text(MODULES.sub(r"\1acts:", rotate))
    _look, play, _after = yaml.safe_load(MODULES.sub(r"\1acts:", (ROOT / "playbooks" / "restart.yml").read_text()))
    (place / "play.yml").write_text(json.dumps([{**play, "become": False}]))
    live = {"live": {"slot": "blue", "release": "r1"}}
    shared = {
        "webapp_name": "shop",
        "webapp_domain": "shop.example",
        "webapp_lease_seconds": 60,
        "__run_preflight": {"run": "run-1", "by": "anna@desk7", "primary": "app1"},
        "__run_before": live,
        "__restart_edge": {"out": []},
    }
    hosts = {name: local(webapp_host_roles=roles) for name, roles in ROLES.items()}
    inventory = {
        "production": {"hosts": hosts, "vars": {**shared, **settings}},
        "slipway_restart": {"hosts": {"app1": {}, "app2": {}}},
    }
    run = playbook("play.yml", cwd=place, inventory=inventory, callback="default")
    return run, [tuple(json.loads(line)) for line in (place / "asked").read_text().splitlines()]


def test_the_lease_is_taken_again_for_each_host(tmp_path: Path) -> None:
    run, asked = restart(tmp_path)
    assert run.code == 0, run.everything
    leases = [(host, args) for host, name, args in asked if name.startswith("Lease")]
    assert [host for host, _args in leases] == ["app1", "app2"]
    for _host, args in leases:
        assert (args["state"], args["owner"], args["by"]) == ("held", "run-1", "anna@desk7")
        assert int(args["seconds"]) > 600
    turned = [(args["out"], args["back"]) for _host, name, args in asked if name.startswith("Rotation")]
    assert turned == [(["app1"], []), ([], ["app1"]), (["app2"], []), ([], ["app2"])]


@pytest.mark.parametrize(
    "lost_at",
    ["Rotation | out", "Drain |", "Restart | reboot it", "Back | it answers", "Back | its Nginx", "Rotation | in"],
)
def test_a_host_that_is_lost_ends_it_with_the_lease_given_back(tmp_path: Path, lost_at: str) -> None:
    run, asked = restart(tmp_path, lost_at=lost_at)
    assert run.code != 0, run.everything
    assert {host for host, _name, _args in asked} == {"app1"}
    assert (asked[-1][1], asked[-1][2]["state"]) == ("Lease | give it back", "released")
    turned = [args["back"] for _host, name, args in asked if name.startswith("Rotation | in")]
    assert turned == ([["app1"]] if lost_at == "Rotation | in" else [])
    if lost_at in ("Rotation | out", "Drain |"):
        assert [name for _host, name, _args in asked if name.startswith("Restart")] == []
    said = " ".join(run.stdout.replace("\\n", "\n").split())
    assert "The restart of app1 failed, and the hosts after it were left alone" in said
    assert "a host cannot be reached any more: no route to it" in said
    assert "now: it is out of rotation, and nobody asks it lease: given back next: mend it; when it is well," in said
    assert "rotation.yml -e back=app1 passes it requests again" in said
