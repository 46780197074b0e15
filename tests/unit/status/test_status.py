# SPDX-License-Identifier: GPL-3.0-or-later
"""The document and the tables of status and history, from what the readers return."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._status import (
    document,
    history,
    history_table,
    lease_table,
    status_table,
    table,
)

ABOUT = {"application": "shop", "environment": "production", "address": "https://shop.example.org"}
INFO: dict[str, Any] = {
    "changed": False,
    "failed": False,
    "app": "shop",
    "live": {
        "slot": "green",
        "release": "1.4-aa",
        "config": "90c1f7a2be41",
        "since": "2026-11-21T11:06:10Z",
        "by": "anna@ci",
    },
    "slots": {
        "blue": {"release": "1.3-b", "config": "90c1f7a2be41", "processes": {"web": {"active": "active"}}},
        "green": {"release": "1.4-aa", "config": "90c1f7a2be41", "processes": {"web": {"active": "active"}}},
    },
    "route": {"number": 8, "weights": {"blue": 0, "green": 100}},
    "releases": [
        {"id": "1.4-aa", "complete": True, "created": "2026-11-21T11:05:00Z"},
        {"id": "1.3-b", "complete": True, "created": "2026-11-20T11:05:00Z"},
        {"id": "1.2-cc", "complete": False, "created": "2026-11-19T11:05:00Z"},
    ],
    "proven": [{"release": "1.4-aa"}, {"release": "1.3-b"}],
    "lease": None,
    "pending": None,
}
ANSWER = {"changed": False, "last": {"status": 200, "release": "1.4-aa"}}
GONE = {"unreachable": True, "msg": "Failed to connect\nmore", "changed": False}
BROKEN = {"failed": False, "failed_when_result": False, "msg": "no python", "changed": False}


def test_the_table_of_a_fleet() -> None:
    infos = {"app1": INFO, "edge1": {"skipped": True}, "app2": GONE, "app3": BROKEN}
    state = document(infos, {"app1": ANSWER}, ABOUT)
    assert status_table(state).splitlines() == [
        "shop  production  https://shop.example.org",
        "",
        "host   live                config        slot   since (UTC)          by       health  blue/green  other slot",
        "app1   1.4-aa              90c1f7a2be41  green  2026-11-21 11:06:10  anna@ci  ok      0/100       blue: 1.3-b (warm)",  # noqa: E501
        "edge1  (no process of it)  -             -      -                    -        -       -           -",
        "app2   UNREACHABLE         -             -      -                    -        -       -           -",
        "app3   FAILED              -             -      -                    -        -       -           -",
        "",
        "retained  built (UTC)          hosts",
        "1.4-aa    2026-11-21 11:05:00  1 of 1  live, proven",
        "1.3-b     2026-11-20 11:05:00  1 of 1  proven",
        "1.2-cc    2026-11-19 11:05:00  1 of 1  not proven, incomplete",
        "",
        "app2: Failed to connect",
        "app3: no python",
    ]  # fmt: skip


def test_the_document_keeps_what_the_reader_said_and_nothing_of_ansible() -> None:
    state = document({"app1": INFO}, {"app1": ANSWER}, ABOUT)
    host = state["hosts"]["app1"]
    assert (state["application"], state["agree"], state["healthy"]) == ("shop", True, True)
    assert state["live"] == [{"release": "1.4-aa", "config": "90c1f7a2be41"}]
    assert host["route"]["weights"] == {"blue": 0, "green": 100}
    assert not {"changed", "failed", "skipped"} & set(host)


def with_live(**changes: Any) -> dict[str, Any]:
    info = copy.deepcopy(INFO)
    info["live"].update(changes)
    return info


@pytest.mark.parametrize(
    ("infos", "agree"),
    [
        ({"a": INFO, "b": INFO}, True),
        ({"a": INFO, "b": with_live(release="1.3-bb")}, False),
        ({"a": INFO, "b": with_live(config="000000000000")}, False),
        ({"a": INFO, "b": GONE}, False),
        ({"a": INFO, "b": BROKEN}, False),
        ({"a": INFO, "b": {"skipped": True}}, True),
        ({"a": INFO, "b": with_live(slot="blue")}, True),
    ],
)
def test_do_all_hosts_serve_the_same(infos: dict[str, Any], agree: bool) -> None:
    state = document(infos, {}, ABOUT)
    assert state["agree"] is agree
    assert ("differ in what is live" in status_table(state)) is (len(state["live"]) > 1)


@pytest.mark.parametrize(
    ("health", "active", "ok", "says"),
    [
        (ANSWER, "active", True, "answers"),
        ({"failed": True, "msg": "No good answer\nfound: 502"}, "active", False, "No good answer"),
        ({"failed": False, "failed_when_result": False, "msg": "No good answer"}, "active", False, "No good answer"),
        ({"skipped": True}, "active", True, "running"),
        ({"skipped": True}, "failed", False, "web not running"),
        ({}, "inactive", False, "web not running"),
        (GONE, "active", True, "running"),
    ],
)
def test_health(health: dict[str, Any], active: str, ok: bool, says: str) -> None:
    info = copy.deepcopy(INFO)
    info["slots"]["green"]["processes"]["web"]["active"] = active
    state = document({"a": info}, {"a": health}, ABOUT)
    assert state["hosts"]["a"]["health"] == {"ok": ok, "says": says}
    assert state["healthy"] is ok
    assert (f"a: {says}" in status_table(state)) is not ok


def test_a_host_without_a_release_a_lease_and_unfinished_work() -> None:
    info = {
        "app": "shop",
        "live": None,
        "slots": {},
        "route": None,
        "releases": [],
        "lease": {"owner": "run1", "reason": "deploy of 1.5", "until": "2026-11-21T11:20:00Z", "silent_seconds": 12},
        "pending": {"run": "run1", "action": "deploy", "release": "r2", "state": "armed", "by": "ann"},
    }
    text = status_table(document({"a": info}, {}, ABOUT))
    assert "nothing yet" in text
    assert "No release is retained." in text
    assert "a: locked for deploy of 1.5 until 2026-11-21 11:20:00 (run1), last sign of life 12 s ago" in text
    assert "a: unfinished: deploy r2 armed (by ann)" in text


LEASE = {
    "owner": "run1",
    "by": "anna@ci",
    "reason": "deploy of 1.5",
    "since": "2026-11-21T11:05:00Z",
    "until": "2026-11-21T11:20:00Z",
    "beat": "2026-11-21T11:05:10Z",
    "silent_seconds": 12,
}


@pytest.mark.parametrize(
    ("lease", "actions", "check_mode", "lines"),
    [
        (None, [], False, ["Nobody holds it."]),
        (None, ["Give the lease back"], False, ["Done: Give the lease back", "Nobody holds it."]),
        (None, ["Give the lease back"], True, ["Would be done: Give the lease back", "Nobody holds it."]),
        (
            LEASE,
            [],
            False,
            [
                "owner              run1",
                "by                 anna@ci",
                "reason             deploy of 1.5",
                "since (UTC)        2026-11-21 11:05:00",
                "until (UTC)        2026-11-21 11:20:00",
                "last sign of life  12 s ago",
            ],
        ),
    ],
)
def test_who_holds_the_lease(
    lease: dict[str, Any] | None, actions: list[str], check_mode: bool, lines: list[str]
) -> None:
    about = {"application": "shop", "environment": "staging", "primary": "web1"}
    text = lease_table({**about, "lease": lease, "actions": actions, "check_mode": check_mode})
    assert text.splitlines() == ["shop  staging  the lease on web1", "", *lines]


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    assert table([("a", "bb"), ("ccc", "d")]) == ["a    bb", "ccc  d"]


def entry(time: str, outcome: str, run: str = "r1", **changes: Any) -> dict[str, Any]:
    return {
        "time": time,
        "action": "deploy",
        "outcome": outcome,
        "release": "1.4-aa",
        "config": "90c1f7a2be41",
        "by": "anna@ci",
        "run": run,
        "detail": "",
        **changes,
    }


LEDGERS: dict[str, Any] = {
    "app1": {"entries": [entry("2026-11-21T11:06:10Z", "succeeded"), entry("2026-11-20T09:00:00Z", "failed", "r0")]},
    "app2": {"entries": [entry("2026-11-21T11:06:12Z", "succeeded")]},
    "edge1": {"skipped": True},
    "app3": GONE,
}


def test_the_history_of_a_fleet_is_one_and_newest_first() -> None:
    state = history(LEDGERS, 20)
    assert [(event["time"], event["outcome"], event["hosts"]) for event in state["entries"]] == [
        ("2026-11-21T11:06:12Z", "succeeded", ["app1", "app2"]),
        ("2026-11-20T09:00:00Z", "failed", ["app1"]),
    ]
    assert state["silent"] == {"app3": "Failed to connect"}
    assert LEDGERS["app1"]["entries"][0]["time"] == "2026-11-21T11:06:10Z"


def test_history_is_cut() -> None:
    assert len(history(LEDGERS, 1)["entries"]) == 1


def test_the_table_of_history() -> None:
    lines = history_table(history(LEDGERS, 20)).splitlines()
    assert lines[0].split() == ["time", "(UTC)", "action", "outcome", "release", "config", "by", "hosts", "detail"]
    assert lines[1].startswith("2026-11-21 11:06:12  deploy  succeeded  1.4-aa   90c1f7a2be41  anna@ci  app1 app2")
    assert lines[-1] == "app3 could not be asked: Failed to connect"
    assert history_table(history({}, 20)) == "Nothing has happened yet."
