# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the engine has brought a service to its new specification, is still at it, or has given up, and why."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import Any, Callable

from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Clock, Node, Service, Swarm, Task
from ansible_collections.slipway.webapp.plugins.module_utils._stack_spec import TEMPLATE, labels_of

DONE, WAIT, FAILED = "done", "wait", "failed"
LOOK_EVERY = 0.5  # seconds
ENOUGH_FAILURES = 3  # of a service that is new: there is nothing that the engine could go back to
_SHOWN, _LINES = 3, 12  # tasks and lines in an error
_BROKEN = ("failed", "rejected")
_WORKING = ("updating", "rollback_started")
_ONCE_MORE = "pause"  # the failure action of an update that was begun once more
_BEGINNING = ("assigned", "accepted", "preparing", "ready", "starting")


def verdict(service: Service | None, tasks: Sequence[Task], *, template: str, replicas: int, first: bool) -> str:
    """How far the engine is. ``template`` is the digest of the new one; ``first`` that the service was just made."""
    if service is None:
        return FAILED
    if labels_of(service.spec).get(TEMPLATE) != template:  # the engine has put the former specification back
        return WAIT if service.update in _WORKING else FAILED
    if service.update.endswith("paused"):
        return FAILED
    new = [task for task in tasks if task.labels.get(TEMPLATE) == template]
    old = [task for task in tasks if task.labels.get(TEMPLATE) != template and task.desired == "running"]
    running = [task for task in new if task.state == "running" and task.desired == "running"]
    if len(running) >= replicas and not old and service.update != "updating":
        return DONE
    broken = [task for task in new if task.state in _BROKEN]
    return FAILED if first and len(broken) >= ENOUGH_FAILURES else WAIT


def watch(
    app: str,
    process: str,
    *,
    wanted: Mapping[str, Any],
    first: bool,
    seconds: float,
    swarm: Swarm,
    clock: Clock,
    alive: Callable[[], None],
) -> None:
    """Until the engine has done it; an error with what its tasks said when it has not, or not in time."""
    template, name = labels_of(wanted)[TEMPLATE], str(wanted["Name"])
    replicas = int(wanted["Mode"]["Replicated"]["Replicas"])
    end = clock.monotonic() + seconds
    given_up: set[str] = set()
    while True:
        service, tasks = swarm.services(app).get(process), swarm.tasks(name)
        found = verdict(service, tasks, template=template, replicas=replicas, first=first)
        new = [task for task in tasks if task.labels.get(TEMPLATE) == template]
        if found == DONE and service is not None:
            if given_up and (service.spec.get("UpdateConfig") or {}).get("FailureAction") == _ONCE_MORE:
                swarm.update(service, wanted)
            return
        late = clock.monotonic() >= end
        if found == FAILED or late or service is None:
            raise _failure(name, service, new, swarm=swarm, late=seconds if late else 0, replicas=replicas)
        lost = {task.id for task in without_host(new, nodes=swarm.nodes())} - given_up
        if lost and service.update == "updating":
            swarm.update(service, _once_more(wanted))
            given_up |= lost
        alive()
        clock.sleep(LOOK_EVERY)


def without_host(tasks: Sequence[Task], *, nodes: Sequence[Node]) -> list[Task]:
    """The tasks that were beginning on a host that has gone.

    The engine starts others in their place, but the update that began them waits for these, and for ever (seen with
    20.10; in the source of later ones it is the same).
    """
    ready = {node.id for node in nodes if node.ready}
    return [one for one in tasks if one.state in _BEGINNING and one.node and one.node not in ready]


def _once_more(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The same tasks, by a specification that differs: the engine gives up an update only for another one.

    What it would go back to from then on is this very specification, so it shall not; whoever watches puts the service
    back when it fails.
    """
    return {**wanted, "UpdateConfig": {**wanted["UpdateConfig"], "FailureAction": _ONCE_MORE}}


def leaving(tasks: Sequence[Task], *, ready: Container[str]) -> list[Task]:
    """The tasks that were told to end and have not. Of a node that is away nobody knows."""
    return [one for one in tasks if one.desired != "running" and one.state == "running" and one.node in ready]


def await_gone(names: Sequence[str], *, seconds: float, swarm: Swarm, clock: Clock, alive: Callable[[], None]) -> None:
    """Until the tasks of former releases have ended in all services; an error when they have not in time."""
    end = clock.monotonic() + seconds
    while True:
        ready = {node.id for node in swarm.nodes() if node.ready}
        left = [name for name in names if leaving(swarm.tasks(name), ready=ready)]
        if not left:
            return
        if clock.monotonic() >= end:
            raise SlipwayError(
                f"Tasks of the former release still run in {', '.join(left)}",
                found=f"they were told to end {seconds:g} s ago",
                next_step=f"docker service ps {left[0]} shows which; run the same command again when they have ended",
            )
        alive()
        clock.sleep(LOOK_EVERY)


def _failure(
    name: str, service: Service | None, tasks: Sequence[Task], *, swarm: Swarm, late: float, replicas: int
) -> SlipwayError:
    """What went wrong, in the words of the tasks themselves where they have said anything."""
    running = [task for task in tasks if task.state == "running" and task.desired == "running"]
    what = f"the engine has not brought it about within {late:g} s" if late else _how(service)
    hosts = {node.id: node for node in swarm.nodes()}
    said = []
    for task in _telling(tasks):
        node = hosts.get(task.node)
        where = (node.labels.get("slipway.webapp.host") if node else "") or "no node"
        said += [f"{where}: {task.state}: {task.error or 'no word from the engine'}"]
        said += [f"  {line}" for line in swarm.log(name, task.id, lines=_LINES)]
    return SlipwayError(
        f"The service {name} did not come up: {what}",
        found="\n".join([f"{len(running)} of {replicas} tasks run", *said]),
        expected="tasks that become healthy, and stay so while the engine watches them",
        next_step=f"mend what they say, then run the same command again; docker service ps --no-trunc {name} shows all",
        details={"service": name, "log": said},
    )


def _how(service: Service | None) -> str:
    if service is None:
        return "somebody has removed it"
    if service.update.startswith("rollback") or service.update == "completed":
        return f"the engine has put the former one back ({service.said or service.update})"
    return f"its tasks fail ({service.said})" if service.said else "its tasks fail"


def _telling(tasks: Sequence[Task]) -> list[Task]:
    """The tasks that say why: those that failed, the last first; else those that found no place."""
    broken = [task for task in reversed(tasks) if task.state in _BROKEN]
    return (broken or [task for task in reversed(tasks) if task.error])[:_SHOWN]
