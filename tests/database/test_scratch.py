# SPDX-License-Identifier: GPL-3.0-or-later
"""The throwaway server is unprivileged, unreachable, bounded, and gone whatever happens."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from slipway_backup import cli, loading, reap, scratch, verify
from slipway_backup.errors import BackupError

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root works as several users")
LAUNCHER = Path(cli.__file__).resolve().parents[1] / "slipway-backup"
PATIENCE = 120  # seconds until something that must happen has happened on the slowest machine


def until(true: Callable[[], Any], what: str) -> Any:
    """Wait for a condition, looking often and not for ever."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.02)
    return pytest.fail(f"not within {PATIENCE} s: {what}")


def processes_in(directory: Path) -> list[int]:
    """Processes whose working directory is there: PostgreSQL's are in their data directory."""
    found = []
    for pid in [int(name) for name in os.listdir("/proc") if name.isdigit()]:
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/cwd").startswith(f"{directory}/"):
                found.append(pid)
    return found


@contextlib.contextmanager
def watched(monkeypatch: pytest.MonkeyPatch, look: Callable[[scratch.Scratch], None]) -> Any:
    """Look at the server once the copy is complete; yields whether that has happened."""
    full, seen = verify.Verification._full, []

    def looked(self: verify.Verification) -> None:
        look(self._server)
        seen.append(True)
        full(self)

    monkeypatch.setattr(verify.Verification, "_full", looked)
    yield seen
    assert seen


