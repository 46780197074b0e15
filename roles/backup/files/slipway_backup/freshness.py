# SPDX-License-Identifier: GPL-3.0-or-later
"""The verb ``fresh``: is the newest verified backup new enough? It fails loudly, and says so to Prometheus.

Loudly: exit code 1, a line of priority "error" in the journal, and a metric file for node_exporter's textfile
collector. The metric is the time of the newest verified backup, as Prometheus wants it, so that an alert also works
when this check itself does not run any more.
"""

from __future__ import annotations

import os
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import catalogue, request, workspace
from .errors import BackupError
from .retention import CLOCK_TOLERANCE

ERROR, INFORMATION = "<3>", "<6>"  # sd-daemon(3): the journal reads the priority off the line


@dataclass(frozen=True, kw_only=True)
class Fresh:
    """``metrics``: a path ending in .prom below node_exporter's textfile directory; empty: none."""

    app: str
    directory: str
    max_age_seconds: int
    metrics: str = ""

    def __post_init__(self) -> None:
        request.check_app(self.app)
        request.check_absolute(directory=self.directory)
        request.check_range("max_age_seconds", self.max_age_seconds, 1, 10 * 366 * 86400)
        if self.metrics:
            request.check_absolute(metrics=self.metrics)
            if not self.metrics.endswith(".prom"):
                raise request.refused(
                    "metrics", found=self.metrics, expected="a name ending in .prom: others are ignored"
                )


def run(given: dict[str, Any]) -> dict[str, Any]:
    """``backup``, ``at``, ``age_seconds``; raises BackupError not_fresh. The age is by this host's clock."""
    asked = request.parse(Fresh, given)
    now = catalogue.now()
    found = catalogue.load(Path(asked.directory), asked.app, now=now)
    trusted = [one for one in found.entries if one.verified and one.at <= now + CLOCK_TOLERANCE]
    newest = trusted[0] if trusted else None
    age = max(0.0, (now - newest.at).total_seconds()) if newest else None
    fresh = age is not None and age <= asked.max_age_seconds
    if asked.metrics:
        _write_metrics(Path(asked.metrics), _metrics(asked, newest, len(trusted), fresh=fresh))
    if newest is None or not fresh:
        raise _stale(asked, newest, age, found)
    _say(INFORMATION, f"{asked.app}: backup {newest.id} is {age:.0f} s old")
    return {"backup": newest.id, "at": newest.at.isoformat(), "age_seconds": age}


def _stale(asked: Fresh, newest: catalogue.Entry | None, age: float | None, found: catalogue.Catalogue) -> BackupError:
    seen = f"backup {newest.id}, {age:.0f} s old" if newest else "no verified backup at all"
    problems = [vars(problem) for problem in found.problems]
    if problems:
        seen += "; " + "; ".join(f"{problem.path}: {problem.message}" for problem in found.problems[:5])
    _say(ERROR, f"{asked.app} has no fresh backup: {seen}; expected one of at most {asked.max_age_seconds} s")
    return BackupError(
        "not_fresh",
        f"{asked.app} has no verified backup that is new enough",
        found=seen,
        expected=f"one that is at most {asked.max_age_seconds} s old",
        next_step=f"read why the last one failed: journalctl -u '{asked.app}-backup*', then take one",
        details={"backup": newest.id if newest else "", "age_seconds": age, "problems": problems},
    )


def _metrics(asked: Fresh, newest: catalogue.Entry | None, count: int, *, fresh: bool) -> str:
    """Text exposition format. Without a backup the time is 0, so that ``time() - ...`` is old and never absent."""
    values = (
        (
            "newest_timestamp_seconds",
            "Snapshot time of the newest verified backup.",
            newest.at.timestamp() if newest else 0,
        ),
        ("newest_archive_bytes", "Size of its archive.", newest.manifest["archive_bytes"] if newest else 0),
        ("verified", "Number of verified backups.", count),
        ("fresh", "Whether the newest verified backup was new enough at the last check.", int(fresh)),
        ("max_age_seconds", "The age up to which a backup is new enough.", asked.max_age_seconds),
    )
    lines = []
    for name, help_, value in values:
        metric = f"slipway_backup_{name}"
        lines += [f"# HELP {metric} {help_}", f"# TYPE {metric} gauge", f'{metric}{{app="{asked.app}"}} {value}']
    return "\n".join(lines) + "\n"


def _write_metrics(path: Path, text: str) -> None:
    """In one rename: the collector never reads half a file. Readable by all: node_exporter is another user."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        try:
            fresh.write_text(text)
            fresh.chmod(0o644)
            os.rename(fresh, path)
        finally:
            fresh.unlink(missing_ok=True)
    except OSError as error:
        raise workspace.unusable(path, error) from error


def _say(priority: str, text: str) -> None:
    sys.stderr.write(f"{priority}{text}\n")
