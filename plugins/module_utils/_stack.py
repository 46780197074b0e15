# Copyright: the slipway.webapp contributors
# GNU General Public License v3.0+ (see https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The services of an application in a swarm: brought to what a slot is assigned to, by the engine, and watched.

A slot is a name for a pair here, as everywhere; no process of the host runs in it. The route is the record of which
slot the services were brought to, written when the engine has done it. Everything can be cut off anywhere and done
again: the engine goes on by itself, and whoever comes next sees how far it is.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Callable

from ansible_collections.slipway.webapp.plugins.module_utils import _route
from ansible_collections.slipway.webapp.plugins.module_utils._assignment import (
    assignment,
    slot_secrets,
    without_secrets,
)
from ansible_collections.slipway.webapp.plugins.module_utils._config import read_env, render_env
from ansible_collections.slipway.webapp.plugins.module_utils._container import LABEL, Options
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._files import read_text
from ansible_collections.slipway.webapp.plugins.module_utils._installed import installed, read_installed
from ansible_collections.slipway.webapp.plugins.module_utils._layout import PROCESSES, Layout
from ansible_collections.slipway.webapp.plugins.module_utils._plan import Step, carry_out
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Clock, Node, Service, Swarm, Systemd, Task
from ansible_collections.slipway.webapp.plugins.module_utils._stack_spec import (
    StackOptions,
    Wish,
    as_wished,
    host_label,
    labels_of,
    process_label,
    release_label,
    secret_name,
    specification,
)
from ansible_collections.slipway.webapp.plugins.module_utils._stack_watch import await_gone, watch

# The new worker knows the tasks that the new web processes send; beat last, which sends tasks, too.
ORDER = ("worker", "web", "beat")
_ENDING = ".env"


@dataclass(frozen=True)
class State:
    """What there is: the services by process, the secrets (name -> id), the nodes."""

    services: Mapping[str, Service]
    secrets: Mapping[str, str]
    nodes: Sequence[Node]


@dataclass(frozen=True)
class Target:
    """What there shall be. ``staged`` are hosts that were just given the release; ``kept`` and ``configs`` the releases
    and the configurations of this host, which knows what can still be gone back to. ``nodes`` are where it may be.
    """

    wish: Wish
    options: StackOptions
    container: Options
    staged: Sequence[str] = ()
    kept: Sequence[str] = ()
    configs: Sequence[str] = ()
    nodes: Sequence[Node] = ()

    def spec(self, layout: Layout, process: str) -> dict[str, Any]:
        # A task that may use more cores than its node has is refused by the engine there, wherever that is.
        cores = min(self.container.cpus, smallest(layout, self.nodes, process) or self.container.cpus)
        return specification(
            layout, process, self.wish, options=self.options, container=replace(self.container, cpus=cores)
        )


def smallest(layout: Layout, nodes: Sequence[Node], process: str) -> float:
    """The cores of the smallest node that may run the process, also while it is away; 0 where no node says."""
    label = process_label(layout.app, process)
    return min((node.cores for node in nodes if node.cores and label in node.labels), default=0.0)


def probe(layout: Layout, swarm: Swarm) -> State:
    """What the swarm has of the application."""
    return State(swarm.services(layout.app), swarm.secrets(layout.app), swarm.nodes())


def relabelled(layout: Layout, node: Node, target: Target) -> dict[str, str]:
    """The labels that a node shall have: it has the release when it was just staged there."""
    prefix = f"{LABEL}.{layout.app}.release."
    kept = {release_label(layout.app, release) for release in target.kept}
    labels = {name: value for name, value in node.labels.items() if not name.startswith(prefix) or name in kept}
    if node.labels.get(host_label()) in target.staged:
        labels[release_label(layout.app, target.wish.assignment.release)] = "yes"
    return labels


def lacking(layout: Layout, state: State, target: Target) -> list[str]:
    """The hosts that may run a process of it and have not the release; those that are away do not count."""
    mine = [process_label(layout.app, process) for process in target.options.replicas]
    label = release_label(layout.app, target.wish.assignment.release)
    return [
        str(node.labels.get(host_label(), node.id))
        for node in state.nodes
        if node.ready and label not in node.labels and any(one in node.labels for one in mine)
    ]


