# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How likely a difference between two samples is by chance alone: two exact tests, both one-sided.

Both are tails of the hypergeometric distribution, and neither assumes anything about how errors or times are
distributed. R. A. Fisher, The Design of Experiments (1935); the exceedance test: B. Epstein, Annals of Mathematical
Statistics 25 (1954), 762-768.
"""

from __future__ import annotations

import math

from ansible_collections.slipway.webapp.plugins.module_utils._sample import Sample

_NEGLIGIBLE = 1e-15  # of the sum so far


def _log_choose(total: int, chosen: int) -> float:
    return math.lgamma(total + 1) - math.lgamma(chosen + 1) - math.lgamma(total - chosen + 1)


def hypergeometric_tail(least: int, *, total: int, marked: int, drawn: int) -> float:
    """P(at least ``least`` marked ones among ``drawn`` of ``total``, ``marked`` of which are marked).

    Below the mean it is 1: nothing there is ever a surprise.
    """
    if least * total <= drawn * marked or least <= 0:
        return 1.0
    most = min(marked, drawn)
    if least > most:
        return 0.0
    logarithm = _log_choose(marked, least) + _log_choose(total - marked, drawn - least) - _log_choose(total, drawn)
    term = whole = math.exp(logarithm)
    for count in range(least, most):
        # Above the mean each term is smaller than the one before it.
        term *= (marked - count) * (drawn - count) / ((count + 1) * (total - marked - drawn + count + 1))
        whole += term
        if term < whole * _NEGLIGIBLE:
            break
    return min(1.0, whole)


def of_more_errors(new: Sample, old: Sample) -> float:
    """Fisher's exact test: with the same rate of errors on both sides, how likely are so many on the new one?"""
    return hypergeometric_tail(
        new.errors, total=new.requests + old.requests, marked=new.errors + old.errors, drawn=new.requests
    )


def of_more_slow_ones(new: Sample, old: Sample, share: float) -> float:
    """The exceedance test: with the same times on both sides, how likely are so many new ones above the old quantile?

    The quantile is an order statistic of the old sample. So many new times above it are as likely as to find it among
    so many of the smallest of all. What a step of the histogram hides is counted as not above it.
    """
    rank, step = old.quantile(share)
    above = new.above(step)
    if not rank or not above:
        return 1.0
    return hypergeometric_tail(rank, total=new.timed + old.timed, marked=old.timed, drawn=rank + new.timed - above)
