# SPDX-License-Identifier: GPL-3.0-or-later
"""A slot runs what it says, whatever happens in between."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import _assignment, _route, _slot
from ansible_collections.slipway.webapp.plugins.module_utils._config import config_id
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from tests.unit.fakes import Crash, FakeClock, FakeSystemd, Fuse, host

OPEN = {"A": "1"}
SECRETS = {"PASSWORD": "hunter2-hunter2"}
CONFIG = config_id(app="shop", environment=OPEN, secrets=SECRETS)
OTHER = config_id(app="shop", environment={"A": "2"}, secrets=SECRETS)
WEB = "shop-web@green.service"


@dataclass
class World:
    """A host with two releases, and what each running unit really runs."""

    layout: Layout
    systemd: FakeSystemd = field(default_factory=FakeSystemd)
    runs: dict[str, tuple[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.systemd.at_start = lambda unit: self.runs.update({unit: self.on_disk(unit)})

    def on_disk(self, unit: str) -> tuple[str, str]:
        slot = unit.partition("@")[2].partition(".")[0]
        return os.readlink(self.layout.slot_link(slot)), Path(self.layout.slot_env(slot)).read_text()

    def start(self, release: str = "r1", config: str = CONFIG, **options: Any) -> dict[str, Any]:
        given: dict[str, Any] = {"environment": OPEN, "secrets": SECRETS, "processes": ("web",), **options}
        check_mode = given.pop("check_mode", False)
        slot = given.pop("slot", "green")
        wish = _slot.wish_of(self.layout, assignment=_assignment.Assignment(release, config), **given)
        return _slot.start(self.doer(slot), wish=wish, check_mode=check_mode)

    def stop(self, *, after: int = 0, wait: bool = True, check_mode: bool = False) -> dict[str, Any]:
        return _slot.stop(self.doer("green"), after=after, wait=wait, check_mode=check_mode)

    def doer(self, slot: str) -> _slot.Doer:
        return _slot.Doer(layout=self.layout, systemd=self.systemd, slot=slot)

    def give_traffic(self, **weights: int) -> None:
        # A route on a host without web processes asks for no listener.
        template = Path(self.layout.unit_template("web"))
        template.unlink(missing_ok=True)
        doer = _route.Doer(layout=self.layout, clock=FakeClock(), systemd=self.systemd)
        _route.switch(doer, weights=_route.weights_of(weights={"blue": 100 - weights["green"], **weights}))
        template.touch()

    def honest(self) -> None:
        """What runs in a slot is what the slot says."""
        for unit, state in self.systemd.active.items():
            if state == "active":
                slot = unit.partition("@")[2].partition(".")[0]
                assert self.runs[unit] == self.on_disk(unit), f"{unit} runs something else than its slot says"
                assert _assignment.assignment(self.layout, slot)[0], f"{unit} runs in a slot that is half assigned"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(host(tmp_path, "r1", "r2"))


def test_start(world: World) -> None:
    result = world.start()
    assert result["actions"] == [
        f"Write configuration {CONFIG}",
        f"Assign release r1 with configuration {CONFIG} to green",
        "Start web in green",
        "Enable web in green",
    ]
    assert os.readlink(world.layout.slot_link("green")) == "../releases/r1"
    assert Path(world.layout.slot_env("green")).read_text() == (
        f'# secret: PASSWORD\nSLIPWAY_RELEASE="r1"\nSLIPWAY_CONFIG="{CONFIG}"\nA="1"\nPASSWORD="hunter2-hunter2"\n'
    )
    for path in (world.layout.slot_env("green"), world.layout.config_env(CONFIG)):
        assert os.stat(path).st_mode & 0o777 == 0o640
    assert world.systemd.calls == [("start", WEB), ("enable", WEB)]
    assert world.start() == {
        **result,
        "changed": False,
        "actions": [],
        "diff": dict.fromkeys(("before", "after"), result["diff"]["after"]),
    }


def test_only_web_is_waited_for(world: World) -> None:
    worker = WEB.replace("web", "worker")
    world.systemd.broken = {worker}
    world.start(processes=("web", "worker"))
    assert world.systemd.calls[:2] == [("begin", worker), ("start", WEB)]
    assert (world.systemd.active[WEB], world.systemd.active[worker]) == ("active", "failed")
    world.systemd.broken = {WEB}
    with pytest.raises(SlipwayError, match=f"{WEB} did not start"):
        world.start("r2", processes=("web", "worker"))
    assert "active" not in world.systemd.active.values()


def test_check_mode_touches_nothing_and_says_the_same(world: World) -> None:
    def files() -> list[str]:
        return sorted(str(path) for path in Path(world.layout.prefix).rglob("*"))

    before = files()
    foreseen = world.start(check_mode=True)
    assert files() == before
    assert not world.systemd.calls
    assert world.start() == foreseen


def test_check_mode_before_the_release_is_built(world: World) -> None:
    assert world.start("not-there", check_mode=True)["changed"]


def test_what_runs_is_stopped_before_the_slot_is_reassigned(world: World) -> None:
    world.start(processes=("web", "worker"))
    world.systemd.calls.clear()
    world.start("r2")
    worker = WEB.replace("web", "worker")
    assert world.systemd.calls == [("disable", WEB, worker), ("stop", WEB, worker), ("start", WEB), ("enable", WEB)]
    world.honest()


def test_another_configuration_is_another_assignment(world: World) -> None:
    world.start()
    result = world.start(config=OTHER, environment={"A": "2"})
    assert "Stop web in green" in result["actions"]
    assert f"Assign release r1 with configuration {OTHER} to green" in result["actions"]
    world.honest()


def test_a_dead_process_is_started_and_a_running_one_is_left_alone(world: World) -> None:
    world.start(processes=("web", "worker"))
    world.systemd.active[WEB] = "failed"
    world.systemd.calls.clear()
    assert world.start(processes=("web", "worker"))["actions"] == ["Start web in green"]


def test_no_processes_only_assigns(world: World) -> None:
    world.start(processes=())
    assert not world.systemd.calls
    assert _assignment.assignment(world.layout, "green")[0] == _assignment.Assignment("r1", CONFIG)


def test_a_retained_configuration_is_enough(world: World) -> None:
    world.start()
    world.start("r2", environment=None, secrets=None)
    assert 'PASSWORD="hunter2-hunter2"' in Path(world.layout.slot_env("green")).read_text()
    assert _assignment.slot_secrets(world.layout, "green") == ["hunter2-hunter2"]


def test_a_secret_with_carriage_returns_stays_what_it_is(world: World) -> None:
    secrets = {"KEY": "-----BEGIN-----\r\nabc\r\n-----END-----\r"}
    given = {"config": config_id(app="shop", environment=OPEN, secrets=secrets), "secrets": secrets}
    world.start(**given)
    first = Path(world.layout.slot_env("green")).read_bytes()
    assert world.start(**given)["actions"] == []
    world.give_traffic(green=100)
    assert world.start(**given)["actions"] == []
    assert _assignment.slot_secrets(world.layout, "green") == [secrets["KEY"]]
    world.start(slot="blue", config=given["config"], environment=None, secrets=None)  # as a rollback does
    assert Path(world.layout.slot_env("blue")).read_bytes() == first.replace(b'"green"', b'"blue"')


def test_a_configuration_file_that_was_edited_is_put_right(world: World) -> None:
    world.start()
    path = Path(world.layout.config_env(CONFIG))
    good = path.read_text()
    path.write_text(good.replace("hunter2", "edited"))
    assert world.start()["actions"] == [f"Write configuration {CONFIG}"]
    assert path.read_text() == good


@pytest.mark.parametrize("green", [5, 100])
def test_a_slot_with_traffic_is_not_reassigned_and_not_stopped(world: World, green: int) -> None:
    world.start()
    world.give_traffic(green=green)
    before = world.on_disk(WEB)
    for verb, options in (("start", {"release": "r2"}), ("stop", {}), ("stop", {"after": 300})):
        with pytest.raises(SlipwayError, match="The green slot receives traffic"):
            getattr(world, verb)(**options)
    with pytest.raises(SlipwayError, match="receives traffic"):
        world.start(config=OTHER, environment={"A": "2"}, check_mode=True)
    assert world.on_disk(WEB) == before
    assert world.systemd.active[WEB] == "active"
    assert not world.start()["changed"]


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"release": "r9"}, "Release r9 is not complete on this host"),
        ({"release": "../r1"}, "not the name of a release"),
        ({"config": "0" * 12, "environment": None, "secrets": None}, "is not on this host"),
        ({"config": "../../../etc"}, "not the id of a configuration"),
        ({"config": "0" * 12}, "This environment is another configuration"),
    ],
)
def test_refusals(world: World, options: dict[str, Any], found: str) -> None:
    with pytest.raises(SlipwayError, match=found) as refusal:
        world.start(**options)
    assert "hunter2" not in str(refusal.value)
    assert not world.systemd.calls


def test_a_release_without_its_record_is_refused(world: World) -> None:
    os.unlink(os.path.join(world.layout.release("r2"), "release.json"))
    with pytest.raises(SlipwayError, match="not complete"):
        world.start("r2")


def test_what_does_not_start_is_stopped_and_explained_without_secrets(world: World) -> None:
    world.systemd.broken = {WEB}
    world.systemd.says = ["boot", "cannot log in with hunter2-hunter2"]
    with pytest.raises(SlipwayError, match="did not start") as failure:
        world.start(processes=("web", "worker"))
    assert "hunter2" not in str(failure.value) + str(failure.value.details)
    assert failure.value.details["log"] == ["boot", "cannot log in with ********"]
    assert "active" not in world.systemd.active.values()
    assert not world.systemd.enabled
    world.systemd.broken = set()
    assert world.start(processes=("web", "worker"))["changed"]
    world.honest()


def test_a_unit_that_is_not_there_is_what_the_error_names(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping it fails too; that must not hide why it did not start."""

    def not_loaded(units: Sequence[str], *, wait: bool = True) -> None:
        raise SlipwayError(f"systemctl stop {units} failed, {wait}", found="not loaded")

    world.systemd.broken = {WEB}
    monkeypatch.setattr(world.systemd, "stop", not_loaded)
    with pytest.raises(SlipwayError, match="did not start"):
        world.start()


