# SPDX-License-Identifier: GPL-3.0-or-later
"""Hosts in a bad state, and runs that are cut short: the old release serves on, and the next run finishes."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.controller import Started
from tests.integration.host import Live, wait_for
from tests.integration.site import Site
from tests.integration.test_redeploy import differences

MEGABYTE = 1 << 20
# As soon as the installer runs, its module is killed, which may not even say a last word.
KILL_MODULE = """
installer='^/usr/lib/slipway/uv/bin/uv pip install'
end=$(($(date +%s) + 60))
while [ "$(date +%s)" -lt $end ]; do
    pid=$(pgrep -f "$installer" | head -n 1)
    while [ -n "$pid" ] && [ "$pid" -gt 1 ]; do
        case $(cat /proc/$pid/comm 2>/dev/null) in python3*)
            kill -9 "$pid"
            sleep 1
            echo "$pid, and $(pgrep -fc "$installer") installers live on"
            exit 0
        esac
        pid=$(ps -o ppid= -p "$pid" | tr -d ' ')
    done
    sleep 0.02
done
exit 1
"""


def assigned(look: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """What the slots are assigned to; the processes of a slot without traffic may stop at any time."""
    return {slot: (state["release"], state["config"]) for slot, state in look["slots"].items()}


def unharmed(site: Site, *, as_before: dict[str, Any], live: Live) -> None:
    """Visitors get what they got, and every release is one that was there before."""
    assert site.live() == live
    assert site.ask("/").status == 200
    after = site.host.look(site.app)
    assert assigned(after) == assigned(as_before)
    for name in ("route", "route_number", "releases", "venvs", "configs", "lease", "static"):
        assert after[name] == as_before[name], (name, after[name], as_before[name])


def test_full_disk_is_noticed_before_the_work(board: Site, tell: Callable[[str], None]) -> None:
    tree, live, before = board.sources.tree(), board.live(), board.host.look(board.app)
    with board.host.small_disk(f"/srv/{board.app}", size="1500m", free=20 * MEGABYTE):
        run = board.fail(tree)
    assert "There is not enough room" in run.said, run.output
    unharmed(board, as_before=before, live=live)
    tell(f"refused in {run.seconds:.1f} s, {live.release} serves on")


@pytest.mark.long
def test_disk_fills_up_while_the_artifact_is_unpacked(board: Site, tell: Callable[[str], None]) -> None:
    tree, live, before = board.sources.tree(), board.live(), board.host.look(board.app)
    with board.host.small_disk(f"/srv/{board.app}/releases", size="200m", free=40_000):
        run = board.fail(tree)
        assert board.host.look(board.app)["releases"] == before["releases"]
    assert "could not unpack the artifact" in run.said, run.output
    assert "No space left on device" in run.said
    unharmed(board, as_before=before, live=live)
    board.deploy(tree)
    tell(f"failed in {run.seconds:.1f} s, {live.release} served on; with room: {board.live().release}")


@pytest.mark.long
def test_disk_fills_up_while_requirements_are_installed(board: Site, tell: Callable[[str], None]) -> None:
    tree, live, before = board.sources.tree(new_lock=True), board.live(), board.host.look(board.app)
    with board.host.small_disk(f"/srv/{board.app}/venvs", size="1500m", free=10 * MEGABYTE):
        run = board.fail(tree)
        assert board.host.look(board.app)["venvs"] == before["venvs"]
    assert "requirements.txt could not be installed" in run.said, run.output
    assert "No space left on device" in run.said, run.output
    unharmed(board, as_before=before, live=live)
    board.deploy(tree)
    tell(f"failed in {run.seconds:.1f} s, {live.release} served on; with room: {board.live().release}")


def test_disk_fills_up_while_static_files_are_collected(board: Site, tell: Callable[[str], None]) -> None:
    tree, live, before = board.sources.tree(), board.live(), board.host.look(board.app)
    (tree / "notes" / "static" / "notes" / "large.bin").write_bytes(os.urandom(6 * MEGABYTE))
    with board.host.small_disk(f"/srv/{board.app}/releases", size="200m", free=9 * MEGABYTE):
        run = board.fail(tree)
        assert board.host.look(board.app)["releases"] == before["releases"]
    assert "collectstatic" in run.said, run.output
    assert "No space left on device" in run.said, run.output
    unharmed(board, as_before=before, live=live)
    board.deploy(tree)
    tell(f"failed in {run.seconds:.1f} s, {live.release} served on; with room: {board.live().release}")


def test_state_directory_cannot_be_written(board: Site, tell: Callable[[str], None]) -> None:
    tree, live, before = board.sources.tree(), board.live(), board.host.look(board.app)
    files = board.host.files(board.app)
    state = f"/var/lib/slipway/{board.app}"
    with board.host.read_only(state):
        run = board.fail(tree)
    assert state in run.said, run.output
    assert "ead-only" in run.said, run.output
    unharmed(board, as_before=before, live=live)
    assert differences(files, board.host.files(board.app)) == []
    tell(f"refused in {run.seconds:.1f} s, {len(files)} files and units the same, {live.release} serves on")


def test_a_build_that_is_killed_is_finished_by_the_next_run(board: Site, tell: Callable[[str], None]) -> None:
    tree, live, before = board.sources.tree(new_lock=True), board.live(), board.host.look(board.app)
    stale = f"/srv/{board.app}/releases/0123456789ab.partial"
    board.host.sh(f"mkdir -p {stale}/code && echo old >{stale}/code/manage.py && chmod -R o-rwx {stale}")
    killed: list[tuple[int, str]] = []
    killer = threading.Thread(target=lambda: killed.append(board.host.try_sh(KILL_MODULE)))
    killer.start()
    run = board.play("deploy", webapp_source=str(tree))
    killer.join()
    assert killed[0][0] == 0, f"there was nothing to kill: {killed}\n{run.output}"
    assert run.code != 0, run.output
    assert killed[0][1].strip().endswith("and 0 installers live on"), killed
    left = board.host.look(board.app)
    half = [name for name in left["releases"] if name.endswith(".partial") and name not in stale]
    assert len(half) == 1, left["releases"]
    assert board.live() == live
    assert left["lease"] is None
    board.deploy(tree)
    after, now = board.host.look(board.app), board.live()
    assert now.release == half[0].removesuffix(".partial")
    assert [name for name in after["releases"] if name.endswith(".partial")] == []
    venvs = f"/srv/{board.app}/venvs"
    assert [name for name in after["venvs"] if board.host.try_sh(f"test -e {venvs}/{name}/slipway.json")[0]] == []
    (venv,) = set(after["venvs"]) - set(before["venvs"])
    board.host.sh(f"cd /tmp && {venvs}/{venv}/bin/python -c 'import celery, django, psycopg, redis, uvicorn'")
    tell(f"killed module {killed[0][1].strip()}; {live.release} served on; next run: {now.release} with {venv}")


def started_and_holding(site: Site, tree: Path, **settings: Any) -> Started:
    """A deploy that holds the lease and takes its time."""
    first = site.start("deploy", webapp_source=str(tree), **settings)
    end = time.monotonic() + 60
    while not site.host.look(site.app)["lease"]:
        assert first.running, first.wait().output
        assert time.monotonic() < end, "nobody took the lease"
        time.sleep(0.2)
    return first


def let_the_lease_expire(site: Site) -> None:
    """A minute passes at once: what is left of the lease of a killed run is a second.

    A module (Python that reads its program from its input) goes on without its controller, and keeps the lease.
    """
    wait_for(lambda: site.host.try_sh("pgrep -fx '[^ ]*/python3'")[0] != 0, seconds=60)
    before, soon = site.host.look(site.app)["lease"]["until"], site.host.now() + 1
    site.host.sh(f"""sed -i 's/"until": [0-9.]*/"until": {soon:.1f}/' /var/lib/slipway/{site.app}/lease.json""")
    assert site.host.look(site.app)["lease"]["until"] < before
    time.sleep(1.1)


def test_the_lease_keeps_a_second_run_out_and_expires(board: Site, tell: Callable[[str], None]) -> None:
    live = board.live()
    slow = board.sources.tree(fault="never-answers")
    first = started_and_holding(board, slow, webapp_by="ann@desk", webapp_lease_seconds=60, webapp_health_deadline=15)
    second = board.fail(board.sources.tree(), webapp_by="bob@desk")
    assert "Somebody else works on this environment" in second.said, second.output
    assert "by ann@desk" in second.said, second.output
    assert "it expires at" in second.said, second.output
    first.kill()
    first.wait()
    left = board.host.look(board.app)["lease"]
    assert left is not None, "the killed run gave its lease back: then it did not expire"
    assert left["until"] > board.host.now(), left
    assert board.live() == live
    let_the_lease_expire(board)
    board.deploy(board.sources.tree(), webapp_by="bob@desk")
    after = board.host.look(board.app)
    assert after["lease"] is None
    assert after["ledger"][-1]["by"] == "bob@desk"
    tell(
        f"refused in {second.seconds:.1f} s; after the lease had expired {board.live().release} replaced {live.release}"
    )


def test_a_reboot_between_two_deploys(board: Site, tell: Callable[[str], None]) -> None:
    live = board.live()
    began = time.monotonic()
    board.host.restart()
    while board.ask_or_none("/health") is None:
        assert time.monotonic() - began < 60, "the site did not come back"
        time.sleep(0.2)
    back = time.monotonic() - began
    assert board.live() == live
    board.deploy(board.sources.tree())
    tell(f"{live.release} answered {back:.1f} s after the reboot began; then {board.live().release}")
