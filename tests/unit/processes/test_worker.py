# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker follows the route, gives back what it has not begun, and ends by its deadline."""

from __future__ import annotations

import signal
import sys
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _handover
from tests.unit.processes.test_entry import FILES, load


class Request:
    """A task that was fetched."""

    def __init__(
        self, name: str, *, late: bool = False, repeatable: bool | None = None, pid: int | None = None
    ) -> None:
        self.id = self.name = name
        self.task = SimpleNamespace(acks_late=late, reject_on_worker_lost=repeatable)
        self.worker_pid = pid
        self.message = SimpleNamespace(
            body=b"body",
            headers={"id": name},
            content_type="application/json",
            content_encoding="utf-8",
            delivery_info={"exchange": "", "routing_key": "celery"},
            properties={"correlation_id": name, "priority": 0},
        )
        self.said: list[str] = []

    def reject(self, *, requeue: bool) -> None:
        assert requeue
        self.said.append("back")

    def acknowledge(self) -> None:
        self.said.append("acknowledged")


@dataclass
class State:
    """Celery's own books."""

    reserved_requests: set[Request] = field(default_factory=set)
    successful_requests: set[str] = field(default_factory=set)
    should_stop: int | None = None

    def task_ready(self, request: Request) -> None:
        self.reserved_requests.discard(request)


