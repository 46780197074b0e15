# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A slot: which release with which configuration it runs, and its processes."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils import _route
from ansible_collections.slipway.webapp.plugins.module_utils._assignment import (
    Assignment,
    assignment,
    slot_secrets,
    without_secrets,
)
from ansible_collections.slipway.webapp.plugins.module_utils._config import (
    config_id,
    merged,
    read_env,
    render_env,
)
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import (
    ensure_directory,
    point_symlink,
    read_text,
    write_atomically,
)
from ansible_collections.slipway.webapp.plugins.module_utils._layout import BUCKETS, CONFIG_PATTERN, PROCESSES, Layout
from ansible_collections.slipway.webapp.plugins.module_utils._plan import Step, carry_out
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Systemd, UnitState

_AT_REST = ("inactive", "failed")


@dataclass(frozen=True)
class SlotState:
    """A slot as it is. ``assigned`` is None when its link and its environment file do not agree or are not there."""

    slot: str
    assigned: Assignment | None
    values: Mapping[str, str]
    buckets: int
    units: Mapping[str, UnitState]
    retiring: bool

    def text(self) -> str:
        """The slot for a diff."""
        lines = [f"slot: {self.slot}", f"runs: {self.assigned or 'nothing'}"]
        for process in PROCESSES:
            unit = self.units[process]
            lines.append(f"{process}: {unit.active}{', starts at boot' if unit.enabled else ''}")
        return "\n".join([*lines, *(["stops later"] if self.retiring else []), ""])

    def named(self, condition: str) -> list[str]:
        """The processes that are ``alive`` (not at rest), ``running`` or ``enabled``."""
        held = {
            process: {"alive": unit.active not in _AT_REST, "running": unit.running, "enabled": unit.enabled}
            for process, unit in self.units.items()
        }
        return [process for process in PROCESSES if held.get(process, {}).get(condition)]


@dataclass(frozen=True)
class Wish:
    """What a slot shall run. ``values`` is the whole environment without the assignment itself."""

    assignment: Assignment
    values: Mapping[str, str]
    secret: frozenset[str]
    processes: Sequence[str]

    @property
    def own(self) -> dict[str, str]:
        return {"SLIPWAY_RELEASE": self.assignment.release, "SLIPWAY_CONFIG": self.assignment.config}


def probe(layout: Layout, systemd: Systemd, *, slot: str) -> SlotState:
    """The slot, its share of the route, its units and the timer that may wait to stop it: one question to systemd."""
    route = _route.probe(layout)
    pair, values = assignment(layout, slot)
    units = {process: layout.unit(process, slot) for process in PROCESSES}
    timer = f"{layout.retire_unit(slot)}.timer"
    states = systemd.states([*units.values(), timer])
    return SlotState(
        slot=slot,
        assigned=pair,
        values=values,
        buckets=route.buckets.count(slot) if route else 0,
        units={process: states[unit] for process, unit in units.items()},
        retiring=states[timer].running,
    )


def _list(processes: Sequence[str]) -> str:
    return " and ".join(processes)


def plan_started(state: SlotState, wish: Wish, *, retained: bool) -> tuple[Step, ...]:
    """What makes the slot run the wish. What runs is stopped before the slot is reassigned, so that whatever runs in a
    slot runs what the slot says. ``retained`` says that the configuration's file is on the host and right.
    """
    slot = state.slot
    reassign = state.assigned != wish.assignment or dict(state.values) != {**wish.values, **wish.own}
    if reassign and state.buckets:
        raise SlipwayError(
            f"The {slot} slot receives traffic, so it keeps what it runs",
            found=f"{state.buckets} of {BUCKETS} buckets; {slot} runs {state.assigned or 'nothing known'}",
            expected=f"no traffic, before it can run {wish.assignment}",
            next_step="move the traffic to the other slot first, or use the other slot",
        )
    alive, enabled = state.named("alive"), state.named("enabled")
    steps = [Step("cancel", f"Cancel the stop of {slot}")] if state.retiring else []
    if reassign and enabled:
        steps.append(Step("disable", f"Disable {_list(enabled)} in {slot}", {"processes": enabled}))
    if reassign and alive:
        steps.append(Step("stop", f"Stop {_list(alive)} in {slot}", {"processes": alive}))
    # What still finishes its tasks must have gone before it can start again.
    leaving = [one for one in wish.processes if state.units[one].active == "deactivating"]
    if leaving and not reassign:
        steps.append(Step("stop", f"Stop {_list(leaving)} in {slot}", {"processes": leaving}))
    if not retained:
        steps.append(Step("configure", f"Write configuration {wish.assignment.config}"))
    if reassign:
        steps.append(Step("assign", f"Assign {wish.assignment} to {slot}"))
    due = [one for one in wish.processes if reassign or one not in state.named("running")]
    if due:
        steps.append(Step("start", f"Start {_list(due)} in {slot}", {"processes": due}))
    dormant = [one for one in wish.processes if reassign or one not in enabled]
    if dormant:
        steps.append(Step("enable", f"Enable {_list(dormant)} in {slot}", {"processes": dormant}))
    return tuple(steps)


