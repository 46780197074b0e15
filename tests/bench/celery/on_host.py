# SPDX-License-Identifier: GPL-3.0-or-later
"""On a host with a release: replace workers in every way under every load, several at a time; prints JSON.

The units are copies of the application's own, with another Celery application in them and a database of Redis of their
own. Runs as root, with the release's Python.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count, product
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import redis

PLACE = Path("/opt/slipway-bench-celery")
UNITS = Path("/run/systemd/system")
CONCURRENCY = 4
AT_ONCE = 8
FIRST_DATABASE = 2  # the application has the ones before
PATIENCE = 180.0
HOUR = 3600
SOON = 10  # seconds, as visibility timeout of the workers that are killed

# name: tasks, seconds of each, seconds between two, seconds that the old worker has
LOADS: dict[str, tuple[int, float, float, int]] = {
    "500 of 0.2 s": (500, 0.2, 0.0, 30),
    "12 of 12 s, deadline 3 s": (12, 12.0, 0.0, 3),
    "10 a second": (120, 0.2, 0.1, 30),
}
MODES = ("control-group", "warm", "cold", "soft", "slipway", "killed")
ACKS = ("early", "late", "late, reject")


@dataclass(frozen=True)
class Cell:
    """One way, one kind of acknowledgement, one load."""

    number: int
    mode: str
    ack: str
    load: str

    @property
    def name(self) -> str:
        return f"slipway-bench-{self.number}"


class Bench:
    """The application's unit and broker, as they are on this host."""

    def __init__(self, app: str) -> None:
        slots = Path(f"/srv/{app}/slots")
        (self.slot,) = {Path(os.readlink(one)).parts[-2] for one in Path(f"/srv/{app}/route").glob("*.sock")}
        self.app = app
        self.home = slots / self.slot
        self.unit = Path(f"/etc/systemd/system/{app}-worker@.service").read_text()
        environment = Path(f"/etc/{app}/slots/{self.slot}.env").read_text()
        found = re.search(r'^CELERY_BROKER_URL="?(.+?)/\d+"?$', environment, re.MULTILINE)
        if not found:
            raise SystemExit(f"/etc/{app}/slots/{self.slot}.env names no CELERY_BROKER_URL that ends with a number")
        self.broker = found.group(1)

    def write(self, cell: Cell, url: str) -> None:
        """The unit of a cell and its route."""
        _count, _seconds, _pause, deadline = LOADS[cell.load]
        ours = cell.mode in ("slipway", "killed")
        given = {
            "BENCH_URL": url,
            "CELERY_BROKER_URL": url,  # Celery prefers it to what an application says
            "BENCH_ACK": cell.ack,
            "BENCH_VISIBILITY": str(SOON if cell.mode == "killed" else HOUR),
            "SLIPWAY_CELERY_APP": "bench_tasks",
            "SLIPWAY_ROUTE": str(PLACE / cell.name),
            "SLIPWAY_DRAIN_SECONDS": str(deadline),
            "PYTHONPATH": f"{PLACE}:/usr/lib/slipway",
            **({"REMAP_SIGTERM": "SIGQUIT"} if cell.mode in ("cold", "soft") else {}),
            **({"BENCH_SOFT": str(deadline)} if cell.mode == "soft" else {}),
        }
        program = "-m slipway_celery" if ours else "-m celery --app bench_tasks"
        words = " ".join(f'"{name}={value}"' for name, value in given.items())
        start = f"ExecStart=/usr/bin/env {words} {self.home}/venv/bin/python {program} worker --loglevel INFO"
        text = self.unit.replace(f"/srv/{self.app}/slots/%i", str(self.home)).replace(
            "slots/%i.env", f"slots/{self.slot}.env"
        )
        text = re.sub(
            r"^ExecStart=.*$", f"{start} --concurrency {CONCURRENCY} --hostname %i@{cell.name}", text, flags=re.M
        )
        limit = deadline if cell.mode in ("control-group", "warm") else deadline + 20
        text = re.sub(r"^TimeoutStopSec=.*$", f"TimeoutStopSec={limit}", text, flags=re.M)
        text = text if ours else text.replace("Type=notify", "Type=exec")
        text = text.replace("KillMode=mixed", "KillMode=control-group") if cell.mode == "control-group" else text
        (UNITS / f"{cell.name}@.service").write_text(text)
        (PLACE / cell.name).mkdir(exist_ok=True)
        lead(cell, "blue")


