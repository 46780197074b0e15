# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on the host, as root, with nothing but the standard library; prints its figures as JSON.

``on_host.py --sizes 1 5 --fill fill.sql --application board``. Every command of one size runs on the same database, one
after the other, so that the ratios of their figures mean something on any machine.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tests.bench.backup.processes import TICKS, Sessions, cpu_ticks, own_pages, processes

LEVELS = ("archive", "data", "constraints", "full", "amcheck")
BACKUP = ("/usr/bin/python3", "-I", "/usr/lib/slipway/slipway-backup")
MIGRATE = "/usr/lib/slipway/slipway-migrate"
CATALOGUE = Path("/var/backups/slipway/bench")
SCRATCH = Path("/var/lib/slipway-scratch/bench")
SCRATCH_USER = "board_scratch"
PAGE = os.sysconf("SC_PAGE_SIZE")
LOOK_EVERY = 0.25  # seconds
USERS_SECONDS = 10
NOOP_ROUNDS = 5
THOUSANDTHS = 1000  # of fill.sql in a gigabyte, indexes and all


@dataclass(frozen=True)
class Figures:
    """One command: how long it took, what the server spent meanwhile, the most memory of our own processes.

    ``source_cpu_s`` is of the whole server, ``own_cpu_s`` of our own session, ``dump_cpu_s`` of pg_dump's.
    """

    seconds: float
    source_cpu_s: float
    own_cpu_s: float
    dump_cpu_s: float
    rss_mb: float


def connected() -> Any:
    """A connection as the server's user."""
    import psycopg  # the distribution's, on the host

    os.seteuid(pwd.getpwnam("postgres").pw_uid)
    try:
        return psycopg.connect("dbname=postgres", autocommit=True)
    finally:
        os.seteuid(0)


def warm(database: str) -> None:
    """Have every page of a database in memory: else who reads first pays, and what ran before decides."""
    oid = sql("postgres", f"SELECT oid FROM pg_database WHERE datname = '{database}'")
    for path in (Path(sql("postgres", "SHOW data_directory")) / "base" / oid).iterdir():
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 20):
                pass


def progress(text: str) -> float:
    """The mean of the transactions per second that ``pgbench --progress`` has told of; 0 when it told none."""
    told = [float(number) for number in re.findall(r"^progress: .*?, ([\d.]+) tps", text, re.MULTILINE)]
    return statistics.mean(told) if told else 0.0


def as_postgres(*argv: str) -> list[str]:
    """The command that runs as the server's user."""
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", *argv]


def sql(database: str, query: str) -> str:
    """What the server answers."""
    command = as_postgres("psql", "-XAtqc", query, "-d", database)
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd="/").stdout.strip()


def say(text: str) -> None:
    """A line for people."""
    print(text, file=sys.stderr, flush=True)


class Server:
    """The server that is measured."""

    def __init__(self) -> None:
        place = Path(sql("postgres", "SHOW data_directory"))
        self.pid = int((place / "postmaster.pid").read_text().splitlines()[0])
        self.binaries = Path("/usr/lib/postgresql") / place.parent.name / "bin"

    def measure(self, argv: Sequence[str], *, stdin: str = "") -> tuple[Figures, str]:
        """Run a command that must succeed; its figures, and what it printed."""
        sql("postgres", "CHECKPOINT")
        sessions = Sessions(connected())
        sessions.start()
        before, began, most = cpu_ticks(processes(), self.pid), time.monotonic(), 0
        # Files, not pipes: nobody reads while we look at the processes.
        with tempfile.TemporaryFile("w+") as given, tempfile.TemporaryFile("w+") as printed:
            given.write(stdin)
            given.seek(0)
            running = subprocess.Popen(argv, stdin=given, stdout=printed, cwd="/")
            while running.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    running.wait(timeout=LOOK_EVERY)
                most = max(most, own_pages(processes(), running.pid))
            seconds = time.monotonic() - began
            printed.seek(0)
            output = printed.read()
        seen = sessions.stop()
        if running.returncode != 0:
            raise SystemExit(f"{' '.join(argv[:5])} ended with {running.returncode}: {output[-3000:]}")
        spent = (cpu_ticks(processes(), self.pid) - before) / TICKS
        memory = round(most * PAGE / 2**20, 1)
        spent = round(spent, 2)
        return Figures(round(seconds, 2), spent, round(seen["own"], 2), round(seen["dump"], 2), memory), output