def plan_stopped(state: SlotState, *, after: int, wait: bool = True) -> tuple[Step, ...]:
    """What stops the slot, now or ``after`` seconds from now. What shall stop later does not start at boot any more.

    A worker may have long tasks. Without ``wait`` it is only told to stop, and finishes them by itself.
    """
    slot = state.slot
    if state.buckets:
        raise SlipwayError(
            f"The {slot} slot receives traffic, so it is not stopped",
            found=f"{state.buckets} of {BUCKETS} buckets lead to {slot}",
            expected="no traffic",
            next_step="move the traffic to the other slot first",
        )
    alive, enabled = state.named("alive"), state.named("enabled")
    steps = [Step("disable", f"Disable {_list(enabled)} in {slot}", {"processes": enabled})] if enabled else []
    if after and alive and not state.retiring:
        steps.append(Step("retire", f"Stop {slot} in {after} s", {"seconds": after}))
    if not after and state.retiring:
        steps.append(Step("cancel", f"Cancel the later stop of {slot}"))
    told = [one for one in alive if one == "worker" and not wait]
    awaited = [one for one in alive if one not in told]
    if not after and told and state.units["worker"].active != "deactivating":
        steps.append(Step("tell", f"Tell {_list(told)} in {slot} to stop", {"processes": told}))
    if not after and awaited:
        steps.append(Step("stop", f"Stop {_list(awaited)} in {slot}", {"processes": awaited}))
    return tuple(steps)


def foreseen(state: SlotState, steps: Sequence[Step], *, assignment: Assignment | None) -> SlotState:
    """The slot as the steps leave it."""
    units = dict(state.units)
    pair, retiring = state.assigned, state.retiring
    for step in steps:
        for process in step.data.get("processes", []):
            active = {"start": "active", "stop": "inactive", "tell": "deactivating"}.get(
                step.name, units[process].active
            )
            enabled = {"enable": True, "disable": False}.get(step.name, units[process].enabled)
            units[process] = replace(units[process], active=active, enabled=enabled)
        pair = assignment if step.name == "assign" else pair
        retiring = {"retire": True, "cancel": False}.get(step.name, retiring)
    return replace(state, units=units, assigned=pair, retiring=retiring)


@dataclass
class Doer:
    """Carries out the steps of a plan for one slot. ``gid`` is the application's group, ``timeout`` in seconds."""

    layout: Layout
    systemd: Systemd
    slot: str
    gid: int = -1
    timeout: float = 60.0
    wish: Wish | None = None
    in_traffic: bool = False

    def do(self, step: Step) -> None:
        getattr(self, f"_{step.name}")(**step.data)

    def _units(self, processes: Sequence[str]) -> list[str]:
        return [self.layout.unit(process, self.slot) for process in processes]

    def _cancel(self) -> None:
        self.systemd.cancel(self.layout.retire_unit(self.slot))

    def _disable(self, *, processes: Sequence[str]) -> None:
        self.systemd.disable(self._units(processes))

    def _enable(self, *, processes: Sequence[str]) -> None:
        self.systemd.enable(self._units(processes))

    def _stop(self, *, processes: Sequence[str]) -> None:
        self.systemd.stop(self._units(processes))

    def _tell(self, *, processes: Sequence[str]) -> None:
        self.systemd.stop(self._units(processes), wait=False)

    def _retire(self, *, seconds: int) -> None:
        # Whoever gives the slot traffic in the meantime must not lose it: find(1) fails, and nothing is stopped, when a
        # bucket of the route leads here.
        quiet = [
            "/usr/bin/find",
            f"{self.layout.route_link}/",
            "-lname",
            f"*/{self.slot}/web.sock",
            "-exec",
            "false",
            "{}",
            "+",
        ]
        self.systemd.stop_later(
            self.layout.retire_unit(self.slot), self._units(PROCESSES), seconds=seconds, only_if=quiet
        )

    def _write(self, path: str, text: str) -> None:
        ensure_directory(os.path.dirname(path), mode=0o750, gid=self.gid)
        write_atomically(path, text.encode(), mode=0o640, uid=os.geteuid(), gid=self.gid)

    def _configure(self) -> None:
        wish = self._wished()
        path = self.layout.config_env(wish.assignment.config)
        self._write(path, render_env(wish.values, secret=wish.secret))

    def _assign(self) -> None:
        wish = self._wished()
        self._write(self.layout.slot_env(self.slot), render_env(wish.values, secret=wish.secret, first=wish.own))
        ensure_directory(self.layout.slots)
        point_symlink(self.layout.slot_link(self.slot), f"../releases/{wish.assignment.release}")

    def _start(self, *, processes: Sequence[str]) -> None:
        units = self._units(processes)
        served = self._units([one for one in processes if one == "web"])
        try:
            # The others take longer and are in nobody's way: whoever opens the gate looks at them.
            self.systemd.begin([unit for unit in units if unit not in served])
            self.systemd.start(served, timeout=self.timeout)
        except SlipwayError as error:
            if not self.in_traffic:
                # A unit that is not there cannot be stopped either; why it did not start is what must be said.
                with contextlib.suppress(SlipwayError):
                    self.systemd.stop(units, wait=False)
            raise without_secrets(error, slot_secrets(self.layout, self.slot)) from None

    def _wished(self) -> Wish:
        if self.wish is None:
            raise SlipwayError("Nothing was said about what the slot shall run")
        return self.wish


