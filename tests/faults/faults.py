# SPDX-License-Identifier: GPL-3.0-or-later
"""What may go wrong, as a table: how each fault is made, how it ends, and what it takes from users by itself."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.faults import outside
from tests.faults.eyes import WEB, Eyes
from tests.faults.hook import Stopped
from tests.faults.outside import SmallDisk
from tests.faults.steps import STEPS, Step
from tests.integration.host import Host
from tests.integration.site import Site

# Release trees with this fault do as they are told by a file, from the moment that it is there.
ON_DEMAND = "misbehaves-on-demand"


class NoFaultError(Exception):
    """There was nothing that the fault could have been done to."""


@dataclass(kw_only=True)
class Scene:
    """What a fault is done to; the run is there as soon as it has begun."""

    site: Site
    eyes: Eyes
    run: Stopped = field(init=False)

    def host(self, name: str) -> Host:
        return self.site.hosts[name]

    def disk(self, name: str) -> SmallDisk:
        return SmallDisk(host=self.host(name), app=self.site.app)


Deed = Callable[[Scene], None]


def _nothing(_scene: Scene) -> None:
    """For faults that end by themselves."""


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A row of the table.

    at: whether it means something at a step. after: what follows it, a run of deploy or of rollback.
    excuse: why requests fail whatever a deploy tool does; they are excused for so many seconds from the fault on, None
    being until it has ended. They are counted as failed all the same. task_excuse: the same for tasks; for how many.
    source: the fault that is planted in the release.
    """

    name: str
    what: str
    inject: Deed
    heal: Deed = _nothing
    prepare: Deed = _nothing
    tidy: Deed = _nothing
    at: Callable[[Step], bool] = lambda step: step.after is None
    after: str = "deploy"
    excuse: str = ""
    excused_seconds: float | None = 0.0
    task_excuse: str = ""
    tasks_at_risk: int = 0
    source: str | None = None
    # Of the run that meets it.
    settings: Mapping[str, Any] = field(default_factory=dict)
    # Whether it is also tried with WebSockets.
    sockets: bool = False
    runtimes: tuple[str, ...] = ("systemd", "docker")

    def fits(self, step: Step, runtime: str) -> bool:
        return runtime in self.runtimes and self.at(step) and (self.sockets or not step.sockets)


def _killed(scene: Scene) -> None:
    scene.run.kill()


def _interrupted(scene: Scene) -> None:
    scene.run.interrupt()


def _worker_killed(scene: Scene) -> None:
    if not scene.run.kill_worker():
        raise NoFaultError("there was no worker of Ansible left to kill")


def _dropped(scene: Scene) -> None:
    if not scene.run.drop_connections():
        raise NoFaultError("there was no connection to end")


def _ssh_cut(name: str) -> Deed:
    def inject(scene: Scene) -> None:
        scene.eyes.mute.add(name)
        outside.cut_ssh(scene.host(name))

    return inject


def _gone(name: str, deed: Callable[[Host], None]) -> Deed:
    """A host that nobody can reach until it is righted."""

    def inject(scene: Scene) -> None:
        scene.eyes.absent.add(name)
        deed(scene.host(name))

    return inject


def _righted(name: str) -> Deed:
    def heal(scene: Scene) -> None:
        outside.right(scene.host(name))
        scene.eyes.absent.discard(name)
        scene.eyes.mute.discard(name)

    return heal


def _on(name: str, script: str, *, public: bool, waiting: Collection[str] = ()) -> Deed:
    """A command on a host. ``public``: whether visitors get answers from then on; ``waiting``: what cannot start."""

    def deed(scene: Scene) -> None:
        scene.eyes.public, scene.eyes.waiting = public, set(waiting)
        scene.host(name).sh(script)

    return deed


def _ask_all(how: str) -> Deed:
    """Tell the new release, wherever it answers, to misbehave; '' for no longer."""

    def deed(scene: Scene) -> None:
        path = f"/srv/{scene.site.app}/shared/media/.planted"
        for name in WEB:
            scene.host(name).sh(f"echo {how} >{path}; chmod 0644 {path}" if how else f"rm -f {path}")

    return deed


def _disk(what: Callable[[SmallDisk], None]) -> Deed:
    return lambda scene: what(scene.disk("app2"))


def _anywhere(_step: Step) -> bool:
    return True


# Where what has to be undone changes. Faults that differ from one which is tried at every step only in the host that
# they meet, or in the way back, are tried at these.
TURNS = (
    "stage",
    "migrate",
    "start",
    "switch_1",
    "switch_2",
    "hand_over",
    "committing",
    "committed",
    "lease_given_back",
)


def _turn(step: Step) -> bool:
    return step.name in TURNS


def _runs(step: Step) -> bool:
    """The new release runs, and it is not yet too late to take it back."""
    names = [one.name for one in STEPS]
    return step.after is None and names.index("switch_1") <= names.index(step.name) <= names.index("bake")


GONE = "what was being answered by a host that is gone, or was sent to it before the edge noticed"
TASK_NEEDS = "what had been sent and was not yet done: the example's tasks need the database, and try once"
NEW_RELEASE = "what the new release has answered before it was taken back"

