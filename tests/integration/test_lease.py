# SPDX-License-Identifier: GPL-3.0-or-later
"""The lease as people meet it: who holds it, waiting for it, giving it back, taking it away."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.faults.hook import stopped_at
from tests.faults.steps import BY_NAME, Step
from tests.integration.conftest import MakeSite
from tests.integration.controller import Run, Started
from tests.integration.site import Site


@pytest.fixture(scope="module")
def turns(staging_site: MakeSite) -> Site:
    """An application of which nothing is on its host yet: a lease needs nothing."""
    return staging_site("turns")


def take(site: Site, owner: str, *, seconds: int = 600, wait: int = 0) -> Started:
    """What a deploy of that run would do; `ann` starts all runs."""
    words = f"app={site.app} owner={owner} by=ann@desk reason='deploy of {owner}' seconds={seconds} wait={wait}"
    inventory = ("-i", str(site.inventory), "-b")
    return site.controller.start("ansible", site.host.name, *inventory, "-m", "slipway.webapp.lease", "-a", words)


def holder(site: Site) -> str:
    found = site.host.look(site.app)["lease"]
    return str(found["owner"]) if found else ""


def lease(site: Site, *arguments: str, by: str = "bob@desk", **settings: Any) -> Run:
    return site.play("lease", *arguments, webapp_by=by, **settings)


def told(site: Site) -> dict[str, Any]:
    """What lease.yml says to programs."""
    story = {"ANSIBLE_STDOUT_CALLBACK": "slipway.webapp.story"}
    program = dataclasses.replace(site.controller, settings=story, errors=subprocess.DEVNULL)
    found: dict[str, Any] = json.loads(site.play("lease", controller=program, format="json").ended(0).output)
    return found


def test_who_holds_it_and_who_may_end_it(turns: Site, tell: Callable[[str], None]) -> None:
    assert "Nobody holds it." in lease(turns).ended(0).output
    take(turns, "run1").wait().ended(0)
    found = told(turns)
    assert (found["application"], found["environment"], found["primary"]) == ("turns", "staging", "staging1")
    assert (found["lease"]["owner"], found["lease"]["by"]) == ("run1", "ann@desk")
    assert 0 <= found["lease"]["silent_seconds"] < 60
    refused = lease(turns, lease="release").refused()
    for part in ("not yours to give back", "run1 (ann@desk) holds the lease", "last sign of life", "confirm=run1"):
        assert part in refused.said, refused.output
    for confirm in ({}, {"confirm": "run2"}):
        refused = lease(turns, lease="force", **confirm).refused()
        assert "only from the owner that is named" in refused.said, refused.output
        assert "-e confirm=run1" in refused.said, refused.output
    assert "found frobnicate" in lease(turns, lease="frobnicate").refused().said
    for verb, confirm in (("release", {}), ("force", {"confirm": "run1"})):
        lease(turns, "--check", by="ann@desk", lease=verb, **confirm).ended(0)
    assert holder(turns) == "run1"
    assert "Done: Give the lease back" in lease(turns, by="ann@desk", lease="release").ended(0).said
    assert holder(turns) == ""
    take(turns, "run2").wait().ended(0)
    assert "Done: Take the lease away from run2" in lease(turns, lease="force", confirm="run2").ended(0).said
    assert holder(turns) == ""
    tell("shown, refused five times, given back by its owner, taken away by its name")


def test_a_primary_that_cannot_be_asked(turns: Site) -> None:
    run = lease(turns, ansible_port=1)
    assert run.code != 0
    assert "Nobody can say who holds the lease of staging: it is kept on staging1" in run.said, run.output
    assert "Traceback" not in run.output


def test_it_is_waited_for_but_not_for_a_controller_that_died(turns: Site, tell: Callable[[str], None]) -> None:
    take(turns, "run1").wait().ended(0)
    dead, patient = take(turns, "run2", wait=120), take(turns, "run3", wait=120)
    time.sleep(6)
    assert dead.running
    assert patient.running
    dead.kill()
    dead.wait()
    assert holder(turns) == "run1"
    lease(turns, by="ann@desk", lease="release").ended(0)
    run = patient.wait().ended(0)
    assert "Waits up to 120 s for the lease of run1: deploy of run1" in run.said, run.output
    assert holder(turns) == "run3"
    lease(turns, by="ann@desk", lease="release").ended(0)
    time.sleep(6)
    assert holder(turns) == "", "a run that was killed while it waited has taken the lease"
    tell(f"taken {run.seconds:.0f} s after it was asked for; the killed one never took it")


def test_an_expired_lease_is_taken_over_and_that_is_said(turns: Site) -> None:
    take(turns, "run1", seconds=1).wait().ended(0)
    time.sleep(1.5)
    run = take(turns, "run2").wait().ended(0)
    assert "took over the expired lease of run1 (deploy of run1), without a sign of life for" in run.said, run.output
    assert holder(turns) == "run2"
    lease(turns, by="ann@desk", lease="release").ended(0)


WAITS = Step(name="waits", task=r"^Settle \| take the lease")
STEP_SECONDS = 90


def test_who_waited_begins_with_what_the_other_has_left(board: Site, tell: Callable[[str], None]) -> None:
    """What it saw before it waited is over: it would take the other one's release for the idle slot."""
    first, second = board.sources.tree(release=1), board.sources.tree(release=2)
    with stopped_at(BY_NAME["stage"], board, "deploy", limit=STEP_SECONDS, webapp_source=str(first)) as at_work:
        patient: dict[str, Any] = {"webapp_source": str(second), "webapp_lease_wait": 300}
        with stopped_at(WAITS, board, "deploy", limit=STEP_SECONDS, **patient) as waiting:
            waiting.go_on()
            time.sleep(2)  # it asks for the lease, which is held
            at_work.go_on()
            at_work.started.wait().ended(0)
            between = board.live()
            run = waiting.started.wait().ended(0)
    after = board.live()
    assert "Waits up to 300 s for the lease" in run.said, run.output
    assert after.release != between.release
    entry = board.host.look(board.app)["ledger"][-1]
    assert (entry["release"], entry["outcome"]) == (after.release, "succeeded")
    assert entry["previous"] == {"release": between.release, "config": between.config, "slot": between.slot}
    tell(f"{between.release} in {between.slot}, then {after.release} in {after.slot}")


@pytest.mark.parametrize("playbook", ["deploy", pytest.param("rollback", marks=pytest.mark.long)])
def test_what_was_planned_before_somebody_else_worked_is_refused(board: Site, playbook: str) -> None:
    """Between the look and the lease another run has come and gone."""
    board.deploy(board.sources.tree())
    before = board.live()
    settings = {"webapp_source": str(board.sources.tree())} if playbook == "deploy" else {}
    with stopped_at(BY_NAME["lease"], board, playbook, limit=STEP_SECONDS, **settings) as late:
        take(board, "run9").wait().ended(0)
        lease(board, by="ann@desk", lease="release").ended(0)
        late.go_on()
        refused = late.started.wait().refused()
    assert "Somebody else has worked on this environment since this run looked at it" in refused.said, refused.output
    assert "run9 held the lease meanwhile" in refused.said, refused.output
    assert board.live() == before
    assert holder(board) == ""
