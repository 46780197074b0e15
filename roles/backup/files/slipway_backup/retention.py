# SPDX-License-Identifier: GPL-3.0-or-later
"""Which backups stay: by count and by grandfather, father, son, after the rules of ``restic forget``.

Pure: what there is goes in, a verdict for each comes out. Nothing here reads a clock or a disk. Three promises hold
whatever the policy says: the newest verified backup stays, one that a release needs stays, and one whose time can not
be trusted (it lies in the future) stays and counts for nothing, so that a clock that is wrong deletes nothing.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from . import request

# A server's clock may be ahead of this host's by that much before its backups count as "from the future".
CLOCK_TOLERANCE = datetime.timedelta(minutes=5)


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How many to keep: of the newest, and of the newest in each day, ISO week, month and year that has one (UTC)."""

    last: int = 0
    daily: int = 0
    weekly: int = 0
    monthly: int = 0
    yearly: int = 0

    def __post_init__(self) -> None:
        counts = dataclasses.asdict(self)
        for name, count in counts.items():
            request.check_range(f"retention.{name}", count, 0, 10_000)
        if not any(counts.values()):
            raise request.refused("retention", found="0 everywhere", expected="a number above 0, or {} to keep all")


def policy(given: dict[str, Any]) -> Policy | None:
    """The policy of a request; an empty one is none, and nothing is ever deleted. Raises BackupError bad_request."""
    return request.parse(Policy, given, "retention") if given else None


@dataclass(frozen=True)
class Candidate:
    """A backup as retention sees it. ``at`` is the time of its snapshot, with a time zone."""

    id: str
    at: datetime.datetime
    verified: bool


@dataclass(frozen=True)
class Verdict:
    """``reasons`` says why it stays; none: it goes."""

    id: str
    reasons: tuple[str, ...]

    @property
    def stays(self) -> bool:
        return bool(self.reasons)


def decide(
    candidates: Iterable[Candidate], rules: Policy, *, needed: Collection[str], now: datetime.datetime
) -> list[Verdict]:
    """A verdict for each candidate, newest first. ``needed``: ids that something else relies on."""
    ordered = sorted(candidates, key=lambda one: (one.at, one.id), reverse=True)
    reasons: dict[str, list[str]] = {one.id: [] for one in ordered}
    for one in ordered:
        if one.id in needed:
            reasons[one.id].append("needed")
        if one.at > now + CLOCK_TOLERANCE:
            reasons[one.id].append("from the future")
    trusted = [one for one in ordered if one.at <= now + CLOCK_TOLERANCE]
    verified = [one for one in trusted if one.verified]
    if verified:
        reasons[verified[0].id].append("newest verified")
    for name, bucket in _BUCKETS.items():
        for one in _kept(verified, getattr(rules, name), bucket):
            reasons[one.id].append(name)
    for one in _telling(trusted, verified, rules):
        reasons[one.id].append("failed lately")
    return [Verdict(one.id, tuple(reasons[one.id])) for one in ordered]


def _kept(ordered: list[Candidate], count: int, bucket: Callable[[Candidate], object]) -> Iterable[Candidate]:
    """The newest of each bucket; with counts left the oldest of all too, which keeps the history as long as can be."""
    previous: object = None
    for one in ordered:
        if count <= 0:
            return
        if bucket(one) != previous or one is ordered[-1]:
            previous = bucket(one)
            count -= 1
            yield one


def _telling(trusted: list[Candidate], verified: list[Candidate], rules: Policy) -> Iterable[Candidate]:
    """A failed one tells its reader something until enough verified ones came after it."""
    enough = max(rules.last, 1)
    threshold = verified[enough - 1].at if len(verified) >= enough else None
    return (one for one in trusted if not one.verified and (threshold is None or one.at >= threshold))


def _utc(one: Candidate) -> datetime.datetime:
    return one.at.astimezone(datetime.UTC)


_BUCKETS: dict[str, Callable[[Candidate], object]] = {
    "last": lambda one: one.id,
    "daily": lambda one: _utc(one).date(),
    "weekly": lambda one: _utc(one).isocalendar()[:2],
    "monthly": lambda one: (_utc(one).year, _utc(one).month),
    "yearly": lambda one: _utc(one).year,
}
