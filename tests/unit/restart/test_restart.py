# SPDX-License-Identifier: GPL-3.0-or-later
"""Which hosts a restart takes, and what it says of one that did not come back."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ansible_collections.slipway.webapp.plugins.module_utils import _restart
from tests.unit.ansible_runs import ROOT

REFUSED = "app1 was not restarted, nor any other host. found: "
NOTHING = f"{REFUSED}nothing of that kind on it. expected: a host that has it. next: name another one"
NEEDED = (
    f"{REFUSED}nobody does its work meanwhile: requests would fail. expected: a web host beside others, or one that is"
    " neither edge, database nor broker. next: say that it is meant: -e accept_downtime=true"
)
IDLE = {"edge": False, "web": False, "database": False, "broker": False, "units": [], "relieved": True}
WEB = {"web": True, "units": ["web"]}
SPARED = [
    ({"units": ["worker"]}, True),
    (WEB, True),
    ({**WEB, "relieved": False}, False),
    ({"units": ["worker"], "relieved": False}, True),
    ({"edge": True}, False),
    ({**WEB, "edge": True}, False),
    ({**WEB, "database": True}, False),
    ({"broker": True, "units": ["worker"]}, False),
]


def wish(**about: Any) -> tuple[bool, str]:
    found = _restart.wish({"host": "app1", "what": "host", "named": [], "accepted": False, **IDLE, **about})
    return found["wanted"], found["refusal"]


@pytest.mark.parametrize(("host", "spared"), SPARED)
def test_whom_users_can_do_without(host: dict[str, Any], spared: bool) -> None:
    assert wish(**host) == (spared, "")
    assert wish(**host, named=["app1"]) == (True, "" if spared else NEEDED)
    assert wish(**host, accepted=True) == wish(**host, accepted=True, named=["app1"]) == (True, "")


@pytest.mark.parametrize(
    ("what", "host", "has"),
    [
        ("host", {}, True),
        ("nginx", {"units": ["worker"]}, False),
        ("nginx", WEB, True),
        ("nginx", {"edge": True}, True),
        ("application", WEB, True),
        ("application", {"units": ["worker"]}, True),
        ("application", {"edge": True, "web": True}, False),  # of a swarm: systemd runs nothing there
        ("databse", WEB, False),
    ],
)
def test_what_there_is_to_restart(what: str, host: dict[str, Any], has: bool) -> None:
    assert wish(what=what, **host, accepted=True) == (has, "")
    assert wish(what=what, **host, accepted=True, named=["app1"]) == (True, "" if has else NOTHING)


def test_who_is_not_named_is_left_alone() -> None:
    assert wish(**WEB, named=["app2"]) == wish(edge=True, named=["app2"]) == (False, "")


LOST = {"unreachable": True, "msg": "no route to it"}


def outcome(*, edges: Any = ({"out": []},), rotates: bool = True, **seen: Any) -> dict[str, Any]:
    return _restart.outcome("app1", seen, edges=edges, primary="app2", rotates=rotates)


@pytest.mark.parametrize("step", _restart.STEPS)
def test_whatever_step_finds_that_a_host_is_lost(step: str) -> None:
    seen: dict[str, Any] = {**{name: {"skipped": True} for name in _restart.STEPS}, step: LOST}
    assert outcome(**seen)["lost"] == "a host cannot be reached any more: no route to it"


@pytest.mark.parametrize(
    "result", [None, {}, {"rc": 0}, {"unreachable": False}, {"failed": True, "msg": "ended with 3"}]
)
def test_who_fails_is_not_lost(result: dict[str, Any] | None) -> None:
    assert outcome(__restart_rebooted=result)["lost"] == ""


def test_an_edge_host_that_is_lost() -> None:
    told = {"unreachable": True, "results": [{"changed": True}, LOST, {**LOST, "msg": "timed out"}]}
    assert outcome(__rotation_done=told)["lost"] == "a host cannot be reached any more: no route to it; timed out"


def test_every_step_that_goes_on_without_a_host_is_looked_at() -> None:
    """By what it registers: a name that the playbook has and `STEPS` has not would let a lost host pass."""
    play = yaml.safe_load((ROOT / "playbooks" / "restart.yml").read_text())[1]
    (block,) = [task["block"] for task in play["tasks"] if "block" in task]
    going_on = [task["register"] for task in block if task.get("ignore_unreachable")]
    (rotation,) = yaml.safe_load((ROOT / "playbooks" / "tasks" / "rotate.yml").read_text())
    assert (rotation["register"], *going_on) == _restart.STEPS


FAILED = {
    "ansible_failed_task": {"name": "Back | it answers"},
    "ansible_failed_result": {"msg": "blue is not healthy\nfound: 500\nexpected: 200\nnext: look\nmore"},
}


def report(**given: Any) -> list[str]:
    lines: list[str] = outcome(**{**FAILED, "__restart_released": {"lease": None}, **given})["report"].splitlines()
    return lines


def test_what_it_says_of_a_web_host() -> None:
    assert report() == [
        "The restart of app1 failed, and the hosts after it were left alone",
        "at: Back | it answers",
        "why: blue is not healthy; found: 500; expected: 200; next: look",
        "now: it is out of rotation, and nobody asks it",
        "lease: given back",
        "next: mend it; when it is well, rotation.yml -e back=app1 passes it requests again",
    ]


def test_what_it_says_of_a_host_that_nobody_replaces() -> None:
    assert report(rotates=False, ansible_failed_result={})[2:] == [
        "why: see above",
        "now: nobody does its work",
        "lease: given back",
        "next: mend it",
    ]


def test_who_was_out_before_is_named() -> None:
    edges = [{"out": ["app3"]}, {"out": []}, {"out": ["app4"]}]
    assert outcome(edges=edges)["was_out"] == ["app3", "app4"]
    assert report(edges=edges)[3] == "now: it is out of rotation, and nobody asks it (app3, app4 was out before)"


@pytest.mark.parametrize(
    "released", [None, LOST, {**LOST, "lease": None}, {"failed": True, "msg": "somebody else has it"}]
)
def test_a_lease_that_was_not_given_back(released: dict[str, Any] | None) -> None:
    assert report(__restart_released=released)[4] == "lease: not given back, app2 did not answer; it expires"