def test_a_process_in_traffic_that_does_not_start_is_left_to_systemd(world: World) -> None:
    world.start()
    world.give_traffic(green=100)
    world.systemd.active[WEB] = "inactive"
    world.systemd.broken = {WEB}
    world.systemd.calls.clear()
    with pytest.raises(SlipwayError):
        world.start()
    assert world.systemd.calls == [("start", WEB)]


def test_stop(world: World) -> None:
    world.start()
    assert world.stop(check_mode=True)["actions"] == ["Disable web in green", "Stop web in green"]
    assert world.systemd.active[WEB] == "active"
    assert world.stop()["actions"] == ["Disable web in green", "Stop web in green"]
    assert world.systemd.active[WEB] == "inactive"
    assert not world.stop()["changed"]


def test_a_worker_with_long_tasks_is_waited_for_or_only_told(world: World) -> None:
    worker = "shop-worker@green.service"
    world.start(processes=("web", "worker"))
    assert world.stop(wait=False)["actions"] == [
        "Disable web and worker in green",
        "Tell worker in green to stop",
        "Stop web in green",
    ]
    assert world.systemd.active == {WEB: "inactive", worker: "deactivating"}
    assert not world.stop(wait=False)["changed"]
    # systemd starts it only when it has gone, and whoever changes the schema waits, too.
    assert world.start(processes=("web", "worker"))["actions"][:2] == [
        "Stop worker in green",
        "Start web and worker in green",
    ]
    world.stop(wait=False)
    assert world.stop()["actions"] == ["Stop worker in green"]
    assert world.systemd.active[worker] == "inactive"


