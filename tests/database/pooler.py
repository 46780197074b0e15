# SPDX-License-Identifier: GPL-3.0-or-later
"""PgBouncer in front of a server, in the mode in which most people run it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

DEADLINE = 20.0  # seconds


@contextlib.contextmanager
def pgbouncer(socket: str, port: int, *, system_user: str, role: str) -> Iterator[str]:
    """The directory of its socket, which has the server's port; ``role`` is let in without a password."""
    directory = Path(tempfile.mkdtemp(prefix="slipway-pooler-"))
    (directory / "users").write_text(f'"{role}" ""\n')
    (directory / "pgbouncer.ini").write_text(
        f"[databases]\n* = host={socket} port={port}\n"
        f"[pgbouncer]\nlisten_addr =\nlisten_port = {port}\nunix_socket_dir = {directory}\n"
        f"auth_type = trust\nauth_file = {directory}/users\npool_mode = transaction\n"
        "ignore_startup_parameters = extra_float_digits, options\n"
    )
    directory.chmod(0o755)
    if system_user:
        shutil.chown(directory, system_user)
    with open(directory / "log", "wb") as log:
        program = shutil.which("pgbouncer", path="/usr/sbin:/usr/bin:/usr/local/bin")
        assert program, "there is no pgbouncer: install it"
        argv = [program, str(directory / "pgbouncer.ini")]
        running = subprocess.Popen(argv, user=system_user or None, cwd="/", stdout=log, stderr=log)
    try:
        end = time.monotonic() + DEADLINE
        while not (directory / f".s.PGSQL.{port}").exists():
            assert running.poll() is None, (directory / "log").read_text()
            assert time.monotonic() < end, "PgBouncer does not start"
            time.sleep(0.05)
        yield str(directory)
    finally:
        running.terminate()
        running.wait(DEADLINE)
        shutil.rmtree(directory)
