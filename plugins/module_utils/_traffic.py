# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What users got from each slot of a host: read from Nginx's log, and where nobody asks, by asking ourselves.

A request counts when it *began* in the window: right after a switch the slow requests of the old side end, and those of
the new one have not ended yet, so that counting by the end would compare different things.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.slipway.webapp.plugins.module_utils._access_log import Entry, Log, unread
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._health import Asker
from ansible_collections.slipway.webapp.plugins.module_utils._layout import SLOTS, Layout, other_slot
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Clock
from ansible_collections.slipway.webapp.plugins.module_utils._route import Route, history
from ansible_collections.slipway.webapp.plugins.module_utils._sample import Sample

PROBE_HEADER = "X-Slipway-Probe"
MOST_PROBES = 200
_PROBE_SECONDS = 20.0  # for all of them
_PROBE_TIMEOUT = 5.0
_LATELY = 60.0  # seconds by which the traffic that is to be expected is measured
_POLL = 0.5  # seconds between two looks at a log that grows
_OURSELVES = re.compile(r"slipway-(health|probe|smoke)\b")
_SWITCHING = 101


@dataclass(frozen=True)
class Wish:
    """What to look at. Times are in seconds, ``since`` in those since the epoch, by this host's clock.

    ``slot`` is the new one. Unless the ``whole`` time is to be watched, the look ends early when both slots have had
    ``enough`` requests, or when within ``horizon`` the new one will not have half of ``minimum``. ``before``: how far
    back to look at what the old slot did.
    """

    slot: str
    since: float
    seconds: float = 0.0
    whole: bool = False
    minimum: int = 0
    enough: int = 0
    horizon: float = 0.0
    before: float = 0.0
    health_path: str = "/health"


@dataclass
class Book:
    """The counts. ``before`` is the old slot's before the window, ``same`` the part of it by clients that are the new
    slot's now; ``lately`` are all requests of the last minute before the window.
    """

    wish: Wish
    routes: Sequence[tuple[float, Route]]
    slots: dict[str, Sample] = field(default_factory=lambda: {slot: Sample() for slot in SLOTS})
    before: Sample = field(default_factory=Sample)
    same: Sample = field(default_factory=Sample)
    unattributed: Sample = field(default_factory=Sample)
    lines: int = 0
    broken: int = 0
    lately: int = 0

    @property
    def route(self) -> Route | None:
        """The one that is in force."""
        return self.routes[-1][1] if self.routes else None

    def enter(self, entry: Entry | None) -> None:
        self.lines += 1
        if entry is None:
            self.broken += 1
        elif self._is_of_a_user(entry):
            began = entry.ended - entry.took
            if began >= self.wish.since:
                self._count(self.slots.get(self._slot_of(entry), self.unattributed), entry)
            elif began >= self.wish.since - self.wish.before:
                self._enter_earlier(entry, began)

    def _is_of_a_user(self, entry: Entry) -> bool:
        """Not a file, a redirect or a page of Nginx's own; not a health check, a tester or one of us.

        Without a bucket it is the line of an edge host about what a web host answers, and logs too.
        """
        return (
            entry.passed_on
            and entry.bucket.isdigit()
            and entry.path != self.wish.health_path.partition("?")[0]
            and not _OURSELVES.match(entry.agent)
        )

    def _enter_earlier(self, entry: Entry, began: float) -> None:
        self.lately += began >= self.wish.since - _LATELY
        # What cannot be attributed any more is the old slot's: most of it is, and it must not look better than it was.
        if self._slot_of(entry) == self.wish.slot:
            return
        self._count(self.before, entry)
        if self.route and self.route.buckets[int(entry.bucket)] == self.wish.slot:
            self._count(self.same, entry)

    def _slot_of(self, entry: Entry) -> str:
        """Who answered; where nothing did, who should have by the route at that moment; '' when that is not known.

        The log's time is a whole second, so that about the second of a switch nothing can be said.
        """
        if entry.slot:
            return entry.slot
        began, bucket = entry.ended - entry.took, int(entry.bucket)
        known = [
            route.buckets[bucket]
            for (start, route), end in zip(self.routes, [*(start for start, _route in self.routes[1:]), None])
            if start <= began + 1 and (end is None or end > began)
        ]
        covered = bool(self.routes) and self.routes[0][0] <= began
        return known[0] if covered and len(set(known)) == 1 else ""

    @staticmethod
    def _count(sample: Sample, entry: Entry) -> None:
        took = entry.took if entry.waited is None else entry.waited
        sample.add(error=entry.status >= 500, seconds=None if entry.status == _SWITCHING else took)

    def have(self, number: int) -> bool:
        """Have both slots had so many requests, or the one that has all the traffic?"""
        weights = self.route.weights if self.route else dict.fromkeys(SLOTS, 50)
        return all(self.slots[slot].requests >= number for slot in SLOTS if weights[slot])

    @property
    def hopeless(self) -> bool:
        """By the traffic of late, will the new slot never come near its minimum in time?"""
        return self._is_hopeless(self.wish.slot)

    def _is_hopeless(self, slot: str) -> bool:
        wish = self.wish
        share = self.route.weights[slot] / 100 if self.route else 0.0
        if wish.whole or not wish.horizon or not share or wish.before < _LATELY:
            return False
        expected = self.slots[slot].requests + share * wish.horizon * self.lately / _LATELY
        return expected < wish.minimum / 2

    @property
    def done(self) -> bool:
        """Is there no use in looking any longer?

        A host whose traffic has not moved has nothing to tell of the new slot, and is not waited for when nobody comes.
        """
        if self.wish.whole:
            return False
        moved = self.route is None or self.route.weights[self.wish.slot] > 0
        hopeless = self.hopeless if moved else self._is_hopeless(other_slot(self.wish.slot))
        return hopeless or self.have(max(self.wish.enough, self.wish.minimum))


