# SPDX-License-Identifier: GPL-3.0-or-later
"""A worker that follows the route: it takes tasks while its slot receives traffic, and rests while it does not.

Who rests gives back at once what it has fetched and not begun, finishes what it has begun, and takes tasks again the
moment the route leads back. So a rollback needs no new worker, and a route that returns by a timer is enough.

Asked to stop, it does the same and ends when its last task has ended. What still runs at the deadline is ended and sent
back, so that no task is lost; one that says `reject_on_worker_lost=False` is ended, named in the log, and not repeated.
Celery's own warm shutdown would keep what was fetched from other workers until the last task has ended, and whatever
runs when systemd's patience ends would be lost.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterable
from typing import Any

import slipway_notify

# _handover.py waits for it to be said by the new worker, and not to be said by the old one any more.
WORKS = "takes tasks"
RESTS = "rests"
ENDS = "stops"
LOOK_EVERY = 0.05  # seconds, before the first task
FOLLOW_EVERY = 0.2  # seconds, afterwards
KILL_AFTER = 5.0  # seconds that a task has to end when it is told to

log = logging.getLogger("slipway")


def patience() -> float:
    """Seconds that tasks have left when their worker is asked to stop. A host that goes down does not wait for long."""
    # The unit says all three; one that systemd has not read again yet does not.
    drain, stop = (
        float(os.environ.get("SLIPWAY_DRAIN_SECONDS", "300")),
        float(os.environ.get("SLIPWAY_STOP_SECONDS", "60")),
    )
    return min(drain, stop) if os.path.exists(os.environ.get("SLIPWAY_HOST_STOPS", "")) else drain


class Follower:
    """What a worker does, by the route and by whether it was asked to stop. Its loop calls ``look`` all the time."""

    def __init__(self, in_traffic: Callable[[], bool]) -> None:
        self.in_traffic = in_traffic
        self.works = False  # whether it was ready once
        self.rests = False
        self.consumer: Any = None
        self.asked_to_stop = False
        self.said = ""
        self.deadline: float | None = None
        self.ended: float | None = None  # when its last tasks were told to end
        self.cut: list[Any] = []

    def ready(self, sender: Any = None, **_: Any) -> None:
        """It takes tasks, for the first time. From now on we are asked to stop, and not Celery."""
        self.works, self.consumer = True, sender
        signal.signal(signal.SIGTERM, self.stop)
        self.say()

    def stop(self, *_: Any) -> None:
        """Only remembered: the next look does it. Without a broker there is no look, and Celery ends by itself."""
        from celery.worker import state

        self.asked_to_stop = True
        if self.consumer.connection is None:
            state.should_stop = 0

    def look(self, consumer: Any) -> None:
        """Do what is due."""
        away = self.asked_to_stop or not self.in_traffic()
        if away and _consumes(consumer):
            consumer.task_consumer.cancel()
            give_back(consumer)
            self.rests = True
        elif not away and self.rests:
            self.rests = False
            consumer.task_consumer.consume()
        self.say()
        if self.asked_to_stop:
            self.leave(consumer)

    def say(self) -> None:
        """What it does now, once."""
        from celery.worker import state

        count = len(state.reserved_requests)
        does = ENDS if self.asked_to_stop else RESTS if self.rests else WORKS
        text = f"{does}, and finishes {count}" if count and does != WORKS else does
        if text != self.said:
            self.said = text
            slipway_notify.ready(text)

    def leave(self, consumer: Any) -> None:
        """End when the last task has ended; at the deadline, end them."""
        from celery.worker import state

        now = time.monotonic()
        if self.deadline is None:
            self.deadline = now + patience()
        if self.ended is None and now >= self.deadline and state.reserved_requests and consumer.pool.uses_semaphore:
            self.cut, self.ended = [one for one in state.reserved_requests if one.worker_pid], now
            end(consumer, self.cut, signal.SIGTERM)
        if self.ended is not None:
            still = running(consumer, self.cut)
            if now >= self.ended + KILL_AFTER:
                end(consumer, still, signal.SIGKILL)
            for request in [one for one in self.cut if one not in still]:
                self.cut.remove(request)
                repeat(consumer, request)
        if not self.cut and not state.reserved_requests:
            state.should_stop = 0


def _consumes(consumer: Any) -> bool:
    return bool(consumer.task_consumer and consumer.task_consumer._active_tags)


def waiting(consumer: Any) -> Iterable[Any]:
    """Take out of Celery's hands what was fetched and not begun: it waits for a free process, its time, or its rate."""
    from celery.worker.request import Request

    queue = consumer.controller.semaphore._waiting if consumer.controller.semaphore else []
    while queue:
        yield queue.popleft()[1][0]
    for bucket in consumer.task_buckets.values():
        while bucket and bucket.contents:
            yield bucket.contents.popleft()[0]
    for entry in [timed.entry for timed in consumer.timer.queue]:
        if entry.args and isinstance(entry.args[0], Request) and not entry.canceled:
            consumer.timer.cancel(entry)
            consumer.qos.decrement_eventually()
            yield entry.args[0]


