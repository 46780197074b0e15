# SPDX-License-Identifier: GPL-3.0-or-later
"""Deploys with a canary step of half of the traffic, real visitors, and what is made of Nginx's log."""

from __future__ import annotations

import shlex
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils._layout import SLOTS, other_slot
from tests.faults import steps
from tests.faults.hook import stopped_at
from tests.integration.controller import Run, Started
from tests.integration.host import Host, wait_for
from tests.integration.site import Site
from tests.load import LoadGenerator
from tests.load.options import Mix

HALF: dict[str, Any] = {"webapp_canary_steps": [50, 100], "webapp_analysis_seconds": 120}
BOTH = set(SLOTS)
WORSE = "The new release does worse than the old one"
SECONDS = 120


@contextmanager
def visitors(site: Site) -> Iterator[LoadGenerator]:
    """They only read: whose errors are many must not leave notes behind that nobody can answer for."""
    load = LoadGenerator(
        url=f"https://{site.hosts[site.edge].address}",
        host=site.domain,
        insecure=True,
        clients=60,
        rate=40.0,
        max_seconds=400,
        mix=Mix(page=100, asset=0, note=0, slow=0, upload=0),
    )
    with load:
        load.wait_for(answers=40)
        yield load


def until_divided(site: Site, run: Started) -> None:
    """Wait until both slots have traffic."""
    end = time.monotonic() + SECONDS
    while set(site.host.look(site.app)["route"]) != BOTH:
        assert run.running, run.wait().output[-4000:]
        assert time.monotonic() < end, f"the traffic was not divided in {SECONDS} s"
        time.sleep(0.2)


def taken_back(site: Site, run: Run, before: Any, *words: str) -> None:
    """The deploy failed, visitors have what they had, and people are told why."""
    run.ended(2)
    assert site.live() == before
    for text in words:
        assert text in run.said, f"{text!r} is not in:\n{run.output[-6000:]}"


def test_a_release_that_does_as_well_goes_on_and_one_that_dies_does_not(
    board: Site, tell: Callable[[str], None]
) -> None:
    # Nobody comes, so both sides are asked.
    idle = board.deploy(board.sources.tree(), **{**HALF, "webapp_analysis_seconds": 3})
    assert "probes: 0 of 30 (0.00 %) failed on the new side, 0 of 30 (0.00 %) on the old one" in idle.said, idle.said

    with visitors(board) as load:
        good = board.deploy(board.sources.tree(), **HALF)
        load.wait_for(answers=20)
    assert "step 1 of 2: users (at the same time): 0 of " in good.said, good.output[-4000:]
    assert load.report.good, load.report.last_line()

    live = board.live()
    with visitors(board):
        run = board.start("deploy", webapp_source=str(board.sources.tree()), **HALF)
        until_divided(board, run)
        # Nobody answers any more, so that Nginx does, and its log has no slot; they are the new one's all the same.
        board.host.sh(f"systemctl stop {board.app}-web@{other_slot(live.slot)}")
        dead = run.wait()
    taken_back(board, dead, live, WORSE, "users (at the same time): ")
    tell(f"idle {idle.seconds:.1f} s, good {good.seconds:.1f} s, dead {dead.seconds:.1f} s: {load.report.last_line()}")


@pytest.mark.long
def test_a_release_that_leaks_errors_or_is_slow_or_cannot_be_judged_is_taken_back(
    board: Site, tell: Callable[[str], None]
) -> None:
    live = board.live()
    with visitors(board) as load:
        leaks = board.fail(board.sources.tree(fault="leaks-errors"), **HALF, webapp_analysis_minimum=200)
    taken_back(board, leaks, live, WORSE, "failed on the new side, 0 of ")
    # Half of the users lost one request in ten, and only while it was judged.
    assert 0 < load.report.failed < 0.08 * load.report.sent, load.report.last_line()

    # On a machine that has much to do the old side is slow as well.
    with visitors(board):
        slow = board.fail(board.sources.tree(fault="slow"), **HALF, webapp_analysis_latency=1.2)
    taken_back(board, slow, live, WORSE, " ms on the new side, ")

    log = f"/var/log/nginx/{board.app}.access.json"
    board.host.sh(f"mv {log} {log}.away")
    try:
        refused = board.play("deploy", webapp_source=str(board.sources.tree()), **HALF).refused()
    finally:
        board.host.sh(f"mv {log}.away {log}")
    assert "could not be judged; nothing was changed" in refused.said, refused.output[-4000:]
    assert f"has no log that can be read ({log}: No such file or directory)" in refused.said, refused.output[-4000:]

    run = board.start("deploy", webapp_source=str(board.sources.tree()), **HALF, webapp_analysis_inconclusive="wait")
    until_divided(board, run)
    board.host.sh(f"mv {log} {log}.away")
    try:
        gone = run.wait()
    finally:
        board.host.sh(f"mv {log}.away {log}")
    taken_back(board, gone, live, "has no log that can be read")
    tell(
        f"leaks {leaks.seconds:.1f} s, slow {slow.seconds:.1f} s, gone {gone.seconds:.1f} s: {load.report.last_line()}"
    )


