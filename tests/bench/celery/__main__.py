# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure what becomes of the tasks when a worker is replaced: Celery's own shutdowns, and ours, beside each other."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.bench import fleet, measure

RESULT = fleet.ROOT / ".build" / "bench-celery.json"
HERE = Path(__file__).parent
HOST = "bench1"
PLACE = "/opt/slipway-bench-celery"
COLUMNS = ("load", "mode", "ack", "sent", "done", "lost", "hour", "doubled", "begun_twice", "drain_s", "all_s")
TITLES = (
    *("tasks", "the old worker's end", "acknowledged", "sent", "done", "lost", "after an hour", "doubled"),
    *("begun twice", "old gone after (s)", "all done after (s)"),
)


def main() -> int:
    """The whole bench; 0 when it could be measured, whatever the figures are."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.celery", description=__doc__)
    parser.add_argument("--modes", nargs="+", default=[], help="only these ways")
    options = parser.parse_args()
    try:
        _prepare()
        rows = _measure(options.modes)
    except measure.BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    RESULT.write_text(json.dumps({"cells": rows}, indent=2), encoding="utf-8")
    print(*table(rows), f"\nwritten to {RESULT.relative_to(fleet.ROOT)}", sep="\n")
    return 0


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Markdown, for docs/workers.md."""
    lines = [TITLES, ["---"] * len(TITLES), *([str(row[name]) for name in COLUMNS] for row in rows)]
    return [f"| {' | '.join(line)} |" for line in lines]


def _prepare() -> None:
    """One host, provisioned, with a release: unit, programs and broker are as on real hosts."""
    print("prepare a host", flush=True)
    measure.command(sys.executable, "-m", "tests.hosts", "up", "bench", "--only", HOST)
    for playbook in ("provision", "deploy"):
        measure.play(playbook, fleet.inventory(1), "-e", f"webapp_source={fleet.tree(0)}")


def _measure(modes: Sequence[str]) -> list[dict[str, Any]]:
    """What the part on the host prints; its progress goes to our standard error."""
    _ssh(f"sudo mkdir -p {PLACE}")
    for name in ("on_host.py", "bench_tasks.py"):
        _ssh(f"sudo tee {PLACE}/{name} >/dev/null", stdin=(HERE / name).read_text(encoding="utf-8"))
    only = f" --modes {' '.join(modes)}" if modes else ""
    python = f"$(readlink -f $(ls -d /srv/{fleet.APP}/slots/* | head -n 1))/venv/bin/python"
    found: list[dict[str, Any]] = json.loads(_ssh(f"sudo {python} {PLACE}/on_host.py --app {fleet.APP}{only}"))
    return found


def _ssh(command: str, *, stdin: str = "") -> str:
    done = subprocess.run([*fleet.ssh(HOST), command], input=stdin, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise measure.BenchError(f"on {HOST}, {command.split(' --')[0]} ended with {done.returncode}: see above")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