def give_back(consumer: Any) -> None:
    """To the broker, as if it had never been fetched: it was not acknowledged."""
    from celery.worker import state

    count = 0
    for request in waiting(consumer):
        state.task_ready(request)
        request.reject(requeue=True)
        count += 1
    if count:
        log.warning("gave back %d tasks that were fetched and not begun", count)


def running(consumer: Any, requests: Iterable[Any]) -> list[Any]:
    """Those whose process still lives."""
    alive = {process.pid for process in consumer.pool._pool._pool if process.exitcode is None}
    return [request for request in requests if request.worker_pid in alive]


def end(consumer: Any, requests: Iterable[Any], number: int) -> None:
    """End tasks with their processes. Celery shall not take them for failed."""
    for request in requests:
        request._already_cancelled = True
        consumer.pool.terminate_job(request.worker_pid, number)


def repeat(consumer: Any, request: Any) -> None:
    """What was ended at the deadline goes back to its queue, unless it had just ended or must not be repeated."""
    from celery.worker import state

    state.task_ready(request)
    if request.id in state.successful_requests:
        return
    if request.task.reject_on_worker_lost is False:
        log.error("%s[%s] was ended at the deadline and is not repeated: it says so", request.name, request.id)
        request.acknowledge()
    elif request.task.acks_late:
        log.warning("%s[%s] was ended at the deadline and goes back to its queue", request.name, request.id)
        request.reject(requeue=True)
    else:
        # It was acknowledged when it began, so the broker does not know it any more.
        log.warning("%s[%s] was ended at the deadline and is sent again", request.name, request.id)
        publish(consumer, request.message)


def publish(consumer: Any, message: Any) -> None:
    """Send a message again, as it was."""
    kept = ("correlation_id", "reply_to", "priority", "delivery_mode", "expiration")
    with consumer.app.producer_or_acquire() as producer:
        producer.publish(
            message.body,
            exchange=message.delivery_info["exchange"],
            routing_key=message.delivery_info["routing_key"],
            headers=message.headers,
            content_type=message.content_type,
            content_encoding=message.content_encoding,
            retry=True,
            retry_policy={"max_retries": 3},
            **{name: message.properties[name] for name in kept if message.properties.get(name) is not None},
        )


def install(in_traffic: Callable[[], bool]) -> None:
    """Into the worker that Celery is about to start."""
    from celery import bootsteps, signals
    from celery.worker import state
    from celery.worker.consumer import mingle, tasks

    follower = Follower(in_traffic)

    class Follow(bootsteps.StartStopStep):
        """Between the meeting with the other workers and the first task; then at each look of the loop.

        A worker whose slot is live passes at once, and so does one that has lost its broker and finds it again.
        """

        requires = (mingle.Mingle,)

        def start(self, _consumer: Any) -> None:
            if not follower.works and not in_traffic():
                slipway_notify.ready(f"is up, and works once {os.environ['SLIPWAY_SLOT']} receives traffic")
            while not follower.works and not in_traffic():
                state.maybe_shutdown()  # raises when the worker was asked to stop
                time.sleep(LOOK_EVERY)

        def register_with_event_loop(self, consumer: Any, hub: Any) -> None:
            hub.call_repeatedly(FOLLOW_EVERY, follower.look, consumer)

    tasks.Tasks.requires = (*tasks.Tasks.requires, Follow)
    signals.worker_ready.connect(follower.ready, weak=False)