def lead(cell: Cell, slot: str) -> None:
    """The route of a cell to a slot, by one rename."""
    new = PLACE / cell.name / "new"
    new.unlink(missing_ok=True)
    new.symlink_to(f"/run/bench/{slot}/web.sock")
    new.rename(PLACE / cell.name / "00.sock")


def systemctl(*words: str) -> None:
    subprocess.run(["systemctl", *words], check=False, stdout=sys.stderr)


def until(true: Any, seconds: float = PATIENCE) -> bool:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True


def send(cell: Cell, url: str) -> subprocess.Popen[bytes]:
    """The tasks, from a process of its own: an application is made for one broker."""
    tasks, seconds, pause, _deadline = LOADS[cell.load]
    loop = f"for n in range({tasks}):\n    bench_tasks.work.delay(n, {seconds})\n    time.sleep({pause})"
    given = {**os.environ, "BENCH_URL": url, "BENCH_ACK": cell.ack, "BENCH_VISIBILITY": "60", "PYTHONPATH": str(PLACE)}
    return subprocess.Popen([sys.executable, "-c", f"import bench_tasks, time\n{loop}"], env=given)


def measure(bench: Bench, cell: Cell, database: int) -> dict[str, Any]:
    """One cell: the new worker starts, the tasks come, the old worker is told to stop."""
    url = f"{bench.broker}/{database}"
    seconds = LOADS[cell.load][1]
    book: Any = redis.Redis.from_url(url, decode_responses=True)
    book.flushdb()
    bench.write(cell, url)
    systemctl("daemon-reload")
    old, new = f"{cell.name}@blue", f"{cell.name}@green"
    workers = 1 if cell.mode in ("slipway", "killed") else 2  # ours waits for the route
    systemctl("start", old, new)
    until(lambda: int(book.get("ready") or 0) >= workers)
    sender = send(cell, url)
    until(lambda: book.hlen("begun") >= CONCURRENCY * workers)
    time.sleep(0.5)
    began, clock = time.time(), time.monotonic()
    lead(cell, "green")
    if cell.mode == "killed":
        systemctl("kill", "--signal=KILL", old)
    systemctl("stop", old)
    drained = time.monotonic() - clock

    def quiet() -> bool:
        waits = sender.poll() is None or book.llen("celery") or (cell.mode == "killed" and book.hlen("unacked"))
        return not waits and time.time() - max(float(book.get("last") or 0), began) > seconds + 2

    until(quiet)
    found = {**figures(cell, book), "drain_s": round(drained, 1)}
    found["all_s"] = round(max(float(book.get("last") or began) - began, 0.0), 1)
    systemctl("stop", new)
    systemctl("reset-failed", old, new)
    (UNITS / f"{cell.name}@.service").unlink()
    book.flushdb()
    return found


def figures(cell: Cell, book: Any) -> dict[str, Any]:
    """What has become of the tasks."""
    tasks = LOADS[cell.load][0]
    done, starts, held = book.hgetall("done"), book.hgetall("begun"), unacknowledged(book)
    return {
        "mode": cell.mode,
        "ack": cell.ack,
        "load": cell.load,
        "sent": tasks,
        "done": len(done),
        "lost": tasks - len(done.keys() | held),
        "hour": len(held - done.keys()),
        "doubled": sum(int(times) > 1 for times in done.values()) + len(held & done.keys()),
        "begun_twice": sum(int(times) > 1 for times in starts.values()),
    }


def unacknowledged(book: Any) -> set[str]:
    """The tasks that Redis keeps for a worker that has gone: others get them when the visibility timeout has passed."""
    messages = [json.loads(value)[0] for value in book.hvals("unacked")]
    return {str(json.loads(base64.b64decode(message["body"]))[0][0]) for message in messages}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--app", required=True)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    parser.add_argument("--loads", nargs="+", choices=list(LOADS), default=list(LOADS))
    options = parser.parse_args()
    PLACE.chmod(0o755)
    bench, numbers = Bench(options.app), count(1)
    wanted = [
        Cell(next(numbers), mode, ack, load)
        for load, mode, ack in product(options.loads, options.modes, ACKS)
        if mode != "killed" or load == "500 of 0.2 s"
    ]
    databases: SimpleQueue[int] = SimpleQueue()
    for number in range(AT_ONCE):
        databases.put(FIRST_DATABASE + number)

    def one(cell: Cell) -> dict[str, Any]:
        database = databases.get()
        try:
            print(f"bench: {cell}", file=sys.stderr, flush=True)
            return measure(bench, cell, database)
        finally:
            databases.put(database)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        print(json.dumps(list(pool.map(one, wanted))))


if __name__ == "__main__":
    main()
