# SPDX-License-Identifier: GPL-3.0-or-later
"""Our Dockerfiles, as Ansible renders them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.unit.ansible_runs import ROOT, local, playbook

ROLE = ROOT / "roles" / "image"
NAMES = ("Dockerfile", "frontend.Dockerfile")


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    place = tmp_path_factory.mktemp("rendered")
    (place / "files").symlink_to(ROLE / "files")
    tasks = [
        {
            "ansible.builtin.template": {
                "src": str(ROLE / "templates" / f"{name}.j2"),
                "dest": str(place / name),
                "mode": "0644",
            }
        }
        for name in NAMES
    ]
    play = {"hosts": "all", "gather_facts": False, "tasks": tasks}
    play["vars_files"] = [str(ROOT / "roles" / "webapp" / "defaults" / "main.yml")]
    (place / "play.yml").write_text(yaml.safe_dump([play]))
    inventory = {"all": {"hosts": {"here": local()}}}
    arguments = json.dumps({"webapp_image_arguments": {"PIP_INDEX_URL": "https://index.example.org", "COLOUR": "red"}})
    run = playbook("play.yml", "-e", arguments, cwd=place, inventory=inventory, callback="ansible.builtin.default")
    assert run.code == 0, run.everything
    return {name: (place / name).read_text() for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_arguments_reach_the_steps_that_install(rendered: dict[str, str], name: str) -> None:
    stage = rendered[name].split("\nFROM ")[1]
    before, _run, _after = stage.partition("RUN npm" if name.startswith("frontend") else "RUN ( ")
    assert re.findall(r"^ARG (.*)$", before, re.MULTILINE) == ["COLOUR", "PIP_INDEX_URL"]
    assert rendered[name].count("ARG ") == 2, "not in the result"


@pytest.mark.parametrize(
    ("programs", "code", "asked"),
    [
        ({"curl": 0}, 0, "curl"),
        ({"curl": 22, "wget": 0}, 1, "curl"),
        ({"wget": 0}, 0, "wget"),
        ({"wget": 1}, 1, "wget"),
        ({}, 1, ""),
    ],
)
def test_the_health_check_of_a_front_end(
    rendered: dict[str, str], tmp_path: Path, programs: dict[str, int], code: int, asked: str
) -> None:
    """With what the base image has."""
    found = re.search(r"^HEALTHCHECK .* CMD \\\n((?:.*\\\n)*.*)$", rendered["frontend.Dockerfile"], re.MULTILINE)
    assert found
    for name, answer in programs.items():
        (tmp_path / name).write_text(f'#!/bin/sh\necho "{name} $*"\nexit {answer}\n')
        (tmp_path / name).chmod(0o755)
    command = found[1].replace("\\\n", "")
    shell = shutil.which("sh")
    assert shell
    done = subprocess.run(
        [shell, "-c", command], env={"PATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert done.stdout.partition(" ")[0].strip() == asked
    assert ("http://127.0.0.1:8080/" in done.stdout) is bool(asked)
    assert ("neither curl nor wget" in done.stderr) is not bool(asked)
