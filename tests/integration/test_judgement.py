# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploys with a canary step of half of the traffic, real visitors, and what is made of Nginx's log."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._layout import SLOTS, other_slot
from tests.integration.controller import Run, Started
from tests.integration.site import Site
from tests.load import LoadGenerator
from tests.load.options import Mix

HALF: dict[str, Any] = {"webapp_canary_steps": [50, 100], "webapp_analysis_seconds": 120}
BOTH = set(SLOTS)
WORSE = "The new release does worse than the old one"
SECONDS = 120


@contextmanager
def visitors(site: Site) -> Iterator[LoadGenerator]:
    """They only read: whose errors are many must not leave notes behind that nobody can answer for."""
    load = LoadGenerator(
        url=f"https://{site.hosts[site.edge].address}",
        host=site.domain,
        insecure=True,
        clients=60,
        rate=40.0,
        max_seconds=400,
        mix=Mix(page=100, asset=0, note=0, slow=0, upload=0),
    )
    with load:
        load.wait_for(answers=40)
        yield load


def until_divided(site: Site, run: Started) -> None:
    """Wait until both slots have traffic."""
    end = time.monotonic() + SECONDS
    while set(site.host.look(site.app)["route"]) != BOTH:
        assert run.running, run.wait().output[-4000:]
        assert time.monotonic() < end, f"the traffic was not divided in {SECONDS} s"
        time.sleep(0.2)


def taken_back(site: Site, run: Run, before: Any, *words: str) -> None:
    """The deploy failed, visitors have what they had, and people are told why."""
    run.ended(2)
    assert site.live() == before
    for text in words:
        assert text in run.said, f"{text!r} is not in:\n{run.output[-6000:]}"


def test_a_release_that_does_as_well_goes_on_and_one_that_dies_does_not(
    board: Site, tell: Callable[[str], None]
) -> None:
    # Nobody comes, so both sides are asked.
    idle = board.deploy(board.sources.tree(), **{**HALF, "webapp_analysis_seconds": 3})
    assert "probes: 0 of 30 (0.00 %) failed on the new side, 0 of 30 (0.00 %) on the old one" in idle.said, idle.said

    with visitors(board) as load:
        good = board.deploy(board.sources.tree(), **HALF)
        load.wait_for(answers=20)
    assert "step 1 of 2: users (at the same time): 0 of " in good.said, good.output[-4000:]
    assert load.report.good, load.report.last_line()

    live = board.live()
    with visitors(board):
        run = board.start("deploy", webapp_source=str(board.sources.tree()), **HALF)
        until_divided(board, run)
        # Nobody answers any more, so that Nginx does, and its log has no slot; they are the new one's all the same.
        board.host.sh(f"systemctl stop {board.app}-web@{other_slot(live.slot)}")
        dead = run.wait()
    taken_back(board, dead, live, WORSE, "users (at the same time): ")
    tell(f"idle {idle.seconds:.1f} s, good {good.seconds:.1f} s, dead {dead.seconds:.1f} s: {load.report.last_line()}")


@pytest.mark.long
def test_a_release_that_leaks_errors_or_is_slow_or_cannot_be_judged_is_taken_back(
    board: Site, tell: Callable[[str], None]
) -> None:
    live = board.live()
    with visitors(board) as load:
        leaks = board.fail(board.sources.tree(fault="leaks-errors"), **HALF, webapp_analysis_minimum=200)
    taken_back(board, leaks, live, WORSE, "failed on the new side, 0 of ")
    # Half of the users lost one request in ten, and only while it was judged.
    assert 0 < load.report.failed < 0.08 * load.report.sent, load.report.last_line()

    # On a machine that has much to do the old side is slow as well.
    with visitors(board):
        slow = board.fail(board.sources.tree(fault="slow"), **HALF, webapp_analysis_latency=1.2)
    taken_back(board, slow, live, WORSE, " ms on the new side, ")

    log = f"/var/log/nginx/{board.app}.access.json"
    board.host.sh(f"mv {log} {log}.away")
    try:
        refused = board.play("deploy", webapp_source=str(board.sources.tree()), **HALF).refused()
    finally:
        board.host.sh(f"mv {log}.away {log}")
    assert "could not be judged; nothing was changed" in refused.said, refused.output[-4000:]
    assert f"has no log that can be read ({log}: No such file or directory)" in refused.said, refused.output[-4000:]

    run = board.start("deploy", webapp_source=str(board.sources.tree()), **HALF, webapp_analysis_inconclusive="wait")
    until_divided(board, run)
    board.host.sh(f"mv {log} {log}.away")
    try:
        gone = run.wait()
    finally:
        board.host.sh(f"mv {log}.away {log}")
    taken_back(board, gone, live, "has no log that can be read")
    tell(
        f"leaks {leaks.seconds:.1f} s, slow {slow.seconds:.1f} s, gone {gone.seconds:.1f} s: {load.report.last_line()}"
    )
