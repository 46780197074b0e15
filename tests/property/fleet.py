# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet in memory: the real plan of a run, on hosts whose service manager is a fake, cut off where a test likes."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils import (
    _handover,
    _ledger,
    _route,
    _settle,
    _slot,
    _transaction,
)
from ansible_collections.slipway.webapp.plugins.module_utils._assignment import Assignment
from ansible_collections.slipway.webapp.plugins.module_utils._config import config_id
from ansible_collections.slipway.webapp.plugins.module_utils._files import read_json
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._transaction import COMMITTED, RETURNED, Begun
from tests.unit.fakes import FakeClock, FakeSystemd, host

CONFIG = config_id(app="shop", environment={}, secrets={})
RUN = "20261127T110500Z-00000001"
HOLD = 30
ROLES: Mapping[str, tuple[str, ...]] = {"a": ("web",), "b": ("web",), "w": ("worker", "beat")}
OLD, NEW = "r1", "r2"


@dataclass
class FleetHost:
    """One host: its files, its units, and whether others can reach it."""

    name: str
    layout: Layout
    processes: tuple[str, ...]
    clock: FakeClock
    systemd: FakeSystemd = field(default_factory=FakeSystemd)
    reachable: bool = True

    def settler(self) -> _settle.Settler:
        return _settle.Settler(layout=self.layout, systemd=self.systemd, clock=self.clock, timeout=5)

    def start(self, slot: str, release: str) -> None:
        wish = _slot.wish_of(
            self.layout,
            assignment=Assignment(release, CONFIG),
            environment={},
            secrets={},
            processes=self.processes,
        )
        _slot.start(_slot.Doer(layout=self.layout, systemd=self.systemd, slot=slot), wish=wish)

    def switch(self, slot: str) -> None:
        doer = _route.Doer(layout=self.layout, clock=self.clock, systemd=self.systemd)
        _route.switch(doer, weights=_route.weights_of(slot=slot))

    def hand_over(self, slot: str) -> None:
        doer = _handover.Doer(layout=self.layout, systemd=self.systemd, clock=self.clock, timeout=5)
        movable = [process for process in self.processes if process in _handover.MOVABLE]
        if movable:
            _handover.hand_over(doer, slot=slot, processes=movable)

    def reboot(self) -> None:
        self.systemd.reboot()
        Path(self.layout.awake).unlink(missing_ok=True)

    def serves(self) -> str:
        """The release that this host serves with all its processes, or what is wrong."""
        route = _route.probe(self.layout)
        if route is None:
            return "nothing"
        if len(set(route.buckets)) != 1:
            return f"a mixture: {route.weights}"
        slot = route.live
        release = os.path.basename(os.readlink(self.layout.slot_link(slot)))
        down = [one for one in self.processes if self.systemd.active.get(self.layout.unit(one, slot)) != "active"]
        asleep = [one for one in self.processes if self.layout.unit(one, slot) not in self.systemd.enabled]
        beats = [unit for unit, state in self.systemd.active.items() if "-beat@" in unit and state == "active"]
        if down or asleep or len(beats) > 1:
            return f"{release} without {down}, not at boot {asleep}, beats {beats}"
        return release


@dataclass
class Fleet:
    """The hosts, and the controller's plan as a list of single calls."""

    directory: Path
    first: bool = False
    clock: FakeClock = field(default_factory=FakeClock)
    hosts: dict[str, FleetHost] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, processes in ROLES.items():
            layout = host(self.directory / name, OLD, NEW, processes=processes)
            os.makedirs(os.path.dirname(layout.awake), exist_ok=True)
            here = FleetHost(name, layout, processes, self.clock)
            self.hosts[name] = here

    def serve(self) -> None:
        """The old release is live everywhere."""
        for here in self.hosts.values():
            here.start("blue", OLD)
            here.switch("blue")
            here.hand_over("blue")

    def refuse_silent(self, layout: Layout, slot: str) -> None:
        """In place of a look at a real socket."""
        here = next(one for one in self.hosts.values() if one.layout == layout)
        if "web" in here.processes:
            assert here.systemd.active.get(layout.unit("web", slot)) == "active", f"{here.name}: nobody listens"

    def begun(self, here: FleetHost) -> Begun:
        previous = None if self.first else {"slot": "blue", "release": OLD, "config": CONFIG}
        return Begun(
            run=RUN,
            action="deploy",
            release=NEW,
            config=CONFIG,
            slot="green",
            by="anna@ci",
            processes=here.processes,
            hold=HOLD,
            previous=previous,
            first=self.first,
            warm=60,
            peers=tuple(name for name, roles in ROLES.items() if "web" in roles),
        )

    def plan(self) -> list[tuple[str, str, Callable[[], Any]]]:
        """Every call of the controller in order: step, host, what it does there."""
        all_hosts, canary, rest = list(self.hosts.values()), [self.hosts["a"]], [self.hosts["b"], self.hosts["w"]]
        calls: list[tuple[str, str, Callable[[], Any]]] = []

        def each(step: str, hosts: Sequence[FleetHost], work: Callable[[FleetHost], Any]) -> None:
            calls.extend((step, here.name, lambda here=here: work(here)) for here in hosts)  # type: ignore[misc]

        each("arm", all_hosts, lambda here: here.settler().arm(self.begun(here)))
        each("start", all_hosts, lambda here: self._spoken(here, lambda: here.start("green", NEW)))
        for batch in (canary, rest):
            each("switch", batch, lambda here: self._spoken(here, lambda: here.switch("green")))
            each("hand over", batch, lambda here: self._spoken(here, lambda: here.hand_over("green")))
        each("committing", all_hosts, lambda here: here.settler().commit(RUN))
        each("committed", all_hosts, lambda here: self.end(here, COMMITTED))
        return calls

    def _spoken(self, here: FleetHost, work: Callable[[], Any]) -> None:
        _transaction.alive(here.layout, run=RUN, clock=self.clock)
        work()

    def end(self, here: FleetHost, state: str) -> None:
        _settle.end(here.settler(), self.begun(here), state=state, why="a test")

    def ask(self, begun: Begun) -> dict[str, Mapping[str, Any] | None]:
        """What the hosts with a web process publish."""
        answers: dict[str, Mapping[str, Any] | None] = {}
        for peer in begun.peers:
            here = self.hosts[peer]
            answers[peer] = (read_json(here.layout.transaction) or {}) if here.reachable else None
        return answers

    def settle(self, order: Sequence[str]) -> None:
        """The timers of the hosts, in this order, until none has anything left to do that it can do now."""
        self.clock.time += 10 * HOLD
        for _round in range(4):
            for name in order:
                here = self.hosts[name]
                if here.reachable:
                    here.settler().settle(self.ask, why="no word from the controller")

    def drain(self) -> None:
        """Workers that were asked to stop have finished."""
        for here in self.hosts.values():
            for unit, state in here.systemd.active.items():
                if state == "deactivating":
                    here.systemd.active[unit] = "inactive"

    def served(self) -> set[str]:
        self.drain()
        return {here.serves() for here in self.hosts.values()}

    def unfinished(self) -> list[str]:
        return [name for name, here in self.hosts.items() if _transaction.read(here.layout) is not None]

    def outcomes(self) -> set[str]:
        """What the ledgers say last, on the hosts where the run was begun."""
        last = (_ledger.read(here.layout)[-1:] for here in self.hosts.values())
        return {entry["outcome"] for entries in last for entry in entries}


def back_everywhere(fleet: Fleet) -> None:
    """The controller's own way back, on the hosts that it reaches."""
    for here in fleet.hosts.values():
        if here.reachable:
            fleet.end(here, RETURNED)