FAULTS = (
    Fault(
        name="controller_killed",
        what="kill -9 of all that runs on the controller",
        inject=_killed,
        at=_anywhere,
        sockets=True,
    ),
    Fault(
        name="controller_killed_then_rollback",
        what="the same, and the operator rolls back instead of deploying again",
        inject=_killed,
        after="rollback",
        at=_turn,
    ),
    Fault(name="interrupted", what="Ctrl-C", inject=_interrupted, at=_anywhere),
    Fault(
        name="ansible_worker_killed",
        what="kill -9 of one of Ansible's worker processes",
        inject=_worker_killed,
        at=lambda step: step.after is not None,
    ),
    Fault(
        name="connections_dropped",
        what="kill -9 of the open SSH connections to all hosts",
        inject=_dropped,
        at=lambda step: step.after is not None,
    ),
    Fault(
        name="ssh_cut",
        what="packets from and to SSH of app2 disappear",
        inject=_ssh_cut("app2"),
        heal=_righted("app2"),
    ),
    Fault(
        name="host_cut_off",
        what="the network cable of app2 is out",
        inject=_gone("app2", outside.cut_off),
        heal=_righted("app2"),
        excuse=GONE,
        excused_seconds=20,
        at=_turn,
    ),
    Fault(
        name="host_stopped",
        what="app2 loses its power, and later boots",
        inject=_gone("app2", outside.power_off),
        heal=_righted("app2"),
        sockets=True,
        excuse=GONE,
        excused_seconds=10,
    ),
    Fault(
        name="primary_stopped",
        what="app1, primary and canary, loses its power, and later boots",
        inject=_gone("app1", outside.power_off),
        heal=_righted("app1"),
        excuse=GONE,
        excused_seconds=10,
        at=_turn,
    ),
    Fault(
        name="worker_host_stopped",
        what="worker1, with worker and beat, loses its power, and later boots",
        inject=_gone("worker1", outside.power_off),
        heal=_righted("worker1"),
        task_excuse="what worker1 was doing: the example acknowledges tasks before it does them",
        tasks_at_risk=2,
        at=_turn,
    ),
    Fault(
        name="host_frozen",
        what="no process of app2 gets any time, and later all do",
        inject=_gone("app2", outside.freeze),
        heal=_righted("app2"),
        excuse=GONE,
        excused_seconds=20,
    ),
    Fault(
        name="disk_full",
        what="not a byte is left on app2's disk",
        prepare=_disk(SmallDisk.lay),
        inject=_disk(SmallDisk.fill),
        heal=_disk(SmallDisk.empty),
        tidy=_disk(SmallDisk.lift),
    ),
    Fault(
        name="database_down",
        what="PostgreSQL is stopped, and started later",
        inject=_on("db1", "systemctl stop postgresql 'postgresql@*'", public=False),
        heal=_on("db1", "systemctl restart postgresql", public=True),
        excuse="every page needs the database",
        excused_seconds=None,
        task_excuse=TASK_NEEDS,
        tasks_at_risk=3,
    ),
    Fault(
        name="database_killed",
        what="kill -9 of all PostgreSQL processes, which are started again at once",
        inject=_on("db1", "systemctl kill --signal=KILL 'postgresql@*'; systemctl restart postgresql", public=True),
        excuse="every page needs the database",
        excused_seconds=15,
        task_excuse=TASK_NEEDS,
        tasks_at_risk=3,
        at=_turn,
    ),
    Fault(
        name="redis_down",
        what="Redis is stopped, and started later; a worker of the right release may wait for it",
        inject=_on("db1", "systemctl stop redis-server", public=True, waiting=("worker",)),
        heal=_on("db1", "systemctl start redis-server", public=True),
        excuse="who stores a note has its words counted by the queue, and the example answers 500 without one",
        excused_seconds=None,
    ),
    Fault(
        name="engine_down",
        what="the Docker Engine of app2 is stopped, and started later; what runs, runs on",
        inject=_on("app2", "systemctl stop docker.socket docker", public=True),
        heal=_on("app2", "systemctl start docker.socket docker", public=True),
        runtimes=("docker",),
    ),
    Fault(
        name="engine_killed",
        what="kill -9 of the Docker Engine of app2, which is started again at once",
        inject=_on("app2", "systemctl kill --signal=KILL docker", public=True),
        at=_anywhere,
        runtimes=("docker",),
    ),
    Fault(
        name="broken_at_boot",
        what="no process of the new release boots",
        source="fails-at-import",
        inject=_nothing,
        at=lambda step: step.name == "start",
        after="good deploy",
    ),
    Fault(
        name="broken_after_boot",
        what="from now on the new release answers 500 to everything",
        source=ON_DEMAND,
        inject=_ask_all("broken"),
        tidy=_ask_all(""),
        at=_runs,
        after="good deploy",
        excuse=NEW_RELEASE,
        excused_seconds=None,
    ),
    Fault(
        name="slow",
        what="from now on the new release takes 1.5 s longer for every page",
        source=ON_DEMAND,
        inject=_ask_all("slow"),
        tidy=_ask_all(""),
        at=_runs,
        after="good deploy",
    ),
    Fault(
        name="leaking_errors",
        what="from now on the new release answers 500 to 2 % of all requests; it is watched for a minute",
        # Of the dozen requests a second that these visitors make, so many must fail that it is no chance.
        settings={"webapp_bake_seconds": 60},
        source=ON_DEMAND,
        inject=_ask_all("leaking"),
        tidy=_ask_all(""),
        at=_runs,
        after="good deploy",
        excuse=NEW_RELEASE,
        excused_seconds=None,
    ),
)
BY_NAME = {fault.name: fault for fault in FAULTS}
