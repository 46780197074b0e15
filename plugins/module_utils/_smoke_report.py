# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How smoke tests ended: as a table, as one screen when some failed, and as the JUnit XML that CI systems read."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import write_atomically
from ansible_collections.slipway.webapp.plugins.module_utils._smoke import (
    COMMAND_LINES,
    FAILED,
    PASSED,
    SKIPPED,
    Outcome,
)
from ansible_collections.slipway.webapp.plugins.module_utils._status import NOTHING, table

ROWS = 30  # of a table that has to fit on a screen
TOLD = 3  # failures whose output is shown
_WORST_FIRST = (FAILED, SKIPPED, PASSED)
# What XML 1.0 cannot hold, not even escaped: https://www.w3.org/TR/xml/#charsets
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def text_of(outcomes: Sequence[Outcome]) -> str:
    """All tests as a table, what failed at its top."""
    ordered = sorted(outcomes, key=lambda one: _WORST_FIRST.index(one.verdict))
    rows = [("smoke test", "what", "result", "seconds", "why")]
    rows += [
        (
            one.name,
            one.what,
            one.verdict.upper() if one.verdict == FAILED else one.verdict,
            f"{one.seconds:.2f}",
            one.why,
        )
        for one in ordered[:ROWS]
    ]
    lines = table([tuple(cell or NOTHING for cell in row) for row in rows])
    return "\n".join([*lines, *([f"and {len(ordered) - ROWS} more"] if len(ordered) > ROWS else [])])


def problem(outcomes: Sequence[Outcome], *, url: str) -> SlipwayError | None:
    """One screen about what failed, with every result; None when all is well."""
    bad = [one for one in outcomes if one.verdict == FAILED]
    if not bad:
        return None
    said = "; ".join(f"{one.name}: {one.why}" for one in bad[:TOLD])
    more = f"; and {len(bad) - TOLD} more" if len(bad) > TOLD else ""
    told = [line for one in bad[:TOLD] for line in _told(one)]
    return SlipwayError(
        f"{len(bad)} of {len(outcomes)} smoke tests of {url} failed: {said}{more}",
        found="\n".join(["", text_of(outcomes), *told]),
        expected="every one of them to pass",
        next_step="mend the release, or the check in the inventory; smoke.yml asks them again",
    )


def _told(one: Outcome) -> list[str]:
    """What a failed test got to see: an answer in one line, a command's last lines."""
    if not one.output:
        return []
    if one.what == "command":
        return [f"{one.name} printed:", *(f"  {line}" for line in one.output.splitlines()[-COMMAND_LINES:])]
    return [f"{one.name} was answered: {one.output!r}"]


def _clean(text: str) -> str:
    return _NOT_XML.sub("?", text)


def junit(outcomes: Sequence[Outcome], *, suite: str, at: str, properties: Mapping[str, str]) -> bytes:
    """JUnit XML as Jenkins and GitLab read it; ``at`` is a moment in UTC without a zone."""
    counts = {
        "tests": str(len(outcomes)),
        "failures": str(sum(one.verdict == FAILED for one in outcomes)),
        "errors": "0",
        "skipped": str(sum(one.verdict == SKIPPED for one in outcomes)),
        "time": f"{sum(one.seconds for one in outcomes):.3f}",
    }
    root = ElementTree.Element("testsuites", {"name": suite, **counts})
    element = ElementTree.SubElement(root, "testsuite", {"name": suite, **counts, "timestamp": at})
    described = ElementTree.SubElement(element, "properties")
    for name, value in properties.items():
        ElementTree.SubElement(described, "property", {"name": name, "value": _clean(value)})
    for one in outcomes:
        named = {"classname": suite, "name": _clean(one.name), "time": f"{one.seconds:.3f}"}
        case = ElementTree.SubElement(element, "testcase", named)
        if one.verdict == SKIPPED:
            ElementTree.SubElement(case, "skipped", {"message": _clean(one.why)})
        elif one.verdict == FAILED:
            failure = ElementTree.SubElement(case, "failure", {"message": _clean(one.why), "type": "smoke"})
            failure.text = _clean(f"{one.what}: {one.why}")
        if one.output:
            ElementTree.SubElement(case, "system-out").text = _clean(one.output)
    text: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return text + b"\n"


def write_junit(path: str, data: bytes) -> None:
    """Replace the report by one rename: who reads it while it is written sees the old one."""
    place = os.path.abspath(os.path.expanduser(path))
    try:
        write_atomically(place, data)
    except OSError as error:
        raise SlipwayError(
            f"The JUnit report cannot be written to {place}",
            found=str(error.strerror or error),
            next_step="correct webapp_smoke_junit; its directory must exist on the controller",
        ) from error


def as_data(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """The results of a module, which :func:`from_data` reads again."""
    return [asdict(one) for one in outcomes]


def from_data(given: Sequence[Mapping[str, Any]]) -> list[Outcome]:
    """What an earlier call returned."""
    return [Outcome(**{**one, "seconds": float(one["seconds"])}) for one in given]
