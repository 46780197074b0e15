# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run says and asks when it goes on without some hosts: one home for each of these words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.ansible_runs import ROOT, local, playbook

TASKS = ROOT / "playbooks" / "tasks"
ROLES = {"app1": ["web"], "app2": ["web"], "worker1": ["worker", "beat", "database", "broker"], "edge1": ["edge"]}
NAMES = ("__webapp_answers", "__webapp_put_back")


def words(place: Path, **variables: Any) -> dict[str, str]:
    """The derived words of app1 with these variables."""
    content = "{{ {" + ", ".join(f"'{name}': {name}" for name in NAMES) + "} | to_json }}"
    copy = {"content": content, "dest": str(place / "words.json"), "mode": "0600"}
    play = {
        "hosts": "app1",
        "gather_facts": False,
        "roles": ["slipway.webapp.webapp"],
        "vars": {"__run_preflight": {"left_out": []}, "__run_release": "r2", **variables},
        "tasks": [{"ansible.builtin.copy": copy}],
    }
    (place / "play.yml").write_text(json.dumps([play]))
    hosts = {name: local(webapp_host_roles=roles) for name, roles in ROLES.items()}
    run = playbook("play.yml", cwd=place, inventory={"production": {"hosts": hosts}})
    assert run.code == 0, run.everything
    found: dict[str, str] = json.loads((place / "words.json").read_text())
    return found


@pytest.mark.parametrize(("left_out", "release"), [([], "r2"), (["app2"], "")])
def test_which_release_must_answer_at_the_public_address(tmp_path: Path, left_out: list[str], release: str) -> None:
    assert words(tmp_path, __run_preflight={"left_out": left_out})["__webapp_answers"] == release


def test_health_and_smoke_tests_want_the_same_release() -> None:
    prove, smoke = (TASKS / "activate.yml").read_text(), (TASKS / "smoke_test.yml").read_text()
    wanted = 'release: "{{ __webapp_answers }}"'
    assert prove.partition("url: ")[2].count(wanted) == 1
    assert smoke.partition("deadline: ")[0].count(wanted) == 1
    assert 'SMOKE_RELEASE: "{{ __webapp_answers }}"' in smoke


@pytest.mark.parametrize(
    ("excluded", "hint"),
    [
        ({}, ""),
        ({"__run_excluded": ["worker1"]}, ""),
        ({"__run_excluded": ["app2", "worker1"]}, "rotation.yml -e back=app2"),
    ],
)
def test_only_web_hosts_are_put_back_into_rotation(tmp_path: Path, excluded: dict[str, Any], hint: str) -> None:
    """rotation.yml refuses every other host."""
    assert words(tmp_path, **excluded)["__webapp_put_back"] == hint
