# SPDX-License-Identifier: GPL-3.0-or-later
"""The second play of deploy.yml in real runs that go on without a host, with modules that only remember."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.ansible_runs import ROOT, Run, local, playbook, stand_in

ROLES = {
    "app1": ["web"],
    "app2": ["web"],
    "app3": ["web"],
    "worker1": ["worker", "beat"],
    "edge1": ["edge", "database", "broker"],
}
WEB = ("app1", "app2", "app3")
APPLICATION = (*WEB, "worker1")
FAILED, LOST = 2, 4  # how Ansible ends when a host failed, and when one could not be reached
LIVE = {"slot": "blue", "release": "r1", "config": "c1"}
MODULES = re.compile(
    r"^( +)(slipway\.webapp\.(lease|release|transaction|slot|health_check|route|handover|rotation)"
    r"|ansible\.builtin\.(copy|shell)):(?= *(#.*)?$)",
    re.MULTILINE,
)


def deploy(place: Path, **victims: dict[str, Any]) -> tuple[Run, list[tuple[str, str, dict[str, Any]]]]:
    """Run it; what was asked: (host, task, arguments)."""
    stand_in(place)
    (place / "tasks").mkdir()
    for path in (ROOT / "playbooks" / "tasks").glob("*.yml"):
        (place / "tasks" / path.name).write_text(MODULES.sub(r"\1acts:", path.read_text()))
    _look, play = yaml.safe_load(MODULES.sub(r"\1acts:", (ROOT / "playbooks" / "deploy.yml").read_text()))
    (place / "play.yml").write_text(json.dumps([{**play, "become": False}]))
    shared = {
        "webapp_name": "shop",
        "webapp_domain": "shop.example",
        "webapp_celery": "shop",
        "webapp_settings_module": "shop.settings",
        "webapp_secrets": {},
        "webapp_database_password": "database-4711",
        "webapp_redis_password": "redis-4711",
        "webapp_migrations": "none",
        "webapp_canary_analysis": False,
        "webapp_approval": False,
        "webapp_bake_seconds": 0,
        "webapp_on_host_failure": "exclude_host",
        "__run_preflight": {
            "run": "run-1", "by": "anna@desk7", "primary": "app1", "hosts": list(ROLES), "left_out": [], "config": "c1",
        },
        "__deploy_backend": {"release": "r2", "version": "2", "commit": "", "path": "/a", "sha256": "b", "image": ""},
        "__run_before": {"live": LIVE, "wanted": {"target_slot": "green"}, "maintenance": False, "lease_turn": "run-0"},
    }  # fmt: skip
    hosts = {name: local(webapp_host_roles=roles, **victims.get(name, {})) for name, roles in ROLES.items()}
    inventory = {
        "production": {"hosts": hosts, "vars": shared},
        "slipway_due": {"hosts": {name: {} for name in APPLICATION}},
    }
    run = playbook("play.yml", cwd=place, inventory=inventory, callback="default")
    return run, [tuple(json.loads(line)) for line in (place / "asked").read_text().splitlines()]


@pytest.mark.parametrize(
    ("victim", "how", "code", "then"),
    [
        ("app3", {"lost_at": "Switch |"}, LOST, "deploy again, then rotation.yml -e back=app3"),
        ("worker1", {"lost_at": "Start |"}, LOST, "deploy again"),
        ("worker1", {"fails_at": "Hand over |"}, FAILED, "deploy again"),
    ],
    ids=["web-lost", "worker-lost", "worker-fails"],
)
def test_it_begins_once_more_without_it(tmp_path: Path, victim: str, how: dict[str, Any], code: int, then: str) -> None:
    run, asked = deploy(tmp_path, **{victim: how})
    assert run.code == code, run.everything
    said = " ".join(run.stdout.replace("\\n", "\n").split())
    assert f"next: the run goes on without {victim}" in said, run.everything
    assert f"r2 serves its users, but not from {victim}, which the run run-1 left out" in said, run.everything
    assert f"next: mend what failed there, {then}" in said, run.everything
    assert ("rotation.yml -e back=" in said) == (victim in WEB)

    def on(task: str) -> list[str]:
        return sorted(host for host, name, _args in asked if name.startswith(task))

    others = sorted(set(APPLICATION) - {victim})
    assert on("Start |") == sorted([*APPLICATION, *others])
    assert on("Commit | every host agrees") == others
    assert on("Commit | the release stays") == others
    turned = [args["out"] for _host, name, args in asked if name.startswith("Rotation")]
    assert turned == ([[victim]] if victim in WEB else [])
    assert (asked[-1][1], asked[-1][2]["state"]) == ("Lease | give it back", "released")


def test_who_fails_in_the_second_attempt_takes_it_back(tmp_path: Path) -> None:
    """And those that were taken out of rotation are named all the same."""
    run, asked = deploy(tmp_path, app3={"lost_at": "Start |"}, app2={"fails_at": "Commit | every host agrees"})
    assert run.code == LOST, run.everything
    said = " ".join(run.stdout.replace("\\n", "\n").split())
    assert "but not from" not in said, run.everything
    assert "and: rotation.yml -e back=app3 once that works" in said, run.everything
    assert not [name for _host, name, _args in asked if name.startswith("Commit | the release stays")]
    assert (asked[-1][1], asked[-1][2]["state"]) == ("Lease | give it back", "released")
