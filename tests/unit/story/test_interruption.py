# SPDX-License-Identifier: GPL-3.0-or-later
"""What becomes of a run that is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._interruption import Holder, ending
from tests.unit.ansible_runs import local, prepared


@pytest.mark.parametrize(
    ("words", "playbooks", "expected"),
    [
        (["deploy.yml", "-l", "production"], ["deploy.yml"], ["-l", "production"]),
        (["-i", "a", "slipway.webapp.deploy", "-e", "x=1"], ["slipway.webapp.deploy"], ["-i", "a", "-e", "x=1"]),
        (["-i", "deploy.yml", "deploy.yml"], ["deploy.yml"], ["-i", "deploy.yml"]),
        (["a.yml", "-v", "b.yml"], ["a.yml", "b.yml"], ["-v"]),
        (["a.yml", "a.yml"], ["a.yml", "a.yml"], []),
    ],
)
def test_the_words_of_the_run_that_ends_another(words: list[str], playbooks: list[str], expected: list[str]) -> None:
    assert ending(words, playbooks=playbooks, run="R") == [*expected, "-e", "run=R", "slipway.webapp.settle"]


OURS: dict[str, Any] = {"lease": {"owner": "R"}}


@pytest.mark.parametrize(
    ("results", "held"),
    [
        ([], ""),
        ([("preflight", {"run": "R"})], ""),
        ([("preflight", {"run": "R"}), ("lease", OURS)], "R"),
        ([("preflight", {"run": "R"}), ("lease", OURS), ("slot", {"changed": True})], "R"),
        ([("preflight", {"run": "R"}), ("lease", OURS), ("lease", {"lease": None})], ""),
        ([("preflight", {"run": "R"}), ("lease", {"lease": {"owner": "S"}})], ""),
    ],
)
def test_whether_the_run_holds_the_lease(results: list[tuple[str, dict[str, Any]]], held: str) -> None:
    holder = Holder()
    for action, result in results:
        holder.learn(action, result)
    assert holder.run == held


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 99), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_run_without_a_lease_just_ends(tmp_path: Path, number: int, code: int) -> None:
    (tmp_path / "play.yml").write_text(
        "- {hosts: all, gather_facts: false, tasks: [{command: 'sh -c \"touch here; sleep 60\"'}]}"
    )
    command, environment = prepared("play.yml", cwd=tmp_path, inventory={"all": {"hosts": {"a": local()}}})
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 30
        while not os.path.exists(tmp_path / "here"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        said, _nothing = process.communicate(timeout=30)
    assert process.returncode == code, said
    assert "INTERRUPTED" not in said
