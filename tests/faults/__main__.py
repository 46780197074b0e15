# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: python -m tests.faults [--only step=NAME] [--only fault=NAME] [--resume], and ... table.

Cells are counted until all are done or the time is over; with --resume those that are in .build/faults.json
are kept, or where there is none, those that docs/faults.md has.
With --runtime docker the fleet runs containers, and its cells are in .build/faults-docker.json.
Two runs, each with its own SLIPWAY_PREFIX and --share 1/2 or 2/2 --resume, count the cells together.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time
from collections.abc import Iterator, Sequence

from docker.errors import DockerException

from tests.faults import fleet, table
from tests.faults.faults import BY_NAME as FAULTS
from tests.faults.faults import Fault
from tests.faults.record import RESULTS, Book, Cell
from tests.faults.runner import FleetLostError, Runner
from tests.faults.steps import BY_NAME as STEPS
from tests.faults.steps import Step
from tests.hosts.state import HostsError
from tests.integration.controller import BUILD
from tests.integration.host import HostError

LOGS = BUILD / "faults" / "logs"
ATTEMPTS = 2
# A host, the engine or a deploy that should have worked did not: all of them mean that this fleet is of no more use.
LOST = (FleetLostError, HostError, HostsError, DockerException, AssertionError)


def _share(word: str) -> tuple[int, int]:
    """K and N of 'K/N'."""
    own, _slash, all_of_them = word.partition("/")
    if not (own.isdigit() and all_of_them.isdigit() and 1 <= int(own) <= int(all_of_them)):
        raise argparse.ArgumentTypeError(f"{word!r}: expected K/N with 1 <= K <= N, such as 1/2")
    return int(own), int(all_of_them)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    add = parser.add_argument
    add("verb", nargs="?", choices=("run", "list", "table"), default="run")
    add("--only", action="append", default=[], metavar="step=NAME|fault=NAME", help="may be given several times")
    add("--runtime", choices=tuple(RESULTS), default="systemd", help="(default %(default)s)")
    add("--resume", action="store_true", help="keep the cells that are counted already")
    add("--as-it-is", action="store_true", help="do not provision and deploy at the beginning, if hosts serve already")
    add("--share", type=_share, default=(1, 1), metavar="K/N", help="only every Nth cell, beginning with the Kth")
    add("--minutes", type=float, default=600, help="begin no further cell after so long (default %(default)s)")
    given = parser.parse_args(arguments)
    for word in given.only:
        kind, _equals, name = word.partition("=")
        if name not in {"step": set(STEPS), "fault": set(FAULTS)}.get(kind, set()):
            parser.error(
                f"--only {word}: expected step= one of {', '.join(STEPS)}; or fault= one of {', '.join(FAULTS)}"
            )
    return given


def matrix(only: Sequence[str], runtime: str = "systemd") -> Iterator[tuple[Step, Fault]]:
    """The cells that mean something, in a mixed order that is always the same: a run that ends early has seen of all.

    Those with WebSockets come last, because the fleet is served by another program then.
    """
    wanted = {kind: {word.partition("=")[2] for word in only if word.startswith(kind)} for kind in ("step", "fault")}
    cells = [(step, fault) for step in STEPS.values() for fault in FAULTS.values() if fault.fits(step, runtime)]
    random.Random(4).shuffle(cells)
    for step, fault in sorted(cells, key=lambda cell: cell[0].sockets):
        names = {"step": step.name, "fault": fault.name}
        if all(not some or names[kind] in some for kind, some in wanted.items()):
            yield step, fault


def told(cell: Cell) -> str:
    """One line."""
    verdict = "good" if cell.good else "BAD"
    return (
        f"{verdict:4} requests {cell.requests_sent} failed {cell.requests_failed} (excused {cell.requests_excused}),"
        f" tasks {cell.tasks_sent} lost {cell.tasks_lost} doubled {cell.tasks_doubled}, uniform"
        f" {cell.seconds_to_uniform} s, back {cell.seconds_after_return} s, run {cell.ended}, healed {cell.healed}"
        f" by {cell.healed_by}, {cell.seconds:.0f} s {cell.note}"
    )


class Session:
    """Runs cells one after the other, on a fleet that is made anew when it cannot be helped."""

    def __init__(self, book: Book, *, runtime: str, as_it_is: bool) -> None:
        self._book = book
        self._runtime = runtime
        self._as_it_is = as_it_is
        self._runner: Runner | None = None

    def _ready(self) -> Runner:
        if self._runner is None:
            print("make the fleet", flush=True)
            broken = fleet.make_fleet(self._runtime, as_it_is=self._as_it_is)
            self._as_it_is = False
            self._runner = Runner(broken, say=lambda text: print(text, flush=True), logs=LOGS)
        return self._runner

    def count(self, step: Step, fault: Fault) -> None:
        """One cell. A fleet that is lost on the way is no result: it is made anew, and the cell is tried once more.

        One that cannot be made ends the run: it would be the same with each cell.
        """
        for attempt in range(ATTEMPTS):
            runner = self._ready()
            try:
                cell = runner.cell(step, fault)
            except (*LOST, OSError) as lost:
                print(f"  the fleet is lost, attempt {attempt + 1}: {type(lost).__name__}: {lost}", flush=True)
                fleet.remove_fleet()
                self._runner = None
                continue
            if cell is None:
                print("  the deploy has no such step", flush=True)
                self._book.missing.add(step.name)
                return
            print(f"  {told(cell)}", flush=True)
            self._book.enter(cell)
            return
        self._book.enter(Cell(step=step.name, fault=fault.name, note="could not be carried out"))


def run(given: argparse.Namespace) -> int:
    """0 when all cells are good."""
    book = Book(RESULTS[given.runtime], resume=given.resume)
    if given.resume and not book.cells:
        for cell in table.kept(given.runtime):
            book.enter(cell)
    session, end = Session(book, runtime=given.runtime, as_it_is=given.as_it_is), time.monotonic() + 60 * given.minutes
    own, runs = given.share
    wanted = list(matrix(given.only, given.runtime))[own - 1 :: runs]
    for number, (step, fault) in enumerate(wanted, 1):
        if (step.name, fault.name) in book.cells or step.name in book.missing:
            continue
        if time.monotonic() > end:
            print(f"the time is over: {len(wanted) - number + 1} cells are left, go on with --resume", flush=True)
            break
        print(f"[{number}/{len(wanted)}] {step.name} x {fault.name}", flush=True)
        session.count(step, fault)
    print(table.summary(list(book.cells.values())))
    if not os.environ.get("SLIPWAY_KEEP_HOSTS"):
        fleet.remove_fleet()
    return 0 if book.cells and all(cell.good for cell in book.cells.values()) else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run, list or write the table."""
    given = parse(arguments)
    if given.verb == "run":
        return run(given)
    if given.verb == "list":
        for step, fault in matrix(given.only, given.runtime):
            print(f"{step.name}: {fault.name}")
        return 0
    try:
        table.write()
    except ValueError as error:
        print(f"faults: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
