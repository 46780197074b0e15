# SPDX-License-Identifier: GPL-3.0-or-later
"""The throwaway server that a backup is restored into: unprivileged, on a socket only, durability off, bounded, gone.

It is a child of this program and ends with it, killed or not. Its directory is locked while this program lives, so what
a killed one left behind is recognised and removed by the next (``reap``).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import sharedmemory
from .connection import Connection, Database
from .dump import Binaries
from .errors import BackupError
from .processes import Account, Command, Deadline, Running, output

SUPERUSER = "postgres"
PORT = 5432
_LOCK = ".lock"
_LONGEST_SOCKET = 107  # bytes, sockaddr_un(7)
_LOOK_SECONDS = 0.25
_START_SECONDS = 60
_STOP_SECONDS = 20
# What this host keeps free whatever the limit says: the application may share the file system.
_RESERVE = 64 << 20
_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "1d",
    "autovacuum": "off",
    "archive_mode": "off",
    "hot_standby": "off",
    "jit": "off",
    "huge_pages": "off",
    "track_counts": "off",
    "max_connections": "40",
    "max_locks_per_transaction": "1024",  # a key of a table with many partitions locks them all
    "max_worker_processes": "4",
    "max_parallel_workers": "2",
    # Several sessions at once are better than several workers for one, except for the last large index.
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "1",
    "shared_preload_libraries": "",
    "logging_collector": "off",
    "log_min_messages": "warning",
    "timezone": "UTC",
    "restart_after_crash": "off",
}


@dataclass(frozen=True)
class Limits:
    """Bounds of a server: bytes of its directory, and of the memory for sorting (all sessions together)."""

    bytes: int
    sort_bytes: int = 128 << 20
    jobs: int = 2


class Scratch:
    """A running server. Close it; ``started`` does."""

    def __init__(self, directory: Path, binaries: Binaries, account: Account, *, limits: Limits) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.socket = directory / "socket"
        self.binaries = binaries
        self.account = account
        self.limits = limits
        self.isolated = _can_isolate()
        self._server: Running | None = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by close()
        self._full = ""
        self._stopping = threading.Event()
        self._watch: threading.Thread | None = None

    @property
    def running(self) -> bool:
        """Whether it was started."""
        return self._server is not None

    def database(self, name: str) -> Database:
        """How to reach a database of this server, as its superuser. Who reaches the socket is trusted."""
        parameters = {"host": str(self.socket), "port": str(PORT), "user": SUPERUSER, "dbname": name}
        return Database(
            tuple({**parameters, "application_name": "slipway-backup", "connect_timeout": "30"}.items()), self.account
        )

    def connect(self, name: str, *, autocommit: bool = True) -> Connection:
        """A connection that raises what stopped the server instead of a broken pipe."""
        parameters = dict(self.database(name).parameters)
        try:
            return Database(tuple(parameters.items()), Account()).connect(autocommit=autocommit)
        except BackupError as error:
            raise self.stopped() or error from error

    def initialise(self, deadline: Deadline) -> None:
        """Make the cluster; a second or less."""
        for path in (self.data, self.socket):
            path.mkdir(mode=0o700)
            _give(path, self.account)
        os.chmod(self.socket, 0o750)
        command = Command(
            [
                self.binaries.path("initdb"),
                "--no-sync",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
                "--no-instructions",
                f"--username={SUPERUSER}",
                f"--pgdata={self.data}",
            ],
            account=self.account,
            polite=True,
        )
        try:
            output(command, deadline, code="scratch_failed", summary="The throwaway server could not be made")
        except BackupError as error:
            raise no_space(error, self.directory) from error

    def start(self, deadline: Deadline) -> None:
        """Start it and wait until it answers. Only the main thread may: the server ends with the thread."""
        path = str(self.socket / f".s.PGSQL.{PORT}")
        if len(os.fsencode(path)) > _LONGEST_SOCKET:
            raise BackupError(
                "path_too_long",
                "The path of the throwaway server's socket is too long",
                found=f"{path}: {len(os.fsencode(path))} bytes",
                expected=f"at most {_LONGEST_SOCKET}",
                next_step="choose a shorter scratch_directory",
            )
        sort_memory = f"{max(16 << 20, self.limits.sort_bytes // self.limits.jobs) >> 10}kB"
        chosen = {
            **_SETTINGS,
            "shared_buffers": "64MB",
            "maintenance_work_mem": sort_memory,
            "unix_socket_directories": str(self.socket),
        }
        argv = [self.binaries.path("postgres"), "-D", str(self.data)]
        for name, value in chosen.items():
            argv += ["-c", f"{name}={value}"]
        # QUIT makes a server end its sessions and give back its shared memory; KILL would leave both behind.
        # Without the group that may read archives: whatever is in the database runs with the server's rights.
        account = Account(self.account.name)
        command = Command(argv, account=account, polite=True, death_signal="QUIT", no_network=self.isolated)
        self._server = Running(command, stdout=self._log)
        self._watch = threading.Thread(target=self._watch_size, daemon=True)
        self._watch.start()
        self._wait_until_ready(path, deadline)

    def _wait_until_ready(self, path: str, deadline: Deadline) -> None:
        assert self._server
        limit = time.monotonic() + _START_SECONDS
        while True:
            deadline.left()
            if self._server.child.poll() is not None or time.monotonic() > limit:
                raise self._not_started()
            with contextlib.suppress(BackupError):
                if _listens(path):
                    self.connect("postgres").close()
                    return
            self._stopping.wait(0.02)

    def _not_started(self) -> BackupError:
        assert self._server
        if self._full and (ended := self.stopped()):
            return ended
        return no_space(
            BackupError(
                "scratch_failed",
                "The throwaway server did not start",
                found=self._server.words() or "no message",
                expected=f"an answer within {_START_SECONDS} s",
                next_step="see its message",
            ),
            self.directory,
        )

    def _watch_size(self) -> None:
        """End the server when it grows over its limit, or when the file system gets full."""
        while not self._stopping.wait(_LOOK_SECONDS):
            used = size(self.directory)
            free = shutil.disk_usage(self.directory).free
            if used > self.limits.bytes:
                self._full = f"{used} bytes used, more than the limit of {self.limits.bytes}"
            elif free < _RESERVE:
                self._full = f"{free} bytes free on its file system, {_RESERVE} are kept free"
            if self._full:
                assert self._server
                with contextlib.suppress(ProcessLookupError):
                    self._server.child.send_signal(signal.SIGQUIT)
                return

    def stopped(self) -> BackupError | None:
        """Why the server ended before its time; None while it runs."""
        if self._full:
            return BackupError(
                "scratch_too_large",
                "The throwaway server reached the limit of its size and was ended",
                found=self._full,
                expected="a restored copy that fits",
                next_step="free space in webapp_backup_scratch_directory, and see what grows there: a migration "
                "that rewrites large tables (webapp_backup_rehearse: false leaves its rehearsal out)",
            )
        if self._server and (status := self._server.child.poll()) is not None:
            return self._server.failure(status, "scratch_failed", "The throwaway server ended before its time")
        return None

    def log(self) -> str:
        """The end of the server's log."""
        return self._server.words() if self._server else ""

    def close(self) -> None:
        """Stop the server and remove everything."""
        self._stopping.set()
        if self._watch:
            self._watch.join()
        if self._server:
            with contextlib.suppress(ProcessLookupError):
                self._server.child.send_signal(signal.SIGQUIT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._server.child.wait(_STOP_SECONDS)
            self._server.__exit__()
        self._log.close()
        remove(self.directory)


def _listens(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


def _can_isolate() -> bool:
    """Whether the server can run without a network, so that code in the database (dblink) reaches nobody."""
    if os.geteuid() != 0 or not shutil.which("unshare"):
        return False
    return subprocess.run(["unshare", "--net", "true"], check=False, capture_output=True).returncode == 0


def _give(path: Path, account: Account) -> None:
    if account.other:
        os.chown(path, account.entry.pw_uid, account.entry.pw_gid)


def size(directory: Path) -> int:
    """Bytes that a tree takes on the disk; what vanishes meanwhile counts nothing."""
    total = 0
    for root, _unused, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(root, name)).st_blocks * 512
    return total


def no_space(error: BackupError, directory: Path) -> BackupError:
    """``error``, or the better one when its reason is a full disk."""
    if "No space left on device" not in error.found and shutil.disk_usage(directory).free > 1 << 20:
        return error
    return BackupError(
        "no_space",
        "There is no space left for the restored copy",
        found=error.found,
        expected=f"free space on the file system of {directory}",
        next_step="free or add space, or choose another scratch_directory",
    )


@contextlib.contextmanager
def prepared(root: Path, binaries: Binaries, account: Account, *, limits: Limits) -> Iterator[Scratch]:
    """A server that is not initialised yet, in a locked directory of its own below ``root``; removed at the end."""
    name = secrets.token_hex(4)
    directory, unlocked = root / f"s-{name}", root / f"n-{name}"
    try:
        unlocked.mkdir(mode=0o700)
        handle = os.open(unlocked / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        # Only now: a directory of that name that nobody has locked is a leftover.
        unlocked.rename(directory)
    except OSError as error:
        raise BackupError(
            "scratch_unusable",
            f"{root} cannot be used",
            found=error.strerror or str(error),
            expected="a directory that this program may write to",
            next_step="create it (role backup does)",
        ) from error
    server: Scratch | None = None
    try:
        # The server's user passes through; what is inside belongs to it.
        os.chmod(directory, 0o711)
        server = Scratch(directory, binaries, account, limits=limits)
        yield server
    finally:
        if server is not None:
            server.close()
        else:
            remove(directory)
        os.close(handle)


def reap(root: Path) -> list[str]:
    """Remove what killed runs left below ``root``; returns the names. Those of living runs are locked and stay."""
    removed = []
    for directory in sorted(root.glob("[ns]-*")) if root.is_dir() else []:
        if _abandoned(directory):
            _end_processes_in(directory)
            sharedmemory.release(directory / "data")
            remove(directory)
            removed.append(directory.name)
    return removed


def _abandoned(directory: Path) -> bool:
    """Whether its run is gone. One that vanishes meanwhile is somebody's who removes it."""
    if directory.name.startswith("n-"):
        return _is_old(directory)
    try:
        handle = os.open(directory / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return _is_old(directory)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(handle)
    return True


def _is_old(directory: Path) -> bool:
    """Killed before it was locked, or at work there just now: a minute tells."""
    with contextlib.suppress(FileNotFoundError):
        return time.time() - directory.stat().st_mtime > 60
    return False


def _end_processes_in(directory: Path) -> None:
    """Kill sessions that outlived their server: their working directory is its data directory."""
    inside = f"{directory}{os.sep}"
    for attempt in range(100):
        found = [pid for pid in os.listdir("/proc") if pid.isdigit() and _cwd(pid).startswith(inside)]
        if not found:
            return
        for pid in found if attempt % 20 == 0 else []:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.05)


def _cwd(pid: str) -> str:
    try:
        return os.readlink(f"/proc/{pid}/cwd")
    except OSError:
        return ""


def remove(directory: Path) -> None:
    """Remove a scratch directory; raises BackupError scratch_not_removed when something stays."""
    shutil.rmtree(directory, ignore_errors=True)
    if directory.exists():
        raise BackupError(
            "scratch_not_removed",
            f"{directory} could not be removed",
            found="files are left",
            next_step="remove it by hand: it holds a copy of the database",
        )
