# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the settings of the scanner of images may be."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._image_scan import COMMAND, faults
from ansible_collections.slipway.webapp.plugins.module_utils._settings import Problem, shown

RULES: dict[str, tuple[Callable[[Any], bool], str]] = {
    "webapp_image_scan_timeout": (lambda value: 1 <= value <= 86400, "1 to 86400 seconds"),
}


def check_scan(values: Mapping[str, Any], host: str) -> list[Problem]:
    """A command where it is needed, exceptions that have an end and a reason, variables that a shell would take."""
    excepted = values.get("webapp_image_scan_except", [])
    problems = [
        Problem(f"webapp_image_scan_except.{one.get('id', number)}.{part}", found, expected, host)
        for number, one in enumerate(excepted, start=1)
        for part, found, expected in faults(one)
    ]
    names = [(str(one.get("id")).upper(), one.get("package")) for one in excepted]
    problems += [
        Problem("webapp_image_scan_except", f"{name} twice", "each finding once", host)
        for name, package in dict.fromkeys(names)
        if names.count((name, package)) > 1
    ]
    wanted, command = values.get("webapp_image_scanner") == COMMAND, values.get("webapp_image_scan_command", [])
    if wanted and not (command and command[0].strip()):
        problems.append(Problem("webapp_image_scan_command", "nothing", "a program and its words", host))
    if command and not wanted:
        found = f"a command, while webapp_image_scanner is {shown(values.get('webapp_image_scanner', ''))}"
        problems.append(Problem("webapp_image_scan_command", found, "webapp_image_scanner: command", host))
    for name, value in values.get("webapp_image_scan_environment", {}).items():
        if not re.fullmatch(r"[A-Za-z_]\w*", str(name)) or isinstance(value, bool) or not isinstance(value, (str, int)):
            expected = "a name of letters, digits and _, and a text (put it in quotes)"
            problems.append(Problem(f"webapp_image_scan_environment.{name}", shown(value), expected, host))
    return problems
