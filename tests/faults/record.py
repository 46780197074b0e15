# SPDX-License-Identifier: GPL-3.0-or-later
"""What was counted: one cell for each step and fault, kept in .build/faults.json, or faults-docker.json."""

from __future__ import annotations

import dataclasses
import fcntl
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.integration.controller import BUILD

RESULTS = {"systemd": BUILD / "faults.json", "docker": BUILD / "faults-docker.json"}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One fault at one step.

    requests_excused: those of the failed ones that the fault itself takes from users, whatever a deploy does; and so
    tasks_excused.
    seconds_to_uniform: from the fault until every host that could be reached served one whole release, the same that
    visitors got, and stayed so; None when that did not happen. seconds_after_return: the same from the moment on when
    the fault had ended. healed: the next run ended well and left the fleet uniform, with nobody's hand in between.
    ended: how the run that met the fault ended; 'killed', 'did not end', or its exit code. note: what went wrong.
    """

    step: str
    fault: str
    requests_sent: int = 0
    requests_failed: int = 0
    requests_excused: int = 0
    notes_lost: int = 0
    notes_doubled: int = 0
    sockets: int = 0
    tasks_sent: int = 0
    tasks_lost: int = 0
    tasks_excused: int = 0
    tasks_doubled: int = 0
    beats_overlapping: int = 0
    seconds_without_beat: float = 0.0
    seconds_to_uniform: float | None = None
    seconds_after_return: float | None = None
    served: str = ""
    ended: str = ""
    healed: bool = False
    healed_by: str = ""
    note: str = ""
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Nothing was lost that could be kept."""
        return (
            self.requests_sent > 0
            and self.requests_failed == self.requests_excused
            and self.tasks_lost == self.tasks_excused
            and self.notes_lost == self.notes_doubled == self.tasks_doubled == 0
            and self.beats_overlapping == 0
            and self.seconds_to_uniform is not None
            and self.seconds_after_return is not None
            and self.healed
        )

    @property
    def key(self) -> tuple[str, str]:
        return self.step, self.fault


class Book:
    """The cells of one run of the matrix, or of several: that go on where the last one ended, or beside each other."""

    def __init__(self, path: Path = RESULTS["systemd"], *, resume: bool = False) -> None:
        self._path = path
        self.cells: dict[tuple[str, str], Cell] = {}
        # Steps that the deploy does not have.
        self.missing: set[str] = set()
        self._resume = resume
        self._read()

    def _read(self) -> None:
        """What is in the file counts only for a run that goes on with it."""
        if self._resume and self._path.exists():
            self.cells = {cell.key: cell for cell in read(self._path)}
            self.missing |= set(json.loads(self._path.read_text())["missing"])

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other run writes meanwhile; what others have written until now is known."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_name(self._path.name + ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._read()
            yield

    def enter(self, cell: Cell) -> None:
        """Add or replace a cell, and write all of them: a run that is cut short leaves what it has counted."""
        with self._alone():
            self.cells[cell.key] = cell
            data = {"cells": [dataclasses.asdict(one) for one in self.cells.values()], "missing": sorted(self.missing)}
            partial = self._path.with_name(self._path.name + ".partial")
            partial.write_text(json.dumps(data, indent=1) + "\n")
            partial.replace(self._path)


def excused(spans: Iterable[tuple[float, float]], *, window: tuple[float, float]) -> int:
    """How many failed requests were under way at some moment of the window."""
    begin, end = window
    return sum(started <= end and ended >= begin for started, ended in spans)


def read(path: Path) -> list[Cell]:
    """The cells that were written; none when there is no such file."""
    return [Cell(**fields) for fields in json.loads(path.read_text())["cells"]] if path.exists() else []
