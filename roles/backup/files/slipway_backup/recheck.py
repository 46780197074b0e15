# SPDX-License-Identifier: GPL-3.0-or-later
"""The verb ``recheck``: read every file of verified backups again. One whose bytes changed is verified no more."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import catalogue, integrity, request
from .errors import BackupError


@dataclass(frozen=True, kw_only=True)
class Recheck:
    """``backup``: an id; empty: every verified one."""

    app: str
    directory: str
    backup: str = ""

    def __post_init__(self) -> None:
        request.check_app(self.app)
        request.check_absolute(directory=self.directory)


def run(given: dict[str, Any]) -> dict[str, Any]:
    """Raises BackupError files_changed when one differs; its manifest says failed from then on, with the reason."""
    asked = request.parse(Recheck, given)
    found = catalogue.load(Path(asked.directory), asked.app, now=catalogue.now())
    entries = [found.entry(asked.backup)] if asked.backup else [one for one in found.entries if one.verified]
    checked = [recheck(entry) for entry in entries]
    result = {"checked": checked, "problems": [vars(problem) for problem in found.problems]}
    broken = [one for one in checked if not one["verified"]]
    if not broken:
        return result
    raise BackupError(
        "files_changed",
        f"{len(broken)} of {len(checked)} backups are not verified any more.",
        found="; ".join(f"{one['id']}: {one['reason']}" for one in broken),
        expected="the files that were verified, byte for byte",
        next_step="Take a new backup, and find out what wrote to these or what is wrong with the disk.",
        details=result,
    )


def recheck(entry: catalogue.Entry) -> dict[str, Any]:
    """``id``, ``verified``, ``reason``, ``seconds`` and whether the reason was ``marked`` in the manifest."""
    begun = time.monotonic()
    answer = {"id": entry.id, "verified": entry.verified, "reason": "", "marked": False, "seconds": 0.0}
    if not entry.verified:
        return {**answer, "reason": "it was not verified before"}
    with catalogue.lock(entry.directory, exclusive=False):
        differences = integrity.differences(entry)
    answer["seconds"] = round(time.monotonic() - begun, 3)
    if not differences:
        return answer
    reason = "; ".join(f"{one.path}: found {one.found}, expected {one.expected}" for one in differences[:5])
    return {**answer, "verified": False, **_mark(entry, reason, answer["seconds"])}


def _mark(entry: catalogue.Entry, reason: str, seconds: object) -> dict[str, Any]:
    """A catalogue that can not be written to does not hide what was found."""
    check = {"name": "recheck", "ok": False, "seconds": seconds, "found": reason}
    try:
        catalogue.change(entry, lambda old: {**old, "status": "failed", "checks": [*old["checks"], check]})
    except BackupError as error:
        return {"reason": f"{reason} (and it could not be marked as failed: {error.summary})"}
    return {"reason": reason, "marked": True}
