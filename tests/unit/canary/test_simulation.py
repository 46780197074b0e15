# SPDX-License-Identifier: GPL-3.0-or-later
"""How often a judgement is wrong, counted in many simulated deploys, with all its looks.

The numbers in docs/operators-guide.md come from here.
"""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._canary import (
    ALPHA,
    FAIL,
    GO_ON,
    INCONCLUSIVE,
    LOOK_AGAIN,
    LOOKS,
    STOP,
    Fleet,
    Limits,
    judge,
)
from ansible_collections.slipway.webapp.plugins.module_utils._sample import Sample

NONE = {"new": Sample(), "old": Sample()}


def grow(sample: Sample, dice: random.Random, *, requests: int, errors: float, time: Callable[[], float]) -> None:
    for _number in range(requests):
        sample.add(error=dice.random() < errors, seconds=time())


def lognormal(dice: random.Random, median: float, sigma: float = 0.8) -> Callable[[], float]:
    return lambda: dice.lognormvariate(math.log(median), sigma)


def deploys(
    count: int,
    *,
    each: tuple[int, int],
    errors: tuple[float, float] = (0.0, 0.0),
    medians: tuple[float, float] = (0.1, 0.1),
) -> Counter[str]:
    """The decisions of so many judgements. Pairs are of new and old; ``each``: requests between two looks."""
    decisions: Counter[str] = Counter()
    for number in range(count):
        dice = random.Random(number)
        new, old = Sample(), Sample()
        for look in range(1, LOOKS + 1):
            for side, place in ((new, 0), (old, 1)):
                time = lognormal(dice, medians[place])
                grow(side, dice, requests=each[place], errors=errors[place], time=time)
            fleet = Fleet(new=new, old=old, before=Sample(), same=Sample(), probes=NONE)
            # Every look that is allowed is taken, as while a release is watched.
            judgement = judge(fleet, limits=Limits(), policy="wait", final=look == LOOKS, whole=True)
            if judgement.decision != LOOK_AGAIN:
                break
        assert judgement.decision in (GO_ON, STOP)
        assert (judgement.verdict == FAIL) == (judgement.decision == STOP) or judgement.verdict == INCONCLUSIVE
        decisions[judgement.decision] += 1
    return decisions


@pytest.mark.parametrize("rate", [0.0, 0.002, 0.02, 0.2])
@pytest.mark.parametrize("each", [(150, 150), (50, 950)])
def test_a_release_that_is_as_good_goes_on(rate: float, each: tuple[int, int]) -> None:
    count = 150
    wrong = deploys(count, each=each, errors=(rate, rate))[STOP]
    # Twice what is stated, so that luck cannot fail the test; the average of all cases is below ALPHA.
    assert wrong <= 2 * ALPHA * count


@pytest.mark.parametrize(
    ("each", "errors", "power"),
    [
        # 2 % of errors where there were none.
        ((400, 400), (0.02, 0.0), 0.95),
        ((200, 200), (0.02, 0.0), 0.6),
        # A canary of 5 %.
        ((100, 1900), (0.02, 0.0), 0.8),
        # Half of all, as after a mistake in a page: a few requests are enough.
        ((40, 40), (0.5, 0.0), 1.0),
        ((40, 40), (1.0, 0.02), 1.0),
    ],
)
def test_errors_are_noticed(each: tuple[int, int], errors: tuple[float, float], power: float) -> None:
    count = 60
    assert deploys(count, each=each, errors=errors)[STOP] >= power * count


@pytest.mark.parametrize(("each", "power"), [((100, 100), 0.95), ((50, 950), 0.9)])
def test_twice_as_slow_is_noticed(each: tuple[int, int], power: float) -> None:
    count = 60
    assert deploys(count, each=each, medians=(0.2, 0.1))[STOP] >= power * count


@pytest.mark.parametrize("medians", [(0.11, 0.1), (0.1, 0.2), (0.002, 0.001)])
def test_a_little_slower_or_faster_or_too_fast_to_be_felt_goes_on(medians: tuple[float, float]) -> None:
    assert deploys(40, each=(300, 300), medians=medians)[STOP] == 0
