# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a host is told to join the swarm: an address of IPv6 stands in brackets before its port."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.unit.ansible_runs import ROOT, local, playbook

ROLE = ROOT / "roles" / "docker_swarm"


@pytest.mark.parametrize(
    ("resolved", "wanted"),
    [
        ("192.0.2.31      STREAM swarm1\n192.0.2.31      DGRAM\n", "192.0.2.31:2377"),
        ("2001:db8::31    STREAM swarm1\n2001:db8::31    DGRAM\n", "[2001:db8::31]:2377"),
    ],
)
def test_the_way_in(tmp_path: Path, resolved: str, wanted: str) -> None:
    tasks = [{"ansible.builtin.debug": {"msg": "way in: {{ __docker_swarm_way_in }}."}}]
    play = {"hosts": "swarm2", "gather_facts": False, "tasks": tasks}
    play["vars_files"] = [str(ROLE / part / "main.yml") for part in ("defaults", "vars")]
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    first = local(__docker_swarm_resolved={"stdout": resolved})
    second = local(webapp_primary="swarm1")
    run = playbook(
        "play.yml",
        cwd=tmp_path,
        inventory={"all": {"hosts": {"swarm1": first, "swarm2": second}}},
        callback="ansible.builtin.default",
    )
    assert f"way in: {wanted}." in run.stdout, run.everything
