# SPDX-License-Identifier: GPL-3.0-or-later
"""A run over a fleet that is cut off anywhere ends with one release on every host, without anybody's help."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _route, _transaction
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from tests.property.fleet import NEW, OLD, ROLES, RUN, Fleet, back_everywhere
from tests.unit.fakes import Crash, Fuse

ORDERS = list(itertools.permutations(ROLES))
CALLS = 18  # of the plan; a test says when it grows
MOST_EVENTS = 40

MakeFleet = Callable[..., Fleet]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeFleet:
    made: list[Fleet] = []
    # Thousands of hosts begin and end here; no power is cut that a disk would notice.
    monkeypatch.setattr(os, "fsync", lambda _descriptor: None)

    def one(**options: bool) -> Fleet:
        fleet = Fleet(tmp_path / str(len(made)), **options)
        made.append(fleet)
        monkeypatch.setattr(_route, "refuse_silent", fleet.refuse_silent)
        if not fleet.first:
            fleet.serve()
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


def test_without_a_crash_it_ends_with_the_new_release(make: MakeFleet) -> None:
    fleet = make()
    assert len(fleet.plan()) == CALLS
    for _step, _host, call in fleet.plan():
        call()
    assert agree(fleet) == NEW
    assert fleet.outcomes() == {"succeeded"}


@pytest.mark.parametrize("order", ORDERS[::3], ids="".join)
@pytest.mark.parametrize("calls", range(CALLS + 1))
def test_the_controller_dies_between_two_calls(make: MakeFleet, calls: int, order: tuple[str, ...]) -> None:
    fleet = make()
    for _step, _host, call in fleet.plan()[:calls]:
        call()
    fleet.settle(order)
    release = agree(fleet)
    steps = [step for step, _host, _call in fleet.plan()[:calls]]
    assert release == (OLD if "committing" not in steps else release)
    assert release == (NEW if "committed" in steps else release)
    if calls:
        assert fleet.outcomes() == {"failed" if release == OLD else "succeeded"}


@pytest.mark.parametrize("calls", range(CALLS))
def test_the_controller_and_its_call_die_anywhere(make: MakeFleet, calls: int) -> None:
    """Every call of the service manager is a place to die, and then every host decides in some order."""
    for events in range(MOST_EVENTS):
        fleet = make()
        plan = fleet.plan()
        for _step, _host, call in plan[:calls]:
            call()
        here = fleet.hosts[plan[calls][1]]
        here.systemd.fuse = Fuse(events)
        try:
            plan[calls][2]()
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
@pytest.mark.parametrize("calls", range(1, CALLS + 1))
def test_a_host_dies_too_and_comes_back_later(make: MakeFleet, calls: int, victim: str) -> None:
    fleet = make()
    for _step, _host, call in fleet.plan()[:calls]:
        call()
    fleet.hosts[victim].reachable = False
    fleet.settle(ORDERS[calls % len(ORDERS)])
    others = {here.serves() for name, here in fleet.hosts.items() if name != victim}
    fleet.drain()
    assert len({here.serves() for name, here in fleet.hosts.items() if name != victim}) == 1, others
    fleet.hosts[victim].reachable = True
    fleet.hosts[victim].reboot()
    fleet.settle([victim, *(name for name in ROLES if name != victim)])
    agree(fleet)


@pytest.mark.parametrize("victim", ROLES)
@pytest.mark.parametrize("calls", range(1, CALLS + 1))
def test_a_host_is_cut_off_and_decides_alone(make: MakeFleet, calls: int, victim: str) -> None:
    """Both sides of a cut decide; when they see each other again, they agree."""
    fleet = make()
    for _step, _host, call in fleet.plan()[:calls]:
        call()
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
@pytest.mark.parametrize("calls", range(1, CALLS))
def test_the_controller_sees_a_host_die_and_takes_the_others_back(make: MakeFleet, calls: int, victim: str) -> None:
    fleet = make()
    plan = fleet.plan()
    if any(step == "committed" for step, _host, _call in plan[: calls + 1]):
        return  # from there on the run goes forward
    for _step, _host, call in plan[:calls]:
        call()
    fleet.hosts[victim].reachable = False
    back_everywhere(fleet)
    fleet.hosts[victim].reachable = True
    fleet.hosts[victim].reboot()
    fleet.settle([victim])
    assert agree(fleet) == OLD


@pytest.mark.parametrize("victim", ROLES)
def test_a_host_that_was_restarted_takes_no_further_part(make: MakeFleet, victim: str) -> None:
    fleet = make()
    plan = fleet.plan()
    last = max(number for number, (step, _host, _call) in enumerate(plan) if step == "hand over")
    for _step, _host, call in plan[: last + 1]:
        call()
    fleet.hosts[victim].reboot()
    with pytest.raises(SlipwayError, match="does not take part"):
        fleet.hosts[victim].settler().commit(RUN)
    back_everywhere(fleet)
    assert agree(fleet) == OLD


@pytest.mark.parametrize("calls", range(2, CALLS, 4))
def test_settling_may_itself_be_cut_off(make: MakeFleet, calls: int) -> None:
    for victim in ROLES:
        for events in range(0, MOST_EVENTS, 4):
            fleet = make()
            for _step, _host, call in fleet.plan()[:calls]:
                call()
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
    last = max(number for number, (step, _host, _call) in enumerate(fleet.plan()) if step == "hand over")
    for _step, _host, call in fleet.plan()[: last + 1]:
        call()
    back_everywhere(fleet)
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
