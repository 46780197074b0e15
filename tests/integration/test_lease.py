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
