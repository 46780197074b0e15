# SPDX-License-Identifier: GPL-3.0-or-later
"""Which packages the role asks for: an engine of the distribution gets its BuildKit, where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.unit.ansible_runs import ROOT, local, playbook

SYSTEMS = {
    "trixie": ("Debian", "13", False),
    "bookworm": ("Debian", "12", False),
    "noble": ("Ubuntu", "24", False),
    "foreign": ("Debian", "13", True),
}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    place = tmp_path_factory.mktemp("packages")
    said = "{{ inventory_hostname }}: {{ __docker_host_build_packages | join(' ') }}\n"
    copy = {"content": said, "dest": str(place / "{{ inventory_hostname }}"), "mode": "0644"}
    facts = {"distribution": "{{ system }}", "distribution_major_version": "{{ version }}", "cacheable": True}
    tasks = [{"ansible.builtin.set_fact": facts}, {"ansible.builtin.copy": copy}]
    play = {"hosts": "all", "gather_facts": False, "tasks": tasks}
    play["vars_files"] = [str(ROOT / "roles" / "docker_host" / "vars" / "main.yml")]
    (place / "play.yml").write_text(yaml.safe_dump([play]))
    hosts = {
        name: local(system=system, version=version, __docker_host_plan={"respected": respected})
        for name, (system, version, respected) in SYSTEMS.items()
    }
    run = playbook("play.yml", cwd=place, inventory={"all": {"hosts": hosts}}, callback="ansible.builtin.default")
    assert run.code == 0, run.everything
    return {name: (place / name).read_text().split()[1:] for name in SYSTEMS}


def test_an_engine_of_the_distribution_gets_its_buildkit(packages: dict[str, list[str]]) -> None:
    assert packages == {"trixie": ["docker-buildx"], "bookworm": [], "noble": ["docker-buildx"], "foreign": []}


def test_what_says_whether_the_engine_is_there_comes_last() -> None:
    """Both ask the role host, which leaves one answer; in check mode that of BuildKit must not stand for the engine."""
    tasks = yaml.safe_load(Path(ROOT / "roles" / "docker_host" / "tasks" / "install.yml").read_text())
    asked = [task["vars"]["host_packages"] for task in tasks if "ansible.builtin.import_role" in task]
    assert ["__docker_host_build_packages" in one for one in asked] == [True, False]
    assert "__docker_host_packages" in asked[1]
