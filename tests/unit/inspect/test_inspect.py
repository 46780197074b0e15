# SPDX-License-Identifier: GPL-3.0-or-later
"""One look at a host: what is there, what is missing, and whether a deploy has anything to do."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from ansible_collections.slipway.webapp.plugins.module_utils import (
    _assignment,
    _handover,
    _inspect,
    _lease,
    _ledger,
    _route,
    _slot,
)
from ansible_collections.slipway.webapp.plugins.module_utils._config import config_id
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._layout import PROCESSES, Layout
from ansible_collections.slipway.webapp.plugins.module_utils._ports import Engine, Image
from tests.unit.fakes import FakeClock, FakeSystemd, host

CONFIG = config_id(app="shop", environment={}, secrets={})


def record(layout: Layout, release: str) -> None:
    """Make the release complete in the eyes of those who build it."""
    here = Path(layout.release(release))
    (here / "code").mkdir(parents=True, exist_ok=True)
    venv = Path(layout.venv("abc"))
    (venv / "bin").mkdir(parents=True, exist_ok=True)
    (venv / "slipway.json").write_text("{}")
    (venv / "bin" / "python").touch(0o755)
    if not (here / "venv").is_symlink():
        for old in ("bin/python", "bin", ""):
            path = here / "venv" / old
            path.unlink() if path.is_file() else path.rmdir() if path.is_dir() else None
        (here / "venv").symlink_to("../../venvs/abc")
    lock = {"kind": "requirements.txt", "hash": "abc"}
    about = {"id": release, "version": "", "sha256": "s", "created": "2026", "python": "3", "lock": lock}
    (here / "release.json").write_text(json.dumps({**about, "files": 1, "collection": "1"}))


@dataclass
class World:
    layout: Layout
    processes: tuple[str, ...] = PROCESSES
    systemd: FakeSystemd = field(default_factory=FakeSystemd)

    def look(self, release: str = "", config: str = CONFIG) -> dict[str, Any]:
        wanted = _inspect.Wanted(release, config, self.processes) if release else None
        return _inspect.inspect(self.layout, systemd=self.systemd, clock=FakeClock(time.time()), wanted=wanted)

    def needs(self, release: str = "r1", config: str = CONFIG) -> list[str]:
        wanted = self.look(release, config)["wanted"]
        assert wanted["up_to_date"] == (not wanted["needs"])
        return list(wanted["needs"])

    def deploy(self, release: str, slot: str, *, run: str, prove: bool = True) -> None:
        wish = _slot.wish_of(
            self.layout,
            assignment=_assignment.Assignment(release, CONFIG),
            environment={},
            secrets={},
            processes=[one for one in self.processes if one == "web"],
        )
        _slot.start(_slot.Doer(layout=self.layout, systemd=self.systemd, slot=slot), wish=wish)
        self.route(slot=slot)
        movable = [one for one in self.processes if one != "web"]
        _handover.hand_over(_handover.Doer(self.layout, self.systemd, FakeClock(), 5), slot=slot, processes=movable)
        if prove:
            fields = {"action": "deploy", "outcome": "succeeded", "release": release, "config": CONFIG, "slot": slot}
            _ledger.record(self.layout, _ledger.entry(now=1_800_000_000, fields={**fields, "by": "anna", "run": run}))

    def route(self, **wish: Any) -> None:
        template = Path(self.layout.unit_template("web"))
        there = template.exists()
        template.unlink(missing_ok=True)
        doer = _route.Doer(layout=self.layout, clock=FakeClock(), systemd=self.systemd)
        _route.switch(doer, weights=_route.weights_of(**wish))
        if there:
            template.touch()


@pytest.fixture
def world(tmp_path: Path) -> World:
    layout = host(tmp_path, "r1", "r2")
    for release in ("r1", "r2"):
        record(layout, release)
    return World(layout)


def test_a_host_that_knows_nothing(tmp_path: Path) -> None:
    empty = World(Layout("shop", prefix=str(tmp_path)))
    info = empty.look()
    disk = info.pop("disk")
    assert 0 <= disk["free_bytes"] <= disk["total_bytes"]
    assert info.pop("python").startswith("3.")
    assert abs(info.pop("time") - time.time()) < 60
    nothing: dict[str, Any] = {"release": None, "config": None, "processes": {}}
    assert info == {
        "app": "shop",
        "live": None,
        "services": None,
        "lease_turn": "",
        "services_need": [],
        "slots": {"blue": nothing, "green": nothing},
        "route": None,
        "releases": [],
        "artifacts": [],
        "configs": [],
        "lease": None,
        "proven": [],
        "ledger": [],
        "maintenance": False,
        "waiting": [],
        "schema": [],
        "undone": [],
        "live_needs": [],
        "backups": [],
        "pending": None,
        "access_log": {"state": "missing", "said": f"{empty.layout.access_log}: No such file or directory"},
    }
    assert empty.look("r1")["wanted"] == {
        "up_to_date": False,
        "target_slot": "blue",
        "needs": ["release", "config", "slot"],
    }
    assert os.listdir(tmp_path) == []


def test_whether_the_log_can_be_read(world: World) -> None:
    log = Path(world.layout.access_log)
    log.parent.mkdir(parents=True)
    log.touch()
    assert world.look()["access_log"] == {"state": "ok", "said": ""}
    log.unlink()
    log.mkdir()
    assert world.look()["access_log"] == {"state": "unreadable", "said": f"{log}: Is a directory"}


def test_after_a_deploy(world: World) -> None:
    world.deploy("r1", "blue", run="1")
    info = world.look("r1")
    assert info["live"] == {
        "slot": "blue",
        "release": "r1",
        "config": CONFIG,
        "since": "2027-01-15T08:00:00Z",
        "by": "anna",
    }
    assert info["route"] == {"number": 1, "weights": {"blue": 100, "green": 0}}
    assert info["wanted"] == {"up_to_date": True, "target_slot": "blue", "needs": []}
    assert info["configs"] == [CONFIG]
    assert {release["id"] for release in info["releases"]} == {"r1", "r2"}
    assert info["slots"]["blue"]["processes"]["web"] == {
        "active": "active",
        "enabled": True,
        "since": "2026-11-21T11:00:00Z",
        "says": "takes tasks",  # the fake says so of every process that runs
    }
    assert info["slots"]["green"] == {
        "release": None,
        "config": None,
        "processes": {
            one: {"active": "inactive", "enabled": False, "since": None, "says": "waits"} for one in PROCESSES
        },
    }
    world.deploy("r2", "green", run="2")
    again = world.look("r1")
    assert (again["live"]["slot"], again["wanted"]["target_slot"]) == ("green", "blue")
    assert [old["release"] for old in again["proven"]] == ["r2", "r1"]
    assert [old["run"] for old in again["ledger"]] == ["2", "1"]
    assert json.loads(json.dumps(again)) == again


def break_release(world: World) -> None:
    os.unlink(os.path.join(world.layout.release("r1"), "release.json"))


def break_config(world: World) -> None:
    os.unlink(world.layout.config_env(CONFIG))


def break_web(world: World) -> None:
    world.systemd.active["shop-web@blue.service"] = "failed"


def break_boot(world: World) -> None:
    world.systemd.enabled.remove("shop-worker@blue.service")


def break_handover(world: World) -> None:
    world.systemd.active["shop-worker@green.service"] = "active"


def break_handover_at_boot(world: World) -> None:
    world.systemd.enabled.add("shop-beat@green.service")


def break_route(world: World) -> None:
    world.route(weights={"blue": 90, "green": 10})


def break_maintenance(world: World) -> None:
    Path(world.layout.maintenance).write_text("slipway: run1\n")


def break_pending(world: World) -> None:
    Path(world.layout.pending).write_text('{"run": "1"}')


@pytest.mark.parametrize(
    ("harm", "need"),
    [
        (break_release, "release"),
        (break_config, "config"),
        (break_web, "start"),
        (break_boot, "start"),
        (break_handover, "handover"),
        (break_handover_at_boot, "handover"),
        (break_route, "route"),
        (break_pending, "pending"),
        (break_maintenance, "maintenance"),
    ],
)
def test_each_need(world: World, harm: Callable[[World], None], need: str) -> None:
    world.deploy("r1", "blue", run="1")
    assert world.needs() == []
    harm(world)
    assert world.needs() == [need]
    # What only an unfinished run can have left is finished where it is.
    assert world.look("r1")["wanted"]["target_slot"] == ("blue" if need in ("handover", "maintenance") else "green")


@dataclass
class Images:
    """An engine that has these images; without any list it does not answer."""

    there: list[str] | None
    asked: list[str] = field(default_factory=list)

    def image(self, reference: str) -> Image | None:
        self.asked.append(reference)
        if self.there is None:
            raise SlipwayError("The Docker Engine of this host does not answer")
        return Image("amd64") if reference in self.there else None


def images(world: World, engine: Images) -> list[tuple[str, str]]:
    """The releases as the look tells them, with what is wrong with each."""
    for number, release in enumerate(("r1", "r2"), start=1):
        path = Path(world.layout.release(release)) / "release.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "image": f"shop@sha256:{number}"}))
    found = _inspect.inspect(
        world.layout,
        systemd=world.systemd,
        clock=FakeClock(time.time()),
        wanted=_inspect.Wanted("r2", CONFIG, ["web"]),
        engine=cast(Engine, engine),
    )
    assert ("release" in found["wanted"]["needs"]) == any(
        one["id"] == "r2" and one["problem"] for one in found["releases"]
    )
    return sorted((one["id"], one["problem"]) for one in found["releases"])


def test_a_release_without_its_image_is_not_complete(world: World) -> None:
    problem = "the engine has not its image shop@sha256:2 any more"
    assert images(world, Images(["shop@sha256:1"])) == [("r1", ""), ("r2", problem)]


def test_an_engine_that_does_not_answer_has_lost_nothing_and_is_asked_once(world: World) -> None:
    engine = Images(None)
    assert images(world, engine) == [("r1", ""), ("r2", "")]
    assert len(engine.asked) == 1


def test_without_images_no_engine_is_asked(world: World) -> None:
    engine = Images(None)
    _inspect.inspect(world.layout, systemd=world.systemd, clock=FakeClock(time.time()), engine=cast(Engine, engine))
    assert engine.asked == []


def test_another_pair_is_needed(world: World) -> None:
    world.deploy("r1", "blue", run="1")
    assert world.needs("r2") == ["slot"]
    assert world.needs("r1", "0" * 12) == ["config", "slot"]


def test_a_run_that_died_before_it_was_proven(world: World) -> None:
    world.deploy("r1", "blue", run="1", prove=False)
    info = world.look("r1")
    assert info["live"]["since"] is None
    assert info["wanted"] == {"up_to_date": False, "target_slot": "blue", "needs": ["proof"]}


def test_a_failure_proves_nothing(world: World) -> None:
    world.deploy("r1", "blue", run="1", prove=False)
    fields = {"action": "deploy", "outcome": "failed", "release": "r1", "config": CONFIG, "slot": "blue"}
    _ledger.record(world.layout, _ledger.entry(now=1_800_000_000, fields={**fields, "by": "anna", "run": "1"}))
    assert world.needs() == ["proof"]


def test_what_was_proven_in_the_other_slot_does_not_prove_this_one(world: World) -> None:
    world.deploy("r1", "blue", run="1")
    world.deploy("r1", "green", run="2", prove=False)
    assert world.needs() == ["proof"]


def test_an_old_worker_that_still_drains_is_no_need(world: World) -> None:
    world.deploy("r1", "blue", run="1")
    world.deploy("r2", "green", run="2")
    assert world.systemd.active["shop-worker@blue.service"] == "deactivating"
    assert world.needs("r2") == []


def test_a_worker_host(tmp_path: Path) -> None:
    layout = host(tmp_path, processes=("worker",))
    record(layout, "r1")
    world = World(layout, processes=("worker",))
    world.deploy("r1", "blue", run="1")
    info = world.look("r1")
    assert list(info["slots"]["blue"]["processes"]) == ["worker"]
    assert info["live"]["slot"] == "blue"
    assert info["wanted"]["up_to_date"]


def test_the_lease_and_what_lies_around(world: World) -> None:
    _lease.hold(world.layout, owner="anna", reason="deploy", seconds=60, now=time.time())
    os.makedirs(world.layout.artifacts)
    for name in ("aa.tar.gz", ".bb.tar.gz.123", "junk"):
        Path(world.layout.artifacts, name).touch()
    info = world.look()
    assert info["lease"]["owner"] == "anna"
    assert info["artifacts"] == ["aa"]


def test_looking_changes_nothing_and_asks_systemd_once(world: World) -> None:
    world.deploy("r1", "blue", run="1")
    asked = []
    real = world.systemd.states

    def states(units: Any) -> Any:
        asked.append(units)
        return real(units)

    world.systemd.states = states  # type: ignore[method-assign]
    before = sorted(str(path) for path in Path(world.layout.prefix).rglob("*"))
    world.systemd.calls.clear()
    world.look("r1")
    assert len(asked) == 1
    assert not world.systemd.calls
    assert sorted(str(path) for path in Path(world.layout.prefix).rglob("*")) == before