def plan(layout: Layout, state: State, target: Target) -> tuple[Step, ...]:
    """What brings the services to the target, in order: where it may run, its secret, then service by service."""
    steps = []
    for node in state.nodes:
        labels = relabelled(layout, node, target)
        if labels != dict(node.labels):
            name = node.labels.get(host_label(), node.id)
            steps.append(Step("label", f"Note down the releases that {name} has", {"node": node, "labels": labels}))
    name = secret_name(layout.app, target.wish.assignment.config)
    if name not in state.secrets:
        steps.append(Step("keep", f"Keep configuration {target.wish.assignment.config} in the swarm"))
    known = replace(target, wish=replace(target.wish, secret_id=state.secrets.get(name, "")))
    for process in (one for one in ORDER if target.options.replicas.get(one)):
        steps += _service(layout, process, state.services.get(process), known)
    gone = [one for one in state.services.values() if not target.options.replicas.get(_process(one))]
    steps += [Step("remove", f"Remove the service {one.spec['Name']}", {"service": one}) for one in gone]
    kept = {name, *(secret_name(layout.app, config) for config in target.configs)}
    surplus = [(one, identity) for one, identity in state.secrets.items() if one not in kept]
    return (*steps, *(Step("forget", f"Forget the secret {one}", {"identity": identity}) for one, identity in surplus))


def _process(service: Service) -> str:
    return str((service.spec.get("Labels") or {}).get(f"{LABEL}.process", ""))


def _service(layout: Layout, process: str, found: Service | None, target: Target) -> list[Step]:
    words = {"process": process, "service": found}
    what = f"{process} to {target.wish.assignment}"
    if found is None:
        return [Step("create", f"Bring {what}", words)]
    if not as_wished(found.spec, target.spec(layout, process)):
        return [Step("update", f"Bring {what}", words)]
    under_way = found.update in ("updating", "rollback_started", "paused", "rollback_paused")
    # The engine has stopped in the middle when it is paused: the same specification once more makes it go on.
    name = "update" if found.update.endswith("paused") else "await"
    return [Step(name, f"Wait until the engine has brought {what}", words)] if under_way else []


def describe(services: Mapping[str, Service], tasks: Mapping[str, Sequence[Task]]) -> dict[str, Any]:
    """What the services run, for people and for whoever decides whether there is anything to do."""
    shown = {}
    for process in (one for one in PROCESSES if one in services):
        service, labels = services[process], labels_of(services[process].spec)
        running = [one for one in tasks.get(process, []) if one.state == "running" and one.desired == "running"]
        shown[process] = {
            **{name: labels.get(f"{LABEL}.{name}") for name in ("slot", "release", "config")},
            "replicas": service.replicas,
            "running": len(running),
            "update": service.update or None,
        }
    return shown


