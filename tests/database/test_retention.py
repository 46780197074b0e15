# SPDX-License-Identifier: GPL-3.0-or-later
"""Policy: what stays and why, by table and by chance."""

from __future__ import annotations

import datetime
import random
from typing import Any

import pytest
from slipway_backup.errors import BackupError
from slipway_backup.retention import CLOCK_TOLERANCE, Candidate, Policy, Verdict, decide, policy

NOW = datetime.datetime(2026, 11, 21, 12, 0, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
HOUR = datetime.timedelta(hours=1)
SEED = 20261121
ROUNDS = 400
FORMS = {"last": "", "daily": "%Y-%m-%d", "weekly": "%G-%V", "monthly": "%Y-%m", "yearly": "%Y"}


def one(at: datetime.datetime, *, verified: bool = True) -> Candidate:
    return Candidate(at.isoformat(), at, verified)


def days(count: int, *, verified: bool = True) -> list[Candidate]:
    """One each day at noon, the newest of today."""
    return [one(NOW - DAY * back, verified=verified) for back in range(count)]


def stays(candidates: list[Candidate], rules: Policy, *needed: str) -> list[str]:
    return [verdict.id[:10] for verdict in decide(candidates, rules, needed=needed, now=NOW) if verdict.stays]


def reasons(verdicts: list[Verdict], candidate: Candidate) -> tuple[str, ...]:
    return next(verdict.reasons for verdict in verdicts if verdict.id == candidate.id)


@pytest.mark.parametrize(
    ("rules", "kept"),
    [
        (Policy(last=1), ["2026-11-21"]),
        (Policy(last=3), ["2026-11-21", "2026-11-20", "2026-11-19"]),
        (Policy(daily=2), ["2026-11-21", "2026-11-20"]),
        # 2026-11-21 is a Saturday: the newest of a week that is over is its Sunday.
        (Policy(weekly=3), ["2026-11-21", "2026-11-15", "2026-11-08"]),
        (Policy(monthly=3), ["2026-11-21", "2026-10-31", "2026-09-30"]),
        # Fewer years than asked for: the oldest stays, so that the history reaches as far back as it can.
        (Policy(yearly=3), ["2026-11-21", "2025-12-31", "2025-10-18"]),
        (Policy(last=1, weekly=2, monthly=2), ["2026-11-21", "2026-11-15", "2026-10-31"]),
    ],
)
def test_400_days(rules: Policy, kept: list[str]) -> None:
    assert stays(days(400), rules) == kept


def test_the_newest_of_a_day_is_the_one_that_stays() -> None:
    several = [one(NOW - HOUR * back) for back in range(36)]
    kept = [verdict.id for verdict in decide(several, Policy(daily=2), needed=(), now=NOW) if verdict.stays]
    assert kept == ["2026-11-21T12:00:00+00:00", "2026-11-20T23:00:00+00:00"]


def test_weeks_are_those_of_iso_across_a_new_year() -> None:
    sunday = datetime.datetime(2027, 1, 3, 12, tzinfo=datetime.UTC)  # ISO week 2026-W53, like the Thursday of 2026
    thursday = datetime.datetime(2026, 12, 31, 12, tzinfo=datetime.UTC)
    monday = datetime.datetime(2027, 1, 4, 12, tzinfo=datetime.UTC)
    oldest = datetime.datetime(2026, 12, 20, 12, tzinfo=datetime.UTC)
    verdicts = decide([one(day) for day in (sunday, thursday, monday, oldest)], Policy(weekly=2), needed=(), now=monday)
    assert [verdict.id[:10] for verdict in verdicts if verdict.stays] == ["2027-01-04", "2027-01-03"]


def test_a_day_is_a_day_in_utc_whatever_zone_the_time_is_told_in() -> None:
    zone = datetime.timezone(datetime.timedelta(hours=14))
    late = one(datetime.datetime(2026, 11, 20, 23, 30, tzinfo=datetime.UTC))
    early = one(datetime.datetime(2026, 11, 20, 0, 30, tzinfo=datetime.UTC).astimezone(zone))
    other = one(datetime.datetime(2026, 11, 19, 0, 30, tzinfo=datetime.UTC))
    verdicts = decide([late, early, other], Policy(daily=1), needed=(), now=NOW)
    assert [verdict.id for verdict in verdicts if verdict.stays] == [late.id]


def test_failed_ones_count_for_nothing_and_the_newest_verified_stays() -> None:
    old = one(NOW - DAY * 300)
    verdicts = decide([*days(20, verified=False), old], Policy(last=1), needed=(), now=NOW)
    assert "newest verified" in reasons(verdicts, old)
    assert "last" in reasons(verdicts, old)


def test_a_failed_one_goes_when_enough_verified_ones_came_after_it() -> None:
    ages = (HOUR, DAY + HOUR, DAY * 5)
    failed = [one(NOW - age, verified=False) for age in ages]
    verdicts = decide([*failed, *days(5)], Policy(last=2), needed=(), now=NOW)
    assert [bool(reasons(verdicts, one)) for one in failed] == [True, False, False]


def test_what_a_release_needs_stays() -> None:
    needed = one(NOW - DAY * 50)
    verdicts = decide([*days(10), needed], Policy(last=1), needed=[needed.id], now=NOW)
    assert reasons(verdicts, needed) == ("needed",)


def test_one_from_the_future_stays_and_takes_no_place() -> None:
    future = one(NOW + DAY)
    verdicts = decide([future, *days(3)], Policy(last=1), needed=(), now=NOW)
    assert reasons(verdicts, future) == ("from the future",)
    assert [verdict.id[:10] for verdict in verdicts if verdict.stays] == ["2026-11-22", "2026-11-21"]


def test_a_little_ahead_is_not_the_future() -> None:
    ahead = one(NOW + CLOCK_TOLERANCE)
    assert reasons(decide([ahead], Policy(last=1), needed=(), now=NOW), ahead) == ("newest verified", "last")


def test_a_clock_that_went_back_deletes_nothing() -> None:
    verdicts = decide(days(50), Policy(last=1), needed=(), now=NOW - DAY * 1000)
    assert all(verdict.stays for verdict in verdicts)


def test_a_clock_that_went_ahead_deletes_no_more_than_else() -> None:
    rules = Policy(last=2, daily=3, weekly=2, monthly=2)
    assert decide(days(90), rules, needed=(), now=NOW + DAY * 4000) == decide(days(90), rules, needed=(), now=NOW)


def test_nothing_there() -> None:
    assert decide([], Policy(last=1), needed=["x"], now=NOW) == []


@pytest.mark.parametrize(
    "bad",
    [{"last": -1}, {"last": True}, {"last": "5"}, {"last": 1.5}, {"hourly": 1}, dict.fromkeys(FORMS, 0)],
)
def test_a_policy_that_is_none_is_refused_by_name(bad: dict[str, Any]) -> None:
    with pytest.raises(BackupError) as refusal:
        policy(bad)
    assert refusal.value.code == "bad_request"
    assert "retention" in refusal.value.summary


def test_no_policy_deletes_nothing() -> None:
    assert policy({}) is None


def by_definition(ordered: list[Candidate], count: int, form: str) -> set[str]:
    """Buckets by formatted text, newest first: another way to the same answer."""
    newest: dict[str, str] = {}
    for candidate in ordered:
        newest.setdefault(candidate.at.strftime(form) if form else candidate.id, candidate.id)
    kept = list(newest.values())[:count]
    if ordered and count > 0 and len(newest) < count:
        kept.append(ordered[-1].id)
    return set(kept)


def chance(dice: random.Random) -> tuple[list[Candidate], Policy, set[str]]:
    span = dice.choice([3, 40, 800])
    count = dice.randint(0, 60)
    times = {NOW - datetime.timedelta(minutes=dice.randint(-2 * 1440, span * 1440)) for _unused in range(count)}
    candidates = [one(at, verified=dice.random() < 0.7) for at in times]
    rules = Policy(**({name: dice.choice([0, 0, 1, 2, 5, 12]) for name in FORMS} | {dice.choice(list(FORMS)): 3}))
    return candidates, rules, {each.id for each in candidates if dice.random() < 0.05}


def test_by_chance() -> None:
    dice = random.Random(SEED)
    for _unused in range(ROUNDS):
        candidates, rules, needed = chance(dice)
        dice.shuffle(candidates)
        verdicts = decide(candidates, rules, needed=needed, now=NOW)
        assert [verdict.id for verdict in verdicts] == [
            each.id for each in sorted(candidates, key=lambda each: each.at, reverse=True)
        ]
        kept = {verdict.id for verdict in verdicts if verdict.stays}
        trusted = sorted((each for each in candidates if each.at <= NOW + CLOCK_TOLERANCE), key=lambda each: each.at)
        verified = [each for each in reversed(trusted) if each.verified]
        expected = {name: by_definition(verified, getattr(rules, name), form) for name, form in FORMS.items()}
        wanted = set().union(*expected.values()) | {each.id for each in verified[:1]}
        assert {each.id for each in verified if each.id in kept} == wanted | {
            each.id for each in verified if each.id in needed
        }
        assert needed <= kept
        assert {each.id for each in candidates} - {each.id for each in trusted} <= kept
