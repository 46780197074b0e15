# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A bounded summary of many requests that can be added to another one: how many, how many failed, how long they took.

Times are counted in a fixed histogram whose steps grow by 9 % each, so that the summaries of all hosts have the same
steps, and a quantile is known to 9 % whatever the number of requests. A summary has at most 170 numbers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

_STEPS = 8  # in each doubling of the time
_LAST = 165  # about 27 minutes; whatever takes longer is counted there too


def step_of(seconds: float) -> int:
    """The step of the histogram: 0 is up to a millisecond."""
    milliseconds = 1000 * seconds
    if milliseconds <= 1:
        return 0
    return min(_LAST, math.ceil(_STEPS * math.log2(milliseconds) - 1e-9))


def milliseconds_of(step: int) -> float:
    """The upper end of a step."""
    return float(2 ** (step / _STEPS))


@dataclass
class Sample:
    """``requests`` that were answered, ``errors`` of them with a 5xx; ``times``: step -> number."""

    requests: int = 0
    errors: int = 0
    times: dict[int, int] = field(default_factory=dict)

    def add(self, *, error: bool, seconds: float | None) -> None:
        """Count a request; ``seconds`` is None when its time says nothing."""
        self.requests += 1
        self.errors += error
        if seconds is not None:
            step = step_of(seconds)
            self.times[step] = self.times.get(step, 0) + 1

    @property
    def rate(self) -> float:
        """The share that failed."""
        return self.errors / self.requests if self.requests else 0.0

    @property
    def timed(self) -> int:
        """The number of times."""
        return sum(self.times.values())

    def quantile(self, share: float) -> tuple[int, int]:
        """The rank of the quantile among the times, and the step that it lies in; (0, 0) without times."""
        rank = math.ceil(share * self.timed - 1e-9)
        seen = 0
        for step in sorted(self.times):
            seen += self.times[step]
            if seen >= rank:
                return rank, step
        return 0, 0

    def above(self, step: int) -> int:
        """How many took surely longer than anything in ``step``."""
        return sum(count for one, count in self.times.items() if one > step)

    def data(self) -> dict[str, Any]:
        """As JSON: the keys of a JSON object are texts."""
        times = {str(step): count for step, count in sorted(self.times.items())}
        return {"requests": self.requests, "errors": self.errors, "times": times}


def read(data: Mapping[str, Any] | None) -> Sample:
    """The sample that ``Sample.data`` gave away; an empty one for nothing."""
    given = data or {}
    return Sample(
        requests=int(given.get("requests", 0)),
        errors=int(given.get("errors", 0)),
        times={int(step): int(count) for step, count in given.get("times", {}).items()},
    )


def total(samples: Iterable[Sample]) -> Sample:
    """All of them together."""
    whole = Sample()
    for sample in samples:
        whole.requests += sample.requests
        whole.errors += sample.errors
        for step, count in sample.times.items():
            whole.times[step] = whole.times.get(step, 0) + count
    return whole