# Answers like Prometheus, with the number in a file, and writes down what it was asked.
PROMETHEUS = """
import json, sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import parse_qs, urlsplit

class Server(BaseHTTPRequestHandler):
    def do_GET(self):
        parts = urlsplit(self.path)
        with open(sys.argv[1] + "/asked", "a") as asked:
            asked.write(parts.path + " " + parse_qs(parts.query)["query"][0] + "\\n")
        with open(sys.argv[1] + "/value") as value:
            series = {"metric": {"queue": "default"}, "value": [1800000000.1, value.read().strip()]}
        body = json.dumps({"status": "success", "data": {"resultType": "vector", "result": [series]}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

HTTPServer(("", int(sys.argv[2])), Server).serve_forever()
"""


@dataclass(frozen=True, kw_only=True)
class Prometheus:
    """One on a test host, that says what it is told to."""

    host: Host
    directory: str = "/run/prometheus"
    port: int = 9090

    @property
    def url(self) -> str:
        return f"http://{self.host.address}:{self.port}"

    def start(self, value: float) -> None:
        self.say(value)
        command = f"python3 -c {shlex.quote(PROMETHEUS)} {self.directory} {self.port}"
        self.host.sh(f"systemd-run --quiet --unit=prometheus {command}")
        wait_for(self._answers, seconds=30)
        self.asked()

    def _answers(self) -> bool:
        with suppress(OSError), urllib.request.urlopen(f"{self.url}/api/v1/query?query=up", timeout=5) as answer:
            return bool(answer.read())
        return False

    def say(self, value: float) -> None:
        """One rename: who asks gets the one number or the other."""
        place = f"{self.directory}/value"
        self.host.sh(f"mkdir -p {self.directory}; echo {value} >{place}.new; mv {place}.new {place}")

    def asked(self) -> list[str]:
        """What it was asked since the last time that somebody wanted to know."""
        place = f"{self.directory}/asked"
        return self.host.sh(f"touch {place}; cat {place}; rm {place}").splitlines()

    def stop(self) -> None:
        self.host.sh(f"systemctl stop prometheus; rm -r {self.directory}")


@pytest.fixture
def prometheus(board: Site) -> Iterator[Prometheus]:
    """A Prometheus that the controller reaches; the queue is short."""
    made = Prometheus(host=board.host)
    made.start(3)
    yield made
    made.stop()


@pytest.mark.long
def test_prometheus_has_a_say(board: Site, prometheus: Prometheus, tell: Callable[[str], None]) -> None:
    """Nobody comes, and both sides answer us well; what decides is the queue, which the new release lets grow."""
    query = 'sum by (queue) (celery_queue_length{queue!=""})'
    settings: dict[str, Any] = {
        **HALF,
        "webapp_analysis_seconds": 3,
        "webapp_prometheus_url": prometheus.url,
        "webapp_prometheus_queries": [{"name": "queue", "query": query, "max": 5}],
    }
    good = board.deploy(board.sources.tree(), **settings)
    assert "Prometheus, queue: 3" in good.said, good.output[-4000:]
    asked = prometheus.asked()
    assert asked
    assert set(asked) == {f"/api/v1/query {query}"}

    live, tree = board.live(), board.sources.tree()
    judge = steps.BY_NAME["judge"]
    with stopped_at(judge, board, "deploy", limit=SECONDS, webapp_source=str(tree), **settings) as run:
        assert set(board.host.look(board.app)["route"]) == BOTH
        assert prometheus.asked() == [], "it is no matter of a release that nobody has yet"
        prometheus.say(7)
        run.go_on()
        grown = run.started.wait()
    taken_back(board, grown, live, WORSE, "Prometheus, queue: 7 is above 5")
    assert set(prometheus.asked()) == {f"/api/v1/query {query}"}
    tell(f"{len(asked)} questions; good {good.seconds:.1f} s, taken back {grown.seconds:.1f} s")
