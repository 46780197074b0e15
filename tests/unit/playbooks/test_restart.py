# SPDX-License-Identifier: GPL-3.0-or-later
"""The plays of restart.yml in real runs, with modules that only say what they were asked for."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.ansible_runs import ROOT, Run, local, playbook, stand_in

ROLES = {"app1": ["web"], "app2": ["web"], "edge1": ["edge"], "db1": ["database", "broker", "worker", "beat"]}
MODULES = re.compile(
    r"^( +)(slipway\.webapp\.(preflight|deploy_info|edge_info|lease|rotation|health_check)"
    r"|ansible\.builtin\.(command|reboot|systemd_service|uri)):$",
    re.MULTILINE,
)


def plays() -> list[dict[str, Any]]:
    """Those of restart.yml, with the stand-in: what looks, what restarts, what gives the lease back."""
    text = (ROOT / "playbooks" / "restart.yml").read_text()
    return [{**play, "become": False} for play in yaml.safe_load(MODULES.sub(r"\1acts:", text))]


def prepare(place: Path, *plays: dict[str, Any]) -> None:
    """Write a playbook and what it needs."""
    stand_in(place)
    (place / "tasks").mkdir()
    for name in ("look.yml", "rotate.yml"):
        tasks = (ROOT / "playbooks" / "tasks" / name).read_text()
        (place / "tasks" / name).write_text(MODULES.sub(r"\1acts:", tasks))
    (place / "play.yml").write_text(json.dumps(plays))


def look(place: Path, *words: str) -> tuple[Run, list[str]]:
    """Run what looks, with these words after the playbook's name; whom it would restart."""
    tell = {"content": "{{ groups.slipway_restart | to_json }}", "dest": str(place / "taken.json"), "mode": "0600"}
    then = {"hosts": "app1", "gather_facts": False, "tasks": [{"ansible.builtin.copy": tell}]}
    prepare(place, plays()[0], then)
    run_of: dict[str, Any] = {"environment": "production", "run": "run-1", "by": "anna@desk7", "primary": "app1"}
    said = {**run_of, "lease_turn": "run-0"}
    hosts = {name: local(webapp_host_roles=roles) for name, roles in ROLES.items()}
    inventory = {"production": {"hosts": hosts, "vars": {"webapp_name": "shop", "said": said}}}
    run = playbook("play.yml", *words, cwd=place, inventory=inventory, callback="default")
    taken = place / "taken.json"
    return run, json.loads(taken.read_text()) if taken.exists() else []


@pytest.mark.parametrize(
    ("words", "taken"),
    [
        ([], ["app1", "app2"]),
        (["-e", "only=app2", "-e", "what=application"], ["app2"]),
        (["-e", "only=db1,edge1", "-e", "accept_downtime=true"], ["db1", "edge1"]),
    ],
)
def test_whom_it_takes(tmp_path: Path, words: list[str], taken: list[str]) -> None:
    run, found = look(tmp_path, *words)
    assert run.code == 0, run.everything
    assert sorted(found) == taken


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["-e", "only=app1,db1"], "db1 was not restarted, nor any other host. found: nobody does its work meanwhile"),
        (["-e", "only=edge1", "-e", "what=application"], "found: nothing of that kind on it"),
        (["-e", "only=app9"], "Nothing was restarted. found: what=host, only=app9."),
        (["-e", "what=disk"], "Nothing was restarted. found: what=disk, only=."),
    ],
)
def test_what_it_refuses(tmp_path: Path, words: list[str], why: str) -> None:
    run, taken = look(tmp_path, *words)
    assert (run.code != 0, taken) == (True, []), run.everything
    assert why in " ".join(run.stdout.split())
    assert "Lease" not in (tmp_path / "asked").read_text()


def restart(place: Path, **settings: Any) -> tuple[Run, list[tuple[str, str, dict[str, Any]]]]:
    """Run what restarts, for both web hosts; what was asked: (host, task, arguments)."""
    prepare(place, plays()[1])
    live = {"live": {"slot": "blue", "release": "r1"}, "lease_turn": "run-0"}
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
