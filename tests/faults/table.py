# SPDX-License-Identifier: GPL-3.0-or-later
"""The cells for people: a Markdown table in docs/faults.md, between two lines that stay."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from tests.faults import faults, steps
from tests.faults.record import RESULTS, Cell, read
from tests.integration.controller import ROOT

PAGE = ROOT / "docs" / "faults.md"
BEGIN = "<!-- begin: python -m tests.faults table -->"
END = "<!-- end -->"
TITLES = {"systemd": "Units on hosts", "docker": "Containers"}
NUMBERS = ("requests sent", "failed", "tasks sent", "lost", "doubled", "s without beat", "s to uniform")
HEAD = (
    f"| step | fault | {' | '.join(NUMBERS)} | healed by | |\n"
    f"| --- | --- | {' | '.join(['---:'] * len(NUMBERS))} | --- | --- |"
)
# What row() writes of a good cell.
GOOD_ROW = re.compile(
    r"^\| (?P<step>[a-z0-9 ]+) \| (?P<fault>[a-z ]+) \| (?P<requests_sent>\d+)"
    r" \| (?P<requests_failed>\d+)(?: \((?P<requests_excused>\d+)\))? \| (?P<tasks_sent>\d+)"
    r" \| (?P<tasks_lost>\d+)(?: \((?P<tasks_excused>\d+)\))? \| (?P<tasks_doubled>\d+)"
    r" \| (?P<beat>\d+) \| (?P<uniform>\d+) \| (?P<healed_by>[a-z ]+) \|  \|$",
    re.MULTILINE,
)


def seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.0f}"


def with_excused(count: int, excused: int) -> str:
    """With those apart that nobody can spare users."""
    return f"{count} ({excused})" if excused else str(count)


def row(cell: Cell) -> str:
    words = (
        cell.step.replace("_", " "),
        cell.fault.replace("_", " "),
        str(cell.requests_sent),
        with_excused(cell.requests_failed, cell.requests_excused),
        str(cell.tasks_sent),
        with_excused(cell.tasks_lost, cell.tasks_excused),
        str(cell.tasks_doubled),
        f"{cell.seconds_without_beat:.0f}",
        seconds(cell.seconds_to_uniform),
        cell.healed_by if cell.healed else f"not by {cell.healed_by or 'anything'}",
        "" if cell.good else "bad",
    )
    return f"| {' | '.join(words)} |"


def summary(cells: Sequence[Cell]) -> str:
    """The sum in one sentence."""
    took = [cell.seconds_to_uniform for cell in cells if cell.seconds_to_uniform is not None]
    worst = max(took, default=0.0)
    return (
        f"{len(cells)} cells, {sum(cell.good for cell in cells)} of them good. Requests: sent"
        f" {sum(cell.requests_sent for cell in cells)}, failed {sum(cell.requests_failed for cell in cells)}, of which"
        f" {sum(cell.requests_excused for cell in cells)} by the fault itself. Tasks: sent"
        f" {sum(cell.tasks_sent for cell in cells)}, lost {sum(cell.tasks_lost for cell in cells)}, doubled"
        f" {sum(cell.tasks_doubled for cell in cells)}. Uniform after {worst:.0f} s at the most; never in"
        f" {sum(cell.seconds_to_uniform is None for cell in cells)}. Healed by the next run:"
        f" {sum(cell.healed for cell in cells)}."
    )


def legend() -> list[str]:
    """What each fault is, and what it takes from users by itself."""
    lines = ["| fault | what happens | what is lost whatever a deploy does |", "| --- | --- | --- |"]
    for fault in faults.FAULTS:
        limit = "" if fault.excused_seconds is None else f", for {fault.excused_seconds:.0f} s"
        excuse = "; ".join(part for part in (fault.excuse and fault.excuse + limit, fault.task_excuse) if part)
        lines.append(f"| {fault.name.replace('_', ' ')} | {fault.what} | {excuse or 'nothing'} |")
    return lines


def ordered(cells: Iterable[Cell]) -> list[Cell]:
    """By fault, and by step within it, as the two tables have them."""
    # What is no longer in the tables comes last.
    step, fault = ({name: place for place, name in enumerate(names)} for names in (steps.BY_NAME, faults.BY_NAME))
    return sorted(cells, key=lambda cell: (fault.get(cell.fault, len(fault)), step.get(cell.step, len(step))))


def section(cells: Iterable[Cell], runtime: str) -> str:
    """The table of one runtime."""
    known = ordered(cells)
    there_are = sum(fault.fits(step, runtime) for step in steps.STEPS for fault in faults.FAULTS)
    notes = [
        f"- {cell.step.replace('_', ' ')}, {cell.fault.replace('_', ' ')}: {cell.note}"
        for cell in known
        if cell.note and not cell.good
    ]
    counted = f"Counted so far: {len(known)} of {there_are} cells." if len(known) < there_are else ""
    parts = [f"{summary(known)} {counted}".rstrip(), "\n".join([HEAD, *map(row, known)])]
    return "\n\n".join([*parts, "\n".join(notes)] if notes else parts)


def markdown(found: Mapping[str, Sequence[Cell]]) -> str:
    """All that stands between the two lines, from the cells of each runtime."""
    tables = [f"## {TITLES[runtime]}\n\n{section(cells, runtime)}" for runtime, cells in found.items() if cells]
    return "\n\n".join([*tables, "## The faults\n\n" + "\n".join(legend())])


def kept(runtime: str, *, page: Path = PAGE) -> list[Cell]:
    """The good cells that the page has: what a run goes on from on a machine that has counted none itself."""
    _before, _title, rest = page.read_text().partition(f"## {TITLES[runtime]}\n")
    return [_cell(found) for found in GOOD_ROW.finditer(rest.partition("\n## ")[0])]


def _cell(row: re.Match[str]) -> Cell:
    """What a row does not say is what it is in every good cell."""
    return Cell(
        step=row["step"].replace(" ", "_"),
        fault=row["fault"].replace(" ", "_"),
        requests_sent=int(row["requests_sent"]),
        requests_failed=int(row["requests_failed"]),
        requests_excused=int(row["requests_excused"] or 0),
        tasks_sent=int(row["tasks_sent"]),
        tasks_lost=int(row["tasks_lost"]),
        tasks_excused=int(row["tasks_excused"] or 0),
        tasks_doubled=int(row["tasks_doubled"]),
        seconds_without_beat=float(row["beat"]),
        seconds_to_uniform=float(row["uniform"]),
        seconds_after_return=0.0,
        healed=True,
        healed_by=row["healed_by"],
    )


def write(results: Mapping[str, Path] = RESULTS, *, page: Path = PAGE) -> None:
    """Put what was counted into the page; ValueError where that cannot be."""
    # What no run here has counted stays as the page has it.
    found = {runtime: read(path) if path.exists() else kept(runtime, page=page) for runtime, path in results.items()}
    if not any(found.values()):
        raise ValueError(f"There is no {' and no '.join(map(str, results.values()))}. Run: make faults")
    text = page.read_text()
    before, begun, rest = text.partition(BEGIN)
    _old, ended, after = rest.partition(END)
    if not begun or not ended:
        raise ValueError(f"{page} has no lines {BEGIN!r} and {END!r}: put them back where the table belongs.")
    page.write_text(f"{before}{BEGIN}\n\n{markdown(found)}\n\n{END}{after}")