def refuse_incomplete(layout: Layout, release: str) -> None:
    """Refuse a release that is not whole on this host."""
    if not os.path.isfile(os.path.join(layout.release(release), "release.json")):
        raise SlipwayError(
            f"Release {release} is not complete on this host",
            found=f"no {layout.release(release)}/release.json",
            next_step="build it first with slipway.webapp.release",
        )


def wish_of(
    layout: Layout,
    *,
    assignment: Assignment,
    environment: Mapping[str, Any] | None,
    secrets: Mapping[str, Any] | None,
    processes: Sequence[str],
) -> tuple[Wish, bool]:
    """What the slot shall run, and whether the configuration's file is on the host as it should be.

    Without an environment the retained file says what it is. With one, it must be the one that the id names.
    """
    if not re.fullmatch(CONFIG_PATTERN, assignment.config):
        raise SlipwayError("That is not the id of a configuration", found=assignment.config, expected="12 hex digits")
    path = layout.config_env(assignment.config)
    text = read_text(path)
    if environment is None:
        if text is None:
            raise SlipwayError(
                f"Configuration {assignment.config} is not on this host",
                found=f"no {path}",
                next_step="deploy the release again, which brings its configuration along",
            )
        values, secret = read_env(text, where=path)
        return Wish(assignment, values, secret, processes), True
    values, secret = merged(environment=environment, secrets=secrets or {})
    retained = text == render_env(values, secret=secret)
    if not retained:
        found = config_id(app=layout.app, environment=environment, secrets=secrets or {})
        if found != assignment.config:
            raise SlipwayError("This environment is another configuration", found=found, expected=assignment.config)
    return Wish(assignment, values, secret, processes), retained


def _result(state: SlotState, steps: Sequence[Step], actions: list[str], wish: Wish | None) -> dict[str, Any]:
    after = foreseen(state, steps, assignment=wish.assignment if wish else None)
    result = {
        "changed": bool(actions),
        "actions": actions,
        "slot": state.slot,
        "diff": {"before": state.text(), "after": after.text()},
    }
    pair = {"release": wish.assignment.release, "config": wish.assignment.config} if wish else {}
    return {**result, **pair}


def start(doer: Doer, *, wish: tuple[Wish, bool], check_mode: bool = False) -> dict[str, Any]:
    """Make the slot run the wish; a module's result."""
    doer.wish, retained = wish
    if not check_mode:
        refuse_incomplete(doer.layout, doer.wish.assignment.release)
    with _alone(doer.layout, check_mode=check_mode):
        state = probe(doer.layout, doer.systemd, slot=doer.slot)
        doer.in_traffic = state.buckets > 0
        steps = plan_started(state, doer.wish, retained=retained)
        actions = carry_out(steps, doer.do, check_mode=check_mode)
    return _result(state, steps, actions, doer.wish)


def stop(doer: Doer, *, after: int, wait: bool = True, check_mode: bool = False) -> dict[str, Any]:
    """Stop the slot, now or later; a module's result."""
    with _alone(doer.layout, check_mode=check_mode):
        state = probe(doer.layout, doer.systemd, slot=doer.slot)
        # In check mode the switch that goes before in a run has not been made, so the route says nothing yet.
        steps = plan_stopped(replace(state, buckets=0) if check_mode else state, after=after, wait=wait)
        actions = carry_out(steps, doer.do, check_mode=check_mode)
    return _result(state, steps, actions, None)


def _alone(layout: Layout, *, check_mode: bool) -> contextlib.AbstractContextManager[None]:
    # The lock of the route: a slot must not get traffic while it is being reassigned or stopped.
    return contextlib.nullcontext() if check_mode else _route.alone(layout)