def request(database: str, **more: Any) -> str:
    """What slipway-backup is asked."""
    return json.dumps(
        {
            "app": "bench",
            "database_url": f"postgresql:///{database}?host=/run/postgresql",
            "database_user": "postgres",
            "directory": str(CATALOGUE),
            **more,
        }
    )


def take(level: str, database: str) -> str:
    """The request for a backup."""
    own = {"scratch_user": SCRATCH_USER, "group": "slipway-backup", "scratch_directory": str(SCRATCH)}
    return request(database, **own, level=level, why="bench", seconds=7200)


@contextmanager
def work() -> Iterator[Path]:
    """A directory of the server's user for what is thrown away, and empty places for backups."""
    for place, mode, group in ((CATALOGUE, 0o750, "slipway-backup"), (SCRATCH, 0o711, "root")):
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        shutil.chown(place, "root", group)
        place.chmod(mode)
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="slipway-bench-") as made:
        shutil.chown(made, "postgres", "postgres")
        yield Path(made)
    for place in (CATALOGUE, SCRATCH):
        shutil.rmtree(place, ignore_errors=True)


def fill(database: str, gigabytes: float, script: Path) -> int:
    """Make the database; its size in bytes."""
    sql("postgres", f'DROP DATABASE IF EXISTS "{database}"')
    sql("postgres", f'CREATE DATABASE "{database}"')
    command = as_postgres("psql", "-Xq", "-v", f"thousandths={max(1, round(gigabytes * THOUSANDTHS))}", "-d", database)
    with script.open() as given:
        subprocess.run(command, check=True, stdin=given, stdout=subprocess.DEVNULL, cwd="/")
    return int(sql("postgres", f"SELECT pg_database_size('{database}')"))


def baselines(server: Server, database: str, place: Path) -> dict[str, Figures]:
    """What PostgreSQL's own programs need: the yardstick, and a copy of the whole server."""
    warm(database)
    plain = server.measure(as_postgres("pg_dump", "-Fc", "-f", str(place / "dump"), database))[0]
    (place / "dump").unlink()
    found = {"pg_dump": plain}
    base = str(place / "base")
    programs = f"pg_basebackup -D {base} -c fast && {server.binaries}/pg_verifybackup -q {base}"
    found["pg_basebackup"] = server.measure(as_postgres("sh", "-c", programs))[0]
    shutil.rmtree(base)
    return found


def kind(server: Server, database: str, place: Path) -> Figures:
    """A dump as ours is made, by pg_dump alone."""
    jobs = str(min(os.cpu_count() or 1, 8))
    target = place / "kind"
    warm(database)
    options = ("-Fd", "-j", jobs, "--compress", "1", "-f", str(target))
    found = server.measure(as_postgres("pg_dump", *options, database))[0]
    shutil.rmtree(target)
    return found


