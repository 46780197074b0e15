# SPDX-License-Identifier: GPL-3.0-or-later
"""The screen of a run that went back, and which hosts a run can go on without."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _report

WEB = ["app1", "app2", "app3"]
ALONE = "by itself, 120 s after the last word or when it is up again"
BACK = {"changed": True, "ended": ""}


def seen(*, at: str = "", why: str = "", told: dict[str, Any] | None = None, live: bool = True) -> dict[str, Any]:
    """The variables of a host that was told to go back."""
    return lost(at=at, why=why, told=told or BACK, live=live)


def lost(*, at: str = "", why: str = "", told: dict[str, Any] | None = None, live: bool = True) -> dict[str, Any]:
    """Those of a host that could not be told."""
    before = {"live": {"release": "r1", "slot": "blue"}} if live else {}
    failed = {"ansible_failed_task": {"name": at}, "ansible_failed_result": {"msg": why}} if at else {}
    return {"__run_before": before, "__run_returned": told, **failed}


def screen(**hosts: dict[str, Any]) -> list[str]:
    return _report.returned(hosts, action="deploy", release="r2", hold=120, next_step="mend it").splitlines()


def test_one_host() -> None:
    assert screen(shop1=seen(at="Start | it answers", why="500\nfound: a\nb\nc\nd")) == [
        "The deploy of r2 failed",
        "at: Start | it answers",
        "why: 500; found: a; b; c",
        "now: shop1 serves r1 from blue, as before",
        "next: mend it",
    ]


def test_a_fleet() -> None:
    said = screen(
        app1=seen(),
        app2=seen(at="Start | run it", why="exit code 3"),
        app3=lost(),
        app4=seen(told={"unreachable": True}, live=False),
        app5=seen(told={"failed": True, "msg": "blue does not start\nfound: more"}),
        app6=seen(told={"ended": "returned"}),
        app7=seen(live=False),
        app8=seen(told={"ended": "committed"}),
    )
    assert said == [
        "The deploy of r2 failed",
        "at: Start | run it (app2)",
        "why: exit code 3",
        "now: app1 serves r1 from blue, as before",
        "     app2 serves r1 from blue, as before",
        f"     app3 cannot be reached; it goes back to r1 from blue {ALONE}",
        f"     app4 cannot be reached; it ends the run {ALONE}",
        "     app5 COULD NOT GO BACK (blue does not start); it tries again by itself, every few seconds",
        "     app6 serves r1 from blue, as before, by itself",
        "     app7 serves no proven release",
        "     app8 serves r2: all hosts had agreed to it, and it had waited in vain for the last word",
        "next: mend it",
    ]


def test_who_is_still_out_of_rotation_is_said() -> None:
    hosts = {"app1": seen(at="Start | it answers", why="500"), "app3": lost()}
    back = "rotation.yml -e back=app3"
    said = _report.returned(hosts, action="deploy", release="r2", hold=120, next_step="mend it", put_back=back)
    assert said.splitlines()[-2:] == [
        "next: mend it",
        "and: rotation.yml -e back=app3 once that works; until then the edge passes it no requests",
    ]


def test_a_host_that_is_lost_is_the_reason() -> None:
    assert screen(app1=seen(), app2=lost())[2] == "why: app2 cannot be reached any more"


@pytest.mark.parametrize(
    ("hosts", "without"),
    [
        ({"app3": lost()}, ["app3"]),
        ({"app3": seen(at="Start | it answers", why="500")}, ["app3"]),
        ({"worker1": seen(at="Hand over | worker and beat", why="no broker")}, ["worker1"]),
        ({"app2": lost(), "worker1": lost()}, ["app2", "worker1"]),
        # The release is bad, not the host.
        ({"app2": seen(at="Judge | worse", why="worse")}, []),
        ({"app2": lost(), "app1": seen(at="Prove | it answers", why="502")}, []),
        # The primary, and too many.
        ({"app1": lost()}, []),
        ({"app2": lost(), "app3": seen(at="Start | it answers", why="500")}, []),
        ({}, []),
    ],
)
def test_who_can_be_left_out(hosts: dict[str, Any], without: list[str]) -> None:
    everybody = {name: seen() for name in (*WEB, "worker1")} | hosts
    assert _report.excludable(everybody, primary="app1", web=WEB) == without
