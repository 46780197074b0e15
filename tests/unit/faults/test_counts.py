# SPDX-License-Identifier: GPL-3.0-or-later
"""What the matrix of faults concludes from what it sees: tables, no hosts."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from tests.app.releases import FAULTS as PLANTED
from tests.faults import table
from tests.faults.__main__ import main, matrix, parse
from tests.faults.eyes import POLL_SECONDS, Eyes, Verdict, judged, serves, watch
from tests.faults.faults import FAULTS
from tests.faults.feeder import Beats, Tasks, counted, ticking
from tests.faults.record import RESULTS, Book, Cell, excused
from tests.faults.steps import STEPS

GOOD = Cell(
    step="stage",
    fault="controller_killed",
    requests_sent=100,
    tasks_sent=9,
    seconds_to_uniform=4.0,
    seconds_after_return=0.0,
    healed=True,
    healed_by="deploy",
)


def unit(release: str, active: str = "active") -> dict[str, str]:
    return {"active": active, "release": release}


def host(
    release: str = "one",
    *,
    route: str = "blue",
    web: str = "one",
    active: str = "active",
    pending: Any = None,
) -> dict[str, Any]:
    """What a look at a host finds; blue holds ``release``, and green an older one."""
    slots = {
        "blue": {"release": release, "processes": {"web": unit(web, active)}},
        "green": {"release": "old", "processes": {"web": unit("old")}},
    }
    return {"route": dict.fromkeys(route.split(), 20) if route else {}, "slots": slots, "pending": pending}


@pytest.mark.parametrize(
    ("look", "release", "problem"),
    [
        (host(), "one", ""),
        (host(route="blue green"), "", "the route leads to ['blue', 'green']"),
        (host(route=""), "", "the route leads to nowhere"),
        (host(active="failed"), "", "web of blue is failed with one"),
        (host(web="old"), "", "web of blue is active with old"),
    ],
)
def test_a_host_serves_one_whole_release_or_none(look: dict[str, Any], release: str, problem: str) -> None:
    assert serves(look) == (release, problem)


def test_what_waits_for_something_that_is_away_does_not_make_a_fleet_differ() -> None:
    begun = {"done": False}
    waits = {"app1": host(), "worker1": host(active="activating", pending=begun)}
    assert judged(waits, []).problem == "worker1: web of blue is activating with one"
    assert judged(waits, [], waiting=("web",)) == Verdict(release="one", problem="")
    wrong = {"app1": host(), "worker1": host(web="old", active="activating", pending=begun)}
    assert judged(wrong, [], waiting=("web",)).problem == "worker1: web of blue is activating with old"
    assert judged({"app1": host(pending=begun)}, [], waiting=("web",)).pending == ("app1",)


def test_a_fleet_is_uniform_when_hosts_and_visitors_agree() -> None:
    two = {"app1": host(), "app2": host()}
    assert judged(two, ["one"] * 6) == Verdict(release="one", problem="")
    assert judged(two, []) == Verdict(release="one", problem="")
    assert judged({**two, "app3": host("two", web="two")}, []).problem.startswith(
        "the hosts differ: app1 one, app2 one"
    )
    assert judged(two, ["one", "two"]).problem == "hosts serve one, visitors get ['two']"
    assert judged(two, ["one", ""]).problem == "hosts serve one, visitors get ['']"
    assert judged({}, []).problem == "no host could be seen"
    assert judged({**two, "app3": host(route="")}, []).problem == "app3: the route leads to nowhere"
    assert judged({**two, "app3": host(pending={"done": False})}, []).pending == ("app3",)
    assert judged({**two, "app3": host(pending={"done": True})}, []).pending == ()


class Clock:
    """Time that passes when somebody sleeps, and a fleet that is what the time says."""

    def __init__(self, fleet: list[tuple[float, Verdict]], *, run_ends: float) -> None:
        self.now = 0.0
        self._fleet = fleet
        self._run_ends = run_ends

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def verdict(self) -> Verdict:
        return [verdict for since, verdict in self._fleet if since <= self.now][-1]

    def active(self) -> bool:
        return self.now < self._run_ends


def uniform(release: str, *pending: str) -> Verdict:
    return Verdict(release=release, problem="", pending=pending)


MIXED = Verdict(release="", problem="the hosts differ")


@pytest.mark.parametrize(
    ("fleet", "run_ends", "seconds", "release"),
    [
        ([(0, uniform("one"))], 0, 0.0, "one"),
        ([(0, uniform("one")), (2, MIXED), (5, uniform("one"))], 9, 5.0, "one"),
        # It may look uniform for a while: what is pending will still happen.
        ([(0, uniform("two", "app1")), (20, MIXED), (22, uniform("one"))], 0, 22.0, "one"),
        # The run goes on and ends well.
        ([(0, uniform("one")), (10, uniform("two"))], 15, 10.0, "two"),
        ([(0, MIXED)], 0, None, ""),
        ([(0, uniform("two", "app1"))], 0, None, "two"),
    ],
)
def test_a_fleet_has_come_to_rest_when_nothing_can_change_it_any_more(
    monkeypatch: pytest.MonkeyPatch,
    fleet: list[tuple[float, Verdict]],
    run_ends: float,
    seconds: float | None,
    release: str,
) -> None:
    clock = Clock(fleet, run_ends=run_ends)
    monkeypatch.setattr("tests.faults.eyes.time.monotonic", lambda: clock.now)
    monkeypatch.setattr("tests.faults.eyes.time.sleep", clock.sleep)
    eyes = Eyes.__new__(Eyes)
    monkeypatch.setattr(eyes, "verdict", clock.verdict)
    found = watch(eyes, since=0.0, limit=120, active=clock.active)
    assert found.verdict.release == release
    # It is seen at the next look.
    assert found.seconds == (None if seconds is None else pytest.approx(seconds + POLL_SECONDS / 2, abs=POLL_SECONDS))


def test_tasks_are_lost_when_confirmed_and_not_done_and_doubled_whoever_asked() -> None:
    runs = [("a", 1), ("b", 0), ("c", 2), ("unconfirmed", 2)]
    assert counted(["a", "b", "c", "gone"], runs) == Tasks(sent=4, done=2, lost=2, doubled=2)


def test_two_beats_at_once_are_seen_and_so_is_a_time_without_any() -> None:
    one, two = "worker1/blue/7", "worker1/green/9"
    assert ticking([(1.0, one), (2.0, one), (4.5, two), (5.0, two)]) == Beats(overlaps=0, longest_gap=2.5)
    assert ticking([(1.0, one), (2.0, two), (3.0, one), (4.0, two)]) == Beats(overlaps=1, longest_gap=1.0)
    assert ticking([]) == Beats(overlaps=0, longest_gap=0.0)
    # In containers every beat may have the same number: one that ended before another came, and one that came after it.
    back = [(1.0, one), (2.0, one), (3.0, two), (4.0, two), (5.0, two), (6.0, one), (7.0, one)]
    assert ticking(back) == Beats(overlaps=0, longest_gap=1.0)
    # One that was frozen, and goes on beside the one that took its place.
    assert ticking([*back, (8.0, two)]) == Beats(overlaps=1, longest_gap=1.0)


def test_a_failed_request_is_excused_when_it_was_under_way_during_the_outage() -> None:
    spans = [(0.0, 1.0), (4.0, 5.5), (6.0, 6.1), (9.0, 12.0), (11.0, 12.0)]
    assert excused(spans, window=(5.0, 10.0)) == 3


@pytest.mark.parametrize(
    "fields",
    [
        {"requests_sent": 0},
        {"requests_failed": 2, "requests_excused": 1},
        {"notes_lost": 1},
        {"tasks_lost": 1},
        {"tasks_doubled": 1},
        {"beats_overlapping": 1},
        {"seconds_to_uniform": None},
        {"seconds_after_return": None},
        {"healed": False},
    ],
)
def test_a_cell_is_bad_when_anything_was_lost(fields: dict[str, Any]) -> None:
    assert GOOD.good
    assert dataclasses.replace(GOOD, requests_failed=2, requests_excused=2).good
    assert not dataclasses.replace(GOOD, **fields).good


def test_the_book_is_kept_for_the_next_run(tmp_path: Path) -> None:
    path = tmp_path / "build" / "faults.json"
    Book(path).enter(GOOD)
    assert Book(path).cells == {}
    book = Book(path, resume=True)
    assert list(book.cells.values()) == [GOOD]
    book.enter(dataclasses.replace(GOOD, step="start"))
    assert set(Book(path, resume=True).cells) == {("stage", "controller_killed"), ("start", "controller_killed")}


def test_the_table_replaces_the_one_before_and_nothing_else(tmp_path: Path) -> None:
    page, results = tmp_path / "faults.md", {name: tmp_path / f"{name}.json" for name in RESULTS}
    page.write_text(f"# Faults\n\n{table.BEGIN}\nold\n{table.END}\nafter\n")
    with pytest.raises(ValueError, match="Run: make faults"):
        table.write(results, page=page)
    bad = dataclasses.replace(GOOD, step="in_stage", requests_failed=3, requests_excused=1, seconds_to_uniform=None)
    book = Book(results["systemd"])
    book.enter(bad)
    book.enter(GOOD)
    table.write(results, page=page)
    text = page.read_text()
    assert text.startswith(f"# Faults\n\n{table.BEGIN}\n")
    assert text.endswith(f"{table.END}\nafter\n")
    assert "old" not in text
    assert "Containers" not in text
    assert "| stage | controller killed | 100 | 0 | 9 | 0 | 0 | 0 | 4 | deploy |  |" in text
    assert "| in stage | controller killed | 100 | 3 (1) | 9 | 0 | 0 | 0 | never | deploy | bad |" in text
    assert text.index("| stage |") < text.index("| in stage |"), "not in the order of a deploy"
    assert "2 cells, 1 of them good. Requests: sent 200, failed 3, of which 1 by the fault itself." in text
    Book(results["docker"]).enter(dataclasses.replace(GOOD, step="bake"))
    table.write(results, page=page)
    assert page.read_text().index("## Containers") < page.read_text().index("| bake |")
    page.write_text("no lines")
    with pytest.raises(ValueError, match="has no lines"):
        table.write(results, page=page)


def test_a_run_goes_on_from_what_the_page_has(tmp_path: Path) -> None:
    page, results = tmp_path / "faults.md", {name: tmp_path / f"{name}.json" for name in RESULTS}
    page.write_text(f"{table.BEGIN}\n{table.END}\n")
    excused = dataclasses.replace(
        GOOD, step="switch_1", fault="broken_after_boot", requests_failed=7, requests_excused=7, healed_by="good deploy"
    )
    units = Book(results["systemd"])
    units.enter(excused)
    units.enter(dataclasses.replace(GOOD, step="bake", tasks_doubled=1))
    Book(results["docker"]).enter(GOOD)
    table.write(results, page=page)
    (cell,) = table.kept("systemd", page=page)
    assert (cell.good, cell.key, table.row(cell)) == (True, excused.key, table.row(excused))
    assert [one.key for one in table.kept("docker", page=page)] == [GOOD.key]
    results["docker"].unlink()
    table.write(results, page=page)
    assert [one.key for one in table.kept("docker", page=page)] == [GOOD.key]


def test_the_matrix_is_what_was_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    everything = {(step.name, fault.name) for step, fault in matrix([])}
    assert {step.name for step in STEPS} == {step for step, _fault in everything}
    contained = {(step.name, fault.name) for step, fault in matrix([], "docker")}
    assert {fault.name for fault in FAULTS} == {fault for _step, fault in everything | contained}
    assert {fault for _step, fault in contained - everything} == {"engine_down", "engine_killed"}
    only = ["step=start", "step=stage", "fault=disk_full"]
    assert {(s.name, f.name) for s, f in matrix(only)} == {("stage", "disk_full"), ("start", "disk_full")}
    sockets = [step.sockets for step, _fault in matrix([])]
    assert sockets == sorted(sockets), "the program that serves changes more than once"
    with pytest.raises(SystemExit):
        parse(["--only", "step=lunch"])
    assert "expected step= one of preflight" in capsys.readouterr().err
    assert main(["list", "--only", "step=start", "--only", "fault=disk_full"]) == 0
    assert capsys.readouterr().out == "start: disk_full\n"


def test_each_planted_fault_exists_and_each_excuse_has_an_end() -> None:
    for fault in FAULTS:
        assert fault.source is None or fault.source in PLANTED, fault.name
        assert bool(fault.excuse) == (fault.excused_seconds != 0), fault.name


def test_two_runs_write_one_book(tmp_path: Path) -> None:
    path = tmp_path / "faults.json"
    one, other = Book(path, resume=True), Book(path, resume=True)
    one.enter(GOOD)
    other.enter(dataclasses.replace(GOOD, step="start"))
    one.enter(dataclasses.replace(GOOD, step="bake"))
    assert {step for step, _fault in Book(path, resume=True).cells} == {GOOD.step, "start", "bake"}
