# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts what became of jobs and ticks."""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Max, Min, Q

from jobs.models import Job, Tick


@dataclass(frozen=True, kw_only=True)
class Beat:
    """The life of one beat process, as far as its ticks show it."""

    name: str
    first: datetime.datetime
    last: datetime.datetime
    ticks: int


def audit_jobs(*, batch: str) -> dict[str, int]:
    """Of one batch: asked for, finished, not finished (lost, once the queue is empty), finished twice, begun twice."""
    runs = Job.objects.filter(batch=batch).annotate(
        begun=Count("runs"), done=Count("runs", filter=Q(runs__finished_at__isnull=False))
    )
    counts = list(runs.values_list("begun", "done"))
    return {
        "asked": len(counts),
        "finished": sum(done > 0 for _begun, done in counts),
        "unfinished": sum(done == 0 for _begun, done in counts),
        "doubled": sum(done > 1 for _begun, done in counts),
        "begun_twice": sum(begun > 1 for begun, _done in counts),
    }


def audit_beats(*, since: datetime.datetime) -> dict[str, Any]:
    """The beats seen since a moment: how many pairs lived at once, and the longest time without any tick."""
    ticks = Tick.objects.filter(sent_at__gte=since)
    grouped = ticks.values("host", "slot", "pid").annotate(first=Min("sent_at"), last=Max("sent_at"), ticks=Count("pk"))
    beats = [
        Beat(name=f"{row['host']}/{row['slot']}/{row['pid']}", first=row["first"], last=row["last"], ticks=row["ticks"])
        for row in grouped.order_by("first")
    ]
    times = list(ticks.order_by("sent_at").values_list("sent_at", flat=True))
    gaps = [(after - before).total_seconds() for before, after in itertools.pairwise(times)]
    return {
        "beats": [{"name": beat.name, "ticks": beat.ticks} for beat in beats],
        "ticks": len(times),
        "overlaps": overlaps(beats=beats),
        "longest_gap_seconds": round(max(gaps, default=0.0), 3),
    }


def overlaps(*, beats: Iterable[Beat]) -> int:
    """Pairs of beats of which one began before the other had ended."""
    pairs = itertools.combinations(sorted(beats, key=lambda beat: beat.first), 2)
    return sum(later.first <= earlier.last for earlier, later in pairs)
