# SPDX-License-Identifier: GPL-3.0-or-later
"""The tasks that gather the plan and ask, in a real run, for hosts that have been looked at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.ansible_runs import ROOT, Run, local, playbook
from tests.unit.plan.test_deploy_plan import ABOUT, PENDING, info

TASKS = ROOT / "playbooks" / "tasks"
SETTINGS: dict[str, Any] = {
    "webapp_name": "shop",
    "webapp_domain": "shop.example",
    "webapp_source": "/none/a.tar.gz",
    "webapp_artifact_directory": "/none",
    "webapp_backup_level": "full",
    "webapp_backup_rehearse": True,
    "webapp_accept_migrations_without_backup": False,
    "webapp_batches": [1, "100%"],
    "webapp_canary_steps": [100],
    "webapp_smoke_checks": [{"name": "home", "path": "/"}],
    "webapp_smoke_command": ["/usr/bin/pytest", "tests/smoke"],
    "webapp_approval_seconds": 600,
    "webapp_lease_seconds": 900,
    "__webapp_migrates": True,
    "__webapp_web_hosts": ["app1", "app2"],
    "__run_preflight": {"environment": "production", "primary": "app1", "run": "run-1", "by": "anna"},
    "__run_release": "r2",
    "__run_config": "c2",
    "__webapp_artifact": ABOUT["artifact"],
    "__deploy_frontend": {"skipped": True},
}


def run(tmp_path: Path, *options: str) -> Run:
    hosts = {
        "edge1": local(__run_before={"skipped": True}),
        "app1": local(__run_before=info(), __run_migrations=PENDING),
        "app2": local(__run_before=info()),
    }
    said = {"ansible.builtin.debug": {"msg": "{{ inventory_hostname }} goes on"}}
    tasks = [{"ansible.builtin.include_tasks": str(TASKS / "approve.yml")}, said]
    play = {"hosts": "all", "gather_facts": False, "any_errors_fatal": True, "vars": SETTINGS, "tasks": tasks}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    return playbook("play.yml", *options, cwd=tmp_path, inventory={"all": {"hosts": {**hosts, "localhost": local()}}})


@pytest.mark.parametrize("options", [("-e", "approve=r2"), ("--check",)])
def test_the_plan_is_shown_and_all_hosts_go_on(tmp_path: Path, options: tuple[str, ...]) -> None:
    done = run(tmp_path, "-l", "edge1,app1,app2", *options)
    assert done.code == 0, done.everything
    for line in (
        "shop  production  https://shop.example",
        "commits      not known: The source is not there",
        "traffic      app1, then app2",
        "smoke tests  home, pytest",
    ):
        assert line in done.lines, done.everything
    # In check mode the release is not on the primary, so that nobody can know.
    assert ("NOT KNOWN" in done.stdout) is ("--check" in options)
    assert ("Would ask whether r2 may go live" in done.stdout) is ("--check" in options)
    assert all(f"{host} goes on" in done.stdout for host in ("edge1", "app1", "app2"))
