# SPDX-License-Identifier: GPL-3.0-or-later
"""A run over a fleet that is cut off anywhere ends with one release on every host, without anybody's help."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _reserve, _route, _transaction
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from tests.property.fleet import NEW, NEXT_RUN, OLD, ROLES, Fleet
from tests.unit.fakes import Crash, Fuse

ORDERS = list(itertools.permutations(ROLES))
# What the canary gives to the new release, step by step.
WHOLE: tuple[int, ...] = (100,)
SPLIT: tuple[int, ...] = (50, 100)
CALLS = {WHOLE: 24, SPLIT: 28}  # of the plan; a test says when it grows
DIVIDED = range(6, 12)  # the calls in which that differs: from the first switch to the canary's last
MOST_EVENTS = 40
EVERY = 3  # of the calls of a second run; which of them differs with where the first was cut off

MakeFleet = Callable[..., Fleet]


def cuts(first: int = 0, *, end: int = CALLS[WHOLE], step: int = 1) -> pytest.MarkDecorator:
    """Where a run may be cut off: after so many calls, also while a canary's traffic is divided."""
    found = [(WHOLE, calls) for calls in range(first, end, step)] + [(SPLIT, calls) for calls in DIVIDED[::step]]
    return pytest.mark.parametrize(("canary", "calls"), found, ids=lambda one: str(one).strip("()").replace(", ", "-"))


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeFleet:
    made: list[Fleet] = []
    # Thousands of hosts begin and end here; no power is cut that a disk would notice.
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)
    # Nor does one of them become full.
    monkeypatch.setattr(_reserve, "FILES", 1)

    def one(calls: int = 0, **options: Any) -> Fleet:
        """A fleet on which a run has made so many of its calls."""
        fleet = Fleet(tmp_path / str(len(made)), **options)
        made.append(fleet)
        monkeypatch.setattr(_route, "refuse_silent", fleet.refuse_silent)
        if not fleet.first:
            fleet.serve()
        for _step, _host, call in fleet.begin().plan()[:calls]:
            call()
        return fleet

    return one


def agree(fleet: Fleet) -> str:
    """All hosts serve one whole release, and nothing is left to do; which one."""
    served = fleet.served()
    assert len(served) == 1, served
    assert not fleet.unfinished()
    (release,) = served
    assert release in (OLD, NEW)
    return release


def last_call(fleet: Fleet, step: str) -> int:
    """How many calls have been made with the last one of a step."""
    return 1 + max(number for number, (name, _host, _call) in enumerate(fleet.plan()) if name == step)


@pytest.mark.parametrize("canary", CALLS)
def test_without_a_crash_it_ends_with_the_new_release(make: MakeFleet, canary: tuple[int, ...]) -> None:
    fleet = make(canary=canary)
    assert len(fleet.plan()) == CALLS[canary]
    shares = []
    for _step, _host, call in fleet.plan():
        call()
        route = _route.probe(fleet.hosts["a"].layout)
        shares.append(route.weights["green"] if route else None)
    assert list(dict.fromkeys(shares)) == [0, *canary]
    assert agree(fleet) == NEW
    assert fleet.outcomes() == {"succeeded"}


@pytest.mark.parametrize("order", ORDERS[::3], ids="".join)
@cuts(end=CALLS[WHOLE] + 1)
def test_the_controller_dies_between_two_calls(
    make: MakeFleet, canary: tuple[int, ...], calls: int, order: tuple[str, ...]
) -> None:
    fleet = make(calls, canary=canary)
    fleet.settle(order)
    release = agree(fleet)
    steps = [step for step, _host, _call in fleet.plan()[:calls]]
    assert release == (OLD if "committing" not in steps else release)
    assert release == (NEW if "committed" in steps else release)
    if calls:
        assert fleet.outcomes() == {"failed" if release == OLD else "succeeded"}


@cuts()
def test_the_controller_and_its_call_die_anywhere(make: MakeFleet, canary: tuple[int, ...], calls: int) -> None:
    """Every call of the service manager is a place to die, and then every host decides in some order."""
    for events in range(MOST_EVENTS):
        fleet = make(calls, canary=canary)
        _step, name, call = fleet.plan()[calls]
        here = fleet.hosts[name]
        here.systemd.fuse = Fuse(events)
        try:
            call()
            whole = True
        except Crash:
            whole = False
        here.systemd.fuse = Fuse()
        fleet.settle(ORDERS[events % len(ORDERS)])
        agree(fleet)
        if whole:
            return
    pytest.fail("a call has more events than this test has thought of")


