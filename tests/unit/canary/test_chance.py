# SPDX-License-Identifier: GPL-3.0-or-later
"""The two exact tests, against sums of whole numbers and against counting every order."""

from __future__ import annotations

import itertools
import math

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._chance import (
    hypergeometric_tail,
    of_more_errors,
    of_more_slow_ones,
)
from ansible_collections.slipway.webapp.plugins.module_utils._sample import Sample


def exact(least: int, *, total: int, marked: int, drawn: int) -> float:
    ways = sum(
        math.comb(marked, count) * math.comb(total - marked, drawn - count)
        for count in range(least, min(marked, drawn) + 1)
    )
    return ways / math.comb(total, drawn)


def test_the_tail_is_exact_above_the_mean_and_never_too_small_below() -> None:
    for total in range(1, 14):
        for marked, drawn in itertools.product(range(total + 1), repeat=2):
            for least in range(total + 2):
                found = hypergeometric_tail(least, total=total, marked=marked, drawn=drawn)
                wanted = exact(least, total=total, marked=marked, drawn=drawn)
                if least * total > marked * drawn:
                    assert found == pytest.approx(wanted, rel=1e-9), (least, total, marked, drawn)
                else:
                    assert found == 1.0


def test_large_numbers() -> None:
    found = hypergeometric_tail(60, total=20_000, marked=90, drawn=10_000)
    assert found == pytest.approx(exact(60, total=20_000, marked=90, drawn=10_000), rel=1e-6)
    assert hypergeometric_tail(2_000, total=2_000_000, marked=2_000, drawn=1_000_000) == pytest.approx(0.0, abs=1e-300)


@pytest.mark.parametrize(
    ("new", "old", "chance"),
    [
        ((0, 100), (0, 100), 1.0),
        ((1, 4), (0, 4), 0.5),
        ((3, 4), (1, 4), 17 / 70),  # the lady who tastes tea
        ((10, 500), (0, 500), 0.5**10),
        ((1, 100), (5, 100), 1.0),
    ],
)
def test_errors(new: tuple[int, int], old: tuple[int, int], chance: float) -> None:
    samples = [Sample(requests=requests, errors=errors) for errors, requests in (new, old)]
    assert of_more_errors(*samples) == pytest.approx(chance, rel=0.05)


def test_times_are_as_likely_as_the_share_of_all_orders() -> None:
    """Three old and three new times, all different: of the 20 orders, in how many are two new ones above the median?"""
    orders = list(itertools.combinations(range(6), 3))
    above = [sum(place > sorted(set(range(6)) - set(new))[1] for place in new) for new in orders]
    for least in (1, 2, 3):
        # A time each, in steps of their own: the old ones in 10, 20, 30, and `least` new ones above 20.
        old = Sample(requests=3, times={10: 1, 20: 1, 30: 1})
        new = Sample(requests=3, times={5: 3 - least, 25: least})
        wanted = sum(one >= least for one in above) / len(orders)
        found = of_more_slow_ones(new, old, 0.5)
        assert found == pytest.approx(wanted) or found == 1.0 >= wanted > 0.4


def test_ties_are_not_slower() -> None:
    same = Sample(requests=100, times={40: 100})
    assert of_more_slow_ones(same, same, 0.95) == 1.0
    assert of_more_slow_ones(Sample(), same, 0.95) == of_more_slow_ones(same, Sample(), 0.95) == 1.0
