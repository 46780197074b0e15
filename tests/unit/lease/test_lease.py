# SPDX-License-Identifier: GPL-3.0-or-later
"""One owner at a time, and never for ever."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _lease
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from tests.unit.fakes import host

NOW = 1_800_000_000.0
RACES = 300
RACERS = 4


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return host(tmp_path)


def hold(layout: Layout, owner: str = "anna", *, now: float = NOW, **options: Any) -> dict[str, Any]:
    return _lease.hold(layout, **{"owner": owner, "reason": "deploy of 1.4", "seconds": 60, "now": now, **options})


def test_take_and_give_back(layout: Layout) -> None:
    taken = hold(layout)
    assert taken["changed"]
    assert taken["lease"] == {
        "owner": "anna",
        "by": "",
        "reason": "deploy of 1.4",
        "since": "2027-01-15T08:00:00Z",
        "until": "2027-01-15T08:01:00Z",
        "beat": "2027-01-15T08:00:00Z",
        "silent_seconds": 0,
    }
    assert _lease.release(layout, owner="anna", now=NOW)["lease"] is None
    assert not os.path.exists(layout.lease)
    assert not _lease.release(layout, owner="anna", now=NOW)["changed"]


def test_somebody_else_is_refused_and_told_who_why_and_until_when(layout: Layout) -> None:
    hold(layout)
    with pytest.raises(SlipwayError, match="Somebody else works on this environment") as refusal:
        hold(layout, "berta", now=NOW + 59)
    for part in ("anna", "deploy of 1.4", "2027-01-15T08:01:00Z", "last sign of life 59 s ago"):
        assert part in str(refusal.value)
    assert refusal.value.details["lease"]["owner"] == "anna"
    assert hold(layout, "anna", now=NOW + 59)["lease"]["owner"] == "anna"


def test_it_expires(layout: Layout) -> None:
    hold(layout)
    assert _lease.probe(layout, now=NOW + 60) is None
    assert hold(layout, "berta", now=NOW + 60)["lease"]["owner"] == "berta"


def test_the_owner_holds_it_for_as_long_as_was_asked_last(layout: Layout) -> None:
    """A backup may need hours; what comes after it must not keep others out for hours when it dies."""
    hold(layout, seconds=600)
    again = hold(layout, seconds=60, now=NOW + 10)
    assert again["changed"]
    assert again["lease"]["until"] == "2027-01-15T08:01:10Z"
    more = hold(layout, seconds=600, now=NOW + 60)
    assert more["changed"]
    assert (more["lease"]["since"], more["lease"]["until"]) == ("2027-01-15T08:00:00Z", "2027-01-15T08:11:00Z")


def test_who_takes_over_an_expired_lease_is_told_so(layout: Layout) -> None:
    assert "warnings" not in hold(layout)
    result = hold(layout, "berta", now=NOW + 75)
    assert result["warnings"] == [
        "took over the expired lease of anna (deploy of 1.4), without a sign of life for 75 s"
    ]
    assert result["took_over"]["owner"] == "anna"
    assert "warnings" not in hold(layout, "berta", now=NOW + 200)  # its own, expired


def test_every_extension_is_a_sign_of_life(layout: Layout) -> None:
    hold(layout, by="anna@desk")
    later = hold(layout, now=NOW + 30)["lease"]
    assert (later["beat"], later["since"], later["by"]) == ("2027-01-15T08:00:30Z", "2027-01-15T08:00:00Z", "anna@desk")
    assert _lease.extend(layout, owner="anna", seconds=60, now=NOW + 40)
    found = _lease.probe(layout, now=NOW + 50)
    assert found is not None
    assert (found.until, found.beat, found.silent(NOW + 50)) == (NOW + 100, NOW + 40, 10)


@pytest.mark.parametrize(
    ("holder", "taker", "moment", "renewed"),
    [
        ("anna", "", 30, True),
        ("anna", "", 61, True),  # expired, and nobody came
        ("berta", "", 30, False),
        ("anna", "berta", 61, False),  # expired, and somebody came
        ("berta", "", 61, False),
        ("", "", 30, False),  # given back, or taken away
    ],
)
def test_who_may_extend(layout: Layout, holder: str, taker: str, moment: int, renewed: bool) -> None:
    if holder:
        hold(layout, holder)
    if taker:
        hold(layout, taker, now=NOW + 60)
    assert _lease.extend(layout, owner="anna", seconds=60, now=NOW + moment) is renewed
    found = _lease.read(layout)
    assert (found.owner if found else "") == (taker or holder)
    assert (found is not None and found.until == NOW + moment + 60) is renewed


@pytest.mark.parametrize("owner", ["anna", "berta"])
def test_what_a_dead_run_left_behind_is_given_back_for_that_run_only(layout: Layout, owner: str) -> None:
    hold(layout)
    assert _lease.abandon(layout, owner=owner) is (owner == "anna")
    assert os.path.exists(layout.lease) is (owner != "anna")
    assert not _lease.abandon(layout, owner="nobody")


def test_a_lease_that_an_older_version_wrote(layout: Layout) -> None:
    old = {"owner": "anna", "reason": "deploy of 1.4", "since": NOW, "until": NOW + 60}
    Path(layout.lease).write_text(json.dumps(old))
    found = _lease.probe(layout, now=NOW + 10)
    assert found is not None
    assert (found.owner, found.by, found.beat) == ("anna", "", NOW)


def test_a_person_gives_back_what_is_theirs_only(layout: Layout) -> None:
    hold(layout, by="anna@desk")
    with pytest.raises(SlipwayError, match="This lease is not yours to give back") as refusal:
        _lease.give_back(layout, by="berta@desk", now=NOW + 5)
    for part in ("anna (anna@desk) holds", "last sign of life 5 s ago", "a lease of berta@desk", "-e confirm=anna"):
        assert part in str(refusal.value)
    assert os.path.exists(layout.lease)
    assert _lease.give_back(layout, by="anna@desk", now=NOW)["actions"] == ["Give the lease back"]
    assert not _lease.give_back(layout, by="anna@desk", now=NOW)["changed"]
    hold(layout, "berta@desk")  # held by hand, under the own name
    assert _lease.give_back(layout, by="berta@desk", now=NOW)["changed"]


@pytest.mark.parametrize("named", ["", "berta"])
def test_a_lease_is_taken_away_only_from_the_owner_that_is_named(layout: Layout, named: str) -> None:
    assert not _lease.revoke(layout, owner=named, now=NOW)["changed"]
    hold(layout)
    with pytest.raises(SlipwayError, match="only from the owner that is named") as refusal:
        _lease.revoke(layout, owner=named, now=NOW)
    assert "-e confirm=anna" in str(refusal.value)
    assert named or "found: no name" in str(refusal.value)
    assert os.path.exists(layout.lease)
    assert _lease.revoke(layout, owner="anna", now=NOW, check_mode=True)["changed"]
    assert os.path.exists(layout.lease)
    assert _lease.revoke(layout, owner="anna", now=NOW)["actions"] == ["Take the lease away from anna"]
    assert not _lease.extend(layout, owner="anna", seconds=60, now=NOW)


def test_a_run_whose_lease_had_expired_does_not_end_another_ones(layout: Layout) -> None:
    hold(layout)
    hold(layout, "berta", now=NOW + 61)
    result = _lease.release(layout, owner="anna", now=NOW + 62)
    assert not result["changed"]
    assert result["lease"]["owner"] == "berta"


def test_check_mode(layout: Layout) -> None:
    before = os.listdir(layout.state)
    assert hold(layout, check_mode=True)["changed"]
    assert os.listdir(layout.state) == before
    hold(layout)
    assert _lease.release(layout, owner="anna", now=NOW, check_mode=True)["changed"]
    assert os.path.exists(layout.lease)
    with pytest.raises(SlipwayError):
        hold(layout, "berta", check_mode=True)


@pytest.mark.parametrize(
    "bad",
    [{"owner": ""}, {"reason": ""}, {"owner": "a\nb"}, {"owner": "x" * 201}, {"seconds": 0}, {"seconds": 86401}],
)
def test_what_cannot_be_held(layout: Layout, bad: dict[str, Any]) -> None:
    with pytest.raises(SlipwayError):
        hold(layout, **bad)
    assert not os.path.exists(layout.lease)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b'{"owner": "x"}', b'{"owner":"x","reason":"","since":0,"until":"soon"}', b'{"owner":"\xff"}'],
)
def test_a_damaged_lease_is_never_taken_for_none(layout: Layout, data: bytes) -> None:
    Path(layout.lease).write_bytes(data)
    with pytest.raises(SlipwayError, match="is damaged"):
        hold(layout)


def _race(prefix: str, racer: int, rounds: Any, results: Any) -> None:
    layout = Layout("shop", prefix=prefix)
    for race in range(RACES):
        rounds.wait()
        try:
            _lease.hold(layout, owner=f"racer {racer}", reason=f"race {race}", seconds=60, now=time.time())
            results.put((race, racer))
        except SlipwayError:
            pass
        rounds.wait()
        if racer == 0:
            os.unlink(layout.lease)


@pytest.mark.slow
def test_of_300_races_each_has_exactly_one_winner(tmp_path: Path) -> None:
    host(tmp_path)
    context = multiprocessing.get_context("spawn")
    rounds, results = context.Barrier(RACERS), context.SimpleQueue()
    racers = [
        context.Process(target=_race, args=(str(tmp_path), number, rounds, results), daemon=True)
        for number in range(RACERS)
    ]
    for racer in racers:
        racer.start()
    winners: dict[int, list[int]] = {}
    for racer in racers:
        racer.join(timeout=300)
    while not results.empty():
        race, number = results.get()
        winners.setdefault(race, []).append(number)
    assert [len(winners.get(race, [])) for race in range(RACES)] == [1] * RACES


def test_it_is_kept_while_its_owner_works_and_no_longer(layout: Layout) -> None:
    hold(layout, seconds=1, now=time.time())
    with _lease.kept(layout, owner="anna"):
        time.sleep(1.6)
        with pytest.raises(SlipwayError, match="Somebody else works"):
            hold(layout, "bert", now=time.time())
    held = _lease.read(layout)
    assert held is not None
    assert round(held.until - held.beat, 3) == 1
    assert hold(layout, "bert", now=held.until + 0.1)["lease"]["owner"] == "bert"


@pytest.mark.parametrize("owner", ["", "bert"])
def test_nobody_keeps_what_is_not_theirs(layout: Layout, owner: str) -> None:
    hold(layout)
    before = _lease.read(layout)
    with _lease.kept(layout, owner=owner):
        pass
    assert _lease.read(layout) == before


def test_what_was_taken_away_meanwhile_is_not_taken_back(layout: Layout) -> None:
    hold(layout, seconds=1, now=time.time())
    with _lease.kept(layout, owner="anna"):
        _lease.revoke(layout, owner="anna", now=time.time())
        hold(layout, "bert", now=time.time())
        time.sleep(0.6)
    held = _lease.read(layout)
    assert held is not None
    assert held.owner == "bert"


def turn(layout: Layout, *, now: float = NOW) -> str:
    return _lease.turn(layout, now=now)


def test_what_was_planned_before_somebody_else_worked_is_refused(layout: Layout) -> None:
    before = turn(layout)
    hold(layout, "anna", after=before)
    assert turn(layout) == "anna, at work"
    _lease.release(layout, owner="anna", now=NOW)
    with pytest.raises(SlipwayError, match="has worked on this environment since") as refusal:
        hold(layout, "berta", after=before)
    assert "anna held the lease meanwhile" in str(refusal.value)
    assert not refusal.value.details, "it is not waited for: waiting does not make it true again"
    assert _lease.probe(layout, now=NOW) is None
    assert hold(layout, "berta", after=turn(layout))["lease"]["owner"] == "berta"


def test_who_looked_while_somebody_was_at_work_has_seen_nothing_that_lasts(layout: Layout) -> None:
    hold(layout, "anna")
    seen = turn(layout)
    with pytest.raises(SlipwayError, match="Somebody else works on this environment"):
        hold(layout, "berta", after=seen)
    _lease.release(layout, owner="anna", now=NOW)
    with pytest.raises(SlipwayError, match="has worked on this environment since"):
        hold(layout, "berta", after=seen)


def test_a_run_goes_on_with_what_it_has_seen_itself(layout: Layout) -> None:
    """Also when its lease had expired meanwhile and nobody has taken it; not when somebody has."""
    seen = turn(layout)
    hold(layout, "anna", after=seen)
    assert hold(layout, "anna", after=seen, now=NOW + 600)["changed"]
    hold(layout, "berta", now=NOW + 1200)
    _lease.release(layout, owner="berta", now=NOW + 1201)
    with pytest.raises(SlipwayError, match="berta held the lease meanwhile"):
        hold(layout, "anna", after=seen, now=NOW + 1202)


def test_nobody_has_had_a_turn_by_a_check(layout: Layout) -> None:
    hold(layout, "anna", after="", check_mode=True)
    assert turn(layout) == ""
    hold(layout, "berta", after="")
