# SPDX-License-Identifier: GPL-3.0-or-later
"""Which requests count, whose they are, and when a look ends."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _route, _traffic
from ansible_collections.slipway.webapp.plugins.module_utils._access_log import Entry, Parser
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._health import Answer
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._route import Route
from ansible_collections.slipway.webapp.plugins.module_utils._sample import (
    Sample,
    milliseconds_of,
    read,
    step_of,
    total,
)
from tests.unit.fakes import FakeClock, FakeSystemd, host
from tests.unit.traffic.lines import NOW, line

# Blue had everything, then green got a quarter: buckets 00 to 04.
BLUE = Route(1, ("blue",) * 20)
QUARTER = Route(2, ("green",) * 5 + ("blue",) * 15)
ROUTES = [(NOW - 1000.0, BLUE), (NOW + 0.5, QUARTER)]


@dataclass
class Log:
    """What is read at each poll."""

    polls: list[list[bytes]]
    gone: bool = False

    def entries(self) -> list[Entry | None]:
        return [Parser().parse(one) for one in (self.polls.pop(0) if self.polls else [])]


def book(*lines: bytes, routes: list[tuple[float, Route]] | None = None, **wish: Any) -> _traffic.Book:
    given = {"slot": "green", "since": NOW + 2.0, "before": 600.0, **wish}
    known = ROUTES if routes is None else routes
    return _traffic.watch(Log([list(lines)]), _traffic.Wish(**given), routes=known, clock=FakeClock())  # type: ignore[arg-type]


def counts(found: _traffic.Book) -> dict[str, tuple[int, int]]:
    samples = {**found.slots, "before": found.before, "same": found.same, "unattributed": found.unattributed}
    return {name: (sample.requests, sample.errors) for name, sample in samples.items() if sample.requests}


@pytest.mark.parametrize(
    ("given", "counted"),
    [
        ({"at": 3}, {"blue": (1, 0)}),
        ({"at": 3, "slot": "green"}, {"green": (1, 0)}),
        ({"at": 3, "slot": "green", "status": 500}, {"green": (1, 1)}),
        ({"at": 3, "slot": "green", "status": 404}, {"green": (1, 0)}),
        ({"at": 3, "slot": "green", "status": 499}, {"green": (1, 0)}),
        # Nobody answered: the socket was dead, or silent for too long. Nginx shows its own page.
        ({"at": 3, "slot": "", "status": 503, "bucket": "04"}, {"green": (1, 1)}),
        ({"at": 3, "slot": "", "status": 503, "bucket": "05"}, {"blue": (1, 1)}),
        # Not the application's: a file, a redirect to TLS, a page for maintenance.
        ({"at": 3, "slot": "", "status": 200, "upstream": ""}, {}),
        # A tester, a health check, one of our own, and an edge host's line about another host's answer.
        ({"at": 3, "bucket": "preview"}, {}),
        ({"at": 3, "path": "/health"}, {}),
        ({"at": 3, "agent": "slipway-health"}, {}),
        ({"at": 3, "agent": "slipway-probe"}, {}),
        ({"at": 3, "bucket": ""}, {}),
        ({"at": 3, "agent": "slipway-load/1 (client-001)"}, {"blue": (1, 0)}),
        # It ended in the window and began before it.
        ({"at": 3, "took": 1.5}, {"before": (1, 0), "same": (1, 0)}),
        ({"at": 3, "took": 1.5, "bucket": "05"}, {"before": (1, 0)}),
        ({"at": 3, "took": 1.5, "slot": "green"}, {}),
        ({"at": -599, "took": 0.0}, {}),
        # In the second of a switch, and before the oldest route that is known.
        ({"at": 0, "slot": "", "status": 502, "since": NOW - 1.0}, {"unattributed": (1, 1)}),
        ({"at": 0, "slot": "", "status": 502, "since": NOW - 1.0, "bucket": "09"}, {"blue": (1, 1)}),
        ({"at": -300, "slot": "", "status": 502, "routes": ROUTES[1:]}, {"before": (1, 1), "same": (1, 1)}),
    ],
)
def test_whose_request_it_is(given: dict[str, Any], counted: dict[str, tuple[int, int]]) -> None:
    wish = {name: given.pop(name) for name in ("since", "routes") if name in given}
    assert counts(book(line(**given), **wish)) == counted


def test_times() -> None:
    found = book(
        line(at=13, took=9.0, waited="0.1"),
        line(at=3, took=0.5, waited=""),
        line(at=3, status=101, took=0.1),
    )
    assert found.slots["blue"].requests == 3
    assert found.slots["blue"].times == {step_of(0.1): 1, step_of(0.5): 1}


def test_lines_that_are_none() -> None:
    found = book(b"{broken\n", line(at=3))
    assert (found.lines, found.broken) == (2, 1)


@pytest.mark.parametrize(
    ("wish", "polls", "seconds"),
    [
        ({"seconds": 10, "minimum": 2}, [[]] * 30, 10),  # nobody came
        ({"seconds": 10, "minimum": 2, "whole": True}, [["blue", "blue", "green", "green"]], 10),
        ({"seconds": 10, "minimum": 2}, [["blue", "blue", "green", "green"]], 0),
        ({"seconds": 10, "minimum": 2}, [["blue", "blue"], ["green"], ["green"]], 1),
        ({"seconds": 10, "minimum": 2, "enough": 3}, [["blue", "blue", "green", "green"], ["blue", "green"]], 0.5),
        # By what was before, nobody will come: not even one of the two in the 10 s.
        ({"seconds": 10, "minimum": 2, "horizon": 10}, [[]] * 30, 0),
        ({"seconds": 10, "minimum": 2, "horizon": 10, "whole": True}, [[]] * 30, 10),
        ({"seconds": 0, "minimum": 2}, [[]], 0),
    ],
)
def test_when_a_look_ends(wish: dict[str, Any], polls: list[list[str]], seconds: float) -> None:
    clock = FakeClock()
    log = Log([[line(at=3, slot=slot) for slot in poll] for poll in polls])
    given = _traffic.Wish(slot="green", since=NOW + 2.0, before=600.0, **wish)
    begin = clock.monotonic()
    _traffic.watch(log, given, routes=ROUTES, clock=clock)  # type: ignore[arg-type]
    assert clock.monotonic() - begin == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("lately", "before", "hopeless"),
    [(0, 600, True), (0, 0, False), (16, 600, True), (24, 600, False), (300, 600, False)],
)
def test_whether_anybody_will_come(lately: int, before: float, hopeless: bool) -> None:
    """A quarter of what came in the minute before comes to green: in a minute 0, 4, 6 or 75, and 10 are wanted."""
    lines = [line(at=-500)] * 900 + [line(at=-55 + number * 55 // max(1, lately)) for number in range(lately)]
    assert book(*lines, minimum=10, horizon=60, before=before).hopeless == hopeless


@pytest.mark.parametrize(("lately", "done"), [(0, True), (4, True), (6, False)])
def test_a_host_that_has_not_moved_waits_only_where_somebody_comes(lately: int, done: bool) -> None:
    """It has nothing to say of green, so it does not call that hopeless, for which probes would be sent."""
    not_moved = [(NOW - 500.0, Route(2, ("blue",) * 20))]
    lines = [line(at=-50 + number) for number in range(lately)]
    seen = book(*lines, routes=not_moved, minimum=10, horizon=60, before=600)
    assert (seen.done, seen.hopeless) == (done, False)


def test_a_side_without_traffic_is_not_waited_for() -> None:
    all_of_it = [(NOW - 5.0, Route(3, ("green",) * 20))]
    assert book(line(at=3, slot="green"), routes=all_of_it, minimum=1).have(1)


@dataclass
class Page:
    """Answers by turns."""

    answers: list[Answer]
    asked: int = 0

    def ask(self, *, timeout: float) -> Answer:
        assert timeout > 0
        self.asked += 1
        return self.answers[(self.asked - 1) % len(self.answers)]


def test_probes() -> None:
    good, bad, dead = Answer(status=200), Answer(status=500), Answer(error="nobody listens there")
    pages = {"green": [Page([good, bad]), Page([dead])], "blue": [Page([good])]}
    found = _traffic.send_probes(pages, slot="green", count=8, clock=FakeClock(tick=0.01))
    assert (found["green"].requests, found["green"].errors) == (8, 6)
    assert (found["blue"].requests, found["blue"].errors, found["blue"].timed) == (8, 0, 8)


def test_probes_of_a_side_that_does_not_run() -> None:
    dead = Answer(error="nobody listens there")
    pages = {"blue": [Page([dead])], "green": [Page([dead])]}
    found = _traffic.send_probes(pages, slot="green", count=5, clock=FakeClock())
    assert set(found) == {"green"}
    assert found["green"].errors == 5


def test_probes_end_in_time() -> None:
    found = _traffic.send_probes(
        {"green": [Page([Answer(status=200)])]}, slot="green", count=200, clock=FakeClock(tick=1.0)
    )
    assert found["green"].requests <= 20


def looked(layout: Layout, **options: Any) -> dict[str, Any]:
    wish = _traffic.Wish(slot="green", since=NOW + 2.0, minimum=1)
    pages = {"green": [Page([Answer(status=200)])], "blue": [Page([Answer(status=200)])]}
    return _traffic.look(layout, wish, clock=FakeClock(), askers=pages, **options)


def test_a_look(tmp_path: Path) -> None:
    layout = host(tmp_path, processes=("worker",))  # whose route needs no sockets
    doer = _route.Doer(layout=layout, clock=FakeClock(), systemd=FakeSystemd())
    _route.switch(doer, weights={"blue": 75, "green": 25})
    os.utime(layout.route(1), (NOW - 1000, NOW - 1000))
    log = Path(layout.access_log)
    log.parent.mkdir(parents=True)
    assert looked(layout)["log"] == {"state": "missing", "said": f"{log}: No such file or directory"}
    log.mkdir()
    assert looked(layout)["log"]["state"] == "unreadable"
    log.rmdir()
    log.write_bytes(line(at=3) + line(at=3, slot="", status=502, bucket="02") + b"broken\n")
    found = looked(layout, probes=3, last=True)
    assert found["log"] == {"state": "ok", "said": "", "lines": 3, "broken": 1, "whole": True}
    assert read(found["slots"]["green"]).errors == 1
    assert found["slots"]["blue"] == {"requests": 1, "errors": 0, "times": {str(step_of(0.02)): 1}}
    assert found["probes"] == {}
    log.write_bytes(b"")
    assert looked(layout, probes=3)["probes"] == {}
    assert looked(layout, probes=3, last=True)["probes"]["green"]["requests"] == 3


def test_wishes_that_cannot_be_meant() -> None:
    with pytest.raises(SlipwayError, match="seconds -1, probes 500"):
        _traffic.check(_traffic.Wish(slot="green", since=0, seconds=-1), 500)
    _traffic.check(_traffic.Wish(slot="green", since=0), 30)


@pytest.mark.parametrize(("seconds", "least", "most"), [(0.0, 0, 1), (0.001, 0, 1), (0.1, 100, 110), (3600, 0, 2e6)])
def test_the_steps_of_the_histogram(seconds: float, least: float, most: float) -> None:
    assert least <= milliseconds_of(step_of(seconds)) <= most


def test_samples_add_up_and_travel() -> None:
    one, other = Sample(), Sample()
    for number in range(100):
        (one if number % 2 else other).add(error=number == 7, seconds=number / 100)
    whole = total([one, read(other.data())])
    assert (whole.requests, whole.errors, whole.timed) == (100, 1, 100)
    rank, step = whole.quantile(0.95)
    assert rank == 95
    assert 940 <= milliseconds_of(step) <= 940 * 1.1
    assert whole.above(step) <= 5
    assert Sample().quantile(0.95) == (0, 0)
