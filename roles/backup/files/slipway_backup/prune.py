# SPDX-License-Identifier: GPL-3.0-or-later
"""The verb ``prune``: delete the backups that the retention policy does not keep."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import catalogue, request, retention
from .errors import BackupError


@dataclass(frozen=True, kw_only=True)
class Prune:
    """``keep``: ids that releases need. ``check``: only say what would go."""

    app: str
    directory: str
    retention: dict[str, Any] = field(default_factory=dict)
    keep: tuple[str, ...] = ()
    check: bool = False

    def __post_init__(self) -> None:
        request.check_app(self.app)
        request.check_absolute(directory=self.directory)


def run(given: dict[str, Any]) -> dict[str, Any]:
    """``deleted`` ids, ``kept`` with the reasons, ``busy`` ids that go the next time, ``unknown`` ids of ``keep``."""
    asked = request.parse(Prune, given)
    return prune(Path(asked.directory), asked.app, retention.policy(asked.retention), asked.keep, check=asked.check)


def prune(
    directory: Path, app: str, rules: retention.Policy | None, keep: tuple[str, ...], *, check: bool = False
) -> dict[str, Any]:
    """Also ends deletions that were cut off. Without rules nothing else goes. Raises BackupError catalogue_*."""
    found = catalogue.load(directory, app, now=catalogue.now())
    result: dict[str, Any] = {"deleted": [], "kept": [], "busy": [], "unknown": []}
    if not check:
        for problem in found.problems:
            if problem.code == "deleting":
                catalogue.delete(Path(problem.path))
    entries = {entry.id: entry for entry in found.entries}
    result["unknown"] = sorted(set(keep) - set(entries))
    for verdict in _verdicts(found, rules, keep):
        if verdict.stays:
            result["kept"].append(dataclasses.asdict(verdict))
        elif check or _deleted(entries[verdict.id]):
            result["deleted"].append(verdict.id)
        else:
            result["busy"].append(verdict.id)
    result["problems"] = [vars(problem) for problem in found.problems if problem.code != "deleting"]
    return result


def _verdicts(
    found: catalogue.Catalogue, rules: retention.Policy | None, keep: tuple[str, ...]
) -> list[retention.Verdict]:
    if rules is None:
        return [retention.Verdict(entry.id, ("no policy",)) for entry in found.entries]
    candidates = [retention.Candidate(entry.id, entry.at, entry.verified) for entry in found.entries]
    return retention.decide(candidates, rules, needed=keep, now=catalogue.now())


def _deleted(entry: catalogue.Entry) -> bool:
    """One that is being restored or checked stays until the next time."""
    try:
        catalogue.delete(entry.directory)
    except BackupError as error:
        if error.code != "backup_busy":
            raise
        return False
    return True