def test_stop_later_and_change_of_mind(world: World) -> None:
    world.start()
    assert world.stop(after=300)["actions"] == ["Disable web in green", "Stop green in 300 s"]
    assert not world.stop(after=300)["changed"]
    assert world.systemd.timers["shop-retire-green"][1] == 300
    assert world.start()["actions"] == ["Cancel the stop of green", "Enable web in green"]
    assert not world.systemd.timers
    assert world.systemd.active[WEB] == "active"


def test_stop_now_instead_of_later(world: World) -> None:
    world.start()
    world.stop(after=300)
    assert world.stop()["actions"] == ["Cancel the later stop of green", "Stop web in green"]
    assert not world.systemd.timers


def test_a_warm_slot_does_not_come_back_after_a_reboot(world: World) -> None:
    world.start()
    world.stop(after=300)
    world.systemd.reboot()
    assert world.systemd.active == {}
    assert not world.stop(after=300)["changed"]


def test_what_never_ran_is_stopped_already(world: World) -> None:
    assert not world.stop(after=300)["changed"]


def test_a_damaged_environment_file_is_an_error(world: World) -> None:
    world.start()
    Path(world.layout.slot_env("green")).write_text("[garbage\n")
    with pytest.raises(SlipwayError, match=r"green\.env is damaged"):
        world.start()