class Consumer:
    """As much of Celery's as is touched."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.signals: list[tuple[int, int]] = []
        self.sent: list[dict[str, Any]] = []
        self.processes: list[SimpleNamespace] = []
        self.waiting: deque[Any] = deque()
        self.controller = SimpleNamespace(semaphore=SimpleNamespace(_waiting=self.waiting))
        self.task_buckets: dict[str, Any] = {"plain": None}
        self.timer = SimpleNamespace(queue=[], cancel=lambda entry: setattr(entry, "canceled", True))
        self.qos = SimpleNamespace(decrement_eventually=lambda: None)
        self.task_consumer = SimpleNamespace(_active_tags={"celery": "1"}, cancel=self.cancel, consume=self.consume)
        self.pool = SimpleNamespace(
            uses_semaphore=True, terminate_job=self.terminate, _pool=SimpleNamespace(_pool=self.processes)
        )
        self.connection: object = "redis"
        self.app = SimpleNamespace(producer_or_acquire=lambda: self)

    def __enter__(self) -> Consumer:
        return self

    def __exit__(self, *_: object) -> None: ...

    def publish(self, body: bytes, **how: Any) -> None:
        self.sent.append({"body": body, **how})

    def cancel(self) -> None:
        self.task_consumer._active_tags.clear()
        self.calls.append("cancel")

    def consume(self) -> None:
        self.task_consumer._active_tags["celery"] = "1"
        self.calls.append("consume")

    def terminate(self, pid: int, number: int) -> None:
        self.signals.append((pid, number))

    def run(self, pid: int) -> None:
        self.processes.append(SimpleNamespace(pid=pid, exitcode=None))

    def die(self, pid: int) -> None:
        self.processes[:] = [process for process in self.processes if process.pid != pid]


class World:
    """A worker of green that is at work, and what it says."""

    def __init__(self, module: Any, state: State) -> None:
        self.module, self.state, self.consumer = module, state, Consumer()
        self.live, self.now, self.said = True, 100.0, list[str]()
        module.slipway_notify.ready = self.said.append
        module.time = SimpleNamespace(monotonic=lambda: self.now)
        module.patience = lambda: 30.0
        self.follower = module.Follower(lambda: self.live)
        self.follower.ready(sender=self.consumer)

    def look(self, *, after: float = 0.0) -> None:
        self.now += after
        self.follower.look(self.consumer)

    def runs(self, request: Request) -> Request:
        self.state.reserved_requests.add(request)
        assert request.worker_pid
        self.consumer.run(request.worker_pid)
        return request


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    state = State()
    modules = {
        "celery.worker": SimpleNamespace(state=state),
        "celery.worker.request": SimpleNamespace(Request=Request),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)  # type: ignore[arg-type]
    monkeypatch.syspath_prepend(str(FILES))
    monkeypatch.delitem(sys.modules, "slipway_notify", raising=False)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    return World(load("slipway_worker.py"), state)


def test_the_handover_waits_for_what_it_says(world: World) -> None:
    assert world.said == [_handover.WORKS["worker"]]
    world.live = False
    world.look()
    assert world.said[-1] == "rests" != _handover.WORKS["worker"]


def test_it_rests_without_traffic_and_works_again_with_it(world: World) -> None:
    world.look()
    assert world.consumer.calls == []
    world.live = False
    world.look()
    world.look()
    assert world.consumer.calls == ["cancel"]
    world.live = True
    world.look()
    world.look()
    assert world.consumer.calls == ["cancel", "consume"]
    assert world.said == ["takes tasks", "rests", "takes tasks"]


def test_it_gives_back_what_it_has_not_begun_and_only_that(world: World) -> None:
    begun = world.runs(Request("begun", pid=7))
    waits, later, slow = Request("waits"), Request("later"), Request("slow")
    world.consumer.waiting.append((print, (waits,), {}))
    entry = SimpleNamespace(args=(later,), canceled=False)
    other = SimpleNamespace(args=("heartbeat",), canceled=False)
    world.consumer.timer.queue = [SimpleNamespace(entry=entry), SimpleNamespace(entry=other)]
    world.consumer.task_buckets["limited"] = SimpleNamespace(contents=deque([(slow, 1)]))
    world.state.reserved_requests |= {waits}
    world.live = False
    world.look()
    assert [one.said for one in (waits, later, slow, begun)] == [["back"]] * 3 + [[]]
    assert (entry.canceled, other.canceled) == (True, False)
    assert world.state.reserved_requests == {begun}
    assert world.said[-1] == "rests, and finishes 1"


def test_asked_to_stop_it_ends_after_its_last_task(world: World) -> None:
    task = world.runs(Request("long", pid=7))
    world.follower.stop()
    world.look()
    world.look(after=29)
    assert (world.state.should_stop, world.said[-1]) == (None, "stops, and finishes 1")
    world.state.task_ready(task)
    world.look()
    assert world.state.should_stop == 0
    assert (world.consumer.signals, world.consumer.sent, task.said) == ([], [], [])


def test_asked_to_stop_while_its_broker_is_away_it_leaves_that_to_celery(world: World) -> None:
    world.follower.stop()
    assert world.state.should_stop is None
    world.consumer.connection = None
    world.follower.stop()
    assert world.state.should_stop == 0


@pytest.mark.parametrize(
    ("late", "repeatable", "said", "sent"),
    [
        (False, None, [], 1),
        (True, None, ["back"], 0),
        (True, True, ["back"], 0),
        (False, False, ["acknowledged"], 0),
        (True, False, ["acknowledged"], 0),
    ],
)
def test_what_runs_at_the_deadline(
    world: World, late: bool, repeatable: bool | None, said: list[str], sent: int
) -> None:
    task = world.runs(Request("long", late=late, repeatable=repeatable, pid=7))
    world.follower.stop()
    world.look()
    world.look(after=30)
    assert world.consumer.signals == [(7, signal.SIGTERM)]
    assert (task.said, world.consumer.sent, world.state.should_stop) == ([], [], None), "it still lives"
    world.look(after=6)
    assert world.consumer.signals[-1] == (7, signal.SIGKILL), "it did not listen"
    world.consumer.die(7)
    world.look()
    assert task.said == said
    assert [(one["routing_key"], one["headers"]) for one in world.consumer.sent] == [("celery", {"id": "long"})] * sent
    assert world.state.should_stop == 0


def test_what_ended_just_then_is_not_repeated(world: World) -> None:
    task = world.runs(Request("long", pid=7))
    world.follower.stop()
    world.look()
    world.look(after=30)
    world.state.successful_requests.add("long")
    world.consumer.die(7)
    world.look()
    assert (task.said, world.consumer.sent, world.state.should_stop) == ([], [], 0)


@pytest.mark.parametrize(("stops", "drain", "seconds"), [(False, 300, 300), (True, 300, 60), (True, 20, 20)])
def test_a_host_that_goes_down_does_not_wait_for_long(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stops: bool, drain: int, seconds: float
) -> None:
    monkeypatch.syspath_prepend(str(FILES))
    mark = tmp_path / "host-stops"
    given = {"DRAIN_SECONDS": str(drain), "STOP_SECONDS": "60", "HOST_STOPS": str(mark)}
    for name, value in given.items():
        monkeypatch.setenv(f"SLIPWAY_{name}", value)
    if stops:
        mark.touch()
    assert load("slipway_worker.py").patience() == seconds
