# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure: floor, deploy, no-op and rollback on one host; deploys to 1, 2, 4 and 8 hosts, and the way back of the
largest fleet; many deploys and rollbacks in a row under load; the first four with containers. Print ratios and counts.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bench import containers, fleet, measure
from tests.load import LoadGenerator
from tests.load.generator import LoadError
from tests.load.options import LONGEST_SECONDS

RESULT = fleet.ROOT / ".build" / "bench.json"
SIZES = (1, 2, 4, 8)
BUDGETS = {
    "deploy_ratio": 2.0,
    "noop_s": 5.0,
    "rollback_s": 3.0,
    "rollback_8_s": 3.0,
    "hosts_8_ratio": 1.5,
    "switch_ms": 5.0,
    "invocations_per_host": 15,
    "load_failed": 0,
    "docker_deploy_ratio": 2.0,
    "docker_noop_s": 5.0,
    "docker_rollback_s": 3.0,
}
FLOOR = Path(__file__).with_name("floor.sh")


def main() -> int:
    """The whole bench; 0 when it could be measured, whatever the figures are."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="repetitions; the median counts (default %(default)s)")
    parser.add_argument("--turns", type=int, default=100, help="deploys and rollbacks under load (default %(default)s)")
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), choices=SIZES, help="numbers of hosts")
    parser.add_argument("--only-docker", action="store_true", help="the column of containers; the rest as it was")
    options = parser.parse_args()
    figures: dict[str, object] = {}
    if options.only_docker and RESULT.exists():
        figures = json.loads(RESULT.read_text(encoding="utf-8"))
    try:
        for part in _parts(options):
            figures |= part()
            # A part takes long: what it has found must outlive the next one.
            RESULT.parent.mkdir(parents=True, exist_ok=True)
            RESULT.write_text(json.dumps(figures, indent=2), encoding="utf-8")
    except (measure.BenchError, LoadError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    _tell(figures)
    return 0


def _parts(options: argparse.Namespace) -> list[Callable[[], dict[str, object]]]:
    """What is measured, in this order; each gives its figures."""
    serials = itertools.count(1)

    def docker() -> dict[str, object]:
        return containers.column(options.rounds)

    def first() -> dict[str, object]:
        _prepare(max(2, *options.sizes))  # alone, a host would not let others reach its database
        return _one_host(serials, options.rounds)

    if options.only_docker:
        return [docker]
    return [
        first,
        lambda: _many_hosts(serials, options.sizes, options.rounds),
        lambda: _under_load(serials, options.turns),
        docker,
    ]


def _prepare(count: int) -> None:
    """Hosts up, provisioned, and serving a first release."""
    print(f"prepare {count} hosts", flush=True)
    hosts = list(fleet.addresses())[:count]
    measure.command(sys.executable, "-m", "tests.hosts", "up", "bench", "--only", ",".join(hosts))
    measure.play("provision", fleet.inventory(count), "-e", f"webapp_source={fleet.tree(0)}")
    measure.play("deploy", fleet.inventory(count), "-e", f"webapp_source={fleet.tree(0)}")
    # The floor asks with curl, which a bare server lacks.
    with ThreadPoolExecutor(len(hosts)) as pool:
        list(pool.map(lambda host: fleet.on_host(host, "sudo apt-get install --yes --quiet curl"), hosts))


def _deploy(tree: Path, count: int, *, profile: bool = False) -> measure.Run:
    return measure.play("deploy", fleet.inventory(count), "-e", f"webapp_source={tree}", profile=profile)


def _floor(serial: int, *, count: int = 1) -> float:
    """The floor on so many hosts at once; with several it shows what this machine's cores allow."""
    tree = str(fleet.tree(serial))

    def run(host: str) -> float:
        others = "worker beat" if host == "bench1" else ""
        what = (tree, f"floor-{serial}", fleet.APP, fleet.DOMAIN, others)
        return measure.command(str(FLOOR), *what, *fleet.ssh(host)).seconds

    with ThreadPoolExecutor(count) as pool:
        return max(pool.map(run, list(fleet.addresses())[:count]))


