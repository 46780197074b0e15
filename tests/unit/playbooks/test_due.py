# SPDX-License-Identifier: GPL-3.0-or-later
"""The second play of a deploy and of a rollback runs on exactly the due hosts, and on none without a warning."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.unit.ansible_runs import ROOT, local, playbook

INVENTORY = {
    "production": {"hosts": {"a": local(), "b": local(), "c": local()}},
    "staging": {"hosts": {"d": local()}},
}
KEY = "slipway_{{ 'due' if inventory_hostname in due else 'idle' }}"


@pytest.mark.parametrize("name", ["deploy", "rollback"])
@pytest.mark.parametrize("due", [[], ["a", "c"], ["a", "b", "c"]])
def test_it_runs_on_the_due_hosts(tmp_path: Path, name: str, due: list[str]) -> None:
    _look, second = yaml.safe_load((ROOT / "playbooks" / f"{name}.yml").read_text())
    look = {"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.group_by": {"key": KEY}}]}
    act = {
        "hosts": second["hosts"],
        "gather_facts": False,
        "tasks": [{"ansible.builtin.debug": {"msg": "here is {{ inventory_hostname }}"}}],
    }
    (tmp_path / "play.yml").write_text(json.dumps([look, act]))
    words = ("-l", "production", "-e", json.dumps({"due": due}))
    done = playbook("play.yml", *words, cwd=tmp_path, inventory=INVENTORY, callback="default")
    assert done.code == 0, done.everything
    assert [host for host in "abcd" if f"here is {host}" in done.stdout] == due
    assert "WARNING" not in done.everything
