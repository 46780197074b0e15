# SPDX-License-Identifier: GPL-3.0-or-later
"""Two releases side by side on a real host, real visitors, and what the judgement makes of Nginx's log.

One story, because its parts build on each other: each release is deployed without a judgement, and then given half of
the traffic again beside the one before it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._layout import other_slot
from tests.integration.controller import ROOT, Run
from tests.integration.site import Site
from tests.load import LoadGenerator
from tests.load.options import Mix

UNJUDGED = {"webapp_canary_analysis": False, "webapp_bake_seconds": 0}
ENOUGH = 30


def judge(site: Site, place: Path, *, slot: str, seconds: int = 60, **settings: Any) -> Run:
    """The tasks as a deploy includes them, beginning now."""
    since = time.time()
    play = {
        "hosts": "all",
        "gather_facts": False,
        "become": True,
        "any_errors_fatal": True,
        "module_defaults": {"group/slipway.webapp.webapp": {"app": site.app}},
        "roles": ["slipway.webapp.webapp"],
        "vars": {"__run_slot": slot, "__judge_name": "half", "__judge_since": since, "__judge_seconds": seconds},
        "tasks": [{"ansible.builtin.include_tasks": str(ROOT / "playbooks" / "tasks" / "judge.yml")}],
    }
    path = place / "judge.yml"
    path.write_text(json.dumps([play]))
    words = ("ansible-playbook", "-i", str(site.inventory), str(path), "-l", site.environment)
    return site.controller.run(*words, "-e", json.dumps(settings))


def split(site: Site, **weights: int) -> None:
    arguments = json.dumps({"app": site.app, "weights": weights})
    words = ("ansible", "-i", str(site.inventory), "all", "-b", "-m", "slipway.webapp.route", "-a", arguments)
    site.controller.run(*words).ended(0)


def side_by_side(site: Site, *, fault: str | None = None) -> str:
    """Deploy one more release, and give half of the traffic back to the one before it; the slot of the new one."""
    site.deploy(site.sources.tree(fault=fault), **UNJUDGED)
    slot = site.live().slot
    split(site, **{slot: 50, other_slot(slot): 50})
    return slot


@contextmanager
def visitors(site: Site, *, rate: float = 40.0) -> Iterator[LoadGenerator]:
    load = LoadGenerator(
        url=f"https://{site.hosts[site.edge].address}",
        host=site.domain,
        insecure=True,
        clients=60,
        rate=rate,
        max_seconds=300,
        mix=Mix(page=70, asset=30, note=0, slow=0, upload=0),
    )
    with load:
        load.wait_for(answers=ENOUGH)
        yield load


@pytest.fixture
def place(tmp_path: Path, board: Site) -> Iterator[Path]:
    """A directory; afterwards the slot that had all the traffic has it again."""
    slot = board.live().slot
    yield tmp_path
    split(board, **{slot: 100, other_slot(slot): 0})


def test_the_new_release_is_judged_by_what_visitors_get(board: Site, place: Path, tell: Callable[[str], None]) -> None:
    slot = side_by_side(board)
    # Nobody comes, so both sides are asked; that is over at once.
    idle = judge(board, place, slot=slot).ended(0)
    assert "probes: 0 of 30 (0.00 %) failed on the new side, 0 of 30 (0.00 %) on the old one" in idle.said
    refused = judge(board, place, slot=slot, seconds=2, webapp_analysis_inconclusive="wait").ended(2)
    assert "the new side has answered 0 requests of users, not 100" in refused.said

    with visitors(board):
        equal = judge(board, place, slot=slot).ended(0)
        assert "half: users (at the same time): 0 of " in equal.said
        board.host.sh(f"systemctl kill --signal=KILL {board.app}-web@{slot}; systemctl stop {board.app}-web@{slot}")
        dead = judge(board, place, slot=slot).ended(2)
    # Nginx has answered for it, and still the log is read rightly: all of them are the new side's.
    assert "The new release does worse than the old one" in dead.said
    assert "0 (0.00 %)" not in dead.said.split("failed on the new side")[0]
    tell(f"idle {idle.seconds:.1f} s, equal {equal.seconds:.1f} s, dead {dead.seconds:.1f} s")


def test_a_release_that_leaks_errors_or_is_slow_or_has_no_log(
    board: Site, place: Path, tell: Callable[[str], None]
) -> None:
    slot = side_by_side(board, fault="leaks-errors")
    with visitors(board) as load:
        leaks = judge(board, place, slot=slot, seconds=90).ended(2)
    assert "The new release does worse than the old one" in leaks.said, leaks.said
    assert "0 of " in leaks.said.split("failed on the new side, ")[1]
    split(board, **{slot: 0, other_slot(slot): 100})
    assert 0 < load.report.failed < 0.03 * load.report.sent

    slot = side_by_side(board, fault="slow")
    with visitors(board, rate=20.0):
        slow = judge(board, place, slot=slot, seconds=90, webapp_analysis_minimum=60).ended(2)
    assert " ms on the new side, " in slow.said, slow.said

    log = f"/var/log/nginx/{board.app}.access.json"
    board.host.sh(f"mv {log} {log}.away")
    try:
        gone = judge(board, place, slot=slot, seconds=1, webapp_analysis_inconclusive="pass").ended(2)
    finally:
        board.host.sh(f"mv {log}.away {log}")
    assert f"has no log that can be read ({log}: No such file or directory)" in gone.said
    tell(
        f"leaks {leaks.seconds:.1f} s, slow {slow.seconds:.1f} s: {load.report.sent} sent, {load.report.failed} failed"
    )
