# SPDX-License-Identifier: GPL-3.0-or-later
"""Worker and beat change slots: never no worker, never no beat, and back again when it goes wrong."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _assignment, _handover, _slot
from ansible_collections.slipway.webapp.plugins.module_utils._config import config_id
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._layout import SLOTS, Layout
from tests.unit.fakes import Crash, FakeClock, FakeSystemd, Fuse, host

BOTH = ("worker", "beat")
SECRET = {"PASSWORD": "hunter2-hunter2"}
CONFIG = config_id(app="shop", environment={}, secrets=SECRET)


def unit(process: str, slot: str) -> str:
    return f"shop-{process}@{slot}.service"


class Watched(FakeSystemd):
    """Looks after each call whether each process is up in one of the slots, once it was."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def _called(self, *call: str) -> None:
        self.look()
        super()._called(*call)

    def look(self) -> None:
        for process in BOTH:
            up = any(process in name and state == "active" for name, state in self.active.items())
            assert up or process not in self.seen, f"no {process}"
            self.seen |= {process} if up else set()


@dataclass
class World:
    layout: Layout
    systemd: Watched = field(default_factory=Watched)
    follows: bool = True
    patience: int = 2

    def __post_init__(self) -> None:
        for slot in SLOTS:
            wish = _slot.wish_of(
                self.layout,
                assignment=_assignment.Assignment("r1", CONFIG),
                environment={},
                secrets=SECRET,
                processes=(),
            )
            _slot.start(_slot.Doer(layout=self.layout, systemd=self.systemd, slot=slot), wish=wish)

    def move(self, slot: str, processes: tuple[str, ...] = BOTH, *, check_mode: bool = False) -> dict[str, Any]:
        doer = _handover.Doer(layout=self.layout, systemd=self.systemd, clock=FakeClock(), timeout=5)
        # The route has been moved just now; the worker notices at its next look.
        self.systemd.away = {unit("worker", _handover.other_slot(slot)): self.patience} if self.follows else {}
        result = _handover.hand_over(doer, slot=slot, processes=processes, check_mode=check_mode)
        self.systemd.look()
        if "beat" in processes and not check_mode:
            beats = {name for name in self.systemd.enabled if "beat" in name}
            assert beats == {unit("beat", slot)}, "two beats after a reboot"
            up = {name for name, state in self.systemd.active.items() if "beat" in name and state == "active"}
            assert up == {unit("beat", slot)}, "two beats"
        return result

    def drained(self) -> None:
        """The old worker has finished its last task."""
        for name, state in self.systemd.active.items():
            if state == "deactivating":
                self.systemd.active[name] = "inactive"

    def at(self, slot: str) -> None:
        for process in BOTH:
            assert self.systemd.active[unit(process, slot)] == "active"
        assert self.systemd.enabled == {unit(process, slot) for process in BOTH}


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(host(tmp_path, "r1"))


def test_first_and_again(world: World) -> None:
    result = world.move("blue")
    assert result["actions"] == [
        "Start worker in blue",
        "Enable worker in blue",
        "Start beat in blue",
        "Enable beat in blue",
        "Await worker in blue",
        "Await beat in blue",
    ]
    world.at("blue")
    assert not world.move("blue")["changed"]


def test_from_one_to_the_other(world: World) -> None:
    world.move("blue")
    foreseen = world.move("green", check_mode=True)
    world.at("blue")
    result = world.move("green")
    assert result == foreseen
    assert result["actions"] == [
        "Start worker in green",
        "Enable worker in green",
        "Start beat in green",
        "Enable beat in green",
        "Await worker in green",
        "Disable beat in blue",
        "Stop beat in blue",
        "Await beat in green",
        "Disable worker in blue",
        "Rest worker in blue",
    ]
    # Nobody waits for the tasks of the old worker, and nobody stops it: the way back needs no start.
    world.patience = 0
    assert not world.move("green")["changed"]
    world.at("green")
    assert world.systemd.active[unit("worker", "blue")] == "active"
    world.patience = 2
    assert world.move("blue")["actions"] == [
        "Enable worker in blue",
        "Start beat in blue",
        "Enable beat in blue",
        "Disable beat in green",
        "Stop beat in green",
        "Await beat in blue",
        "Disable worker in green",
        "Rest worker in green",
    ]