@pytest.mark.parametrize("victim", ROLES)
@cuts(1, end=CALLS[WHOLE] + 1)
def test_a_host_dies_too_and_comes_back_later(
    make: MakeFleet, canary: tuple[int, ...], calls: int, victim: str
) -> None:
    fleet = make(calls, canary=canary)
    fleet.hosts[victim].reachable = False
    fleet.settle(ORDERS[calls % len(ORDERS)])
    others = {here.serves() for name, here in fleet.hosts.items() if name != victim}
    fleet.drain()
    assert len({here.serves() for name, here in fleet.hosts.items() if name != victim}) == 1, others
    come_back(fleet, victim)
    agree(fleet)


def come_back(fleet: Fleet, victim: str) -> None:
    """The host boots, and every host whose timer still waits decides once more."""
    fleet.hosts[victim].reachable = True
    fleet.hosts[victim].reboot()
    fleet.settle([victim, *(name for name in ROLES if name != victim)])


@pytest.mark.parametrize("victim", ROLES)
@cuts(1, end=CALLS[WHOLE] + 1)
def test_a_host_is_cut_off_and_decides_alone(make: MakeFleet, canary: tuple[int, ...], calls: int, victim: str) -> None:
    """Both sides of a cut decide; when they see each other again, they agree."""
    fleet = make(calls, canary=canary)
    fleet.hosts[victim].reachable = False
    fleet.settle(ORDERS[calls % len(ORDERS)])
    for here in fleet.hosts.values():
        here.reachable = here.name == victim
    fleet.settle([victim])
    for here in fleet.hosts.values():
        here.reachable = True
    fleet.settle(ORDERS[(calls + 1) % len(ORDERS)])
    agree(fleet)


@pytest.mark.parametrize("victim", ROLES)
@cuts(1)
def test_the_controller_sees_a_host_die_and_takes_the_others_back(
    make: MakeFleet, canary: tuple[int, ...], calls: int, victim: str
) -> None:
    fleet = make(calls, canary=canary)
    if any(step == "committed" for step, _host, _call in fleet.plan()[: calls + 1]):
        return  # from there on the run goes forward
    fleet.hosts[victim].reachable = False
    fleet.run.back()
    fleet.hosts[victim].reachable = True
    fleet.hosts[victim].reboot()
    fleet.settle([victim])
    assert agree(fleet) == OLD


@pytest.mark.parametrize("settled", [False, True], ids=["at-once", "after-its-boot"])
@pytest.mark.parametrize("victim", ROLES)
@cuts(3)
def test_a_host_that_was_restarted_takes_no_further_part(
    make: MakeFleet, canary: tuple[int, ...], calls: int, victim: str, settled: bool
) -> None:
    """Whether the run comes to it at once, or when it has gone back by itself and waits for nobody any more."""
    fleet = make(calls, canary=canary)
    agreed = ("committing", victim) in [(step, name) for step, name, _call in fleet.plan()[:calls]]
    fleet.hosts[victim].reboot()
    if settled:
        fleet.boot(victim)
    refused = goes_on(fleet, calls)
    assert "does not take part" in refused or agreed
    if refused:
        fleet.run.back()
        fleet.settle([victim])
    assert agree(fleet) == (OLD if refused else NEW)


@pytest.mark.parametrize("victim", ROLES)
@cuts(3, end=CALLS[WHOLE] - 3)
def test_a_host_that_was_restarted_is_taken_back_with_the_others(
    make: MakeFleet, canary: tuple[int, ...], calls: int, victim: str
) -> None:
    """Something else fails then: that all who can be asked have agreed to stay is not yet the controller's word."""
    fleet = make(calls, canary=canary)
    fleet.hosts[victim].reboot()
    fleet.boot(victim)
    fleet.run.back()
    fleet.settle([victim])
    assert agree(fleet) == OLD


