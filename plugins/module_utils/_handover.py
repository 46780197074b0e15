# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Worker and beat move from one slot to the other: no task lost, never two beats.

Those of the new slot are usually up already and wait for traffic, and a worker that has lost its traffic takes no more
tasks by itself (see roles/processes/files/slipway_celery.py and slipway_worker.py). So this is mostly waiting.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Callable

from ansible_collections.slipway.webapp.plugins.module_utils import _assignment, _route
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._layout import SLOTS, Layout, other_slot
from ansible_collections.slipway.webapp.plugins.module_utils._plan import Step, carry_out
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Clock, Systemd, UnitState

MOVABLE = ("worker", "beat")
# What they say of themselves once they do their work.
WORKS = {"worker": "takes tasks", "beat": "sends what is due"}
_REST_SECONDS = 10.0
_AT_REST = ("inactive", "failed")
_LOOK_EVERY = 0.1  # seconds
Key = tuple[str, str]  # process, slot


def probe(layout: Layout, systemd: Systemd) -> dict[Key, UnitState]:
    """The state of worker and beat in both slots, by one question."""
    units = {(process, slot): layout.unit(process, slot) for process in MOVABLE for slot in SLOTS}
    states = systemd.states(list(units.values()))
    return {key: states[unit] for key, unit in units.items()}


def _step(name: str, process: str, slot: str) -> Step:
    return Step(name, f"{name.capitalize()} {process} in {slot}", {"process": process, "slot": slot})


def _works(state: Mapping[Key, UnitState], process: str, slot: str) -> bool:
    return state[process, slot].running and state[process, slot].status == WORKS[process]


def _rests(state: UnitState) -> bool:
    """Whether a worker takes no tasks: it says so, or still waits for its first traffic, or is not up."""
    return not state.running or state.status != WORKS["worker"]


def plan(state: Mapping[Key, UnitState], *, slot: str, processes: Sequence[str]) -> tuple[Step, ...]:
    """What brings the processes to ``slot``.

    The new worker first, so that somebody knows the tasks that the new beat sends; then beat, the new one waiting for
    the lock that the old one holds; the old worker last: it takes no new task, finishes what it has, and nobody waits
    for that. It stays up as long as its slot is warm, so that the way back needs no start.
    """
    old, steps = other_slot(slot), []
    for process in (one for one in MOVABLE if one in processes):
        # It was told to stop and still has tasks. systemd starts it only when it has gone.
        steps += [_step("end", process, slot)] if state[process, slot].active == "deactivating" else []
        steps += [_step("start", process, slot)] if not state[process, slot].running else []
        steps += [_step("enable", process, slot)] if not state[process, slot].enabled else []
    if "worker" in processes:
        steps += [_step("await", "worker", slot)] if not _works(state, "worker", slot) else []
    if "beat" in processes:
        steps += [_step("disable", "beat", old)] if state["beat", old].enabled else []
        steps += [_step("stop", "beat", old)] if state["beat", old].active not in _AT_REST else []
        steps += [_step("await", "beat", slot)] if not _works(state, "beat", slot) else []
    if "worker" in processes:
        steps += [_step("disable", "worker", old)] if state["worker", old].enabled else []
        steps += [_step("rest", "worker", old)] if not _rests(state["worker", old]) else []
    return tuple(steps)