def test_link_and_file_that_disagree_are_no_assignment(world: World) -> None:
    world.start()
    os.unlink(world.layout.slot_link("green"))
    os.symlink("../releases/r2", world.layout.slot_link("green"))
    assert _assignment.assignment(world.layout, "green")[0] is None
    world.start()
    world.honest()


def crashes(tmp_path: Path, work: Sequence[tuple[str, dict[str, Any]]]) -> Iterator[World]:
    """The world after a crash at each event of ``work``: before each call of systemd and each rename."""
    count = 0
    while True:
        world = World(host(tmp_path / str(count), "r1", "r2"))
        world.start(processes=("web", "worker"))
        fuse = Fuse(count)
        world.systemd.fuse = fuse
        real = os.replace

        def replace(*paths: Any, fuse: Fuse = fuse, real: Any = real) -> None:
            fuse.event()
            real(*paths)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "replace", replace)
            try:
                for verb, options in work:
                    getattr(world, verb)(**options)
                return
            except Crash:
                pass
        world.systemd.fuse = Fuse()
        yield world
        count += 1


def settled(world: World) -> None:
    """The next run brings the second release; the one after that finds nothing to do."""
    world.start("r2", processes=("web", "worker"))
    world.honest()
    assert _assignment.assignment(world.layout, "green")[0] == _assignment.Assignment("r2", CONFIG)
    assert {unit for unit, state in world.systemd.active.items() if state == "active"} == world.systemd.enabled
    assert not world.start("r2", processes=("web", "worker"))["changed"]


@pytest.mark.parametrize("reboot", [False, True], ids=["crash", "crash and reboot"])
@pytest.mark.parametrize(
    "work",
    [
        [("start", {"release": "r2", "processes": ("web", "worker")})],
        [("stop", {"after": 5}), ("start", {"release": "r2"})],
        [("start", {"config": OTHER, "environment": {"A": "2"}})],
        [("stop", {}), ("start", {"release": "r2"}), ("stop", {})],
    ],
)
def test_a_crash_anywhere_and_the_next_run_converges(
    tmp_path: Path, work: list[tuple[str, dict[str, Any]]], reboot: bool
) -> None:
    seen = 0
    for world in crashes(tmp_path, work):
        seen += 1
        world.honest()
        if reboot:
            world.systemd.reboot()
            world.honest()
        settled(world)
    assert seen >= 4


def test_slot_and_route_exclude_each_other(world: World) -> None:
    world.start()
    with _route.alone(world.layout), pytest.MonkeyPatch.context() as patch:
        patch.setattr(_route, "_WAIT", 0.0)
        with pytest.raises(SlipwayError, match="Another process is doing a change of slots or route"):
            world.start("r2")