def goes_on(fleet: Fleet, calls: int) -> str:
    """The controller makes the rest of its calls; what refuses one of them, or ''."""
    try:
        for _step, _host, call in fleet.plan()[calls:]:
            call()
    except SlipwayError as error:
        return str(error)
    return ""


@cuts(1, step=2)
def test_the_next_run_ends_what_one_has_left_and_may_be_cut_off_too(
    make: MakeFleet, canary: tuple[int, ...], calls: int
) -> None:
    """The operator types the same again, and once more: no host has decided by itself in between."""
    for more in range(calls % EVERY, CALLS[canary] + 1, EVERY):
        fleet = make(calls, canary=canary)
        again = fleet.begin(run="second").plan()
        release = agree(fleet)
        for _step, _host, call in again[:more]:
            call()
        fleet.begin(run="third")
        assert agree(fleet) in (release, NEW)
        for _step, _host, call in fleet.plan():
            call()
        assert agree(fleet) == NEW


@pytest.mark.parametrize("victim", ["b", "w"])
@cuts(1, step=2)
def test_a_run_goes_on_without_a_host_and_may_be_cut_off_then(
    make: MakeFleet, canary: tuple[int, ...], calls: int, victim: str
) -> None:
    """A host is lost, the others go back and begin once more without it; it comes back when all is over."""
    for more in range(calls % EVERY, CALLS[canary] + 1, EVERY):
        fleet = make(calls, canary=canary)
        if any(step == "committed" for step, _host, _call in fleet.plan()[: calls + 1]):
            return
        others = [name for name in ROLES if name != victim]
        fleet.hosts[victim].reachable = False
        fleet.run.back()
        second = dataclasses.replace(fleet.run, without=(victim,)).plan()[:more]
        for _step, _host, call in second:
            call()
        fleet.settle(others)
        fleet.drain()
        served = {fleet.hosts[name].serves() for name in others}
        assert served in ({OLD}, {NEW}), served
        assert served == ({NEW} if any(step == "committed" for step, _host, _call in second) else served)
        come_back(fleet, victim)
        fleet.drain()
        assert fleet.hosts[victim].serves() in (OLD, *served)
        assert not fleet.unfinished()
        for _step, _host, call in fleet.begin(run=NEXT_RUN).plan():
            call()
        assert agree(fleet) == NEW
        if more > len(second):
            return


@cuts(2, step=4)
def test_settling_may_itself_be_cut_off(make: MakeFleet, canary: tuple[int, ...], calls: int) -> None:
    for victim in ROLES:
        for events in range(0, MOST_EVENTS, 4):
            fleet = make(calls, canary=canary)
            fleet.hosts[victim].systemd.fuse = Fuse(events)
            try:
                fleet.settle([victim, *(name for name in ROLES if name != victim)])
            except Crash:
                fleet.hosts[victim].systemd.fuse = Fuse()
                fleet.settle(ORDERS[events % len(ORDERS)])
                agree(fleet)
            else:
                break


def test_a_first_deploy_has_nothing_to_go_back_to(make: MakeFleet) -> None:
    fleet = make(first=True)
    for _step, _host, call in fleet.plan()[: last_call(fleet, "hand over")]:
        call()
    fleet.run.back()
    assert agree(fleet) == NEW
    assert fleet.outcomes() == {"failed"}


@pytest.mark.parametrize(
    ("own", "votes", "peers", "then"),
    [
        ("armed", True, {}, "back"),
        ("armed", True, {"a": "committing"}, "back"),
        ("armed", True, {"a": "committed"}, "stay"),
        ("armed", False, {"a": "committing"}, "stay"),
        ("armed", False, {"a": "committing", "b": "armed"}, "back"),
        ("armed", False, {"a": ""}, "back"),
        ("committing", True, {}, "stay"),
        ("committing", True, {"a": "committing", "b": ""}, "stay"),
        ("committing", True, {"a": "armed"}, "back"),
        ("committing", True, {"a": "returned", "b": "committing"}, "back"),
        ("committing", False, {"a": "returned", "b": "committed"}, "stay"),
    ],
)
def test_who_is_in_doubt_decides(own: str, votes: bool, peers: dict[str, str], then: str) -> None:
    assert _transaction.decide(own, votes=votes, peers=peers) == then