def test_it_listens_on_a_socket_only_and_others_do_not_reach_it(
    place: Any, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(server: scratch.Scratch) -> None:
        with server.connect(small) as connection:
            settings: dict[str, str] = dict(connection.execute("SELECT name, setting FROM pg_settings").fetchall())
        assert settings["listen_addresses"] == ""
        assert settings["fsync"] == settings["autovacuum"] == settings["full_page_writes"] == "off"
        assert settings["wal_level"] == "minimal"
        assert server.socket.stat().st_mode & 0o007 == 0
        assert server.data.stat().st_mode & 0o077 == 0

    with watched(monkeypatch, look):
        place.take(small)


@AS_ROOT
def test_it_runs_as_its_user_without_a_network_and_with_the_lowest_priority(
    place: Any, small: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(server: scratch.Scratch) -> None:
        assert server._server
        pid = server._server.child.pid
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert set(status["Uid"].split()) == {str(server.data.stat().st_uid)} != {"0"}
        assert status["NoNewPrivs"] == "1"
        # What is in the database runs with the server's rights: it must not read other backups by the group's.
        own = {str(gid) for gid in os.getgrouplist(server.account.name, server.account.entry.pw_gid)}
        assert server.account.groups
        assert set(status["Groups"].split()) <= own
        assert os.getpriority(os.PRIO_PROCESS, pid) == 19
        if server.isolated:
            assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")

    with watched(monkeypatch, look):
        place.take(small)


@pytest.mark.parametrize("where", ["require_extensions", "create_roles", "passes"])
@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyboardInterrupt(), BackupError("x", "y")])
def test_nothing_is_left_after_an_exception(
    place: Any, small: str, monkeypatch: pytest.MonkeyPatch, where: str, error: BaseException
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise error

    monkeypatch.setattr(loading, where, broken)
    with pytest.raises(type(error)):
        place.take(small)
    assert not list(place.scratch.iterdir())
    assert processes_in(place.scratch) == []
    assert [json.loads(path.read_text())["status"] for path in place.catalogue.glob("*/manifest.json")] == ["failed"]


def slow(cluster: Any, database: str) -> None:
    """A table whose restore takes long: its check sleeps for each row."""
    cluster.execute(
        database,
        "CREATE FUNCTION waits(int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE"
        " AS $$ BEGIN IF inet_server_addr() IS NULL AND current_setting('wal_level') = 'minimal'"
        " THEN PERFORM pg_sleep(600); END IF; RETURN true; END $$",
        "CREATE TABLE slow (n int CHECK (waits(n)))",
        "INSERT INTO slow VALUES (1), (2)",
    )


def started(place: Any, database: str, **options: Any) -> subprocess.Popen[bytes]:
    """The program at work in a process of its own."""
    program = subprocess.Popen(
        [sys.executable, str(LAUNCHER), "take"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert program.stdin
    program.stdin.write(json.dumps(place.request(database, **options)).encode())
    program.stdin.close()
    program.stdin = None
    return program


def restoring(place: Any) -> bool:
    """Whether the slow table is being restored."""
    for socket in place.scratch.glob("s-*/socket"):
        with (
            contextlib.suppress(psycopg.Error),
            psycopg.connect(host=str(socket), user="postgres", dbname="template1", autocommit=True) as connection,
        ):
            query = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
            return bool(connection.execute(query).fetchone() == (1,))
    return False


def test_killed_in_the_middle_its_server_is_gone_and_the_next_run_cleans_up(
    place: Any, cluster: Any, small: str
) -> None:
    slow(cluster, small)
    program = started(place, small)
    until(lambda: restoring(place), "the restore is at work")
    assert processes_in(place.scratch)
    assert scratch.reap(place.scratch) == [], "a living run's server was taken for a leftover"
    program.kill()
    program.communicate()
    until(lambda: not processes_in(place.scratch), "the server ends with the program")
    (left,) = place.scratch.iterdir()
    assert len(list(place.catalogue.glob("*.partial"))) == 1
    result = reap.run({"directory": str(place.catalogue), "scratch_directory": str(place.scratch)})
    assert result["scratch"] == [left.name]
    assert len(result["unfinished"]) == 1
    assert place.entries() == []
    assert not list(place.scratch.iterdir())


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_it_with_everything_cleaned_up(place: Any, cluster: Any, small: str, how: signal.Signals) -> None:
    slow(cluster, small)
    program = started(place, small)
    until(lambda: restoring(place), "the restore is at work")
    program.send_signal(how)
    out, _unused = program.communicate(timeout=PATIENCE)
    assert json.loads(out.splitlines()[-1])["error"]["code"] == "interrupted"
    assert not list(place.scratch.iterdir())
    assert processes_in(place.scratch) == []
    assert not list(place.catalogue.glob("*.partial"))


def test_the_time_limit_trips_and_cleans_up(place: Any, cluster: Any, small: str) -> None:
    slow(cluster, small)
    with pytest.raises(BackupError) as caught:
        place.take(small, seconds=20)
    assert caught.value.code == "time_limit"
    assert not list(place.scratch.iterdir())
    assert processes_in(place.scratch) == []


def test_the_size_limit_trips_and_cleans_up(place: Any, small: str) -> None:
    with pytest.raises(BackupError) as caught:
        place.take(small, scratch_bytes=1 << 20)
    assert caught.value.code == "scratch_too_large"
    assert not list(place.scratch.iterdir())
    assert processes_in(place.scratch) == []


def test_a_path_too_long_for_a_socket_is_named(place: Any, small: str) -> None:
    long = place.scratch / ("x" * 90)
    long.mkdir(mode=0o711)
    with pytest.raises(BackupError) as caught:
        place.take(small, scratch_directory=str(long))
    assert caught.value.code == "path_too_long"


def test_sessions_that_outlive_their_server_are_ended(place: Any) -> None:
    left = place.scratch / "s-00000000"
    (left / "data").mkdir(parents=True)
    (left / ".lock").touch()
    orphan = subprocess.Popen(["sleep", "600"], cwd=left / "data")
    try:
        assert scratch.reap(place.scratch) == ["s-00000000"]
        assert orphan.wait(PATIENCE) == -signal.SIGKILL
    finally:
        orphan.kill()


def resident(pid: int) -> int:
    """Bytes of a process and of those that it started, memory that they share counted once for each share."""
    total = 0
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError, IndexError):
            parent = int(Path(f"/proc/{int(name)}/stat").read_text().rsplit(")", 1)[1].split()[1])
            children.setdefault(parent, []).append(int(name))
    left = [pid]
    while left:
        one = left.pop()
        left += children.get(one, [])
        with contextlib.suppress(OSError, IndexError, ValueError):
            text = Path(f"/proc/{one}/smaps_rollup").read_text()
            total += int(text.split("\nPss:")[1].split()[0]) * 1024
    return total


def test_memory_is_bounded_whatever_the_rows(place: Any, cluster: Any, small: str) -> None:
    cluster.execute(
        small,
        "CREATE TABLE big (id int PRIMARY KEY, t text)",
        "INSERT INTO big SELECT n, repeat(md5(n::text), 500000) FROM generate_series(1, 6) n",
        "CREATE TABLE many AS SELECT n AS id, md5(n::text) AS t FROM generate_series(1, 200000) n",
        "CREATE INDEX ON many (t)",
    )
    program = started(place, small)
    most, alone = 0, 0
    while program.poll() is None:
        most = max(most, resident(program.pid))
        with contextlib.suppress(OSError, IndexError):
            alone = max(
                alone, int(Path(f"/proc/{program.pid}/status").read_text().split("VmHWM:")[1].split()[0]) * 1024
            )
        time.sleep(0.01)
    out, words = program.communicate()
    assert json.loads(out.splitlines()[-1])["ok"], words
    print(f"the program: {alone >> 20} MB, with all that it starts: {most >> 20} MB")
    assert alone <= 100 << 20
    assert most <= 300 << 20
