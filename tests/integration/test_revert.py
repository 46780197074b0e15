# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong after the switch: the traffic goes back, by the controller or by the host itself."""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import pytest

from tests.integration.conftest import MakeSite
from tests.integration.controller import Run, Started
from tests.integration.host import Live
from tests.integration.site import Site
from tests.integration.test_bad_conditions import let_the_lease_expire
from tests.load import LoadGenerator, Report

FAILED_HOSTS = 2
BACK_SECONDS = 180  # many times what the host waits, on a slow machine
Done = TypeVar("Done")
# Nothing that would answer for the site is there, so the smoke test fails when all else has gone well.
NOBODY: dict[str, Any] = {"webapp_public_address": "127.0.0.1", "webapp_health_deadline": 20}


def under_load(site: Site, work: Callable[[], Done]) -> tuple[Done, Report]:
    """Do it while visitors come and go, and write notes."""
    url = f"https://{site.hosts[site.edge].address}"
    load = LoadGenerator(
        url=url, host=site.domain, insecure=True, clients=6, rate=12.0, max_seconds=400, verify_posts=True
    )
    with load:
        load.wait_for(answers=20)
        run = work()
        load.wait_for(answers=20)
    return run, load.report


def statuses(site: Site, slot: str) -> dict[str, str]:
    """What worker and beat of a slot say of themselves."""
    units = {process: f"{site.app}-{process}@{slot}.service" for process in ("worker", "beat")}
    return {
        name: site.host.sh(f"systemctl show --property=StatusText --value {unit}").strip()
        for name, unit in units.items()
    }


def as_before(site: Site, run: Run, *, live: Live, at: str) -> str:
    """Make sure that all is as it was after a deploy that failed; the release that it was about."""
    assert run.code == FAILED_HOSTS, run.output[-6000:]
    for words in (f"at: {at}", f"serves {live.release} from {live.slot}, as before", "next: "):
        assert words in run.said, f"{words!r} is not in:\n{run.output[-6000:]}"
    assert site.live() == live
    look = site.host.look(site.app)
    entry = look["ledger"][-1]
    assert (entry["action"], entry["outcome"]) == ("deploy", "failed")
    assert look["lease"] is None
    (other,) = {"blue", "green"} - {live.slot}
    left = {name: unit["active"] for name, unit in look["slots"][other]["processes"].items()}
    assert set(left.values()) <= {"inactive", "failed", "deactivating"}, left
    assert [name for name, unit in look["slots"][other]["processes"].items() if unit["enabled"] == "enabled"] == []
    assert statuses(site, live.slot) == {"worker": "takes tasks", "beat": "sends what is due"}
    release: str = entry["release"]
    return release


def test_a_failed_smoke_test_takes_the_traffic_back(board: Site, tell: Callable[[str], None]) -> None:
    board.deploy(board.sources.tree())
    live, tree = board.live(), board.sources.tree()
    run, report = under_load(board, lambda: board.play("deploy", webapp_source=str(tree), **NOBODY))
    release = as_before(board, run, live=live, at="Prove | the release answers at the public address")
    assert report.good, report.lines()
    # The traffic had really moved: visitors saw it.
    assert {seen.release for seen in report.releases} == {live.release, release}, report.lines()
    board.deploy(tree)
    assert board.live().release == release
    tell(
        f"sent={report.sent} answered={report.answered} failed={report.failed}; {release} went back, then was deployed"
    )


def test_a_worker_without_its_broker_is_noticed_before_the_switch(board: Site, tell: Callable[[str], None]) -> None:
    board.deploy(board.sources.tree())
    live, tree = board.live(), board.sources.tree()
    nowhere: dict[str, Any] = {"webapp_redis_url": "redis://127.0.0.1:6399/0", "webapp_health_deadline": 15}
    run, report = under_load(board, lambda: board.play("deploy", webapp_source=str(tree), **nowhere))
    as_before(board, run, live=live, at="Start | run the release, and wait")
    assert "was not ready within 15 s" in run.said
    assert "127.0.0.1:6399" in run.said
    assert report.good, report.lines()
    assert {seen.release for seen in report.releases} == {live.release}, report.lines()
    tell(f"sent={report.sent} answered={report.answered} failed={report.failed}; the traffic never moved")


def moved(site: Site, started: Started) -> str:
    """Wait until the traffic has moved; the slot that has it now."""
    before = set(site.host.look(site.app)["route"])
    while set(site.host.look(site.app)["route"]) == before:
        assert started.running, started.wait().output[-6000:]
        time.sleep(0.05)
    (slot,) = site.host.look(site.app)["route"]
    return str(slot)


def killed_after_the_switch(site: Site, **settings: Any) -> str:
    """Kill the controller as soon as the traffic has moved; the slot that has it now."""
    started = site.start("deploy", **settings)
    slot = moved(site, started)
    started.kill()
    started.wait()
    return slot