def test_a_worker_that_does_not_follow_the_route_is_stopped(world: World) -> None:
    world.follows = False
    world.move("blue")
    world.move("green")
    assert world.systemd.active[unit("worker", "blue")] == "deactivating", "and nobody waits for its tasks"
    assert not world.move("green")["changed"]


def test_a_worker_that_still_stops_is_waited_for(world: World) -> None:
    """systemd starts it only when it has gone, however long its tasks are."""
    world.move("blue")
    world.move("green")
    world.systemd.stop([unit("worker", "blue")], wait=False)
    assert world.move("blue")["actions"][:3] == ["End worker in blue", "Start worker in blue", "Enable worker in blue"]
    world.at("blue")


@pytest.mark.parametrize("process", BOTH)
def test_only_what_was_asked_for(world: World, process: str) -> None:
    world.move("blue")
    world.move("green", (process,))
    other = "beat" if process == "worker" else "worker"
    assert world.systemd.active[unit(other, "blue")] == "active"
    assert unit(other, "green") not in world.systemd.active
    assert world.systemd.active[unit(process, "green")] == "active"


@pytest.mark.parametrize("broken_as", ["failed", "activating"])
@pytest.mark.parametrize("broken", BOTH)
def test_what_does_not_start_leaves_all_as_it_was(world: World, broken: str, broken_as: str) -> None:
    world.move("blue")
    world.systemd.broken = {unit(broken, "green")}
    world.systemd.broken_as = broken_as
    world.systemd.says = ["no hunter2-hunter2"]
    with pytest.raises(SlipwayError, match="did not start") as failure:
        world.move("green")
    assert "hunter2" not in str(failure.value) + str(failure.value.details)
    world.drained()
    world.at("blue")
    assert world.systemd.active[unit("worker", "green")] != "active"
    world.systemd.broken = set()
    world.move("green")
    world.at("green")


def test_what_was_started_before_is_only_waited_for(world: World) -> None:
    world.move("blue")
    units = [unit(process, "green") for process in BOTH]
    world.systemd.start(units, timeout=5)
    world.systemd.enable(units)
    assert world.move("green")["actions"] == [
        "Disable beat in blue",
        "Stop beat in blue",
        "Await beat in green",
        "Disable worker in blue",
        "Rest worker in blue",
    ]


@pytest.mark.parametrize("idle", BOTH)
def test_what_does_not_work_leaves_the_old_at_work(world: World, idle: str) -> None:
    world.move("blue")
    world.systemd.idle = {unit(idle, "green")}
    world.systemd.says = ["no hunter2-hunter2"]
    with pytest.raises(SlipwayError, match=f"shop-{idle}@green.service does not work") as failure:
        world.move("green")
    assert "hunter2" not in str(failure.value) + str(failure.value.details)
    world.drained()
    world.at("blue")
    assert {unit(one, "blue"): "active" for one in BOTH}.items() <= world.systemd.active.items()


def test_what_does_not_come_back_is_named_too(world: World) -> None:
    world.move("blue")
    world.systemd.idle = {unit("beat", "green")}
    world.systemd.broken = {unit("beat", "blue")}
    world.systemd.says = ["no hunter2-hunter2"]
    world.systemd.seen.remove("beat")  # none is left in the end, and that is what must be said
    with pytest.raises(
        SlipwayError, match=r"green\.service does not work, and .* again: shop-beat@blue\.service"
    ) as failure:
        world.move("green")
    assert "hunter2" not in str(failure.value) + str(failure.value.details)


def test_a_slot_without_a_release_is_refused(tmp_path: Path) -> None:
    doer = _handover.Doer(layout=host(tmp_path), systemd=FakeSystemd(), clock=FakeClock(), timeout=5)
    with pytest.raises(SlipwayError, match="The green slot of shop runs nothing yet"):
        _handover.hand_over(doer, slot="green", processes=BOTH)
    assert _handover.hand_over(doer, slot="green", processes=BOTH, check_mode=True)["changed"]


def test_a_crash_anywhere_and_the_next_run_converges(tmp_path: Path) -> None:
    count = 0
    while True:
        world = World(host(tmp_path / str(count), "r1"))
        world.move("blue")
        world.systemd.fuse = Fuse(count)
        try:
            world.move("green")
            break
        except Crash:
            world.systemd.look()
        world.systemd.fuse = Fuse()
        if count % 2:
            world.systemd.reboot()
        world.move("green")
        world.at("green")
        world.patience = 0
        assert not world.move("green")["changed"]
        count += 1
    assert count == 7
