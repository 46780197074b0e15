# SPDX-License-Identifier: GPL-3.0-or-later
"""What plan.yml takes: the same hosts as the deploy that it is the plan of."""

from __future__ import annotations

from typing import Any

import yaml

from tests.unit.ansible_runs import ROOT


def preflight(name: str) -> dict[str, Any]:
    first = yaml.safe_load((ROOT / "playbooks" / f"{name}.yml").read_text())[0]
    (found,) = [task["slipway.webapp.preflight"] for task in first["tasks"] if "slipway.webapp.preflight" in task]
    return dict(found)


def test_a_deploy_to_a_part_of_the_hosts_can_be_planned() -> None:
    plan, deploy = preflight("plan"), preflight("deploy")
    assert plan["partial"] == deploy["partial"]
    assert "partial" in plan["accepts"]
