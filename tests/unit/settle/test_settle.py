# SPDX-License-Identifier: GPL-3.0-or-later
"""A host's own timer, what is written down at the end of a run, and the program as it is installed."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.slipway.webapp.plugins.action.program import domain_files
from ansible_collections.slipway.webapp.plugins.module_utils import (
    _lease,
    _ledger,
    _reserve,
    _route,
    _settle,
    _transaction,
)
from ansible_collections.slipway.webapp.plugins.module_utils._errors import SlipwayError
from ansible_collections.slipway.webapp.plugins.module_utils._layout import Layout
from ansible_collections.slipway.webapp.plugins.module_utils._transaction import Begun
from tests.unit.ansible_runs import ROOT
from tests.unit.fakes import FakeClock, FakeSystemd, host

RUN = "20261127T110500Z-00000001"
HOLD = 30
WAITING = {"applied": ["shop.0002"], "waiting": ["shop.0003"], "backup": "b1"}


def begun(**options: Any) -> Begun:
    """A first deploy of a host that has a worker only: no sockets, and nothing to go back to."""
    given = {
        "run": RUN,
        "action": "deploy",
        "release": "r2",
        "config": "0123456789ab",
        "slot": "green",
        "by": "anna@ci",
        "processes": ("worker",),
        "hold": HOLD,
    }
    return Begun(**{**given, **options})


@pytest.fixture
def settler(tmp_path: Path) -> _settle.Settler:
    layout = host(tmp_path, "r2", processes=("worker",))
    Path(layout.awake).parent.mkdir(parents=True, exist_ok=True)
    return _settle.Settler(layout=layout, systemd=FakeSystemd(), clock=FakeClock(tick=0.01), timeout=5)


def nobody(_begun: Begun) -> dict[str, Mapping[str, Any] | None]:
    return {}


def last(layout: Layout) -> dict[str, Any]:
    return _ledger.read(layout)[-1]


def test_the_timer_waits_for_the_controllers_next_word(settler: _settle.Settler) -> None:
    clock = settler.clock
    settler.arm(begun())
    assert settler.systemd.timer_active("shop-settle")
    spoken: list[float] = []
    sleep = clock.sleep

    def speak_once(seconds: float) -> None:
        sleep(seconds)
        if not spoken:
            spoken.append(clock.monotonic())
            _transaction.alive(settler.layout, run=RUN, clock=clock, seconds=100)

    clock.sleep = speak_once  # type: ignore[method-assign]
    settler.wait_and_settle(nobody)
    assert clock.monotonic() - spoken[0] >= 100
    assert (last(settler.layout)["outcome"], _transaction.read(settler.layout)) == ("failed", None)
    assert "no word from the controller for 30 s" in last(settler.layout)["detail"]
    assert not settler.systemd.timer_active("shop-settle")


def test_after_a_restart_nobody_is_waited_for(settler: _settle.Settler) -> None:
    settler.arm(begun())
    Path(settler.layout.awake).unlink()
    before = settler.clock.monotonic()
    settler.wait_and_settle(nobody)
    assert settler.clock.monotonic() - before < HOLD
    assert "restarted" in last(settler.layout)["detail"]


def test_who_went_back_alone_asks_on_and_follows(settler: _settle.Settler) -> None:
    answers: list[Mapping[str, Any] | None] = [None, None, {"run": RUN, "state": "committed"}]
    told: list[str] = []
    settler.tell = told.append
    previous = {"slot": "green", "release": "r2", "config": "0123456789ab"}
    settler.arm(begun(peers=("a",), previous=previous))
    settler.wait_and_settle(lambda _begun: {"a": answers.pop(0)})
    assert [entry["outcome"] for entry in _ledger.read(settler.layout)] == ["failed", "succeeded"]
    assert len([line for line in told if "no word" in line]) == 1


def saying(*states: str) -> _settle.Ask:
    """A host that says one of these each time it is asked, and the last one from then on."""
    left = list(states)
    return lambda _begun: {"a": {"run": RUN, "state": left.pop(0) if len(left) > 1 else left[0]}}


@pytest.mark.parametrize(
    ("states", "outcome"), [(["committing", "returned"], "failed"), (["committing", "committed"], "succeeded")]
)
@pytest.mark.parametrize("agreed", [False, True])
def test_without_a_voice_it_waits_for_what_the_others_decide(
    settler: _settle.Settler, agreed: bool, states: list[str], outcome: str
) -> None:
    """They have all agreed, and the controller may be taking them back."""
    previous = {"slot": "green", "release": "r2", "config": "0123456789ab"}
    settler.arm(begun(peers=("a",), previous=previous))
    if agreed:
        settler.commit(RUN)
    settler.wait_and_settle(saying(*states))
    assert [entry["outcome"] for entry in _ledger.read(settler.layout)] == [outcome]


def test_a_restarted_host_does_not_take_agreement_for_the_last_word(settler: _settle.Settler) -> None:
    """Its patience begins when it boots, for the controller may be alive."""
    settler.arm(begun(processes=("web",), peers=("a",)))
    settler.commit(RUN)
    Path(settler.layout.awake).unlink()
    before = settler.clock.monotonic()
    settler.wait_and_settle(saying("committing"))
    assert HOLD <= settler.clock.monotonic() - before < HOLD + 2 * _settle.ASK_EVERY
    assert [entry["outcome"] for entry in _ledger.read(settler.layout)] == ["succeeded"]


@pytest.mark.parametrize("has", [False, True])
def test_who_was_left_out_follows_if_it_has_the_release(settler: _settle.Settler, has: bool) -> None:
    settler.arm(begun(peers=("a",)))
    if has:
        layout = settler.layout
        Path(layout.slot_env("green")).parent.mkdir(parents=True, exist_ok=True)
        Path(layout.slot_env("green")).write_text('SLIPWAY_RELEASE="r2"\nSLIPWAY_CONFIG="0123456789ab"\n')
        Path(layout.slot_link("green")).parent.mkdir(parents=True, exist_ok=True)
        Path(layout.slot_link("green")).symlink_to("../releases/r2")
    settler.wait_and_settle(saying("committed"))
    assert last(settler.layout)["outcome"] == ("succeeded" if has else "failed")
    route = _route.probe(settler.layout)
    assert (route.live if route else "") == ("green" if has else "")


def test_what_cannot_go_back_now_is_tried_again(settler: _settle.Settler, monkeypatch: pytest.MonkeyPatch) -> None:
    settler.arm(begun())
    back, tries = settler.back, []

    def fails_twice(found: Begun, *, why: str) -> None:
        tries.append(why)
        if len(tries) < 3:
            raise SlipwayError("The database is away")
        back(found, why=why)

    monkeypatch.setattr(settler, "back", fails_twice)
    settler.wait_and_settle(nobody)
    assert len(tries) == 3
    assert _transaction.read(settler.layout) is None


@pytest.mark.parametrize("by", ["the host", "the controller"])
def test_a_full_disk_does_not_keep_a_host_from_going_back(
    settler: _settle.Settler, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    settler.arm(begun())
    reserve = Path(settler.layout.state) / "reserve"
    real = _transaction.write

    def full(layout: Layout, state: Begun) -> None:
        if reserve.exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(layout, state)

    with monkeypatch.context() as patch:
        patch.setattr(_transaction, "write", full)
        patch.setattr(_reserve, "_short", lambda _place: True)
        with pytest.raises(OSError, match="No space left"):
            settler.commit(RUN)
        if by == "the host":
            settler.wait_and_settle(nobody)
        else:
            _settle.end(settler, begun(), state=_transaction.RETURNED)
            assert f"Give up {reserve}: the disk is full" in settler.actions
    assert (last(settler.layout)["outcome"], reserve.exists()) == ("failed", False)
    settler.arm(begun(run=f"{RUN[:-1]}2"))
    assert reserve.exists()


def test_the_lease_lives_and_dies_with_the_run(settler: _settle.Settler) -> None:
    layout, clock = settler.layout, settler.clock
    _lease.hold(layout, owner=RUN, reason="deploy", seconds=10, now=clock.now())
    settler.arm(begun(lease=60))
    _transaction.alive(layout, run=RUN, clock=clock)
    lease = _lease.probe(layout, now=clock.now())
    assert lease
    assert lease.until > clock.now() + 50
    settler.wait_and_settle(nobody)
    assert _lease.probe(layout, now=clock.now()) is None


def test_the_lease_lasts_as_long_as_the_hosts_are_patient(settler: _settle.Settler) -> None:
    """A bake looks for an hour; whoever took the lease meanwhile would find a run that looks broken off, and end it."""
    layout, clock = settler.layout, settler.clock
    _lease.hold(layout, owner=RUN, reason="deploy", seconds=10, now=clock.now())
    settler.arm(begun(lease=60))
    for seconds in (300, 1200):
        settler.wait_longer(RUN, seconds=seconds)
        lease, pending = _lease.probe(layout, now=clock.now()), _transaction.read(layout)
        assert lease
        assert pending
        assert lease.until - clock.now() == pytest.approx(seconds, abs=1)
        assert pending.until - clock.monotonic() == pytest.approx(seconds, abs=1)


@pytest.mark.parametrize("restarted", [False, True])
def test_who_is_asked_for_patience_does_not_begin_anew(settler: _settle.Settler, restarted: bool) -> None:
    """It has gone back and waits for nobody. Armed again it would agree to stay with what it has gone back to."""
    settler.arm(begun())
    if restarted:
        Path(settler.layout.awake).unlink()
    settler.wait_and_settle(nobody)
    with pytest.raises(SlipwayError, match="does not take part"):
        settler.wait_longer(RUN, seconds=300)
    assert _transaction.read(settler.layout) is None
    assert not settler.systemd.timer_active("shop-settle")


def test_nothing_begins_without_the_lease(settler: _settle.Settler) -> None:
    layout, clock = settler.layout, settler.clock
    _lease.hold(layout, owner="another", reason="deploy", seconds=10, now=clock.now())
    with pytest.raises(SlipwayError, match="taken away"):
        settler.arm(begun(lease=60))
    assert _transaction.read(layout) is None


def test_a_run_whose_lease_was_taken_away_goes_no_further(settler: _settle.Settler) -> None:
    layout, clock = settler.layout, settler.clock
    _lease.hold(layout, owner=RUN, reason="deploy", seconds=10, now=clock.now())
    settler.arm(begun(lease=60))
    _lease.revoke(layout, owner=RUN, now=clock.now())
    with pytest.raises(SlipwayError, match="taken away"):
        _transaction.alive(layout, run=RUN, clock=clock)


@pytest.mark.parametrize(("lease", "waiting"), [(60, ["shop.0003"]), (0, [])])
def test_only_the_primary_finishes_the_database(settler: _settle.Settler, lease: int, waiting: list[str]) -> None:
    wish = begun(lease=lease, database=WAITING)
    if lease:
        _lease.hold(settler.layout, owner=RUN, reason="deploy", seconds=10, now=settler.clock.now())
    settler.arm(wish)
    settler.commit(RUN)
    _settle.end(settler, wish, state="committed")
    assert _ledger.waiting(_ledger.read(settler.layout)) == waiting


def test_another_runs_work_is_not_written_over(settler: _settle.Settler) -> None:
    settler.arm(begun())
    with pytest.raises(SlipwayError, match="left something unfinished"):
        settler.arm(begun(run="another"))
    with pytest.raises(SlipwayError, match="does not take part"):
        _transaction.alive(settler.layout, run="another", clock=settler.clock)


@pytest.mark.parametrize("at_work", [True, False])
def test_a_controller_that_slept_ends_nothing_of_a_later_run(settler: _settle.Settler, at_work: bool) -> None:
    """The hosts have ended its run by themselves; then another one has begun here, and maybe has ended, too."""
    later = begun(run="20261127T120000Z-00000002", release="r3", slot="blue")
    settler.arm(later)
    if not at_work:
        settler.commit(later.run)
        _settle.end(settler, later, state="committed")
    before = (_transaction.read(settler.layout), settler.systemd.timer_active("shop-settle"))
    entries = _ledger.read(settler.layout)
    settler.actions.clear()
    with pytest.raises(SlipwayError, match="does not take part") as refusal:
        _settle.end(settler, begun(), state="committed")
    assert later.run in str(refusal.value)
    assert (_transaction.read(settler.layout), settler.systemd.timer_active("shop-settle")) == before
    assert (_ledger.read(settler.layout), settler.actions) == (entries, [])


def test_what_fails_before_it_began_is_written_down_only(settler: _settle.Settler) -> None:
    assert _settle.end(settler, begun(), state="returned", why="no room") == ""
    assert (last(settler.layout)["outcome"], last(settler.layout)["detail"]) == ("failed", "no room")
    assert settler.actions == ["Write down deploy of r2: failed"]


@pytest.mark.parametrize("data", [b'{"run": "x"}', b'{"run": "\xff"}', b"[]", b"{"])
def test_a_damaged_journal_is_named(settler: _settle.Settler, data: bytes) -> None:
    Path(settler.layout.pending).write_bytes(data)
    with pytest.raises(SlipwayError, match="is damaged"):
        _transaction.read(settler.layout)


def test_the_program_needs_nothing_that_is_not_installed_with_it(tmp_path: Path) -> None:
    place = ROOT / "roles" / "settle" / "files"
    launcher = tmp_path / "slipway-settle"
    launcher.write_text((place / "slipway-settle").read_text())
    package = {path.name: path.read_text() for path in (place / "slipway_settle").glob("*.py")}
    for name, text in {**package, **domain_files(["_settle", "_peers", "_host", "_swarm", "_systemd"])}.items():
        file = tmp_path / "slipway_settle" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    command = [sys.executable, "-I", str(launcher)]
    done = subprocess.run([*command, "no-such-application"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    wrong = subprocess.run([*command, "Not A Name"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, "cannot be used" in wrong.stderr) == (1, True)
