# SPDX-License-Identifier: GPL-3.0-or-later
"""A host of several that takes its own name for a loopback address is refused before anything is changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from tests.unit.ansible_runs import ROOT, Run, local, playbook

CHECK = ROOT / "roles" / "host" / "tasks" / "check.yml"


def check(place: Path, *addresses: str, check_mode: bool = False) -> Run:
    """Run the checks of the role on hosts that have these addresses; their names are asked for on this machine."""
    play = {"hosts": "all", "gather_facts": False, "tasks": [{"ansible.builtin.import_tasks": str(CHECK)}]}
    play["vars_files"] = [str(ROOT / "roles" / "host" / "vars" / "main.yml")]
    (place / "play.yml").write_text(yaml.safe_dump([play]))
    hosts = {f"app{number}": local(webapp_address=address) for number, address in enumerate(addresses, 1)}
    given = {"webapp_name": "shop", "__host_platform": "Debian 13", "__webapp_one_host": len(hosts) == 1}
    options = ("--check",) if check_mode else ()
    return playbook(
        "play.yml",
        *("-e", json.dumps(given), *options),
        cwd=place,
        inventory={"all": {"hosts": hosts}},
        callback="ansible.builtin.default",
    )


@pytest.mark.parametrize("address", ["localhost", "127.0.1.1", "::1"])
@pytest.mark.parametrize("check_mode", [False, True], ids=["run", "check"])
def test_of_several_it_is_refused(tmp_path: Path, address: str, check_mode: bool) -> None:
    run = check(tmp_path, "192.0.2.31", address, check_mode=check_mode)
    said = " ".join(run.stdout.split())
    assert run.code != 0, run.everything
    assert f"found: {address} is " in said, said
    assert "next: set webapp_address of app2 to its address" in said, said
    assert "webapp_address of app1" not in said


@pytest.mark.parametrize(
    "addresses",
    [("localhost",), ("192.0.2.31", "2001:db8::1"), ("192.0.2.31", "nobody-knows.example")],
    ids=["one host", "addresses", "unknown"],
)
def test_others_go_on(tmp_path: Path, addresses: tuple[str, ...]) -> None:
    run = check(tmp_path, *addresses)
    assert run.code == 0, run.everything
