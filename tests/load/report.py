# SPDX-License-Identifier: GPL-3.0-or-later
"""What came of a run, for people and for programs."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.load.tally import Example, Tally
from tests.load.timeline import Presence, Switch, presences, switches


@dataclass(frozen=True, kw_only=True)
class Latency:
    """In milliseconds, nearest rank; of good answers, without the time that slow ones were asked to take."""

    p50: float
    p95: float
    p99: float
    max: float


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One kind of request."""

    sent: int
    answered: int
    failed: int
    latency_ms: Latency


@dataclass(frozen=True, kw_only=True)
class Posts:
    """What became of the notes. answered: tokens of notes whose storing was confirmed; doubtful: of all others.

    lost and doubled are None until they were verified: confirmed notes that are not there, and notes there twice.
    unverified: why verification was wanted and could not be done.
    """

    answered: tuple[str, ...]
    doubtful: tuple[str, ...]
    lost: tuple[str, ...] | None = None
    doubled: tuple[str, ...] | None = None
    unverified: str = ""

    @property
    def sound(self) -> bool:
        """Nothing was found lost or doubled, or nobody asked."""
        return not self.lost and not self.doubled and not self.unverified


@dataclass(frozen=True, kw_only=True)
class Report:
    """The counts of one run; sent is always answered + failed. Times in seconds since its beginning."""

    target: str
    run: str
    began_at: str
    seconds: float
    stopped_by: str
    sent: int
    answered: int
    failed: int
    latency_ms: Latency
    kinds: dict[str, Kind]
    failures: dict[str, int]
    examples: tuple[Example, ...]
    failed_spans: tuple[tuple[float, float], ...]
    releases: tuple[Presence, ...]
    switches: tuple[Switch, ...]
    closed_sockets: dict[str, int]
    posts: Posts

    def __post_init__(self) -> None:
        if self.sent != self.answered + self.failed or self.failed != sum(self.failures.values()):
            raise ValueError(f"the books do not balance: {self.last_line()}; {self.failures}")

    @property
    def good(self) -> bool:
        """Something was sent, nothing failed, no note was lost or doubled."""
        return self.sent > 0 and self.failed == 0 and self.posts.sound

    def last_line(self) -> str:
        """The one line that scripts read."""
        return f"load: sent={self.sent} answered={self.answered} failed={self.failed}"

    def lines(self) -> list[str]:
        """For people; the counts come last."""
        told = [
            f"{each.release}@{each.slot}: {each.answers} answers, {each.first:.1f} s to {each.last:.1f} s"
            for each in self.releases
        ]
        told += [
            f"{each.before} -> {each.after} at {each.at:.3f} s: {each.late} late answers of the old side, "
            f"{each.drained} drained"
            for each in self.switches
        ]
        told += [f"failed: {name}: {count}" for name, count in self.failures.items()]
        told += [
            f"failed: {each.kind} of {each.client} at {each.at:.3f} s: {each.detail}" for each in self.examples[:5]
        ]
        if self.posts.lost is not None and self.posts.doubled is not None:
            lost, doubled = len(self.posts.lost), len(self.posts.doubled)
            told.append(f"notes: confirmed {len(self.posts.answered)}, lost {lost}, doubled {doubled}")
        if self.posts.unverified:
            told.append(f"notes: could not be verified: {self.posts.unverified}")
        latency = self.latency_ms
        told.append(
            f"latency ms: p50 {latency.p50:.0f}, p95 {latency.p95:.0f}, p99 {latency.p99:.0f}, max {latency.max:.0f}; "
            f"{self.sent / max(self.seconds, 0.001):.0f} requests/s for {self.seconds:.1f} s, "
            f"ended by {self.stopped_by}"
        )
        return [*told, self.last_line()]

    def data(self) -> dict[str, Any]:
        """As plain data."""
        return dataclasses.asdict(self)

    def write(self, path: Path) -> None:
        """As JSON, complete or not at all."""
        partial = path.with_name(path.name + ".partial")
        partial.write_text(json.dumps(self.data(), indent=2) + "\n")
        partial.replace(path)


def summarize(
    tally: Tally, *, target: str, run: str, began_at: str, seconds: float, stopped_by: str, posts: Posts
) -> Report:
    """Close the books."""
    everything = [value for values in tally.latencies.values() for value in values]
    return Report(
        target=target,
        run=run,
        began_at=began_at,
        seconds=round(seconds, 3),
        stopped_by=stopped_by,
        sent=tally.sent.total(),
        answered=tally.answered.total(),
        failed=tally.failed.total(),
        latency_ms=latency(everything),
        kinds={
            kind: Kind(
                sent=tally.sent[kind],
                answered=tally.answered[kind],
                failed=tally.failed[kind],
                latency_ms=latency(tally.latencies.get(kind, [])),
            )
            for kind in sorted(tally.sent)
        },
        failures=dict(tally.failures),
        examples=tuple(tally.examples),
        failed_spans=tuple(tally.failed_spans),
        releases=tuple(presences(tally.sightings)),
        switches=tuple(switches(tally.sightings)),
        closed_sockets=dict(tally.closed_sockets),
        posts=posts,
    )


def latency(seconds: Sequence[float]) -> Latency:
    """Of any number of measurements, also none."""
    ordered = sorted(seconds)

    def rank(share: float) -> float:
        if not ordered:
            return 0.0
        return round(1000 * ordered[max(0, math.ceil(share * len(ordered)) - 1)], 2)

    return Latency(p50=rank(0.50), p95=rank(0.95), p99=rank(0.99), max=rank(1.0))
