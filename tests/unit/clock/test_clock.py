# SPDX-License-Identifier: GPL-3.0-or-later
"""A clock that is off by more than the lease allows is refused before anything is touched."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from ansible_collections.slipway.webapp.plugins.module_utils._clock import require_clock
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from tests.unit.ansible_runs import ROOT, local, playbook

NOW = 1_800_000_000.0


@pytest.mark.parametrize("off", [0, 0.4, 450, -450])
def test_a_clock_that_is_right_enough(off: float) -> None:
    require_clock(here=NOW + off, controller=NOW, lease_seconds=900)


@pytest.mark.parametrize(
    ("off", "said"), [(1000, "1000 s ahead of"), (-1000, "1000 s behind"), (451, "451 s ahead of")]
)
def test_a_clock_that_is_not(off: float, said: str) -> None:
    with pytest.raises(SlipwayError, match=f"The clock of this host is {said} the controller's") as refusal:
        require_clock(here=NOW + off, controller=NOW, lease_seconds=900)
    for part in (
        "2027-01-15T08:00:00Z on the controller",
        "at most 450 s",
        "webapp_lease_seconds (900)",
        "timedatectl",
    ):
        assert part in str(refusal.value)


def test_it_is_compared_when_the_hosts_are_looked_at(tmp_path: Path) -> None:
    """With the arguments that a deploy and a rollback give, by hosts of which two live in another hour."""
    tasks = yaml.safe_load((ROOT / "playbooks" / "tasks" / "look.yml").read_text())
    look = next(task for task in tasks if "slipway.webapp.deploy_info" in task)
    given = look["slipway.webapp.deploy_info"]
    arguments = {"app": "shop", **{key: given[key] for key in ("controller_time", "lease_seconds")}}
    arguments["controller_time"] = given["controller_time"].replace("timestamp()", "timestamp() + off | default(0)")
    play = {
        "hosts": "all",
        "gather_facts": False,
        "vars": {"webapp_lease_seconds": "900"},
        "tasks": [{"name": "look", "slipway.webapp.deploy_info": arguments}],
    }
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    # On a machine without systemd the rest of the look fails; the clock comes first.
    hosts = {"right": local(), "ahead": local(off=-3600), "behind": local(off=3600)}
    said = playbook("play.yml", cwd=tmp_path, inventory={"all": {"hosts": hosts}}, callback="default").everything
    found = dict(re.findall(r"\[(\w+)\]: FAILED.*?The clock of this host is 3[56]\d\d s (\w+)", said))
    assert found == {"ahead": "ahead", "behind": "behind"}, said
