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
import yaml

from ansible_collections.slipway.webapp.plugins.module_utils._interruption import BEYOND, Holder, ending
from tests.unit.ansible_runs import ROOT, local, prepared


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
def test_whether_settle_can_end_the_run(results: list[tuple[str, dict[str, Any]]], held: str) -> None:
    holder = Holder()
    for action, result in results:
        holder.learn(action, result)
    assert holder.run == held


@pytest.mark.parametrize("action", BEYOND)
def test_a_run_that_does_more_than_settle_knows_is_left_alone(action: str) -> None:
    holder = Holder()
    holder.learn("preflight", {"run": "R"})
    holder.learn("lease", OURS)
    holder.begin("slot")
    assert holder.run == "R"
    holder.begin(action)
    holder.learn("lease", OURS)
    assert holder.run == ""


def test_a_transaction_that_takes_hosts_out_of_rotation_can_still_be_ended() -> None:
    """It goes on without those that failed; a restart, which takes them out without one, is left alone."""
    holder = Holder()
    holder.learn("preflight", {"run": "R"})
    holder.learn("lease", OURS)
    for action in ("transaction", "rotation", "transaction", "route"):
        holder.begin(action)
        assert holder.run == "R"
    holder.begin("manage")
    assert holder.run == ""


def test_settle_is_given_what_every_run_with_a_lease_accepts() -> None:
    """It is called with their arguments, and preflight refuses what a playbook does not read."""
    accepts = {}
    for path in (ROOT / "playbooks").glob("*.yml"):
        if "state: held" in path.read_text() or path.stem == "settle":
            tasks = yaml.safe_load(path.read_text())[0]["tasks"]
            (preflight,) = [task["slipway.webapp.preflight"] for task in tasks if "slipway.webapp.preflight" in task]
            accepts[path.stem] = set(preflight["accepts"])
    assert {"deploy", "rollback", "restart", "restore", "manage", "settle"} == set(accepts)
    assert set().union(*accepts.values()) == accepts["settle"]


ACTION = """
from ansible.plugins.action import ActionBase
class ActionModule(ActionBase):
    def run(self, tmp=None, task_vars=None):
        return {result}
"""
WORK = "{command: 'sh -c \"touch here; sleep 60\"'}"
ENDS = pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 99), (signal.SIGTERM, -signal.SIGTERM)])


def interrupted(tmp_path: Path, number: int, *tasks: str, **settings: str) -> tuple[int, str]:
    """Run the tasks, interrupt the last one; the exit code, and what was said by this run and what it has started."""
    (tmp_path / "play.yml").write_text(f"- {{hosts: all, gather_facts: false, tasks: [{', '.join([*tasks, WORK])}]}}")
    inventory = {"production": {"hosts": {"a": local()}}}
    command, environment = prepared("play.yml", cwd=tmp_path, inventory=inventory, settings=settings)
    out = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, **out) as process:  # type: ignore[call-overload]
        deadline = time.monotonic() + 60
        while not os.path.exists(tmp_path / "here"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(number)
        said, _nothing = process.communicate(timeout=60)
    return process.returncode, said


@ENDS
def test_a_run_without_a_lease_just_ends(tmp_path: Path, number: int, code: int) -> None:
    ended, said = interrupted(tmp_path, number)
    assert (ended, "INTERRUPTED" in said) == (code, False), said


@ENDS
def test_a_run_with_the_lease_calls_settle(tmp_path: Path, number: int, code: int) -> None:
    """Here settle refuses at once, because nothing is set: that is how we know that it ran, and that it can be read."""
    (tmp_path / "actions").mkdir()
    for name, result in (("preflight", {"run": "R"}), ("lease", {"lease": {"owner": "R"}})):
        (tmp_path / "actions" / f"{name}.py").write_text(ACTION.replace("{result}", repr(result)))
    plugins = {"ANSIBLE_ACTION_PLUGINS": str(tmp_path / "actions")}
    ended, said = interrupted(tmp_path, number, "{preflight: }", "{lease: }", **plugins)
    assert ended == code, said
    assert "INTERRUPTED  R ends as if it had failed" in said
    assert "webapp_name: found nothing" in said, said