def watch(log: Log, wish: Wish, *, routes: Sequence[tuple[float, Route]], clock: Clock) -> Book:
    """Read until there is enough, or the time is over."""
    book = Book(wish, routes)
    end = clock.monotonic() + wish.seconds
    while True:
        for entry in log.entries():
            book.enter(entry)
        left = end - clock.monotonic()
        if left <= 0 or log.gone or book.done:
            return book
        clock.sleep(min(_POLL, left))


def send_probes(askers: Mapping[str, Sequence[Asker]], *, slot: str, count: int, clock: Clock) -> dict[str, Sample]:
    """Ask each slot ``count`` times, in turn, so that both are asked at the same time. ``askers``: slot -> its pages.

    ``slot`` is the new one. When the old one does not answer the first question it does not run, and has no sample.
    """
    samples: dict[str, Sample] = {name: Sample() for name in askers}
    end = clock.monotonic() + _PROBE_SECONDS
    for number in range(min(count, MOST_PROBES)):
        for name in list(samples):
            pages = askers[name]
            begin = clock.monotonic()
            if begin >= end:
                return samples
            answer = pages[number % len(pages)].ask(timeout=min(_PROBE_TIMEOUT, end - begin))
            if answer.error and name != slot and not samples[name].requests:
                del samples[name]
                continue
            samples[name].add(error=bool(answer.error) or answer.status >= 500, seconds=clock.monotonic() - begin)
    return samples


def look(
    layout: Layout,
    wish: Wish,
    *,
    clock: Clock,
    askers: Mapping[str, Sequence[Asker]],
    probes: int = 0,
    last: bool = False,
) -> dict[str, Any]:
    """Look at the traffic; a module's result. ``probes`` are sent when the new slot will not have its minimum.

    ``last``: nobody will look again, so that what is not there now never will be.
    """
    try:
        log = Log(layout.access_log, moment=wish.since, before=wish.before)
    except OSError as error:
        return {"changed": False, "slot": wish.slot, "log": unread(layout.access_log, error)}
    try:
        book = watch(log, wish, routes=history(layout), clock=clock)
    finally:
        log.close()
    if log.gone:
        said = f"{layout.access_log}: it was taken away"
        return {"changed": False, "slot": wish.slot, "log": {"state": "missing", "said": said}}
    silent = book.hopeless or (last and not book.have(wish.minimum))
    sent = send_probes(askers, slot=wish.slot, count=probes, clock=clock) if silent and probes else {}
    return {
        "changed": False,
        "slot": wish.slot,
        "log": {"state": "ok", "said": "", "lines": book.lines, "broken": book.broken, "whole": log.whole},
        "slots": {slot: sample.data() for slot, sample in book.slots.items()},
        "before": book.before.data(),
        "same": book.same.data(),
        "unattributed": book.unattributed.data(),
        "probes": {slot: sample.data() for slot, sample in sent.items()},
        "hopeless": book.hopeless,
    }


def check(wish: Wish, probes: int) -> None:
    """Refuse a wish that cannot be meant."""
    numbers = {"seconds": wish.seconds, "minimum": wish.minimum, "enough": wish.enough}
    numbers |= {"horizon": wish.horizon, "before": wish.before}
    wrong = [f"{name} {value:g}" for name, value in numbers.items() if value < 0]
    if wrong or not 0 <= probes <= MOST_PROBES:
        raise SlipwayError(
            "Traffic cannot be looked at like that",
            found=", ".join([*wrong, f"probes {probes}"]),
            expected=f"no number below zero, and {MOST_PROBES} probes at most",
        )
