# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs of Ansible on this machine that are stopped at a task, and killed there."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults.hook import Stopped, stopped_at
from tests.faults.steps import Step
from tests.integration.controller import Controller, Started

PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - name: Stage | build
      ansible.builtin.command: touch {directory}/staged-{{{{ inventory_hostname }}}}
    - name: "Switch | to {{{{ 'green' }}}}"
      ansible.builtin.command: touch {directory}/first-{{{{ inventory_hostname }}}}
    - name: "Switch | to {{{{ 'blue' }}}}"
      ansible.builtin.shell: touch {directory}/second-{{{{ inventory_hostname }}}}; sleep {sleep}
"""
STAGE = Step(name="stage", task=r"^Stage \|")
FIRST = Step(name="switch 1", task=r"^Switch \|")
SECOND = Step(name="switch 2", task=r"^Switch \|", nth=2)


@dataclasses.dataclass
class Local:
    """Two hosts that are this machine."""

    directory: Path
    sleep: int = 0
    controller: Controller = dataclasses.field(default_factory=Controller)

    def start(self, playbook: str, *, controller: Controller, **_settings: Any) -> Started:
        path = self.directory / f"{playbook}.yml"
        path.write_text(PLAYBOOK.format(directory=self.directory, sleep=self.sleep))
        return controller.start("ansible-playbook", "-i", "one,two,", "-c", "local", str(path))

    def made(self) -> set[str]:
        return {path.name for path in self.directory.iterdir() if "-" in path.name}


@pytest.fixture
def site(tmp_path: Path) -> Local:
    return Local(tmp_path)


def stopped(site: Local, step: Step) -> Stopped:
    return Stopped(site, "play", step=step, settings={})  # type: ignore[arg-type]


def test_it_waits_before_the_task_and_goes_on_when_told(site: Local) -> None:
    run = stopped(site, SECOND)
    assert run.reach(limit=60)
    assert site.made() == {"staged-one", "staged-two", "first-one", "first-two"}
    assert run.running
    assert run.tasks() == ["Stage | build", "Switch | to green", "Switch | to blue"]
    run.go_on()
    while run.running:
        time.sleep(0.01)
    assert run.end().ended(0).recap["one"].changed == 3


def test_nothing_of_a_killed_run_is_left(site: Local) -> None:
    site.sleep = 300
    run = stopped(site, dataclasses.replace(SECOND, after=0.1))
    assert run.reach(limit=60)
    while not {"second-one", "second-two"} <= site.made():
        assert run.running
        time.sleep(0.01)
    assert len(run.processes.workers(run.started.pid)) == 2
    # The main process, its workers, their modules, the shells with their sleep.
    assert run.kill() > 4
    assert run.processes.found() == []
    assert not run.running
    assert run.end().code < 0


def test_one_worker_is_killed_and_the_others_live(site: Local) -> None:
    site.sleep = 3
    run = stopped(site, dataclasses.replace(SECOND, after=0.5))
    assert run.reach(limit=60)
    assert run.kill_worker()
    while run.running:
        time.sleep(0.05)
    assert "dead state" in run.end().output


def test_it_is_interrupted(site: Local) -> None:
    run = stopped(site, FIRST)
    assert run.reach(limit=60)
    run.interrupt()
    while run.running:
        time.sleep(0.01)
    told = run.end()
    assert told.code != 0
    assert "first-one" not in site.made()


def test_a_step_that_does_not_exist_is_not_reached(site: Local) -> None:
    run = stopped(site, dataclasses.replace(FIRST, nth=3))
    assert not run.reach(limit=60)
    run.end().ended(0)


def test_who_wants_a_step_gets_it_or_is_told_what_the_run_said(site: Local) -> None:
    with stopped_at(FIRST, site, "play", limit=60) as run:  # type: ignore[arg-type]
        assert site.made() == {"staged-one", "staged-two"}
        run.go_on()
        run.started.wait().ended(0)
    missing = dataclasses.replace(FIRST, name="switch 3", nth=3)
    with (
        pytest.raises(AssertionError, match=r"switch 3 was not reached in 60 s:\n(.*\n)*PLAY RECAP"),
        stopped_at(missing, site, "play", limit=60),  # type: ignore[arg-type]
    ):
        pytest.fail("there is no such step")
