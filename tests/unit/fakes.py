# SPDX-License-Identifier: GPL-3.0-or-later
"""A service manager, a runner and a clock that live in memory, and a crash that can be planted anywhere."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._handover import WORKS
from ansible_collections.slipway.webapp.plugins.module_utils._layout import PROCESSES, SLOTS, Layout
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Completed, UnitState


class Crash(BaseException):
    """The power is cut. Not an Exception: nothing may catch it."""


@dataclass
class Fuse:
    """Cuts the power after ``left`` more events; -1 never does."""

    left: int = -1

    def event(self) -> None:
        if self.left == 0:
            raise Crash
        self.left -= 1


@dataclass
class FakeSystemd:
    """Units by name. ``broken`` ones do not start; ``at_start`` is told of each start; a call is an event."""

    active: dict[str, str] = field(default_factory=dict)
    enabled: set[str] = field(default_factory=set)
    timers: dict[str, tuple[tuple[str, ...], int]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    broken_as: str = "failed"  # or activating: systemd has given up waiting, the process has not
    subs: dict[str, str] = field(default_factory=dict)
    idle: set[str] = field(default_factory=set)  # start, and then do nothing
    away: dict[str, int] = field(default_factory=dict)  # workers without traffic; looks until they rest
    says: list[str] = field(default_factory=lambda: ["the last words"])
    calls: list[tuple[str, ...]] = field(default_factory=list)
    fuse: Fuse = field(default_factory=Fuse)
    at_start: Callable[[str], None] = lambda _unit: None

    def _called(self, *call: str) -> None:
        self.fuse.event()
        self.calls.append(call)

    def states(self, units: Sequence[str]) -> dict[str, UnitState]:
        return {
            unit: UnitState(
                name=unit,
                active="active" if unit.removesuffix(".timer") in self.timers else self.active.get(unit, "inactive"),
                sub=self.subs.get(unit, ""),
                enabled=unit in self.enabled,
                since="2026-11-21T11:00:00Z" if self.active.get(unit) == "active" else "",
                status=self._status(unit),
            )
            for unit in units
        }

    def _status(self, unit: str) -> str:
        """Of several beats the one that was started first has the lock."""
        if self.active.get(unit) != "active" or unit in self.idle:
            return "waits"
        if "-beat@" in unit:
            first = next(name for name, state in self.active.items() if "-beat@" in name and state == "active")
            return WORKS["beat"] if unit == first else "waits"
        if unit not in self.away:
            return WORKS["worker"]
        self.away[unit] -= 1
        return WORKS["worker"] if self.away[unit] >= 0 else "rests, and finishes 1"

    def start(self, units: Sequence[str], *, timeout: float) -> None:
        assert timeout > 0
        self._boot("start", units)
        down = [unit for unit in units if unit in self.broken]
        if down:
            raise SlipwayError(
                f"{down[0]} did not start", found="\n".join(self.says), details={"unit": down[0], "log": self.says}
            )

    def begin(self, units: Sequence[str]) -> None:
        self._boot("begin", units)

    def _boot(self, call: str, units: Sequence[str]) -> None:
        if units:
            self._called(call, *units)
        for unit in units:
            self.at_start(unit)
            self.active.pop(unit, None)  # the order is that of the starts
            self.active[unit] = self.broken_as if unit in self.broken else "active"

    def stop(self, units: Sequence[str], *, wait: bool = True) -> None:
        self._called("stop" if wait else "stop --no-block", *units)
        for unit in units:
            if self.active.get(unit, "inactive") not in ("inactive", "failed"):
                self.active[unit] = "inactive" if wait else "deactivating"

    def enable(self, units: Sequence[str]) -> None:
        self._called("enable", *units)
        self.enabled |= set(units)

    def disable(self, units: Sequence[str]) -> None:
        self._called("disable", *units)
        self.enabled -= set(units)

    def stop_later(self, name: str, units: Sequence[str], *, seconds: int, only_if: Sequence[str] = ()) -> None:
        assert only_if, "a later stop must look at the route once more"
        self._called("stop_later", name, str(seconds))
        self.timers[name] = (tuple(units), seconds)

    def cancel(self, name: str) -> None:
        self._called("cancel", name)
        self.timers.pop(name, None)

    def start_later(self, name: str, *, seconds: int) -> None:
        self._called("start_later", name, str(seconds))
        self.timers[name] = ((name,), seconds)

    def cancel_timer(self, name: str) -> None:
        self._called("cancel_timer", name)
        self.timers.pop(name, None)

    def timer_active(self, name: str) -> bool:
        return name in self.timers

    def log(self, unit: str, *, lines: int = 20) -> list[str]:
        assert unit
        return self.says[-lines:]

    def reboot(self) -> None:
        """Timers are gone, and what is enabled runs."""
        self.timers.clear()
        self.active = dict.fromkeys(self.enabled, "active")
        for unit in sorted(self.enabled):
            self.at_start(unit)


@dataclass
class FakeClock:
    """Time passes when somebody sleeps, and a little with every look."""

    time: float = 1_800_000_000.0
    tick: float = 0.0

    def now(self) -> float:
        return self.time

    def monotonic(self) -> float:
        self.time += self.tick
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds


@dataclass
class FakeRunner:
    """Answers by the last word of a command; remembers what it was asked and how."""

    answers: dict[str, Completed] = field(default_factory=dict)
    ran: list[tuple[str, ...]] = field(default_factory=list)
    environments: list[dict[str, str]] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)

    def run(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        user: str = "",
        cwd: str = "",
        timeout: float = 0.0,
        stdin: str = "",
    ) -> Completed:
        assert os.path.isdir(cwd)
        assert timeout > 0
        self.ran.append(tuple(command))
        self.environments.append(dict(environment or {}))
        self.users.append(user)
        self.inputs.append(stdin)
        return self.answers.get(command[-1], Completed(0, "", ""))


def host(prefix: Path, *releases: str, processes: Sequence[str] = PROCESSES) -> Layout:
    """The layout of an application below ``prefix``, provisioned, with these complete releases."""
    layout = Layout("shop", prefix=str(prefix))
    for directory in (layout.home, layout.configs, layout.state, os.path.dirname(layout.unit_template("web"))):
        os.makedirs(directory, exist_ok=True)
    for slot in SLOTS:
        os.makedirs(os.path.dirname(layout.socket(slot)), exist_ok=True)
    for process in processes:
        Path(layout.unit_template(process)).write_text("[Service]\n")
    for release in releases:
        here = Path(layout.release(release))
        (here / "code").mkdir(parents=True)
        (here / "code" / "manage.py").touch()
        (here / "venv" / "bin").mkdir(parents=True)
        (here / "venv" / "bin" / "python").touch()
        (here / "release.json").write_text("{}")
    return layout
