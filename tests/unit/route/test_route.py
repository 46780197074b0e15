# SPDX-License-Identifier: GPL-3.0-or-later
"""Traffic is divided by one rename, and is whole whatever happens."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.slipway.webapp.plugins.module_utils import _route
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._layout import BUCKETS, SLOTS, Layout
from tests.unit.fakes import Crash, FakeClock, FakeSystemd, Fuse, host

SHARES = st.integers(0, 100)


def move(
    layout: Layout, *, check_mode: bool = False, systemd: FakeSystemd | None = None, preview: str = "", **wish: Any
) -> dict[str, Any]:
    doer = _route.Doer(layout=layout, clock=FakeClock(tick=0.001), systemd=systemd or FakeSystemd())
    return _route.switch(doer, weights=_route.weights_of(**wish), preview=preview, check_mode=check_mode)


def files(layout: Layout) -> list[str]:
    return sorted(os.listdir(layout.home)) + sorted(os.listdir(layout.state))


@pytest.fixture
def worker(tmp_path: Path) -> Layout:
    """A host without web processes, whose route needs no sockets."""
    return host(tmp_path, processes=("worker",))


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Layout]:
    """A host where both slots listen. Socket paths are short (sun_path), so the tests move there."""
    here = Path.cwd()
    os.chdir(tmp_path)
    layout = host(Path("h"))
    listeners = []
    for slot in SLOTS:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(layout.socket(slot))
        listener.listen()
        listeners.append(listener)
    yield layout
    for listener in listeners:
        listener.close()
    os.chdir(here)


@pytest.mark.parametrize(
    ("green", "buckets"),
    [(0, 0), (1, 1), (2, 1), (3, 1), (5, 1), (7, 1), (8, 2), (10, 2), (25, 5), (50, 10), (95, 19), (99, 19), (100, 20)],
)
def test_allotment(green: int, buckets: int) -> None:
    assert _route.allot({"blue": 100 - green, "green": green}).count("green") == buckets


@given(SHARES, SHARES)
def test_more_weight_takes_buckets_over_and_gives_none_back(one: int, other: int) -> None:
    less, more = sorted((one, other))
    before, after = (_route.allot({"blue": 100 - share, "green": share}) for share in (less, more))
    assert len(before) == len(after) == BUCKETS
    assert all(new == "green" for old, new in zip(before, after, strict=True) if old == "green")


@pytest.mark.parametrize(
    "weights",
    [{}, {"blue": 50}, {"blue": 60, "green": 60}, {"blue": 120, "green": -20}, {"blue": 0, "green": 100, "x": 0}],
)
def test_weights_that_are_no_division(weights: dict[str, int]) -> None:
    with pytest.raises(SlipwayError, match="no division of the traffic"):
        _route.weights_of(weights=weights)


def test_from_nothing_to_and_fro(web: Layout) -> None:
    assert _route.probe(web) is None
    first = move(web, slot="blue")
    assert (first["before"], first["after"]) == (None, {"blue": 100, "green": 0})
    assert (first["number"], first["switch_ms"]) == (1, 1.0)
    assert os.readlink(os.path.join(web.route_link, "00.sock")) == web.socket("blue")
    second = move(web, slot="green")
    assert second["actions"] == ["Prepare route 2", "Switch the traffic: blue 0 %, green 100 %"]
    assert (second["before"], second["after"], second["number"]) == (first["after"], {"blue": 0, "green": 100}, 2)
    again = move(web, slot="green")
    assert (again["changed"], again["number"], again["switch_ms"]) == (False, 2, 0.0)


def test_canary(web: Layout) -> None:
    move(web, slot="blue")
    result = move(web, weights={"blue": 90, "green": 10})
    assert result["after"] == {"blue": 90, "green": 10}
    route = _route.probe(web)
    assert route is not None
    assert route.buckets == ("green",) * 2 + ("blue",) * 18
    assert route.live == "blue"


def previewed(layout: Layout) -> str:
    """The socket that testers get, by the file system."""
    return os.path.join(os.readlink(os.path.join(layout.route_link, "preview")), "web.sock")


def test_testers_go_first_and_come_back_with_everybody(web: Layout) -> None:
    first = move(web, slot="blue")
    assert (previewed(web), first["preview"]) == (web.socket("blue"), "blue")
    before = move(web, slot="blue", preview="green")
    assert before["actions"][-1] == "Switch the traffic: blue 100 %, green 0 %; testers to green"
    assert before["diff"]["after"] == "blue: 100 %\ngreen: 0 %\ntesters: green\n"
    assert (previewed(web), before["preview"], before["after"]) == (
        web.socket("green"),
        "green",
        {"blue": 100, "green": 0},
    )
    assert not move(web, slot="blue", preview="green")["changed"]
    canary = move(web, weights={"blue": 95, "green": 5}, preview="green")
    assert (previewed(web), canary["after"]) == (web.socket("green"), {"blue": 95, "green": 5})
    assert move(web, weights={"blue": 95, "green": 5})["preview"] == "blue", "without a word: where most of them go"
    back = move(web, slot="blue")
    assert (previewed(web), back["changed"]) == (web.socket("blue"), True)


def test_a_route_of_before_there_were_testers_is_left_alone(web: Layout) -> None:
    move(web, slot="green")
    os.unlink(os.path.join(web.route(1), "preview"))
    found = _route.probe(web)
    assert found is not None
    assert (found.preview, found.testers) == ("", "green")
    assert not move(web, slot="green")["changed"]
    assert move(web, slot="green", preview="blue")["changed"]


def test_testers_are_not_sent_where_nobody_listens(web: Layout) -> None:
    move(web, slot="blue")
    os.unlink(web.socket("green"))
    with pytest.raises(SlipwayError, match="The green slot of shop cannot receive traffic"):
        move(web, slot="blue", preview="green")
    assert previewed(web) == web.socket("blue")


def test_a_slot_for_testers_is_not_stopped_under_them(web: Layout) -> None:
    systemd = FakeSystemd(timers={"shop-retire-green": ((), 300)})
    move(web, slot="blue", systemd=systemd)
    assert move(web, slot="blue", preview="green", systemd=systemd)["actions"][0] == "Cancel the stop of green"
    assert not systemd.timers


def test_check_mode(worker: Layout) -> None:
    before = files(worker)
    foreseen = move(worker, slot="green", check_mode=True)
    assert files(worker) == before
    assert (foreseen["changed"], foreseen["after"]) == (True, {"blue": 0, "green": 100})
    assert move(worker, slot="green")["actions"] == foreseen["actions"]


def test_numbers_grow_and_old_routes_go(worker: Layout) -> None:
    for turn in range(7):
        move(worker, slot=SLOTS[turn % 2])
    assert sorted(os.listdir(worker.routes)) == ["5", "6", "7"]
    assert os.readlink(worker.route_link) == "routes/7"


@pytest.mark.parametrize("how", ["missing", "stale", "file"])
def test_a_slot_that_nobody_listens_in_is_refused(web: Layout, how: str) -> None:
    move(web, slot="blue")
    path = Path(web.socket("green"))
    path.unlink()
    if how == "stale":
        dead = socket.socket(socket.AF_UNIX)
        dead.bind(str(path))
        dead.close()
    elif how == "file":
        path.touch()
    for wish in ({"slot": "green"}, {"weights": {"blue": 95, "green": 5}}):
        with pytest.raises(SlipwayError, match="The green slot of shop cannot receive traffic"):
            move(web, **wish)
    assert move(web, slot="green", check_mode=True)["changed"], "check mode comes before the slot is started"
    assert not move(web, slot="blue")["changed"]


def test_what_already_is_so_asks_nobody(web: Layout) -> None:
    move(web, slot="blue")
    os.unlink(web.socket("blue"))
    assert not move(web, slot="blue")["changed"]


def test_a_slot_that_was_about_to_stop_stays_and_comes_back_after_a_reboot(web: Layout) -> None:
    systemd = FakeSystemd(timers={"shop-retire-green": ((), 300)})
    move(web, slot="blue", systemd=systemd)
    assert systemd.timers
    assert move(web, slot="green", systemd=systemd)["actions"][0] == "Cancel the stop of green"
    assert not systemd.timers
    assert systemd.enabled == {"shop-web@green.service"}


def test_buckets_that_lead_elsewhere_are_put_right(worker: Layout) -> None:
    move(worker, slot="blue")
    stray = os.path.join(worker.route(1), "07.sock")
    os.unlink(stray)
    os.symlink("/elsewhere", stray)
    found = _route.probe(worker)
    assert found is not None
    assert found.buckets[7] == ""
    assert found.weights == {"blue": 95, "green": 0}
    assert move(worker, slot="blue")["changed"]


@pytest.mark.parametrize("target", ["elsewhere", "routes/x", "routes/9"])
def test_a_strange_or_dangling_route_is_replaced(worker: Layout, target: str) -> None:
    os.symlink(target, worker.route_link)
    assert move(worker, slot="blue")["changed"]
    assert move(worker, slot="green")["before"] == {"blue": 100, "green": 0}


def test_a_directory_in_the_way_is_an_error(worker: Layout) -> None:
    os.mkdir(worker.route_link)
    with pytest.raises(SlipwayError, match="is in the way"):
        move(worker, slot="blue")


@pytest.mark.parametrize("killed", range(48))
def test_a_crash_between_any_two_calls_leaves_the_old_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: int
) -> None:
    layout = host(tmp_path, processes=("worker",))
    for turn in range(4):
        move(layout, slot=SLOTS[turn % 2])
    old, new = _route.allot({"blue": 0, "green": 100}), _route.allot({"blue": 75, "green": 25})
    fuse = Fuse(killed)

    def fused(name: str) -> None:
        real = getattr(os, name)

        def call(*given: Any, **named: Any) -> Any:
            fuse.event()
            return real(*given, **named)

        monkeypatch.setattr(os, name, call)

    for name in ("symlink", "replace", "mkdir", "unlink", "rmdir", "fsync"):
        fused(name)
    try:
        move(layout, weights={"blue": 75, "green": 25})
    except Crash:
        route = _route.probe(layout)
        assert route is not None
        assert route.buckets in (old, new)
        fuse.left = -1
        move(layout, weights={"blue": 75, "green": 25})
    fuse.left = -1
    route = _route.probe(layout)
    assert route is not None
    assert route.buckets == new
    move(layout, slot="blue")
    assert len(os.listdir(layout.routes)) == _route.KEPT
    assert not [name for name in os.listdir(layout.home) if name.startswith(".route")]


def test_concurrent_calls_take_turns(worker: Layout) -> None:
    barrier = threading.Barrier(6)
    results = []

    def one(turn: int) -> None:
        barrier.wait()
        results.append(move(worker, slot=SLOTS[turn % 2]))

    threads = [threading.Thread(target=one, args=(turn,)) for turn in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    numbers = [result["number"] for result in results if result["changed"]]
    assert len(numbers) == len(set(numbers)), "two switches made the same route"
    route = _route.probe(worker)
    assert route is not None
    assert route.buckets in (("blue",) * BUCKETS, ("green",) * BUCKETS)
    assert route.number == max(numbers)