@dataclass
class Doer:
    """Carries out the steps; when a process does not start, what was stopped before is started again."""

    layout: Layout
    systemd: Systemd
    clock: Clock
    timeout: float
    _undo: list[Step] = field(default_factory=list)

    def do(self, step: Step) -> None:
        unit = [self.layout.unit(step.data["process"], step.data["slot"])]
        if step.name == "start":
            self._begin(step, lambda: self.systemd.start(unit, timeout=self.timeout))
            self._undo.append(step)
        elif step.name == "await":
            self._begin(step, lambda: self._await(step.data["process"], unit[0]))
        elif step.name == "stop":
            self.systemd.stop(unit)
            self._undo.append(step)
        elif step.name == "end":
            self.systemd.stop(unit)
        elif step.name == "rest":
            self._rest(unit[0])
        elif step.name == "enable":
            self.systemd.enable(unit)
        elif step.name == "disable":
            self.systemd.disable(unit)
            self._undo.append(step)

    def _rest(self, unit: str) -> None:
        """Until it takes no more tasks. One that does not follow the route is stopped; it was started by an older
        version of us, or runs its tasks in a pool without a loop.
        """
        deadline = self.clock.monotonic() + _REST_SECONDS
        while not _rests(self.systemd.states([unit])[unit]):
            if self.clock.monotonic() >= deadline:
                self.systemd.stop([unit], wait=False)
                return
            self.clock.sleep(_LOOK_EVERY)

    def _await(self, process: str, unit: str) -> None:
        """Until it does its work; an error with its last log lines when it does not in time."""
        deadline = self.clock.monotonic() + self.timeout
        while True:
            state = self.systemd.states([unit])[unit]
            if state.running and state.status == WORKS[process]:
                return
            if state.active == "failed" or self.clock.monotonic() >= deadline:
                log = self.systemd.log(unit)
                raise SlipwayError(
                    f"{unit} does not work",
                    found="\n".join([f"{state.active}: {state.status or 'it says nothing'}", *log]),
                    expected=f"{WORKS[process]!r} within {self.timeout:g} s",
                    next_step=f"mend what it says, then run the same command again; journalctl -u '{unit}' shows all",
                    details={"unit": unit, "log": log},
                )
            self.clock.sleep(_LOOK_EVERY)

    def _begin(self, step: Step, work: Callable[[], None]) -> None:
        unit = [self.layout.unit(step.data["process"], step.data["slot"])]
        try:
            work()
        except SlipwayError as error:
            failure = error
            try:
                self._go_back()  # first: the old beat is up and waits when the new one ends
            except SlipwayError as worse:
                failure = SlipwayError(
                    f"{error.summary}, and what was stopped did not start again: {worse.summary}",
                    found="\n".join([error.found, worse.found]),
                    expected=error.expected,
                    next_step=worse.next_step or error.next_step,
                    details=error.details,
                )
            # What is not there cannot be stopped; why it did not start is what must be said.
            with contextlib.suppress(SlipwayError):
                self.systemd.stop(unit, wait=step.data["process"] != "worker")
            secrets = [value for slot in SLOTS for value in _assignment.slot_secrets(self.layout, slot)]
            raise _assignment.without_secrets(failure, secrets) from None

    def _go_back(self) -> None:
        for step in reversed(self._undo):
            unit = [self.layout.unit(step.data["process"], step.data["slot"])]
            if step.name == "start":
                self.systemd.disable(unit)
                self.systemd.stop(unit, wait=False)
            elif step.name == "stop":
                self.systemd.start(unit, timeout=self.timeout)
            else:
                self.systemd.enable(unit)


def refuse_unassigned(layout: Layout, slot: str) -> None:
    """Refuse a slot that nothing is assigned to."""
    if _assignment.assignment(layout, slot)[0] is None:
        raise SlipwayError(
            f"The {slot} slot of {layout.app} runs nothing yet",
            expected="a slot that a release is assigned to",
            next_step="assign one with slipway.webapp.slot first",
        )


def _text(state: Mapping[Key, UnitState], steps: Sequence[Step] = ()) -> str:
    """Worker and beat for a diff, as they are or as the steps leave them."""
    active = {key: unit.active for key, unit in state.items()}
    enabled = {key: unit.enabled for key, unit in state.items()}
    for step in steps:
        key = (step.data["process"], step.data["slot"])
        active[key] = {"start": "active", "stop": "inactive", "rest": "rests"}.get(step.name, active[key])
        enabled[key] = {"enable": True, "disable": False}.get(step.name, enabled[key])
    lines = [
        f"{process} in {slot}: {active[process, slot]}{', starts at boot' if enabled[process, slot] else ''}\n"
        for process, slot in state
    ]
    return "".join(lines)


def hand_over(doer: Doer, *, slot: str, processes: Sequence[str], check_mode: bool = False) -> dict[str, Any]:
    """Bring the processes to the slot; a module's result."""
    if not check_mode:
        refuse_unassigned(doer.layout, slot)
    with contextlib.nullcontext() if check_mode else _route.alone(doer.layout):
        state = probe(doer.layout, doer.systemd)
        steps = plan(state, slot=slot, processes=processes)
        actions = carry_out(steps, doer.do, check_mode=check_mode)
    return {
        "changed": bool(actions),
        "actions": actions,
        "diff": {"before": _text(state), "after": _text(state, steps)},
    }