def test_a_controller_that_dies_after_the_switch_is_taken_back_by_the_host(
    board: Site, tell: Callable[[str], None]
) -> None:
    board.deploy(board.sources.tree())
    live, tree = board.live(), board.sources.tree()
    patience = {"webapp_health_deadline": 20, "webapp_hold_seconds": 30}
    slots: list[str] = []

    def die_and_wait() -> float:
        slots.append(killed_after_the_switch(board, webapp_source=str(tree), **patience))
        began = time.monotonic()
        while board.host.look(board.app)["pending"] is not None:
            assert time.monotonic() - began < BACK_SECONDS, board.host.look(board.app)
            time.sleep(0.5)
        return time.monotonic() - began

    seconds, report = under_load(board, die_and_wait)
    assert slots != [live.slot]
    assert board.live() == live
    look = board.host.look(board.app)
    assert look["lease"] is None
    entry = look["ledger"][-1]
    assert (entry["outcome"], "no word from the controller" in entry["detail"]) == ("failed", True), entry
    assert statuses(board, live.slot) == {"worker": "takes tasks", "beat": "sends what is due"}
    assert report.good, report.lines()
    board.deploy(tree)
    assert board.live().release == entry["release"]
    tell(
        f"sent={report.sent} answered={report.answered} failed={report.failed}; back by itself after {seconds:.0f} s,"
        f" then {entry['release']} was deployed"
    )


def test_what_a_controller_left_is_settled_by_the_next_run(board: Site, tell: Callable[[str], None]) -> None:
    board.deploy(board.sources.tree())
    live, tree = board.live(), board.sources.tree()
    slot = killed_after_the_switch(board, webapp_source=str(tree), webapp_lease_seconds=900, webapp_hold_seconds=800)
    left = board.host.look(board.app)
    assert slot != live.slot
    assert (left["pending"]["state"], left["pending"]["slot"]) == ("armed", slot)
    assert left["lease"] is not None
    refused = board.play("deploy", webapp_source=str(tree)).refused()
    assert "Somebody else works on this environment" in refused.said
    let_the_lease_expire(board)
    run = board.deploy(tree)
    outcomes = [entry["outcome"] for entry in board.host.look(board.app)["ledger"][-2:]]
    assert outcomes == ["failed", "succeeded"]
    assert (board.live().release, board.host.look(board.app)["pending"]) == (left["pending"]["release"], None)
    tell(f"{left['pending']['release']} was half deployed, went back, and was deployed in {run.seconds:.0f} s")


@pytest.mark.parametrize(
    "number",
    [pytest.param(signal.SIGINT, id="Ctrl-C"), pytest.param(signal.SIGTERM, id="SIGTERM", marks=pytest.mark.long)],
)
def test_a_run_that_is_interrupted_ends_as_if_it_had_failed(
    board: Site, number: int, tell: Callable[[str], None]
) -> None:
    """At once, though its hosts would wait for long."""
    board.deploy(board.sources.tree())
    live, tree = board.live(), board.sources.tree()
    told = dataclasses.replace(board.controller, settings={"ANSIBLE_STDOUT_CALLBACK": "slipway.webapp.story"})
    runs: list[Run] = []

    def interrupt() -> float:
        patience = {"webapp_lease_seconds": 900, "webapp_hold_seconds": 800}
        started = board.start("deploy", controller=told, webapp_source=str(tree), **patience)
        moved(board, started)
        began = time.monotonic()
        started.signal(number)
        runs.append(started.wait())
        return time.monotonic() - began

    seconds, report = under_load(board, interrupt)
    (run,) = runs
    assert run.code != 0, run.output
    assert f"serves {live.release} from {live.slot}" in run.said, run.output
    look = board.host.look(board.app)
    assert (board.live(), look["pending"], look["lease"]) == (live, None, None)
    assert look["ledger"][-1]["outcome"] == "failed"
    assert report.good, report.lines()
    tell(f"sent={report.sent} answered={report.answered} failed={report.failed}; over after {seconds:.1f} s")


def deploys(look: Mapping[str, Any]) -> list[str]:
    """How each deploy ended; what it migrated has entries of its own in the ledger."""
    return [entry["outcome"] for entry in look["ledger"] if entry["action"] == "deploy"]


@pytest.fixture
def novice(staging_site: MakeSite) -> Site:
    """A further application that was never deployed."""
    site = staging_site("novice")
    site.play("provision").ended(0)
    return site


def test_a_first_deploy_that_fails_after_its_switch_is_repeated(
    novice: Site, board: Site, tell: Callable[[str], None]
) -> None:
    neighbour, tree = board.live(), novice.sources.tree()
    run = novice.play("deploy", webapp_source=str(tree), **NOBODY)
    assert run.code == FAILED_HOSTS, run.output[-6000:]
    assert "serves no proven release" in run.said, run.output[-6000:]
    look = novice.host.look(novice.app)
    assert deploys(look) == ["failed"]
    assert look["lease"] is None
    refused = novice.play("rollback").refused()
    again = novice.deploy(tree)
    found = novice.live()
    assert deploys(novice.host.look(novice.app)) == ["failed", "succeeded"]
    assert board.live() == neighbour
    tell(
        f"failed in {run.seconds:.0f} s; rollback refused in {refused.seconds:.1f} s;"
        f" {found.release} in {again.seconds:.0f} s"
    )
