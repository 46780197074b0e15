# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet in memory: the real plan of a run, on hosts whose service manager is a fake, cut off where a test likes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils import (
    _handover,
    _inspect,
    _ledger,
    _route,
    _settings_rollout,
    _settle,
    _slot,
    _transaction,
)
from ansible_collections.slipway.webapp.plugins.module_utils._assignment import Assignment
from ansible_collections.slipway.webapp.plugins.module_utils._config import config_id, render_env
from ansible_collections.slipway.webapp.plugins.module_utils._files import read_json
from ansible_collections.slipway.webapp.plugins.module_utils._installed import RECORD, Record
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout, other_slot
from ansible_collections.slipway.webapp.plugins.module_utils._transaction import COMMITTED, RETURNED, Begun
from tests.unit.fakes import FakeClock, FakeSystemd, host

CONFIG = config_id(app="shop", environment={}, secrets={})
RUN = "20261127T110500Z-00000001"
NEXT_RUN = "20261127T111500Z-00000002"
HOLD = 30
ROLES: Mapping[str, tuple[str, ...]] = {"a": ("web",), "b": ("web",), "w": ("worker", "beat")}
WEB = tuple(name for name, roles in ROLES.items() if "web" in roles)
BATCHES = (1, "100%")
# The last deploy but one still holds the slot that the next one takes.
OLDER, OLD, NEW = "r0", "r1", "r2"
Call = tuple[str, str, Callable[[], Any]]  # step, host, what it does there


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

    def switch(self, slot: str, weight: int = 100) -> None:
        doer = _route.Doer(layout=self.layout, clock=self.clock, systemd=self.systemd)
        _route.switch(doer, weights=_route.weights_of(weights={slot: weight, other_slot(slot): 100 - weight}))

    def hand_over(self, slot: str) -> None:
        doer = _handover.Doer(layout=self.layout, systemd=self.systemd, clock=self.clock, timeout=5)
        movable = [process for process in self.processes if process in _handover.MOVABLE]
        if movable:
            _handover.hand_over(doer, slot=slot, processes=movable)

    def look(self) -> dict[str, Any]:
        wanted = _inspect.Wanted(NEW, CONFIG, self.processes)
        return _inspect.inspect(self.layout, systemd=self.systemd, clock=self.clock, wanted=wanted)

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
class Run:
    """One run of the controller: what it has seen of every host, and its plan as a list of single calls.

    ``canary`` are the shares of the first batch, ``without`` the hosts that a second attempt of the run leaves out.
    """

    fleet: Fleet
    id: str
    seen: Mapping[str, Mapping[str, Any]]
    canary: tuple[int, ...] = (100,)
    without: tuple[str, ...] = ()

    @property
    def hosts(self) -> list[FleetHost]:
        return [here for name, here in self.fleet.hosts.items() if name not in self.without]

    def begun(self, here: FleetHost) -> Begun:
        live = self.seen[here.name]["live"]
        return Begun(
            run=self.id,
            action="deploy",
            release=NEW,
            config=CONFIG,
            slot=self.slot(here),
            by="anna@ci",
            processes=here.processes,
            hold=HOLD,
            previous={name: live[name] for name in ("slot", "release", "config")} if live else None,
            first=not any(seen["live"] for seen in self.seen.values()),
            warm=60,
            peers=tuple(name for name in WEB if name not in self.without),
        )

    def slot(self, here: FleetHost) -> str:
        return str(self.seen[here.name]["wanted"]["target_slot"])

    def plan(self) -> list[Call]:
        """Every call in order, as playbooks/tasks/activate.yml and commit.yml make them."""
        calls: list[Call] = []

        def each(step: str, hosts: Sequence[FleetHost], work: Callable[[FleetHost], Any]) -> None:
            calls.extend((step, here.name, lambda here=here: work(here)) for here in hosts)  # type: ignore[misc]

        # Both are one call of the module slot, which can be cut off between them.
        each("arm", self.hosts, lambda here: here.settler().arm(self.begun(here)))
        each("start", self.hosts, lambda here: self._spoken(here, lambda: here.start(self.slot(here), NEW)))
        for step in self._steps():
            hosts, weight = [self.fleet.hosts[name] for name in step["hosts"]], step["weight"]
            each("switch", hosts, partial(self._switch, weight=weight))
            if weight == 100:
                each("hand over", hosts, lambda here: self._spoken(here, lambda: here.hand_over(self.slot(here))))
            # A judgement, or the smoke tests after the last step: the hosts are asked for patience.
            each("wait", self.hosts, lambda here: here.settler().wait_longer(self.id, seconds=2 * HOLD))
        each("committing", self.hosts, lambda here: here.settler().commit(self.id))
        each("committed", self.hosts, lambda here: self.end(here, COMMITTED))
        return calls

    def _steps(self) -> list[dict[str, Any]]:
        names = [here.name for here in self.hosts]
        return _settings_rollout.steps(names, web=WEB, batches_wish=BATCHES, canary=self.canary)

    def _switch(self, here: FleetHost, weight: int) -> None:
        self._spoken(here, lambda: here.switch(self.slot(here), weight))

    def _spoken(self, here: FleetHost, work: Callable[[], Any]) -> None:
        _transaction.alive(here.layout, run=self.id, clock=self.fleet.clock)
        work()

    def end(self, here: FleetHost, state: str) -> None:
        _settle.end(here.settler(), self.begun(here), state=state, why="a test")

    def back(self) -> None:
        """The controller's own way back, on the hosts that it reaches."""
        for here in self.hosts:
            if here.reachable:
                self.end(here, RETURNED)


