# SPDX-License-Identifier: GPL-3.0-or-later
"""The services of a swarm: what is asked of the engine, what is planned, and what is made of the engine's answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _ledger, _route, _settle, _stack, _stack_spec
from ansible_collections.slipway.webapp.plugins.module_utils._assignment import Assignment
from ansible_collections.slipway.webapp.plugins.module_utils._config import render_env
from ansible_collections.slipway.webapp.plugins.module_utils._container import Options
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Node, Service, Task
from ansible_collections.slipway.webapp.plugins.module_utils._stack_spec import StackOptions, labels_of
from ansible_collections.slipway.webapp.plugins.module_utils._stack_watch import DONE, FAILED, WAIT, verdict
from ansible_collections.slipway.webapp.plugins.module_utils._transaction import Begun
from tests.unit.fakes import FakeClock, FakeSystemd

IMAGE = "registry.example.org/shop@sha256:" + "1" * 64
CONFIG, OTHER = "0123456789ab", "ba9876543210"
SECRET = "planted-3f81"
OPTIONS = StackOptions(
    replicas={"web": 2, "worker": 1, "beat": 1},
    commands={"web": ["python", "-m", "gunicorn"], "worker": ["python", "-m", "celery"], "beat": ["python", "-m", "b"]},
    stop_seconds={"web": 65, "worker": 320, "beat": 15},
    health={
        "path": "/health",
        "host": "shop.example.org",
        "status": [200],
        "json": {},
        "successes": 1,
        "interval": 0.1,
    },
    deadline=20,
)
ROLES = {"app1": ("web", "worker", "beat"), "app2": ("web",), "app3": ("web",)}


@dataclass
class FakeSwarm:
    """An engine that brings about at once what it is asked for; ``bad`` releases never become healthy."""

    kept: dict[str, Service] = field(default_factory=dict)
    stored: dict[str, str] = field(default_factory=dict)
    hosts: list[Node] = field(default_factory=list)
    bad: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    broken: dict[str, list[Task]] = field(default_factory=dict)

    def services(self, app: str) -> dict[str, Service]:
        assert app == "shop"
        return dict(self.kept)

    def _process(self, spec: Mapping[str, Any]) -> str:
        return str(spec["Labels"]["slipway.webapp.process"])

    def _fails(self, spec: Mapping[str, Any]) -> bool:
        process, labels = self._process(spec), labels_of(spec)
        if process == "web" and labels["slipway.webapp.release"] in self.bad:
            task = Task(id="t9", node="n1", state="failed", desired="shutdown", labels=labels, error="exit 1")
            self.broken[process] = [replace(task, id=f"t{number}") for number in range(3)]
            return True
        self.broken.pop(process, None)
        return False

    def create(self, spec: Mapping[str, Any]) -> None:
        self.calls.append(f"create {spec['Name']}")
        self._fails(spec)
        self.kept[self._process(spec)] = Service(id=spec["Name"], version=1, spec=json.loads(json.dumps(spec)))

    def update(self, service: Service, spec: Mapping[str, Any]) -> None:
        self.calls.append(f"update {spec['Name']}")
        process, said = self._process(spec), json.loads(json.dumps(spec))
        if self._fails(spec):
            self.kept[process] = replace(service, version=service.version + 2, update="rollback_completed")
        else:
            self.kept[process] = replace(service, version=service.version + 1, spec=said, update="completed")

    def remove(self, service: Service) -> None:
        self.calls.append(f"remove {service.spec['Name']}")
        self.kept = {name: one for name, one in self.kept.items() if one.id != service.id}

    def tasks(self, service: str) -> list[Task]:
        process = service.rpartition("-")[2]
        if process not in self.kept:
            return []
        labels, broken = labels_of(self.kept[process].spec), self.broken.get(process, [])
        if broken and broken[0].labels == labels:
            return broken
        count = self.kept[process].replicas
        good = [
            Task(id=f"{process}{n}", node="n1", state="running", desired="running", labels=labels) for n in range(count)
        ]
        return [*good, *broken]

    def log(self, service: str, task: str, *, lines: int = 20) -> list[str]:
        assert (service, task[0], lines > 0) == ("shop-web", "t", True)
        return [f"ImportError: no module called {SECRET}"]

    def secrets(self, app: str) -> dict[str, str]:
        assert app == "shop"
        return {name: f"id-of-{name}" for name in self.stored}

    def keep_secret(self, app: str, name: str, text: str) -> str:
        assert name.startswith(f"{app}-")
        self.calls.append(f"keep {name}")
        self.stored[name] = text
        return f"id-of-{name}"

    def forget_secret(self, identity: str) -> None:
        self.calls.append(f"forget {identity}")
        self.stored.pop(identity.removeprefix("id-of-"))

    def nodes(self) -> list[Node]:
        return list(self.hosts)

    def label(self, node: Node, labels: Mapping[str, str]) -> None:
        self.calls.append(f"label {node.id}")
        changed = replace(node, spec={**node.spec, "Labels": dict(labels)})
        self.hosts = [changed if one.id == node.id else one for one in self.hosts]


def nodes() -> list[Node]:
    found = []
    for number, (name, roles) in enumerate(ROLES.items(), start=1):
        labels = {"slipway.webapp.host": name, **{f"slipway.webapp.shop.{role}": "yes" for role in roles}}
        found.append(Node(id=f"n{number}", version=1, ready=True, spec={"Role": "worker", "Labels": labels}))
    return found


def give(layout: Layout, slot: str, release: str, config: str = CONFIG) -> None:
    """Assign a release to a slot."""
    here, values = Path(layout.release(release)), {"SECRET_KEY": SECRET}
    here.mkdir(parents=True, exist_ok=True)
    record = {
        "id": release, "version": "", "sha256": "1" * 64, "created": "2026-11-27T11:00:00Z", "python": "",
        "lock": {"kind": "image", "hash": ""}, "files": 0, "collection": "0.1.0",
        "image": IMAGE.replace("1" * 64, release[-1] * 64),
    }  # fmt: skip
    (here / "release.json").write_text(json.dumps(record))
    own = {"SLIPWAY_RELEASE": release, "SLIPWAY_CONFIG": config}
    for path, first in ((layout.config_env(config), {}), (layout.slot_env(slot), own)):
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(render_env(values, secret=frozenset(values), first=first))
    link = Path(layout.slot_link(slot))
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(f"../releases/{release}")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    found = Layout("shop", prefix=str(tmp_path))
    for path in (found.home, found.state, found.run):
        Path(path).mkdir(parents=True)
    give(found, "blue", "r1")
    return found


@pytest.fixture
def stack(layout: Layout) -> _stack.Stack:
    return _stack.Stack(
        layout=layout,
        swarm=FakeSwarm(hosts=nodes()),
        systemd=FakeSystemd(),
        clock=FakeClock(tick=1.0),
        options=OPTIONS,
        container=Options(),
        owner=(998, 997),
    )


def fake(stack: _stack.Stack) -> FakeSwarm:
    assert isinstance(stack.swarm, FakeSwarm)
    return stack.swarm


def spec(layout: Layout, process: str, *, container: Options | None = None, release: str = "r1") -> dict[str, Any]:
    wish = _stack_spec.Wish(Assignment(release, CONFIG), "blue", IMAGE, (998, 997), "s1")
    return _stack_spec.specification(layout, process, wish, options=OPTIONS, container=container or Options())


@pytest.mark.parametrize(
    ("process", "order"), [("web", "start-first"), ("worker", "start-first"), ("beat", "stop-first")]
)
def test_a_task_has_no_rights_no_secret_in_its_specification_and_the_engine_takes_it_back(
    layout: Layout, process: str, order: str
) -> None:
    found = spec(layout, process)
    inside = found["TaskTemplate"]["ContainerSpec"]
    assert (found["UpdateConfig"]["Order"], found["UpdateConfig"]["FailureAction"]) == (order, "rollback")
    assert (inside["Image"], inside["User"], inside["ReadOnly"], inside["CapabilityDrop"]) == (
        IMAGE,
        "998:997",
        True,
        ["ALL"],
    )
    assert inside["Secrets"][0]["File"]["Mode"] == 0o400
    assert inside["Secrets"][0]["SecretName"] == f"shop-{CONFIG}"
    assert SECRET not in json.dumps(found)
    assert found["TaskTemplate"]["Placement"]["Constraints"] == [
        f"node.labels.slipway.webapp.shop.{process}==yes",
        "node.labels.slipway.webapp.shop.release.r1==yes",
    ]
    assert inside["StopGracePeriod"] == OPTIONS.stop_seconds[process] * 10**9
    assert ("/run/shop/tasks" in json.dumps(inside["Mounts"])) == (process == "web")


def test_limits_that_a_host_has_not_are_not_asked_for(layout: Layout) -> None:
    bounded = spec(layout, "web")["TaskTemplate"]["Resources"]["Limits"]
    assert bounded == {"MemoryBytes": 1 << 30, "NanoCPUs": 2 * 10**9, "Pids": 512}
    assert (
        spec(layout, "web", container=Options(memory="", cpus=0, pids=0))["TaskTemplate"]["Resources"]["Limits"] == {}
    )


def test_no_more_cores_than_the_smallest_node_that_may_run_it_has(stack: _stack.Stack) -> None:
    sizes = {"n1": 8.0, "n2": 1.0, "n3": 0.5}
    # n3 may run the web only; n2 is away, and comes back.
    fake(stack).hosts = [replace(node, cores=sizes[node.id], ready=node.id != "n2") for node in nodes()]
    fake(stack).hosts[1].spec["Labels"]["slipway.webapp.shop.worker"] = "yes"
    stack.move("blue", staged=list(ROLES))
    asked = {
        process: one.spec["TaskTemplate"]["Resources"]["Limits"]["NanoCPUs"] / 10**9
        for process, one in fake(stack).kept.items()
    }
    assert asked == {"web": 0.5, "worker": 1.0, "beat": 2.0}
    assert stack.needs("blue") == []


def test_no_limit_of_cores_stays_none(stack: _stack.Stack) -> None:
    stack.container = Options(cpus=0)
    fake(stack).hosts = [replace(node, cores=1.0) for node in nodes()]
    stack.move("blue", staged=list(ROLES))
    assert "NanoCPUs" not in fake(stack).kept["web"].spec["TaskTemplate"]["Resources"]["Limits"]


@pytest.mark.parametrize(("driver", "bounds"), [("journald", {}), ("json-file", {"max-size": "50m", "max-file": "5"})])
def test_what_a_task_prints_is_bounded(layout: Layout, driver: str, bounds: dict[str, str]) -> None:
    log = spec(layout, "web", container=Options(log_driver=driver))["TaskTemplate"]["LogDriver"]
    assert log == {"Name": driver, "Options": {"tag": "shop-web", **bounds}}


def test_what_the_engine_adds_is_no_difference(layout: Layout) -> None:
    wanted = spec(layout, "web")
    found = json.loads(json.dumps(wanted))
    found["TaskTemplate"]["Networks"] = [{"Target": "a9x7"}]
    found["TaskTemplate"]["ForceUpdate"] = 0
    found["TaskTemplate"]["ContainerSpec"]["Isolation"] = "default"
    assert _stack_spec.as_wished(found, wanted)
    found["TaskTemplate"]["ContainerSpec"]["Image"] = "registry.example.org/shop:latest"
    assert not _stack_spec.as_wished(found, wanted)


def test_another_release_is_another_template(layout: Layout) -> None:
    assert len({labels_of(spec(layout, "web", release=name))[_stack_spec.TEMPLATE] for name in ("r1", "r2", "r1")}) == 2


def test_the_first_time_everything_is_made_and_the_second_time_nothing(stack: _stack.Stack) -> None:
    stack.check_mode = True
    foreseen = stack.move("blue", staged=list(ROLES))["actions"]
    assert fake(stack).calls == []
    stack.check_mode = False
    done = stack.move("blue", staged=list(ROLES))
    assert done["actions"] == foreseen
    assert fake(stack).calls == [
        "label n1", "label n2", "label n3", f"keep shop-{CONFIG}",
        "create shop-worker", "create shop-web", "create shop-beat",
    ]  # fmt: skip
    assert SECRET in fake(stack).stored[f"shop-{CONFIG}"]
    route = _route.probe(stack.layout)
    assert route is not None
    assert route.live == "blue"
    assert stack.needs("blue") == []
    again = stack.move("blue")
    assert (again["changed"], again["diff"]["before"]) == (False, again["diff"]["after"])


def test_another_pair_moves_service_by_service_and_back(stack: _stack.Stack) -> None:
    stack.move("blue", staged=list(ROLES))
    give(stack.layout, "green", "r2", OTHER)
    fake(stack).calls.clear()
    stack.move("green", staged=list(ROLES))
    assert fake(stack).calls[3:] == [f"keep shop-{OTHER}", "update shop-worker", "update shop-web", "update shop-beat"]
    assert {one["release"] for one in stack.services().values()} == {"r2"}
    stack.move("blue")
    assert {one["release"] for one in stack.services().values()} == {"r1"}
    # What can be gone back to stays where it is, and so does its configuration.
    assert all("slipway.webapp.shop.release.r2" in node.labels for node in fake(stack).hosts)
    assert set(fake(stack).stored) == {f"shop-{CONFIG}", f"shop-{OTHER}"}


def test_what_the_engine_takes_back_is_an_error_in_the_tasks_words_without_secrets(stack: _stack.Stack) -> None:
    stack.move("blue", staged=list(ROLES))
    give(stack.layout, "green", "r2")
    fake(stack).bad = {"r2"}
    with pytest.raises(SlipwayError, match="shop-web did not come up") as caught:
        stack.move("green", staged=list(ROLES))
    assert "app1: failed: exit 1" in caught.value.found
    assert "ImportError" in caught.value.found
    assert SECRET not in str(caught.value)
    # The worker had moved before; the record still says what is live.
    assert {name: one["release"] for name, one in stack.services().items()} == {
        "worker": "r2",
        "web": "r1",
        "beat": "r1",
    }
    route = _route.probe(stack.layout)
    assert route is not None
    assert route.live == "blue"
    stack.move("blue")
    assert {one["release"] for one in stack.services().values()} == {"r1"}


def test_a_node_without_the_release_is_named(stack: _stack.Stack) -> None:
    stack.move("blue", staged=["app1", "app2"])
    assert stack.needs("blue") == ["app3 has not the release"]
    away = [replace(node, ready=node.id != "n3") for node in fake(stack).hosts]
    fake(stack).hosts = away
    assert stack.needs("blue") == []


def test_what_is_no_longer_wanted_goes(stack: _stack.Stack) -> None:
    stack.move("blue", staged=list(ROLES))
    fake(stack).stored["shop-cccccccccccc"] = ""
    stack.options = replace(OPTIONS, replicas={"web": 2})
    done = stack.move("blue")["actions"]
    assert [line for line in done if line.startswith(("Remove", "Forget"))] == [
        "Remove the service shop-worker", "Remove the service shop-beat", "Forget the secret shop-cccccccccccc",
    ]  # fmt: skip


def test_a_slot_without_an_image_is_refused(stack: _stack.Stack) -> None:
    with pytest.raises(SlipwayError, match="green slot of shop has no image"):
        stack.move("green")


def task(state: str, template: str = "new", desired: str = "running") -> Task:
    return Task(id="t", node="n1", state=state, desired=desired, labels={_stack_spec.TEMPLATE: template})


def service(template: str, update: str) -> Service:
    inside = {"Labels": {_stack_spec.TEMPLATE: template}}
    return Service(id="s", version=1, spec={"TaskTemplate": {"ContainerSpec": inside}}, update=update)


@pytest.mark.parametrize(
    ("template", "update", "tasks", "first", "expected"),
    [
        ("new", "updating", [task("running"), task("running")], False, WAIT),
        ("new", "completed", [task("running"), task("running")], False, DONE),
        ("new", "completed", [task("running"), task("starting")], False, WAIT),
        ("new", "completed", [task("running"), task("running"), task("running", "old")], False, WAIT),
        ("new", "completed", [task("running"), task("running"), task("running", "old", "shutdown")], False, DONE),
        ("new", "", [task("running"), task("running")], True, DONE),
        ("new", "", [task("failed"), task("failed"), task("running")], True, WAIT),
        ("new", "", [task("failed"), task("rejected"), task("failed"), task("starting")], True, FAILED),
        ("new", "paused", [task("running"), task("running")], False, FAILED),
        ("old", "rollback_started", [task("failed")], False, WAIT),
        ("old", "rollback_completed", [task("failed"), task("running", "old")], False, FAILED),
        ("old", "completed", [task("running", "old")], False, FAILED),
    ],
)
def test_how_far_the_engine_is(template: str, update: str, tasks: list[Task], first: bool, expected: str) -> None:
    assert verdict(service(template, update), tasks, template="new", replicas=2, first=first) == expected


def test_what_still_ends_is_waited_for_but_not_on_a_host_that_is_away(stack: _stack.Stack) -> None:
    stack.move("blue", staged=list(ROLES))
    fake(stack).broken["web"] = [task("running", "old", "shutdown")]
    with pytest.raises(SlipwayError, match="still run in shop-web"):
        stack.await_gone()
    fake(stack).hosts = [replace(node, ready=node.id != "n1") for node in fake(stack).hosts]
    stack.await_gone()


@dataclass
class LosingSwarm(FakeSwarm):
    """Its first update of the web begins a task on a host that is lost, and stands still until it is given another."""

    lost: bool = False

    def update(self, service: Service, spec: Mapping[str, Any]) -> None:
        super().update(service, spec)
        action = spec["UpdateConfig"]["FailureAction"]
        self.calls[-1] += f" {action}"
        if self._process(spec) == "web" and action == "rollback" and not self.lost:
            self.lost = True
            self.hosts = [replace(node, ready=node.id != "n3") for node in self.hosts]
            stuck = Task(id="stuck", node="n3", state="starting", desired="shutdown", labels=labels_of(spec))
            self.broken["web"] = [stuck]
            self.kept["web"] = replace(self.kept["web"], update="updating")

    def tasks(self, service: str) -> list[Task]:
        stuck = self.broken.get(service.rpartition("-")[2], [])
        self.broken, kept = {}, self.broken
        found = super().tasks(service)
        self.broken = kept
        return [*found, *stuck]

    def _fails(self, _spec: Mapping[str, Any]) -> bool:
        return False


def test_an_update_that_waits_for_a_task_on_a_lost_host_is_begun_once_more(stack: _stack.Stack, layout: Layout) -> None:
    stack.move("blue", staged=list(ROLES))
    give(layout, "green", "r2")
    swarm = stack.swarm = LosingSwarm(**vars(fake(stack)))
    swarm.calls.clear()
    stack.move("green", staged=list(ROLES))
    moved = [call for call in swarm.calls if call.startswith("update")]
    assert moved == [
        "update shop-worker rollback",
        *(f"update shop-web {action}" for action in ("rollback", "pause", "rollback")),
        "update shop-beat rollback",
    ]
    swarm.calls.clear()
    assert not stack.move("green")["changed"]
    assert swarm.calls == []


def test_a_service_that_somebody_removed_has_failed() -> None:
    assert verdict(None, [], template="new", replicas=1, first=False) == FAILED


def begun(layout: Layout, *, previous: dict[str, str] | None) -> Begun:
    Path(layout.awake).parent.mkdir(parents=True, exist_ok=True)
    return Begun(
        run="r", action="deploy", release="r2", config=CONFIG, slot="green", by="anna@ci",
        processes=("web", "worker", "beat"), hold=30, previous=previous, first=previous is None,
    )  # fmt: skip


def test_a_run_without_its_controller_brings_the_services_back(stack: _stack.Stack) -> None:
    stack.move("blue", staged=list(ROLES))
    give(stack.layout, "green", "r2")
    settler = _settle.Settler(layout=stack.layout, systemd=stack.systemd, clock=stack.clock, stack=stack)
    settler.arm(begun(stack.layout, previous={"slot": "blue", "release": "r1", "config": CONFIG}))
    stack.move("green", staged=list(ROLES))
    assert {one["release"] for one in stack.services().values()} == {"r2"}
    settler.wait_and_settle(lambda _begun: {})
    assert {one["release"] for one in stack.services().values()} == {"r1"}
    route = _route.probe(stack.layout)
    assert route is not None
    assert (route.live, _ledger.read(stack.layout)[-1]["outcome"]) == ("blue", "failed")


def test_a_first_deploy_that_comes_to_nothing_leaves_no_service(stack: _stack.Stack) -> None:
    give(stack.layout, "green", "r2")
    fake(stack).bad = {"r2"}
    settler = _settle.Settler(layout=stack.layout, systemd=stack.systemd, clock=stack.clock, stack=stack)
    settler.arm(begun(stack.layout, previous=None))
    with pytest.raises(SlipwayError):
        stack.move("green", staged=list(ROLES))
    settler.settle_now(lambda _begun: {})
    assert stack.services() == {}
    assert _route.probe(stack.layout) is None
