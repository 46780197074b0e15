# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure: a backup at each level, a restore and a plan with nothing pending, beside pg_dump and pg_basebackup."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.bench import fleet, measure
from tests.bench.backup import figures

RESULT = fleet.ROOT / ".build" / "bench-backup.json"
HERE = Path(__file__).parent
HOST = "bench1"
PLACE = "/var/tmp/slipway-bench-program"


def main() -> int:
    """The whole bench; 0 when it could be measured, whatever the figures are."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.backup", description=__doc__)
    parser.add_argument("--sizes", type=float, nargs="+", default=[1.0, 5.0], help="GB of the databases (1 5)")
    options = parser.parse_args()
    try:
        _prepare()
        found = figures.judged(_measure(options.sizes))
    except measure.BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    RESULT.write_text(json.dumps(found, indent=2), encoding="utf-8")
    print(*figures.table(found), f"\nwritten to {RESULT.relative_to(fleet.ROOT)}", sep="\n")
    return 0


def _prepare() -> None:
    """One host, provisioned, with a release: the programs are there as on real hosts."""
    print("prepare a host", flush=True)
    measure.command(sys.executable, "-m", "tests.hosts", "up", "bench", "--only", HOST)
    for playbook in ("provision", "deploy"):
        measure.play(playbook, _inventory(), "-e", f"webapp_source={fleet.tree(0)}")


def _inventory() -> Path:
    """One host that has its database for itself, by its socket: the passwords and addresses are those of a fleet."""
    document = json.loads(fleet.inventory(1).read_text(encoding="utf-8"))
    given = document["staging"]["vars"]
    fleets = ("webapp_database_", "webapp_redis_")
    document["staging"]["vars"] = {name: value for name, value in given.items() if not name.startswith(fleets)}
    path = fleet.WORK / "hosts-backup.yml"
    path.write_text(json.dumps(document, indent=1), encoding="utf-8")
    return path


def _measure(sizes: Sequence[float]) -> dict[str, object]:
    """What the part on the host prints; its progress goes to our standard error."""
    package = f"{PLACE}/tests/bench/backup"
    _ssh(f"sudo mkdir -p {package}")
    for name in ("on_host.py", "processes.py", "fill.sql"):
        _ssh(f"sudo tee {package}/{name} >/dev/null", stdin=(HERE / name).read_text(encoding="utf-8"))
    words = f"--sizes {' '.join(map(str, sizes))} --fill {package}/fill.sql --application {fleet.APP}"
    found: dict[str, object] = json.loads(_ssh(f"cd {PLACE} && sudo python3 -m tests.bench.backup.on_host {words}"))
    return found


def _ssh(command: str, *, stdin: str = "") -> str:
    done = subprocess.run([*fleet.ssh(HOST), command], input=stdin, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise measure.BenchError(f"on {HOST}, {command.split(' --')[0]} ended with {done.returncode}: see above")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
