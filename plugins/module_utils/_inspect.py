# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Everything about an application on one host, in one look. Absence is an answer here, never an error."""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils import _access_log, _lease, _ledger, _route
from ansible_collections.slipway.webapp.plugins.module_utils._assignment import Assignment, assignment
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import read_json, read_text
from ansible_collections.slipway.webapp.plugins.module_utils._handover import WORKS
from ansible_collections.slipway.webapp.plugins.module_utils._installed import Installed, describe, installed
from ansible_collections.slipway.webapp.plugins.module_utils._layout import PROCESSES, SLOTS, Layout, other_slot
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Clock, Engine, Systemd, UnitState
from ansible_collections.slipway.webapp.plugins.module_utils._stack import Stack

LEDGER_SHOWN = 20
_FINISHED_IN_PLACE = {"handover", "proof", "migrations", "maintenance", "services"}


@dataclass(frozen=True)
class Wanted:
    """What a run is about to bring: a pair, and the processes that this host shall run."""

    release: str
    config: str
    processes: Sequence[str]


def _names(directory: str, suffix: str) -> list[str]:
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        return sorted(
            name[: -len(suffix)] for name in os.listdir(directory) if name.endswith(suffix) and name[0] != "."
        )
    return []


def _disk(path: str) -> dict[str, int]:
    """The room on the file system that ``path`` is on, or will be on."""
    while not os.path.exists(path):
        path = os.path.dirname(path)
    room = os.statvfs(path)
    return {"free_bytes": room.f_bavail * room.f_frsize, "total_bytes": room.f_blocks * room.f_frsize}


def _units(layout: Layout, systemd: Systemd) -> dict[tuple[str, str], UnitState]:
    keys = {(slot, process): layout.unit(process, slot) for slot in SLOTS for process in PROCESSES}
    states = systemd.states(list(keys.values()))
    return {key: states[unit] for key, unit in keys.items()}


def _slot(layout: Layout, units: Mapping[tuple[str, str], UnitState], slot: str) -> dict[str, Any]:
    pair, _values = assignment(layout, slot)
    processes = {
        process: {
            "active": unit.active,
            "enabled": unit.enabled,
            "since": unit.since or None,
            "says": unit.status or None,
        }
        for (where, process), unit in units.items()
        if where == slot and os.path.exists(layout.unit_template(process))
    }
    return {
        "release": pair.release if pair else None,
        "config": pair.config if pair else None,
        "processes": processes,
    }


def live_of(
    route: _route.Route | None, slots: Mapping[str, Mapping[str, Any]], entries: Sequence[_ledger.Entry]
) -> dict[str, Any] | None:
    """What the users get, by the route; since when and by whom, by the newest entry that proves the pair there."""
    slot = route.live if route else ""
    if not slot or slots[slot]["release"] is None:
        return None
    here = {"slot": slot, "release": slots[slot]["release"], "config": slots[slot]["config"]}
    since, by = None, None
    for old in entries:
        proves = old["outcome"] == "succeeded" and old["action"] in _ledger.PROVING
        if proves and all(old.get(name) == value for name, value in here.items()):
            since, by = old.get("time"), old.get("by")
    return {**here, "since": since, "by": by}


def needs(info: Mapping[str, Any], wanted: Wanted) -> list[str]:
    """What lies between this host and the wish; empty when a deploy would do nothing.

    release, config: not on the host; pending: an earlier run left work; slot: the live slot runs something else;
    start: a process of the live slot does not run, or not after a reboot; handover: one runs in the other slot;
    services: those of a swarm are not as the live slot says; proof: the pair is live, but no run recorded that it went
    well; migrations: those that waited for the old release;
    maintenance: a run that was cut off left our page in front of the users.
    """
    live = info["live"]
    complete = {release["id"] for release in info["releases"] if release["complete"]}
    found = {
        "release": wanted.release not in complete,
        "config": wanted.config not in info["configs"],
        "pending": info["pending"] is not None,
    }
    if live is None or Assignment(live["release"], live["config"]) != Assignment(wanted.release, wanted.config):
        return [*(name for name, missing in found.items() if missing), "slot"]
    here, there = info["slots"][live["slot"]]["processes"], info["slots"][other_slot(live["slot"])]["processes"]
    rest: dict[str, Any] = {"active": "inactive", "enabled": False}
    states = [here.get(process, rest) for process in wanted.processes]
    found["start"] = any(state["active"] != "active" or not state["enabled"] for state in states)
    moved = [there.get(process, rest) for process in wanted.processes if process != "web"]
    # A worker that has lost its traffic rests beside the new one as long as its slot is warm.
    found["handover"] = any(
        state["enabled"] or (state["active"] == "active" and state.get("says") in WORKS.values()) for state in moved
    )
    found["route"] = info["route"]["weights"][live["slot"]] != 100
    found["proof"] = live["since"] is None
    found["services"] = bool(info["services_need"])
    found["migrations"] = bool(info["waiting"])
    found["maintenance"] = info["maintenance"]
    return [name for name, missing in found.items() if missing]


