# SPDX-License-Identifier: GPL-3.0-or-later
"""Which release answered when, and how cleanly one took over from another."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

# So many answers in a row, in the order they were asked for, make a release the reigning one.
SETTLED_ANSWERS = 20


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """One answer that told which release and slot it came from. Times in seconds since the beginning."""

    release: str
    slot: str
    started: float
    ended: float

    @property
    def side(self) -> str:
        """Release and slot: a new configuration of the same release is another side too."""
        return f"{self.release}@{self.slot}"


@dataclass(frozen=True, kw_only=True)
class Presence:
    """When a side answered first and last, and how often."""

    release: str
    slot: str
    answers: int
    first: float
    last: float


@dataclass(frozen=True, kw_only=True)
class Switch:
    """One side took over from another.

    at: when the new side's first answer was complete. late: requests sent after that and still answered by the old
    side. drained: requests sent before and answered by the old side after, as it should be. settled: seconds from at
    to the last late answer.
    """

    before: str
    after: str
    at: float
    late: int
    drained: int
    settled: float


@dataclass(frozen=True, kw_only=True)
class _Reign:
    side: str
    first: int
    last: int


def presences(sightings: Sequence[Sighting]) -> list[Presence]:
    """Each side that was seen, in the order of first answers."""
    sides: dict[str, list[Sighting]] = {}
    for sighting in sorted(sightings, key=lambda each: each.ended):
        sides.setdefault(sighting.side, []).append(sighting)
    return [
        Presence(
            release=seen[0].release, slot=seen[0].slot, answers=len(seen), first=seen[0].ended, last=seen[-1].ended
        )
        for seen in sides.values()
    ]


def switches(sightings: Sequence[Sighting]) -> list[Switch]:
    """Every hand-over between two sides that both reigned."""
    order = sorted(sightings, key=lambda each: each.started)
    found = []
    for old, new in itertools.pairwise(_reigns(order)):
        window = order[old.first : new.last + 1]
        at = min(each.ended for each in window if each.side == new.side)
        olds = [each for each in window if each.side == old.side and each.ended > at]
        late = [each for each in olds if each.started > at]
        found.append(
            Switch(
                before=old.side,
                after=new.side,
                at=at,
                late=len(late),
                drained=len(olds) - len(late),
                settled=max((each.ended - at for each in late), default=0.0),
            )
        )
    return found


def _reigns(order: Sequence[Sighting]) -> list[_Reign]:
    reigns: list[_Reign] = []
    position = 0
    for side, group in itertools.groupby(order, key=lambda each: each.side):
        first, position = position, position + len(list(group))
        if position - first < SETTLED_ANSWERS:
            continue
        if reigns and reigns[-1].side == side:
            first = reigns.pop().first
        reigns.append(_Reign(side=side, first=first, last=position - 1))
    return reigns