def _one_host(serials: Iterator[int], rounds: int) -> dict[str, object]:
    """Floor and ours in turn on the same host, so that whatever disturbs the machine disturbs both."""
    floor: list[float] = []
    deploy: list[float] = []
    noop: list[float] = []
    rollback: list[float] = []
    command: list[float] = []
    _deploy(fleet.tree(next(serials)), 1)  # alone, the host has another configuration than in the fleet
    for _round in range(rounds):
        floor.append(_floor(next(serials)))
        _deploy(fleet.tree(next(serials)), 1)  # a rollback goes to a proven release, which the floor's is not
        tree = fleet.tree(next(serials))
        deploy.append(_deploy(tree, 1).seconds)
        noop.append(_deploy(tree, 1).seconds)
        with measure.Watch([fleet.addresses()["bench1"]]) as watch:
            command.append(measure.play("rollback", fleet.inventory(1), "-e", "webapp_source=unused").seconds)
        rollback.append(watch.seconds)
        print(f"floor {floor[-1]:.2f} s, deploy {deploy[-1]:.2f} s, no-op {noop[-1]:.2f} s, "
              f"rollback {rollback[-1]:.2f} s to traffic moved, {command[-1]:.2f} s whole", flush=True)  # fmt: skip
    told = _deploy(fleet.tree(next(serials)), 1, profile=True)
    floor_s, deploy_s = statistics.median(floor), statistics.median(deploy)
    return {
        "floor_s": round(floor_s, 2),
        "deploy_s": round(deploy_s, 2),
        "deploy_ratio": round(deploy_s / floor_s, 2),
        "noop_s": round(statistics.median(noop), 2),
        "rollback_s": round(statistics.median(rollback), 2),
        "rollback_command_s": round(statistics.median(command), 2),
        "switch_ms": measure.switch_ms(told.output),
        "invocations_per_host": fleet.invocations("bench1", told.began),
        "phases_s": {phase: round(seconds, 2) for phase, seconds in told.phases.items()},
    }


def _many_hosts(serials: Iterator[int], sizes: list[int], rounds: int) -> dict[str, object]:
    """How a code-only deploy grows with the number of hosts (which here all share one machine's cores)."""
    times: dict[int, float] = {}
    floors: dict[int, float] = {}
    for count in sizes:
        _deploy(fleet.tree(next(serials)), count)  # what differs besides the code is deployed here
        taken = [_deploy(fleet.tree(next(serials)), count).seconds for _round in range(rounds)]
        times[count] = statistics.median(taken)
        floors[count] = statistics.median([_floor(next(serials), count=count) for _round in range(rounds)])
        print(
            f"deploy to {count} hosts {times[count]:.2f} s, the floor to as many at once {floors[count]:.2f} s",
            flush=True,
        )
    smallest, largest = min(times), max(times)
    return {
        f"rollback_{largest}_s": _rollback(serials, largest),
        "hosts_s": {str(count): round(seconds, 2) for count, seconds in times.items()},
        "floor_hosts_s": {str(count): round(seconds, 2) for count, seconds in floors.items()},
        f"hosts_{largest}_ratio": round(times[largest] / times[smallest], 2),
        f"floor_hosts_{largest}_ratio": round(floors[largest] / floors[smallest], 2),
    }


def _rollback(serials: Iterator[int], count: int) -> float:
    """Seconds from the command until the last host serves what it served before."""
    for _deploy_of_ours in range(2):  # a rollback goes to a proven release, which the floor's is not
        _deploy(fleet.tree(next(serials)), count)
    with measure.Watch(list(fleet.addresses().values())[:count]) as watch:
        measure.play("rollback", fleet.inventory(count), "-e", "webapp_source=unused")
    return round(watch.seconds, 2)


def _under_load(serials: Iterator[int], turns: int) -> dict[str, object]:
    """Deploys and rollbacks in turn on one host that visitors read from and write to, and what they got."""
    _deploy(fleet.tree(next(serials)), 1)
    load = LoadGenerator(
        url=f"https://{fleet.addresses()['bench1']}",
        host=fleet.DOMAIN,
        insecure=True,
        clients=6,
        rate=12.0,
        max_seconds=LONGEST_SECONDS,
        verify_posts=True,
    )
    with load:
        load.wait_for(answers=20)
        for turn in range(turns):
            if turn % 2:
                measure.play("rollback", fleet.inventory(1), "-e", "webapp_source=unused")
            else:
                _deploy(fleet.tree(next(serials)), 1)
        load.wait_for(answers=20)
    for line in load.report.lines():
        print(line)
    report = load.report
    return {
        "load_turns": turns,
        "load_sent": report.sent,
        "load_answered": report.answered,
        "load_failed": report.failed,
        "load_notes_lost": len(report.posts.lost or ()),
        "load_notes_doubled": len(report.posts.doubled or ()),
    }


def _tell(figures: dict[str, object]) -> None:
    print()
    for name, value in figures.items():
        budget = BUDGETS.get(name)
        verdict = ""
        if budget is not None and isinstance(value, (int, float)):
            verdict = f"budget {budget}: {'met' if value <= budget else 'MISSED'}"
        print(f"{name:<24}{value!s:<40}{verdict}")
    print(f"\nwritten to {RESULT.relative_to(fleet.ROOT)}")


if __name__ == "__main__":
    sys.exit(main())