@dataclass
class Fleet:
    """The hosts, and the run that is about to begin on them. With ``first`` they serve nothing yet."""

    directory: Path
    first: bool = False
    canary: tuple[int, ...] = (100,)
    clock: FakeClock = field(default_factory=FakeClock)
    hosts: dict[str, FleetHost] = field(default_factory=dict)
    run: Run = field(init=False)

    def __post_init__(self) -> None:
        for name, processes in ROLES.items():
            layout = host(self.directory / name, OLDER, OLD, NEW, processes=processes)
            for release in (OLDER, OLD, NEW):
                Path(layout.release(release), RECORD).write_text(json.dumps(_record(release).as_json()))
            # It is there: its id is slow to make, and that is wanted.
            Path(layout.config_env(CONFIG)).write_text(render_env({}, secret=frozenset()))
            os.makedirs(os.path.dirname(layout.awake), exist_ok=True)
            self.hosts[name] = FleetHost(name, layout, processes, self.clock)

    def serve(self) -> None:
        """The old release is live everywhere, and the other slot still has the one before it."""
        for here in self.hosts.values():
            here.start("green", OLDER)
            _slot.stop(_slot.Doer(layout=here.layout, systemd=here.systemd, slot="green"), after=0)
            here.start("blue", OLD)
            here.switch("blue")
            here.hand_over("blue")

    def begin(self, *, run: str = RUN) -> Run:
        """A run looks at every host, and settles first what an earlier one has left there."""
        self.clock.time += 1  # a ledger's entries are told apart by it
        if self.unfinished():
            for here in self.hosts.values():
                here.settler().settle_now(self.ask)
        self.run = Run(self, run, {name: here.look() for name, here in self.hosts.items()}, canary=self.canary)
        return self.run

    def plan(self) -> list[Call]:
        """That of the run that is about to begin."""
        return self.run.plan()

    def refuse_silent(self, layout: Layout, slot: str) -> None:
        """In place of a look at a real socket."""
        here = next(one for one in self.hosts.values() if one.layout == layout)
        if "web" in here.processes:
            assert here.systemd.active.get(layout.unit("web", slot)) == "active", f"{here.name}: nobody listens"

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

    def boot(self, name: str) -> None:
        """What the timer of a host does first when it boots; the controller may be at work."""
        self.hosts[name].settler().settle(self.ask, why="the host was restarted", hurried=True)

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


def _record(release: str) -> Record:
    """Of an image, which needs neither code nor an environment on the host."""
    return Record(
        id=release,
        version="1",
        sha256="0" * 64,
        created="",
        python="",
        lock_kind="",
        lock_hash="",
        files=0,
        collection="",
        image=f"registry/shop@sha256:{'0' * 64}",
    )