def ours(server: Server, database: str, place: Path) -> tuple[Figures, dict[str, Any]]:
    """A backup at each level and a restore of the one at level full; before each level, the same dump without us.

    The server does the same for each, so the median of these dumps is without chance.
    """
    found: dict[str, Any] = {}
    kinds, backup = [], ""
    for level in LEVELS:
        kinds.append(kind(server, database, place))
        warm(database)
        figures, output = server.measure([*BACKUP, "take"], stdin=take(level, database))
        manifest = json.loads(output.splitlines()[-1])["result"]["backup"]
        more = {"archive_bytes": manifest["archive_bytes"], "source": manifest["source"]}
        found[level] = {**asdict(figures), "steps": manifest["seconds"], **more}
        say(f"  {level}: {figures.seconds} s")
        # What one run leaves behind must not cost the next one its room or its cache.
        if level == "full":
            backup = manifest["id"]
        else:
            shutil.rmtree(CATALOGUE / manifest["id"])
    restored = f"{database}_restored"
    more = {"backup": backup, "mode": "new", "target": restored, "confirm": restored}
    figures, _output = server.measure([*BACKUP, "restore"], stdin=request(database, **more))
    found["restore"] = asdict(figures)
    sql("postgres", f'DROP DATABASE "{restored}"')
    return sorted(kinds, key=lambda one: one.source_cpu_s)[len(kinds) // 2], found


def users(server: Server, database: str, place: Path) -> dict[str, float]:
    """Transactions per second of two clients: alone, beside a plain dump, and beside a backup at level full."""
    sql("postgres", "DROP DATABASE IF EXISTS bench_users")
    sql("postgres", "CREATE DATABASE bench_users")
    subprocess.run(as_postgres("pgbench", "-iq", "-s", "5", "bench_users"), check=True, capture_output=True, cwd="/")
    dump = as_postgres("pg_dump", "-Fc", "-f", str(place / "dump"), database)
    return {
        "tps_alone": _load(server, ["sleep", str(USERS_SECONDS)]),
        "tps_beside_pg_dump": _load(server, dump),
        "tps_beside_full": _load(server, [*BACKUP, "take"], stdin=take("full", database)),
    }


def _load(server: Server, argv: Sequence[str], *, stdin: str = "") -> float:
    """Transactions per second while a command runs."""
    clients = as_postgres("pgbench", "-n", "-c", "2", "-P", "1", "-T", "86400", "bench_users")
    with tempfile.TemporaryFile("w+") as log:
        loading = subprocess.Popen(clients, stdout=subprocess.DEVNULL, stderr=log, cwd="/")
        try:
            server.measure(argv, stdin=stdin)
        finally:
            loading.send_signal(signal.SIGTERM)
            loading.wait()
        log.seek(0)
        return round(progress(log.read()), 1)


def noop(app: str) -> list[float]:
    """Seconds of a plan with nothing pending, as often as it is asked, for the release that is live."""
    slot = Path(os.readlink(f"/srv/{app}/route/00.sock")).parent.name
    code = f"/srv/{app}/slots/{slot}/code"
    python = f"/srv/{app}/slots/{slot}/venv/bin/python"
    drop = f"setpriv --reuid={app} --regid={app} --init-groups {python} {MIGRATE}"
    given = json.dumps({"app": app, "adapter": "django", "settings_module": f"{app}.settings"})
    taken = []
    for _round in range(NOOP_ROUNDS):
        began = time.monotonic()
        for verb in ("plan",):
            script = f"set -a; . /etc/{app}/slots/{slot}.env; HOME=/srv/{app}/shared; cd {code}; exec {drop} {verb}"
            done = subprocess.run(["sh", "-c", script], input=given, check=False, capture_output=True, text=True)
            if done.returncode != 0:
                raise SystemExit(f"slipway-migrate {verb}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
        taken.append(round(time.monotonic() - began, 3))
    pending = json.loads(done.stdout.splitlines()[-1])["result"]["pending"]
    if pending:
        raise SystemExit(f"slipway-migrate plan: found {pending} pending, expected nothing")
    return taken


def one_size(server: Server, gigabytes: float, script: Path, *, with_users: bool) -> dict[str, Any]:
    """All figures of one database; how others fare meanwhile does not depend on its size."""
    database = "bench_backup"
    say(f"fill a database of about {gigabytes:g} GB")
    with work() as place:
        size = fill(database, gigabytes, script)
        say(f"  {size / 1e9:.2f} GB; pg_dump and pg_basebackup")
        try:
            found: dict[str, Any] = {"gigabytes": gigabytes, "database_bytes": size}
            found["theirs"] = {name: asdict(one) for name, one in baselines(server, database, place).items()}
            say("".join(f"  {name}: {one['seconds']} s\n" for name, one in found["theirs"].items()).rstrip())
            median, found["ours"] = ours(server, database, place)
            found["theirs"]["pg_dump_kind"] = asdict(median)
            if with_users:
                say("  users meanwhile")
                found["users"] = users(server, database, place)
        finally:
            for name in (database, f"{database}_restored", "bench_users"):
                sql("postgres", f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
    return found


def main() -> int:
    """The exit code is 0 when everything could be measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sizes", type=float, nargs="+", required=True, help="GB")
    parser.add_argument("--fill", type=Path, required=True)
    parser.add_argument("--application", required=True, help="one that is deployed here")
    options = parser.parse_args()
    server = Server()
    found = {
        "cores": os.cpu_count(),
        "postgresql": sql("postgres", "SHOW server_version"),
        "noop_s": noop(options.application),
        "sizes": [
            one_size(server, size, options.fill, with_users=size == min(options.sizes)) for size in options.sizes
        ],
    }
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
