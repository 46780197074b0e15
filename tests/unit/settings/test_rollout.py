# SPDX-License-Identifier: GPL-3.0-or-later
"""How a fleet moves: the hosts of each batch, and every refusal of a plan that does not add up, word for word."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._settings import report
from ansible_collections.slipway.webapp.plugins.module_utils._settings_rollout import (
    batches,
    check_rollout,
    check_rollout_fleet,
)

DEFAULT = [1, "25%", "100%"]


@pytest.mark.parametrize(
    ("count", "wish", "sizes"),
    [
        (1, DEFAULT, [1]),
        (2, DEFAULT, [1, 1]),
        (3, DEFAULT, [1, 2]),
        (5, DEFAULT, [1, 1, 3]),
        (8, DEFAULT, [1, 1, 6]),
        (40, DEFAULT, [1, 9, 30]),
        (8, ["100%"], [8]),
        (8, [8], [8]),
        (8, [20], [8]),
        (3, ["1%", "50%", "100%"], [1, 1, 1]),
        (8, ["1", "50%", "100%"], [1, 3, 4]),
        (3, [2, "50%", "100%"], [2, 1]),  # of a part of the fleet: what would shrink is no batch
        (3, [1], [1, 2]),  # whatever is left moves, too
    ],
)
def test_how_many_move_in_each_batch(count: int, wish: list[Any], sizes: list[int]) -> None:
    hosts = [f"web{number}" for number in range(1, count + 1)]
    found = batches(hosts, wish)
    assert [len(batch) for batch in found] == sizes
    assert [host for batch in found for host in batch] == hosts


def test_hosts_without_a_web_process_move_last() -> None:
    assert batches(["a", "b"], DEFAULT, others=["worker1"]) == [["a"], ["b", "worker1"]]
    assert batches([], DEFAULT, others=["worker1"]) == [["worker1"]]
    assert batches([], DEFAULT) == []


def said(values: dict[str, Any], roles: dict[str, list[str]] | None = None) -> list[str]:
    """The lines of a refusal, as an operator reads them."""
    values = {f"webapp_{name}": value for name, value in values.items()}
    problems = check_rollout(values, "")
    problems += check_rollout_fleet(values, roles if roles is not None else {"web1": ["web"], "web2": ["web"]})
    return [line[2:] for line in report(problems, hosts=2).splitlines()[1:]] if problems else []


@pytest.mark.parametrize(
    ("web", "settings", "asked"),
    [
        (1, {}, False),
        (1, {"webapp_bake_seconds": 30}, True),
        (1, {"webapp_canary_steps": [25, 100]}, True),
        (1, {"webapp_canary_steps": [25, 100], "webapp_canary_analysis": False}, False),
        (3, {}, True),
        (3, {"webapp_batches": ["100%"]}, False),
        (3, {"webapp_canary_analysis": False}, False),
        (3, {"webapp_canary_analysis": False, "webapp_bake_seconds": 30}, True),
        (3, {"webapp_runtime": "swarm"}, False),
        (1, {"webapp_prometheus_url": ""}, True),
    ],
)
def test_a_prometheus_that_nobody_would_ask(web: int, settings: dict[str, Any], asked: bool) -> None:
    given = {
        "webapp_batches": DEFAULT,
        "webapp_canary_steps": [100],
        "webapp_canary_analysis": True,
        "webapp_bake_seconds": 0,
        "webapp_prometheus_url": "http://prometheus:9090",
        **settings,
    }
    found = check_rollout_fleet(given, {f"web{number}": ["web"] for number in range(web)})
    assert [problem.name for problem in found] == ([] if asked else ["webapp_prometheus_url"])
    assert all("nobody would ask" in problem.found for problem in found)


ENTRY = 'expected a number of web hosts from 1, or a share of them from "1%" to "100%"'
GROW = "expected batches that grow: each says how many have moved after it"


@pytest.mark.parametrize(
    ("wish", "line"),
    [
        ([], 'webapp_batches: found an empty list; expected at least ["100%"]: all web hosts at once'),
        ([0, "100%"], f"webapp_batches: found the batch the number 0; {ENTRY}"),
        (["half", "100%"], f"webapp_batches: found the batch 'half'; {ENTRY}"),
        (["0%", "100%"], f"webapp_batches: found the batch '0%'; {ENTRY}"),
        ([1, "101%"], f"webapp_batches: found the batch '101%'; {ENTRY}"),
        ([-1, "100%"], f"webapp_batches: found the batch the number -1; {ENTRY}"),
        ([0.5, "100%"], f"webapp_batches: found the batch the number 0.5; {ENTRY}"),
        ([True, "100%"], f"webapp_batches: found the batch true; {ENTRY}"),
        (["50%", "25%", "100%"], f"webapp_batches: found 25% after 50%; {GROW}"),
        ([1, 1, "100%"], f"webapp_batches: found 1 after 1; {GROW}"),
        (
            [2, "25%", "100%"],
            f"webapp_batches: found 25% after 2, which are 1 after 2 of 2 web hosts; {GROW}",
        ),
        (
            [1],
            (
                "webapp_batches: found 1 as the last batch, which leaves 1 of 2 web hosts behind; "
                'expected all web hosts in the last batch: "100%"'
            ),
        ),
        (
            [1, "50%"],
            (
                "webapp_batches: found 50% as the last batch, which leaves 1 of 2 web hosts behind; "
                'expected all web hosts in the last batch: "100%"'
            ),
        ),
    ],
)
def test_batches_that_do_not_add_up(wish: list[Any], line: str) -> None:
    assert said({"batches": wish}) == [line]


@pytest.mark.parametrize(
    ("steps", "line"),
    [
        ([], "webapp_canary_steps: found an empty list: a canary without traffic; expected at least [100]"),
        (
            [0, 100],
            "webapp_canary_steps: found the step 0: a canary without traffic; expected weights from 5 to 100",
        ),
        ([7, 100], "webapp_canary_steps: found the step 7; expected multiples of 5, from 5 to 100"),
        ([50, 105], "webapp_canary_steps: found the step 105; expected multiples of 5, from 5 to 100"),
        ([-5, 100], "webapp_canary_steps: found the step -5; expected multiples of 5, from 5 to 100"),
        ([50, 25, 100], "webapp_canary_steps: found 25 after 50; expected weights that grow"),
        ([50, 50, 100], "webapp_canary_steps: found 50 after 50; expected weights that grow"),
        (
            [5, 50],
            (
                "webapp_canary_steps: found 50 as the last step; "
                "expected 100 as the last step: the canary's whole traffic, before the next batch"
            ),
        ),
    ],
)
def test_a_canary_without_traffic_and_other_steps_that_do_not_add_up(steps: list[int], line: str) -> None:
    assert said({"canary_steps": steps}) == [line]


BOUNDS = "at least webapp_health_deadline (60) and 10 s, at most webapp_lease_seconds (900)"


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"hold_seconds": 69}, f"webapp_hold_seconds: found the number 69; expected 70 to 900: {BOUNDS}"),
        ({"hold_seconds": 901}, f"webapp_hold_seconds: found the number 901; expected 70 to 900: {BOUNDS}"),
        (
            {"hold_seconds": 60, "lease_seconds": 60},
            "webapp_lease_seconds: found the number 60; expected at least 70: webapp_health_deadline (60) and 10 s",
        ),
    ],
)
def test_a_host_that_would_settle_too_early_or_too_late(values: dict[str, int], line: str) -> None:
    assert said({"health_deadline": 60, "lease_seconds": 900, **values}) == [line]


ALONE = (
    "webapp_on_host_failure: found 'exclude_host'; "
    "expected revert_fleet: web1 is the only web host, nothing would serve"
)
BOTH = (
    "web1: webapp_host_roles: found edge and web on web1, which exclude each other with webapp_on_host_failure: "
    "exclude_host; expected edge on hosts of its own, which can take a web host out of their rotation; or revert_fleet"
)


@pytest.mark.parametrize(
    ("roles", "lines"),
    [
        ({"web1": ["web", "edge"], "db1": ["database"]}, [ALONE]),
        ({"web1": ["edge", "web"], "web2": ["web"]}, [BOTH]),
        ({"edge1": ["edge"], "web1": ["web"], "web2": ["web"]}, []),
    ],
)
def test_where_a_broken_host_cannot_be_left_out(roles: dict[str, list[str]], lines: list[str]) -> None:
    assert said({"on_host_failure": "exclude_host"}, roles) == lines
    assert said({"on_host_failure": "revert_fleet"}, roles) == []


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"batches": DEFAULT, "canary_steps": [5, 25, 50, 100], "hold_seconds": 120, "lease_seconds": 900},
        {"batches": [1, "1%", "100%"]},  # the same after rounding
        {"batches": [5, 10]},
        {"batches": ["100%"], "canary_steps": [100]},
    ],
)
def test_what_adds_up(values: dict[str, Any]) -> None:
    assert said(values) == []
