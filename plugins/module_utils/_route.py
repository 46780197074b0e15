# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which slot receives which share of the traffic: a directory of socket symlinks, swapped by one rename(2).

Nginx hashes each client into one of 20 buckets and connects to ``route/<bucket>.sock``, or reads a front end's files
below ``route/<bucket>.files``. ``route`` is a symlink to ``routes/<n>``; a reader follows the old directory or the new
one, whole, at every instant.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import socket
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import (
    ensure_directory,
    fsync_directory,
    locked,
    read_link,
)
from ansible_collections.slipway.webapp.plugins.module_utils._layout import BUCKETS, PREVIEW, SLOTS, Layout
from ansible_collections.slipway.webapp.plugins.module_utils._plan import Step, carry_out
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Clock, Systemd

KEPT = 3  # route directories: a request that looked `route` up just before the switch still finds its own
_WAIT = 10.0  # seconds for the lock
_PATIENCE = 2.0  # seconds to wait for a listener to take a connection


@dataclass(frozen=True)
class Route:
    """The live route: its number and, for each bucket, the slot, or '' where the symlink leads elsewhere.

    ``preview`` is the slot that testers are sent to, '' where no symlink says so: Nginx then treats them as everybody.
    """

    number: int
    buckets: tuple[str, ...]
    preview: str = ""

    @property
    def weights(self) -> dict[str, int]:
        """The share of each slot in percent."""
        return {slot: 100 * self.buckets.count(slot) // BUCKETS for slot in SLOTS}

    @property
    def live(self) -> str:
        """The slot with the most traffic (the first one of two equals), or '' when no bucket leads to a slot."""
        most = max(SLOTS, key=self.buckets.count)
        return most if most in self.buckets else ""

    @property
    def testers(self) -> str:
        """The slot that testers reach."""
        return self.preview or self.live


def weights_of(*, slot: str = "", weights: Mapping[str, int] | None = None) -> dict[str, int]:
    """The wish as weights that add up to 100: one slot alone, or a share for each."""
    if slot:
        return {name: 100 if name == slot else 0 for name in SLOTS}
    wanted = {name: int((weights or {}).get(name, 0)) for name in SLOTS}
    unknown = sorted(set(weights or {}) - set(SLOTS))
    if unknown or sum(wanted.values()) != 100 or min(wanted.values()) < 0:
        raise SlipwayError(
            "These weights are no division of the traffic",
            found=", ".join(f"{name}: {share}" for name, share in sorted((weights or {}).items())) or "nothing",
            expected="a share in percent for blue and for green that together make 100",
        )
    return wanted


def allot(weights: Mapping[str, int]) -> tuple[str, ...]:
    """The slot of each bucket. Monotone: more weight for green takes buckets over and gives none back.

    A share above zero is at least one bucket of 20, so that a canary of 1 % is not silently none.
    """
    green = (BUCKETS * weights["green"] + 50) // 100
    green = max(green, 1) if weights["green"] else green
    green = min(green, BUCKETS - 1) if weights["blue"] else green
    return ("green",) * green + ("blue",) * (BUCKETS - green)


def wish(weights: Mapping[str, int], *, preview: str = "", number: int = 0) -> Route:
    """The route that gives these weights, with testers in ``preview`` or where most of the traffic goes."""
    route = Route(number=number, buckets=allot(weights))
    return replace(route, preview=preview or route.live)


def bucket_name(bucket: int) -> str:
    return f"{bucket:02d}.sock"


def files_name(bucket: str) -> str:
    """Where the files of a bucket ('00' to '19', or those of testers) are found."""
    return f"{bucket}.files"


def probe(layout: Layout) -> Route | None:
    """The route as it is, or None when there is none yet."""
    target = read_link(layout.route_link)
    match = re.fullmatch(r"routes/(\d+)", target or "")
    return _read(layout, int(match.group(1))) if match else None


def _read(layout: Layout, number: int) -> Route:
    slots = {layout.socket(slot): slot for slot in SLOTS}
    here = layout.route(number)
    links = [read_link(os.path.join(here, bucket_name(bucket))) for bucket in range(BUCKETS)]
    preview = read_link(os.path.join(here, PREVIEW))
    return Route(
        number=number,
        buckets=tuple(slots.get(link or "", "") for link in links),
        preview=next((slot for socket, slot in slots.items() if os.path.dirname(socket) == preview), ""),
    )


def history(layout: Layout) -> list[tuple[float, Route]]:
    """The routes that are still known, the oldest first, each with the time (since the epoch) when it took over.

    A route is made in the instant before it takes over.
    """
    found = []
    for number in _numbers(layout):
        with contextlib.suppress(FileNotFoundError):
            found.append((os.stat(layout.route(number)).st_mtime, _read(layout, number)))
    return found


def _numbers(layout: Layout) -> list[int]:
    with contextlib.suppress(FileNotFoundError):
        return sorted(int(name) for name in os.listdir(layout.routes) if name.isdigit())
    return []


def plan(
    current: Route | None,
    *,
    layout: Layout,
    weights: Mapping[str, int],
    existing: list[int],
    retiring: frozenset[str] = frozenset(),
    preview: str = "",
) -> tuple[Step, ...]:
    """What makes the route give these weights: nothing, or prepare, switch, tidy.

    ``existing`` are the numbers of the route directories; ``retiring`` the slots that a timer is about to stop;
    ``preview`` the slot for testers, '' for the one with the most traffic.
    """
    number = max([*existing, current.number if current else 0]) + 1
    wanted = wish(weights, preview=preview, number=number)
    if current is not None and current.buckets == wanted.buckets and current.testers == wanted.testers:
        return ()
    share = ", ".join(f"{slot} {wanted.weights[slot]} %" for slot in SLOTS)
    apart = f"; testers to {wanted.testers}" if wanted.testers != wanted.live else ""
    cancels = [
        Step("cancel", f"Cancel the stop of {slot}", {"slot": slot})
        for slot in SLOTS
        if slot in (*wanted.buckets, wanted.testers) and slot in retiring
    ]
    stale = [old for old in sorted({*existing, number})[:-KEPT] if current is None or old != current.number]
    return (
        *cancels,
        Step("prepare", f"Prepare route {number}", {"route": wanted}),
        Step("switch", f"Switch the traffic: {share}{apart}", {"number": number}),
        *([Step("tidy", f"Remove {len(stale)} old routes of {layout.app}", {"numbers": stale})] if stale else []),
    )


def refuse_silent(layout: Layout, slot: str) -> None:
    """Refuse a slot whose socket nobody listens on. A host without the web process has no sockets: nothing to ask."""
    if not os.path.exists(layout.unit_template("web")):
        return
    path = layout.socket(slot)
    found = ""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            found = f"{path} is not a socket"
        else:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(_PATIENCE)
                connection.connect(path)
    except OSError as error:
        found = f"{path}: {error.strerror or error}"
    if found:
        raise SlipwayError(
            f"The {slot} slot of {layout.app} cannot receive traffic",
            found=found,
            expected="a web process that listens there",
            next_step=f"start the slot first; systemctl status '{layout.unit('web', slot)}' says why it does not run",
        )


@dataclass
class Doer:
    """Carries out the steps of a plan. ``switch_ms`` is how long the rename took, in milliseconds.

    Without ``listens`` nobody listens in slots: a swarm runs the application, and the route is but a record.
    """

    layout: Layout
    clock: Clock
    systemd: Systemd
    switch_ms: float = 0.0
    listens: bool = True

    def do(self, step: Step) -> None:
        getattr(self, f"_{step.name}")(**step.data)

    def _cancel(self, *, slot: str) -> None:
        self.systemd.cancel(self.layout.retire_unit(slot))
        # What was to be stopped was not to come back after a reboot either; what has traffic must.
        if os.path.exists(self.layout.unit_template("web")):
            self.systemd.enable([self.layout.unit("web", slot)])

    def _prepare(self, *, route: Route) -> None:
        here = self.layout.route(route.number)
        ensure_directory(self.layout.routes)
        ensure_directory(here)
        for bucket, slot in enumerate(route.buckets):
            os.symlink(self.layout.socket(slot), os.path.join(here, bucket_name(bucket)))
            self._lead(here, f"{bucket:02d}", slot)
        # The directory, because Nginx can ask whether that is there, of a socket it cannot.
        os.symlink(os.path.dirname(self.layout.socket(route.testers)), os.path.join(here, PREVIEW))
        self._lead(here, PREVIEW, route.testers)
        fsync_directory(here)
        fsync_directory(self.layout.routes)

    @staticmethod
    def _lead(here: str, bucket: str, slot: str) -> None:
        """By way of the slot, which is given another release only while no bucket leads to it."""
        os.symlink(os.path.join("..", "..", "slots", slot), os.path.join(here, files_name(bucket)))

    def _switch(self, *, number: int) -> None:
        temporary = os.path.join(self.layout.home, f".route.{os.getpid()}.{secrets.token_hex(4)}")
        os.symlink(f"routes/{number}", temporary)
        before = self.clock.monotonic()
        os.replace(temporary, self.layout.route_link)
        self.switch_ms = round(1000 * (self.clock.monotonic() - before), 3)
        fsync_directory(self.layout.home)

    def _tidy(self, *, numbers: list[int]) -> None:
        for number in numbers:
            shutil.rmtree(self.layout.route(number), ignore_errors=True)
        for name in os.listdir(self.layout.home):
            # What a killed switch left behind; nobody else switches while we hold the lock.
            if name.startswith(".route."):
                os.unlink(os.path.join(self.layout.home, name))


def alone(layout: Layout) -> contextlib.AbstractContextManager[None]:
    """The lock under which the route changes, and the slots, whose rights depend on the route."""
    return locked(layout.lock("slots"), wait_seconds=_WAIT, what="a change of slots or route")


def _text(route: Route | None) -> str:
    """The route for a diff; its number says nothing about where traffic goes."""
    if route is None:
        return "no route\n"
    testers = f"testers: {route.testers}\n" if route.testers != route.live else ""
    return "".join(f"{slot}: {share} %\n" for slot, share in route.weights.items()) + testers


def switch(doer: Doer, *, weights: Mapping[str, int], preview: str = "", check_mode: bool = False) -> dict[str, Any]:
    """Make the route give these weights, and send testers to ``preview`` (wish()); a module's result."""
    layout = doer.layout
    wanted = wish(weights, preview=preview)
    with contextlib.nullcontext() if check_mode else alone(layout):
        before = probe(layout)
        same = before is not None and before.buckets == wanted.buckets
        gaining = [slot for slot in SLOTS if weights[slot] and not same]
        if wanted.testers not in gaining and not (before and before.testers == wanted.testers):
            gaining.append(wanted.testers)
        if doer.listens and not check_mode:
            for slot in gaining:
                refuse_silent(layout, slot)
        retiring = frozenset(slot for slot in gaining if doer.systemd.timer_active(layout.retire_unit(slot)))
        steps = plan(
            before, layout=layout, weights=weights, existing=_numbers(layout), retiring=retiring, preview=preview
        )
        actions = carry_out(steps, doer.do, check_mode=check_mode)
        after = replace(wanted, number=before.number if before else 0) if check_mode else probe(layout)
    return {
        "changed": bool(actions),
        "actions": actions,
        "before": before.weights if before else None,
        "after": after.weights if after else None,
        "preview": after.testers if after else None,
        "number": (after.number or None) if after else None,
        "switch_ms": doer.switch_ms,
        "diff": {"before": _text(before), "after": _text(after)},
    }