@dataclass
class Stack:
    """Brings the services to a slot, or takes them away. ``alive`` is called again and again while it waits."""

    layout: Layout
    swarm: Swarm
    systemd: Systemd
    clock: Clock
    options: StackOptions
    container: Options
    owner: tuple[int, int]
    check_mode: bool = False
    alive: Callable[[], None] = lambda: None

    def target(self, slot: str, *, staged: Sequence[str] = ()) -> Target:
        """What the services shall be to run what the slot is assigned to."""
        pair, _values = assignment(self.layout, slot)
        there = read_installed(self.layout, pair.release) if pair else None
        image = there.record.image if there and there.record else ""
        if pair is None or not image:
            raise SlipwayError(
                f"The {slot} slot of {self.layout.app} has no image to run",
                found=str(pair or "it is assigned to nothing"),
                expected="a release that is an image",
                next_step="assign one with slipway.webapp.slot first",
            )
        return Target(
            Wish(pair, slot, image, self.owner),
            self.options,
            self.container,
            staged,
            kept=[one.id for one in installed(self.layout)],
            configs=_configs(self.layout),
            nodes=self.swarm.nodes(),
        )

    def needs(self, slot: str) -> list[str]:
        """What lies between the services and the slot; empty when there is nothing to do."""
        target, state = self.target(slot), probe(self.layout, self.swarm)
        tidying = ("label", "forget")
        steps = [step.summary for step in plan(self.layout, state, target) if step.name not in tidying]
        return steps + [f"{host} has not the release" for host in lacking(self.layout, state, target)]

    def services(self) -> dict[str, Any]:
        """What the services run."""
        found = self.swarm.services(self.layout.app)
        return describe(found, {name: self.swarm.tasks(one.spec["Name"]) for name, one in found.items()})

    def move(self, slot: str, *, staged: Sequence[str] = ()) -> dict[str, Any]:
        """Bring all services to the slot, one after the other, then write it down in the route; a module's result."""
        if self.check_mode and assignment(self.layout, slot)[0] is None:
            return _result([f"Bring the services to what {slot} will run"], "", "")
        target, before = self.target(slot, staged=staged), self.services()
        steps = plan(self.layout, probe(self.layout, self.swarm), target)
        try:
            actions = carry_out(steps, lambda step: self._do(step, target), check_mode=self.check_mode)
        except SlipwayError as error:
            raise without_secrets(error, slot_secrets(self.layout, slot)) from None
        recorded = _route.switch(
            _route.Doer(layout=self.layout, clock=self.clock, systemd=self.systemd, listens=False),
            weights=_route.weights_of(slot=slot),
            check_mode=self.check_mode,
        )
        after = {name: {**value, "slot": slot} for name, value in before.items()}
        return _result(
            [*actions, *recorded["actions"]],
            _text(before) + recorded["diff"]["before"],
            _text(after if self.check_mode else self.services()) + recorded["diff"]["after"],
        )

    def remove(self) -> dict[str, Any]:
        """Take all services away: nothing served before."""
        before = self.services()
        found = self.swarm.services(self.layout.app).values()
        steps = [Step("remove", f"Remove the service {one.spec['Name']}", {"service": one}) for one in found]
        actions = carry_out(steps, lambda step: self.swarm.remove(step.data["service"]), check_mode=self.check_mode)
        return _result(actions, _text(before), "")

    def await_gone(self) -> None:
        """Until no task of a former release runs any more: what it could not live with may follow."""
        names = [one.spec["Name"] for one in self.swarm.services(self.layout.app).values()]
        seconds = 30 + max(self.options.stop_seconds.values())
        if not self.check_mode:
            await_gone(names, seconds=seconds, swarm=self.swarm, clock=self.clock, alive=self.alive)

    # -- steps --

    def _do(self, step: Step, target: Target) -> None:
        self.alive()
        getattr(self, f"_{step.name}")(target, **step.data)

    def _label(self, _target: Target, *, node: Node, labels: Mapping[str, str]) -> None:
        self.swarm.label(node, labels)

    def _keep(self, target: Target) -> None:
        """The variables of a configuration; which pair they belong to is in the service's own."""
        config = target.wish.assignment.config
        path = self.layout.config_env(config)
        values, secret = read_env(read_text(path) or "", where=path)
        text = render_env(values, secret=secret)
        self.swarm.keep_secret(self.layout.app, secret_name(self.layout.app, config), text)

    def _create(self, target: Target, *, process: str, service: Service | None) -> None:
        del service
        self.swarm.create(self._spec(target, process))
        self._await(target, process=process, service=None)

    def _update(self, target: Target, *, process: str, service: Service) -> None:
        self.swarm.update(service, self._spec(target, process))
        self._await(target, process=process, service=service)

    def _remove(self, _target: Target, *, service: Service) -> None:
        self.swarm.remove(service)

    def _spec(self, target: Target, process: str) -> dict[str, Any]:
        name = secret_name(self.layout.app, target.wish.assignment.config)
        identity = self.swarm.secrets(self.layout.app)[name]
        return replace(target, wish=replace(target.wish, secret_id=identity)).spec(self.layout, process)

    def _await(self, target: Target, *, process: str, service: Service | None) -> None:
        watch(
            self.layout.app,
            process,
            wanted=self._spec(target, process),
            first=service is None,
            seconds=target.options.seconds(process),
            swarm=self.swarm,
            clock=self.clock,
            alive=self.alive,
        )

    def _forget(self, _target: Target, *, identity: str) -> None:
        self.swarm.forget_secret(identity)


def _configs(layout: Layout) -> list[str]:
    with contextlib.suppress(FileNotFoundError):
        return [name[: -len(_ENDING)] for name in os.listdir(layout.configs) if name.endswith(_ENDING)]
    return []


def _text(services: Mapping[str, Mapping[str, Any]]) -> str:
    """The services for a diff."""
    return "".join(
        f"{process}: {one['release']} with {one['config']}, {one['replicas']} replicas\n"
        for process, one in services.items()
    )


def _result(actions: list[str], before: str, after: str) -> dict[str, Any]:
    return {"changed": bool(actions), "actions": actions, "diff": {"before": before, "after": after}}
