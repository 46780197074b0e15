# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the hosts of an environment ask what became of a transaction: a list of URLs, of all web hosts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.ansible_runs import ROOT, playbook

PORTS = yaml.safe_load((ROOT / "roles" / "nginx" / "defaults" / "main.yml").read_text())
PLAY = """
- hosts: all
  gather_facts: false
  roles: [slipway.webapp.webapp]
  tasks:
    - ansible.builtin.copy:
        content: "{{ __webapp_peers | to_json }}"
        dest: peers.json
        mode: "0600"
      delegate_to: localhost
"""
EVERYTHING: dict[str, Any] = {"a": {"ansible_host": "10.0.0.1"}, "b": {"ansible_host": "b.example"}}
APART: dict[str, Any] = {
    "a": {"ansible_host": "10.0.0.1", "webapp_host_roles": ["web"]},
    "b": {"webapp_address": "fd00::2", "webapp_host_roles": ["web"]},
    "c": {"ansible_host": "10.0.0.3", "webapp_host_roles": ["edge"]},
}


@pytest.mark.parametrize(
    ("hosts", "places"),
    [
        (EVERYTHING, ["10.0.0.1:{nginx_http_port}", "b.example:{nginx_http_port}"]),
        (APART, ["10.0.0.1:{nginx_internal_port}", "[fd00::2]:{nginx_internal_port}"]),
    ],
    ids=["edge hosts serve themselves", "edge hosts pass on"],
)
def test_peers(tmp_path: Path, hosts: dict[str, Any], places: list[str]) -> None:
    (tmp_path / "play.yml").write_text(PLAY)
    inventory = {"production": {"hosts": hosts, "vars": {"ansible_connection": "local"}}}
    run = playbook("play.yml", "-l", next(reversed(hosts)), cwd=tmp_path, inventory=inventory)
    assert run.code == 0, run.everything
    found = json.loads((tmp_path / "peers.json").read_text())
    assert found == [f"http://{place.format_map(PORTS)}/.slipway/transaction" for place in places]