def wanted_of(info: Mapping[str, Any], wanted: Wanted) -> dict[str, Any]:
    """Whether the host already is what is wanted, what it lacks, and the slot that the next release goes into.

    What is live, and was left unfinished at worst by a run that died, is finished where it is: the other slot may still
    hold what was proven before.
    """
    lacking = needs(info, wanted)
    target = SLOTS[0]
    if info["live"]:
        live = str(info["live"]["slot"])
        target = live if set(lacking) <= _FINISHED_IN_PLACE else other_slot(live)
    return {"up_to_date": not lacking, "target_slot": target, "needs": lacking}


def _services(stack: Stack | None, live: Mapping[str, Any] | None) -> dict[str, Any]:
    """What a swarm runs, and what it lacks. An engine that does not answer is what it lacks most."""
    if stack is None:
        return {"services": None, "services_need": []}
    try:
        return {"services": stack.services(), "services_need": stack.needs(live["slot"]) if live else []}
    except SlipwayError as error:
        return {"services": {}, "services_need": [f"{error.summary}: {error.found}"]}


def _with_images(releases: Sequence[Installed], engine: Engine | None) -> list[Installed]:
    """The releases, of which those are not complete whose image the engine has lost. One that is away says nothing."""
    found = list(releases)
    with contextlib.suppress(SlipwayError):
        for number, one in enumerate(releases):
            image = one.record.image if one.record else ""
            if engine is not None and image and engine.image(image) is None:
                found[number] = replace(one, problem=f"the engine has not its image {image} any more")
    return found


def _recorded(entries: Sequence[_ledger.Entry], releases: Sequence[Installed]) -> dict[str, Any]:
    """What the ledger says."""
    return {
        "proven": _ledger.proven(entries),
        "ledger": list(reversed(entries[-LEDGER_SHOWN:])),
        "waiting": _ledger.waiting(entries),
        "schema": _ledger.schema_changes(entries),
        "undone": _ledger.undone(entries),
        "backups": _ledger.backups(entries, (release.id for release in releases)),
    }


def _machine(layout: Layout) -> dict[str, Any]:
    """What the host itself has."""
    return {"disk": _disk(layout.home), "python": platform.python_version()}


def _work(layout: Layout, now: float) -> dict[str, Any]:
    """Who works on the environment, and whose turn it was last."""
    lease = _lease.probe(layout, now=now)
    return {"lease": lease.shown(now) if lease else None, "lease_turn": _lease.turn(layout, now=now)}


def inspect(
    layout: Layout,
    *,
    systemd: Systemd,
    clock: Clock,
    wanted: Wanted | None = None,
    stack: Stack | None = None,
    engine: Engine | None = None,
) -> dict[str, Any]:
    """One look: what runs where, what is retained, what happened, who holds the lease, how much room there is.

    An ``engine`` is asked only where there are releases that are images.
    """
    route = _route.probe(layout)
    units = _units(layout, systemd)
    entries = _ledger.read(layout)
    slots = {slot: _slot(layout, units, slot) for slot in SLOTS}
    now = clock.now()
    releases = _with_images(installed(layout), engine)
    info: dict[str, Any] = {
        "app": layout.app,
        "time": now,
        "live": live_of(route, slots, entries),
        "slots": slots,
        "route": {"number": route.number, "weights": route.weights} if route else None,
        "releases": [describe(release) for release in releases],
        "artifacts": _names(layout.artifacts, ".tar.gz"),
        "configs": _names(layout.configs, ".env"),
        **_work(layout, now),
        "maintenance": (read_text(layout.maintenance) or "").startswith("slipway:"),
        **_recorded(entries, releases),
        "pending": read_json(layout.pending),
        "access_log": _access_log.state_of(layout.access_log),
        **_machine(layout),
    }
    info.update(_services(stack, info["live"]))
    release = info["live"]["release"] if info["live"] else ""
    info["live_needs"] = _ledger.needed(info["schema"], info["proven"], release)
    return {**info, "wanted": wanted_of(info, wanted)} if wanted else info
