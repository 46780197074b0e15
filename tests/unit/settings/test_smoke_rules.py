# SPDX-License-Identifier: GPL-3.0-or-later
"""The settings of smoke tests and of the approval: what is refused, and by which name."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._settings import report
from ansible_collections.slipway.webapp.plugins.module_utils._settings_rules import check_rules

HOME = {"name": "home", "path": "/"}


@pytest.mark.parametrize(
    ("name", "value", "named"),
    [
        ("webapp_smoke_checks", [{**HOME, "pat": "/"}], "webapp_smoke_checks.home.pat"),
        ("webapp_smoke_checks", [HOME, {"path": "/"}], "webapp_smoke_checks.2.name"),
        ("webapp_smoke_checks", [{**HOME, "method": "FETCH"}], "webapp_smoke_checks.home.method"),
        ("webapp_smoke_checks", [{**HOME, "path": "x"}], "webapp_smoke_checks.home.path"),
        ("webapp_smoke_checks", [HOME, HOME], "webapp_smoke_checks"),
        ("webapp_smoke_deadline", 0.5, "webapp_smoke_deadline"),
        ("webapp_smoke_command", ["", "x"], "webapp_smoke_command"),
        ("webapp_smoke_command_deadline", 0, "webapp_smoke_command_deadline"),
        ("webapp_smoke_junit", "smoke.xml", "webapp_smoke_junit"),
        ("webapp_approval_seconds", 5, "webapp_approval_seconds"),
    ],
)
def test_what_is_refused(name: str, value: Any, named: str) -> None:
    assert [problem.name for problem in check_rules({name: value}, host="web1")] == [named]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("webapp_smoke_checks", [HOME, {**HOME, "name": "b", "status": [301, 302], "deadline": 2.5}]),
        ("webapp_smoke_command", ["pytest", "tests/smoke"]),
        ("webapp_smoke_junit", "~/smoke.xml"),
        ("webapp_smoke_junit", ""),
    ],
)
def test_what_is_fine(name: str, value: Any) -> None:
    assert check_rules({name: value}, host="web1") == []


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"webapp_smoke_checks": [HOME], "webapp_smoke_deadline": 900.0}, "webapp_smoke_deadline"),
        ({"webapp_smoke_command": ["x"], "webapp_smoke_command_deadline": 900}, "webapp_smoke_command_deadline"),
        (
            {
                "webapp_smoke_checks": [HOME],
                "webapp_smoke_deadline": 600.0,
                "webapp_smoke_command": ["x"],
                "webapp_smoke_command_deadline": 300,
            },
            "webapp_smoke_command_deadline",
        ),
        ({"webapp_smoke_deadline": 3600.0, "webapp_smoke_command_deadline": 7200}, ""),
        ({"webapp_smoke_checks": [HOME], "webapp_smoke_deadline": 60.0}, ""),
    ],
)
def test_all_of_it_ends_before_the_lease(values: dict[str, Any], named: str) -> None:
    found = check_rules({"webapp_lease_seconds": 900, **values}, host="web1")
    assert [problem.name for problem in found] == ([named] if named else [])


def test_a_value_of_a_header_is_not_in_the_report() -> None:
    check = {**HOME, "headers": {"Authorization": "tok-012345\n", "X-B": 87654321}, "body": 12345678}
    said = report(check_rules({"webapp_smoke_checks": [check]}, host="web1"), hosts=1)
    assert "webapp_smoke_checks.home.headers.Authorization" in said
    for planted in ("tok-", "87654321", "12345678"):
        assert planted not in said
