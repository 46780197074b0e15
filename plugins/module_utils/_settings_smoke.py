# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the settings of smoke tests and of the approval may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._settings import Problem, shown
from ansible_collections.slipway.webapp.plugins.module_utils._smoke import faults, repeated

Rule = tuple[Callable[[Any], bool], str]


def _number(low: float, high: float, what: str = "") -> Rule:
    return (lambda value: low <= value <= high), f"{low} to {high}{what}"


RULES: dict[str, Rule] = {
    "webapp_smoke_deadline": _number(1, 3600, " seconds"),
    "webapp_smoke_command": (lambda words: not words or bool(words[0].strip()), "a program and its words"),
    "webapp_smoke_command_deadline": _number(1, 7200, " seconds"),
    "webapp_smoke_junit": (lambda text: not text or text[0] in "/~", "an absolute path on the controller, or ''"),
    "webapp_approval_seconds": _number(10, 86400, " seconds"),
}


def check_smoke(values: Mapping[str, Any], host: str) -> list[Problem]:
    """What is wrong with the checks, and with the time that all of it may take."""
    checks = values.get("webapp_smoke_checks", [])
    problems = [
        Problem(f"webapp_smoke_checks.{check.get('name', number)}.{part}", found, expected, host)
        for number, check in enumerate(checks, start=1)
        for part, found, expected in faults(check)
    ]
    problems += [
        Problem("webapp_smoke_checks", f"{name} twice", "a name of its own for each", host) for name in repeated(checks)
    ]
    return problems + _check_times(values, host)


def _check_times(values: Mapping[str, Any], host: str) -> list[Problem]:
    """Nothing may outlast the lease while users already have the new release."""
    if "webapp_lease_seconds" not in values:
        return []
    seconds = values.get("webapp_smoke_deadline", 0) if values.get("webapp_smoke_checks") else 0
    if values.get("webapp_smoke_command"):
        seconds += values.get("webapp_smoke_command_deadline", 0)
    lease = values["webapp_lease_seconds"]
    if seconds < lease:
        return []
    name = "webapp_smoke_command_deadline" if values.get("webapp_smoke_command") else "webapp_smoke_deadline"
    expected = f"all smoke tests to end before webapp_lease_seconds ({lease})"
    return [Problem(name, f"{shown(seconds)} for them", expected, host)]
